//! What a container sees and may do.

use std::os::unix::fs::PermissionsExt;

use runtime::spec::{
    Capabilities, Device, DeviceKind, Mount, MountKind, Namespace, NetMode, Propagation, Seccomp,
};

use crate::harness::Host;

async fn check(script: &str, expected: &str) {
    let host = Host::start().await;
    assert_eq!(host.sh(script).await, expected, "{script}");
}

#[tokio::test]
async fn it_has_its_own_names_and_processes() {
    let host = Host::start().await;
    let mut spec = host.shell("hostname; echo $$; pwd; id -u; echo $HOME; umask");
    spec.hostname = "tester".into();
    let output = host.run(&spec).await;
    assert_eq!(
        output.stdout, "tester\n1\n/\n0\n/root\n0022\n",
        "{output:?}"
    );
}

#[tokio::test]
async fn its_network_is_only_loopback_and_up() {
    check(
        "ip -o link | wc -l; ip -o addr show lo | grep -c 127.0.0.1",
        "1\n1\n",
    )
    .await;
}

#[tokio::test]
async fn it_can_share_the_hosts_network_or_anothers() {
    let host = Host::start().await;
    let mut spec = host.shell("readlink /proc/self/ns/net");
    spec.namespaces.net = NetMode::Host;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let expected = format!("{}\n", own.display());
    assert_eq!(host.run(&spec).await.stdout, expected);
    let netns = std::fs::File::open("/proc/self/ns/net").unwrap();
    let mut spec = host.shell("readlink /proc/self/ns/net");
    spec.namespaces.net = NetMode::Fd;
    let monitor = host
        .launcher
        .create(&spec, Some(netns.into()))
        .await
        .unwrap();
    monitor.start().await.unwrap();
    assert_eq!(crate::harness::collect(monitor).await.stdout, expected);
    assert!(host.launcher.create(&spec, None).await.is_err());
}

#[tokio::test]
async fn capabilities_are_dockers() {
    check(
        "grep ^Cap /proc/self/status | tr '\\t' ' '",
        "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
         CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\n",
    )
    .await;
}

#[tokio::test]
async fn other_users_have_only_the_bound() {
    let host = Host::start().await;
    let script = "id -u; id -g; id -G; echo $HOME; grep ^Cap /proc/self/status | tr '\\t' ' '; \
                  echo again >/dev/stdout";
    let mut spec = host.shell(script);
    spec.process.user = "app".into();
    spec.process.capabilities = Capabilities::parse(&["CHOWN", "KILL"]).unwrap();
    assert_eq!(
        host.run(&spec).await.stdout,
        "1000\n1001\n1001 2000\n/home/app\nCapInh: 0000000000000000\nCapPrm: 0000000000000000\n\
         CapEff: 0000000000000000\nCapBnd: 0000000000000021\nCapAmb: 0000000000000000\nagain\n"
    );
}

#[tokio::test]
async fn a_filter_is_loaded_and_refuses() {
    check(
        "grep ^Seccomp: /proc/self/status | tr '\\t' ' '",
        "Seccomp: 2\n",
    )
    .await;
    check("unshare -m true 2>&1 | grep -c 'not permitted'", "1\n").await;
    let host = Host::start().await;
    let mut spec = host.shell("grep ^Seccomp: /proc/self/status | tr '\\t' ' '");
    spec.process.seccomp = Seccomp::Unconfined;
    assert_eq!(host.run(&spec).await.stdout, "Seccomp: 0\n");
}

#[tokio::test]
async fn a_users_profile_is_applied_also_without_new_privileges() {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    for no_new_privileges in [false, true] {
        let host = Host::start().await;
        let script = "mkdir /x 2>&1; grep ^NoNewPrivs /proc/self/status | tr '\\t' ' '";
        let mut spec = host.shell(script);
        spec.process.seccomp = Seccomp::Profile(profile.into());
        spec.process.no_new_privileges = no_new_privileges;
        assert_eq!(
            host.run(&spec).await.stdout,
            format!(
                "mkdir: can't create directory '/x': No space left on device\nNoNewPrivs: {}\n",
                u8::from(no_new_privileges)
            )
        );
    }
    let host = Host::start().await;
    let mut spec = host.shell("true");
    spec.process.seccomp = Seccomp::Profile("{}".into());
    assert!(
        host.refusal(&spec)
            .await
            .starts_with("seccomp profile: is not a profile")
    );
}

#[tokio::test]
async fn devices_are_the_usual_ones() {
    check(
        "cd /dev; ls -1 | tr '\\n' ' '; test -c null && echo x >null && head -c 4 zero | wc -c",
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 4\n",
    )
    .await;
    // Nodes of other devices can be made, not opened.
    check(
        "mknod /tmp/mem c 1 1 && cat /tmp/mem 2>&1",
        "cat: can't open '/tmp/mem': Operation not permitted\n",
    )
    .await;
}

#[tokio::test]
async fn devices_of_the_spec_are_made_and_allowed() {
    let host = Host::start().await;
    let mut spec = host.shell(
        "test -c /dev/own/zero && head -c 3 /dev/own/zero | wc -c; \
                            echo x 2>/dev/null >/dev/own/zero || echo read-only",
    );
    spec.devices.push(Device {
        path: "/dev/own/zero".into(),
        kind: DeviceKind::Char,
        major: 1,
        minor: 5,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "r".into(),
    });
    assert_eq!(host.run(&spec).await.stdout, "3\n");
}

#[tokio::test]
async fn a_privileged_container_gets_everything() {
    let host = Host::start().await;
    let mut spec = host.shell(
        "grep ^CapEff /proc/self/status | tr '\\t' ' '; mkdir /m && mount -t tmpfs x /m && echo ok; \
         test -c /dev/kmsg && echo kmsg; test -w /proc/sys/kernel/hostname && echo rw",
    );
    spec.make_privileged();
    let output = host.run(&spec).await;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find(|l| l.starts_with("CapEff"))
        .unwrap()
        .replace('\t', " ");
    assert_eq!(
        output.stdout,
        format!("{own}\nok\nkmsg\nrw\n"),
        "{output:?}"
    );
}

#[tokio::test]
async fn bind_mounts_of_files_and_directories() {
    let host = Host::start().await;
    let source = host.dir.path().join("volume");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("file"), "content\n").unwrap();
    let bind = |target: &str, path: std::path::PathBuf, read_only| Mount {
        target: target.into(),
        kind: MountKind::Bind {
            source: path,
            recursive: true,
            propagation: Propagation::Private,
        },
        read_only,
    };
    let mut spec = host
        .shell("cat /deep/er/file /one; echo new >/deep/er/new; echo x >/frozen/new; echo x >/one");
    spec.mounts.push(bind("/deep/er", source.clone(), false));
    spec.mounts.push(bind("/frozen", source.clone(), true));
    spec.mounts.push(bind("/one", source.join("file"), true));
    let output = host.run(&spec).await;
    assert!(
        output.stdout.starts_with("content\ncontent\n"),
        "{output:?}"
    );
    assert_eq!(
        output.stderr.matches("Read-only file system").count(),
        2,
        "{output:?}"
    );
    assert_eq!(
        std::fs::read_to_string(source.join("new")).unwrap(),
        "new\n"
    );
    let mut spec = host.shell("true");
    spec.mounts
        .push(bind("/x", host.dir.path().join("missing"), false));
    let text = host.refusal(&spec).await;
    assert!(
        text.contains("missing: no such file or directory"),
        "{text}"
    );
}

#[tokio::test]
async fn a_read_only_root_with_a_writable_tmpfs() {
    let host = Host::start().await;
    let mut spec = host.shell("echo x >/file; echo y >/run/file && cat /run/file");
    spec.read_only_rootfs = true;
    spec.mounts.push(Mount {
        target: "/run".into(),
        kind: MountKind::Tmpfs {
            size_bytes: Some(1 << 20),
            mode: 0o755,
            exec: false,
        },
        read_only: false,
    });
    let output = host.run(&spec).await;
    assert_eq!(output.stdout, "y\n");
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
}

/// A user's own `--tmpfs` follows links inside the root, also where its name
/// begins as that of /dev does; below /dev nothing is followed.
#[tokio::test]
async fn a_tmpfs_beside_dev_may_lead_through_a_link() {
    let host = Host::start().await;
    std::fs::create_dir(host.image().join("data")).unwrap();
    std::os::unix::fs::symlink("data", host.image().join("devel")).unwrap();
    let tmpfs = |target: &str| Mount {
        target: target.into(),
        kind: MountKind::Tmpfs {
            size_bytes: Some(1 << 20),
            mode: 0o755,
            exec: false,
        },
        read_only: false,
    };
    let mut spec = host.shell("stat -f -c %T /data");
    spec.mounts.push(tmpfs("/devel"));
    let output = host.run(&spec).await;
    assert_eq!(output.stdout, "tmpfs\n", "{output:?}");
    for target in ["/dev/fd", "/dev//stdin", "//dev/fd"] {
        let mut spec = host.shell("true");
        spec.mounts.push(tmpfs(target));
        let text = host.refusal(&spec).await;
        assert!(
            text.contains("leads through a symbolic link"),
            "{target}: {text}"
        );
    }
}

#[tokio::test]
async fn the_working_directory_is_made() {
    let host = Host::start().await;
    let mut spec = host.shell("pwd");
    spec.process.cwd = "/a/b/c".into();
    assert_eq!(host.run(&spec).await.stdout, "/a/b/c\n");
    let mode = std::fs::metadata(spec.rootfs.upper.join("a/b/c"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[tokio::test]
async fn the_environment_is_exactly_the_spec() {
    let host = Host::start().await;
    let mut spec = host.spec(&["env"]);
    spec.process.env = vec!["PATH=/bin".into(), "A=b c".into(), "HOME=/h".into()];
    assert_eq!(host.run(&spec).await.stdout, "PATH=/bin\nA=b c\nHOME=/h\n");
}

/// `--pid container:…` and its like: the second one sees the first.
#[tokio::test]
async fn it_can_join_the_namespaces_of_another() {
    let host = Host::start().await;
    let mut first = host.shell("echo ready; exec sleep 1000");
    first.hostname = "first".into();
    let (mut reader, writer) = host.launch(&first).await.unwrap().split();
    crate::harness::expect_output(&mut reader, "ready").await;
    let pid = runtime::cgroup::processes(&first.cgroup.path)[0];
    let links = |pid: u32| {
        ["pid", "ipc", "uts", "net"].map(|kind| {
            let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            link.display().to_string()
        })
    };
    let mut second = host.shell(
        "cd /proc/self/ns; for n in pid ipc uts net; do readlink $n; done; hostname; \
         ps | grep -c '[s]leep 1000'",
    );
    second.namespaces.pid = Namespace::Join(pid);
    second.namespaces.ipc = Namespace::Join(pid);
    second.namespaces.uts = Namespace::Join(pid);
    second.namespaces.net = NetMode::Join(pid);
    let output = host.run(&second).await;
    assert_eq!(
        output.stdout,
        format!("{}\nfirst\n1\n", links(pid).join("\n")),
        "{output:?}"
    );
    writer.signal(9).await.unwrap();
    crate::harness::drain(&mut reader).await;
}
