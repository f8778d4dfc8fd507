//! One test for each row of runtime advisories that this code must not repeat.

use std::os::unix::fs::symlink;
use std::path::Path;

use runtime::spec::{Mount, MountKind, Propagation};

use crate::harness::{Host, collect};

/// B1, CVE-2016-9962 and CVE-2024-21626: descriptors of the host.
#[tokio::test]
async fn no_descriptor_of_the_host_leaks() {
    let host = Host::start().await;
    // Inheritable ones, opened before the launcher of this second host starts.
    let extra: Vec<_> = (0..64)
        .map(|_| std::fs::File::open("/etc/passwd").unwrap())
        .collect();
    for file in &extra {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    let second = Host::start().await;
    // ls itself opens the directory as 3.
    assert_eq!(
        second.sh("ls /proc/self/fd | tr '\\n' ' '").await,
        "0 1 2 3 "
    );
    for fd in 3..=20 {
        let mut spec = host.shell("pwd");
        spec.process.cwd = format!("/proc/self/fd/{fd}");
        match host.launch(&spec).await {
            Err(_) => {}
            Ok(monitor) => panic!("entered {fd}: {:?}", collect(monitor).await),
        }
    }
}

/// B2, CVE-2019-5736: the runtime's own binary.
#[tokio::test]
async fn the_launcher_cannot_be_overwritten_from_a_container() {
    let host = Host::start().await;
    let binary = Path::new(env!("CARGO_BIN_EXE_runtime-test-launcher"));
    let before = std::fs::read(binary).unwrap();
    // Runs the launcher's binary again, inside the container.
    let mut spec = host.spec(&["/proc/self/exe", "launcher"]);
    spec.process.capabilities = runtime::spec::Capabilities::all();
    let launched = host.launch(&spec).await;
    drop(launched.map(|monitor| monitor.split()));
    // The launcher itself, seen from the host: no write even for root. While
    // it runs the kernel refuses for that reason, later for the mount's.
    let exe = format!("/proc/{}/exe", host.launcher.pid().await.unwrap());
    let flags = rustix::fs::statvfs(&exe).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let error = std::fs::OpenOptions::new()
        .write(true)
        .open(&exe)
        .unwrap_err();
    let refusals = [rustix::io::Errno::ROFS, rustix::io::Errno::TXTBSY];
    let refusals = refusals.map(|errno| Some(errno.raw_os_error()));
    assert!(refusals.contains(&error.raw_os_error()), "{error}");
    assert_eq!(std::fs::read(binary).unwrap(), before);
}

async fn check_linked(path: &str, to: &str) {
    let host = Host::start().await;
    let canary = host.image().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let link = host.image().join(path);
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(to, link).unwrap();
    let spec = host.shell("true");
    let text = host.refusal(&spec).await;
    assert!(
        text.contains("leads through a symbolic link"),
        "{path}: {text}"
    );
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    let upper = spec.rootfs.upper.join("canary");
    assert!(!upper.exists() || std::fs::read_dir(upper).unwrap().count() == 0);
}

/// B3 and B7, CVE-2019-19921, CVE-2026-41579 and more: links in the image at
/// the places of kernel file systems. `/dev/pts` and the like inside an image
/// do not matter: /dev is ours before anything is mounted below it.
#[tokio::test]
async fn links_in_place_of_kernel_file_systems_are_refused() {
    check_linked("proc", "/canary").await;
    check_linked("sys", "canary").await;
    check_linked("dev", "/canary").await;
    check_linked("dev", "/nowhere").await;
}

/// B3: a volume must not cover /proc through a link of the image.
#[tokio::test]
async fn volumes_cannot_be_led_into_proc() {
    let host = Host::start().await;
    symlink("/proc/self", host.image().join("data")).unwrap();
    for target in ["/data/attr", "/proc/sys", "/proc"] {
        let mut spec = host.shell("true");
        spec.mounts.push(Mount {
            target: target.into(),
            kind: MountKind::Bind {
                source: host.image(),
                recursive: true,
                propagation: Propagation::Private,
            },
            read_only: false,
        });
        let text = host.refusal(&spec).await;
        assert!(text.contains("is inside /proc"), "{target}: {text}");
    }
}

/// B4, CVE-2021-30465: the target is swapped while it is being mounted on.
#[tokio::test]
async fn swapped_targets_never_reach_the_host() {
    let host = Host::start().await;
    let volume = host.dir.path().join("volume");
    std::fs::create_dir_all(volume.join("dir")).unwrap();
    let outside = host.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(format!("/..{}", outside.display()), volume.join("link")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (volume, stop) = (volume.clone(), std::sync::Arc::clone(&stop));
        std::thread::spawn(move || {
            let dir = rustix::fs::open(
                &volume,
                // Not for the launchers that other tests start meanwhile.
                rustix::fs::OFlags::PATH
                    | rustix::fs::OFlags::DIRECTORY
                    | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&dir, "dir", &dir, "link", flags).unwrap();
            }
        })
    };
    let bind = |target: &str, source: &Path| Mount {
        target: target.into(),
        kind: MountKind::Bind {
            source: source.to_owned(),
            recursive: true,
            propagation: Propagation::Private,
        },
        read_only: false,
    };
    let mut started = 0;
    for _ in 0..100 {
        let mut spec = host.shell("echo x >/volume/dir/made 2>/dev/null; true");
        spec.mounts.push(bind("/volume", &volume));
        spec.mounts.push(bind("/volume/dir/sub", &host.image()));
        // Refused or not, what is made is inside.
        if let Ok(monitor) = host.launch(&spec).await {
            collect(monitor).await;
            started += 1;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(started > 0, "nothing was mounted");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

/// B5, CVE-2025-31133: masking must not bind what the image calls /dev/null.
#[tokio::test]
async fn a_false_null_device_is_not_used_for_masking() {
    let host = Host::start().await;
    std::fs::create_dir(host.image().join("dev")).unwrap();
    symlink(
        "/proc/sys/kernel/core_pattern",
        host.image().join("dev/null"),
    )
    .unwrap();
    let script = "stat -c '%t:%T' /proc/interrupts /dev/null";
    assert_eq!(host.sh(script).await, "1:3\n1:3\n");
}

/// B6, CVE-2025-52565: the console is the terminal that was opened, whatever
/// the image has at /dev/console or /dev/pts.
#[tokio::test]
async fn the_console_is_the_terminal() {
    let host = Host::start().await;
    std::fs::create_dir_all(host.image().join("dev")).unwrap();
    symlink(
        "/proc/sys/kernel/core_pattern",
        host.image().join("dev/console"),
    )
    .unwrap();
    let mut spec = host.shell("stat -c '%t:%T' /dev/console /dev/pts/0");
    spec.process.tty = true;
    assert_eq!(host.run(&spec).await.stdout, "88:0\r\n88:0\r\n");
}

/// B8, CVE-2022-24769: see `capabilities_are_dockers` for init; exec here.
#[tokio::test]
async fn inheritable_and_ambient_sets_are_empty_in_exec() {
    let host = Host::start().await;
    let spec = host.shell("echo ready; sleep 1000");
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    crate::harness::expect_output(&mut reader, "ready").await;
    let script = "grep -E '^Cap(Inh|Amb|Bnd)' /proc/self/status | tr '\\t' ' '";
    let process = host.shell(script).process;
    let monitor = host
        .launcher
        .exec(&spec.state_dir, "e", &process)
        .await
        .unwrap();
    monitor.start().await.unwrap();
    assert_eq!(
        collect(monitor).await.stdout,
        "CapInh: 0000000000000000\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\n"
    );
    writer.signal(9).await.unwrap();
    crate::harness::drain(&mut reader).await;
}

/// B9, CVE-2022-36109: a file that denies its group denies its members.
#[tokio::test]
async fn groups_deny_as_well_as_allow() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let host = Host::start().await;
    for (name, gid) in [("shared", 2000), ("primary", 1001)] {
        let file = host.image().join(name);
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o604)).unwrap();
        chown(&file, Some(0), Some(gid)).unwrap();
    }
    let mut spec = host.shell("cat /shared /primary");
    spec.process.user = "app".into();
    let output = host.run(&spec).await;
    assert_eq!(
        (
            &output.stdout[..],
            output.stderr.matches("Permission denied").count()
        ),
        ("", 2)
    );
}

/// B10: through the whole path; the parser has its own tests.
#[tokio::test]
async fn user_numbers_out_of_range_are_refused() {
    let host = Host::start().await;
    for user in ["4294967296", "-1", "2147483648", "1000:4294967295"] {
        let mut spec = host.shell("id");
        spec.process.user = user.into();
        let text = host.refusal(&spec).await;
        assert!(text.contains("is not a number from 0 to"), "{user}: {text}");
    }
}

/// B11, CVE-2026-47262: user files that never end.
#[tokio::test]
async fn endless_user_files_are_refused_at_once() {
    for kind in ["sparse", "fifo", "link"] {
        let host = Host::start().await;
        let passwd = host.image().join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        match kind {
            "sparse" => std::fs::File::create(&passwd)
                .unwrap()
                .set_len(4 << 30)
                .unwrap(),
            "fifo" => rustix::fs::mknodat(
                rustix::fs::CWD,
                &passwd,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap(),
            _ => symlink("/dev/zero", &passwd).unwrap(),
        }
        let text = host.refusal(&host.shell("true")).await;
        assert!(text.contains("look up user"), "{kind}: {text}");
    }
}

/// B12: see the tests of `spec`; here through the launcher.
#[tokio::test]
async fn smuggled_sysctls_are_refused() {
    let host = Host::start().await;
    let mut spec = host.shell("true");
    let value = "1+kernel.core_pattern=|x";
    spec.sysctls
        .insert("kernel.shm_rmid_forced".into(), value.into());
    assert!(host.refusal(&spec).await.contains("refused character"));
}

/// B13, CVE-2022-0492: the cgroup file systems cannot be written.
#[tokio::test]
async fn cgroups_cannot_be_written() {
    let host = Host::start().await;
    let script = "for f in memory/cgroup.procs memory/memory.limit_in_bytes memory/release_agent \
                  cgroup.procs memory.max; do echo 1 >/sys/fs/cgroup/$f && echo wrote $f; done; \
                  mkdir /sys/fs/cgroup/memory/x && echo made; true";
    let output = host.run(&host.shell(script)).await;
    assert_eq!(output.stdout, "", "{output:?}");
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
}

/// B14: Docker's masked and read-only paths.
#[tokio::test]
async fn masked_paths_are_empty_and_frozen_ones_read_only() {
    let host = Host::start().await;
    let spec = host.shell("true");
    let mut script = String::new();
    for path in &spec.masked_paths {
        script += &format!(
            "for p in {path}; do test -d $p && ls -A $p; test -f $p && cat $p; done 2>/dev/null;"
        );
    }
    assert_eq!(host.sh(&script).await, "");
    for path in &spec.read_only_paths {
        let script = format!("test -e {path} || exit 9; mkdir {path}/x; echo x >{path}");
        let output = host.run(&host.shell(&script)).await;
        assert_ne!(output.status.code, 0, "{path}");
    }
    let output = host
        .run(&host.shell("echo 1 >/proc/sys/kernel/hostname"))
        .await;
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
}
