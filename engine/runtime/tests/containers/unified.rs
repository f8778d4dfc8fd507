//! Containers on a host that has only cgroup v2, made by covering this
//! thread's view of /sys/fs/cgroup before the launcher starts from it. What
//! needs controllers is in `limits`, which `tests/guest.sh` runs on v2 as well.

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::harness::{Host, is_unified};

/// Tests run on threads of their own, which end with them.
#[expect(unsafe_code, reason = "leaves the mount namespace of the other tests")]
fn leave_v1() {
    if is_unified() {
        return;
    }
    // SAFETY: no descriptor table is shared or unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    mount(
        "cgroup2",
        "/sys/fs/cgroup",
        "cgroup2",
        MountFlags::empty(),
        None,
    )
    .unwrap();
}

#[tokio::test]
async fn a_container_is_born_in_its_group() {
    leave_v1();
    let host = Host::start().await;
    let script = "cat /proc/self/cgroup | grep ^0; ls /sys/fs/cgroup | grep -c cgroup.procs; \
                  echo $$ >/sys/fs/cgroup/cgroup.procs";
    let spec = host.shell(script);
    let output = host.run(&spec).await;
    assert_eq!(output.stdout, "0::/\n1\n", "{output:?}");
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
}

#[tokio::test]
async fn devices_are_refused_by_a_program() {
    leave_v1();
    let host = Host::start().await;
    let script = "head -c 2 /dev/zero | wc -c; mknod /tmp/mem c 1 1 && cat /tmp/mem";
    let output = host.run(&host.shell(script)).await;
    assert_eq!(output.stdout, "2\n");
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output:?}"
    );
}

#[tokio::test]
async fn exec_joins_the_group() {
    leave_v1();
    let host = Host::start().await;
    let spec = host.shell("echo ready; sleep 1000");
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    crate::harness::expect_output(&mut reader, "ready").await;
    let process = host.shell("grep ^0 /proc/self/cgroup").process;
    let monitor = host
        .launcher
        .exec(&spec.state_dir, "e", &process)
        .await
        .unwrap();
    monitor.start().await.unwrap();
    assert_eq!(crate::harness::collect(monitor).await.stdout, "0::/\n");
    writer.signal(9).await.unwrap();
    assert_eq!(crate::harness::drain(&mut reader).await.status.code, 137);
}

/// Where v1 has the controller, v2 has not: the limit is refused by name.
#[tokio::test]
async fn a_limit_without_its_controller_is_refused() {
    leave_v1();
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let host = Host::start().await;
    let mut spec = host.shell("cat /sys/fs/cgroup/pids.max");
    spec.cgroup.limits.pids_max = Some(7);
    if controllers.split_whitespace().any(|c| c == "pids") {
        assert_eq!(host.run(&spec).await.stdout, "7\n");
    } else {
        let text = host.refusal(&spec).await;
        assert!(
            text.contains("this host has no pids cgroup controller"),
            "{text}"
        );
    }
}
