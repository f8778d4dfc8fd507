use std::path::PathBuf;

use super::*;

fn spec() -> ContainerSpec {
    let rootfs = Rootfs {
        lower: vec![PathBuf::from("/l")],
        upper: PathBuf::from("/u"),
        work: PathBuf::from("/w"),
        volatile: false,
    };
    ContainerSpec::new(
        "c1",
        PathBuf::from("/s"),
        rootfs,
        ProcessSpec::new(vec!["true".into()]),
    )
}

fn check(change: impl FnOnce(&mut ContainerSpec), expected: Option<&str>) {
    let mut spec = spec();
    change(&mut spec);
    let found = spec.validate().err().map(|e| e.to_string());
    match (expected, &found) {
        (None, None) => {}
        (Some(text), Some(error)) if error.contains(text) => {}
        _ => panic!("expected {expected:?}, found {found:?}"),
    }
}

fn sysctl(name: &'static str, value: &'static str) -> impl FnOnce(&mut ContainerSpec) {
    move |s| {
        s.sysctls.insert(name.into(), value.into());
    }
}

#[test]
fn defaults_are_valid_and_survive_json() {
    check(|_| {}, None);
    let json = serde_json::to_vec(&spec()).unwrap();
    assert_eq!(
        serde_json::from_slice::<ContainerSpec>(&json).unwrap(),
        spec()
    );
}

#[test]
fn sysctls_stay_in_their_namespace_and_file() {
    check(sysctl("net.ipv4.ip_local_port_range", "1024\t65000"), None);
    check(sysctl("kernel.shm_rmid_forced", "1"), None);
    check(sysctl("kernel.core_pattern", "x"), Some("not allowed"));
    check(
        sysctl("kernel.shm_rmid_forced", "1+kernel.core_pattern=|x"),
        Some("refused character"),
    );
    check(
        sysctl("net.ipv4.x", "1\nkernel.core_pattern=x"),
        Some("refused character"),
    );
    check(
        sysctl("net/../kernel/core_pattern", "1"),
        Some("dotted name"),
    );
    check(sysctl("net..x", "1"), Some("dotted name"));
    check(
        |s| {
            s.namespaces.net = NetMode::Host;
            s.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        },
        Some("not allowed"),
    );
}

#[test]
fn cgroup_paths_cannot_climb() {
    check(|s| s.cgroup.path = "carrack/x".into(), None);
    check(|s| s.cgroup.path = "../x".into(), Some("cgroup path"));
    check(|s| s.cgroup.path = "/x".into(), Some("cgroup path"));
    check(|s| s.cgroup.path = String::new(), Some("cgroup path"));
}

#[test]
fn processes_that_execve_cannot_carry_are_refused() {
    check(|s| s.process.args.clear(), Some("no command"));
    check(|s| s.process.args.push("a\0b".into()), Some("NUL"));
    check(|s| s.process.args.push("x".repeat(3 << 20)), Some("2 MiB"));
    check(|s| s.process.env.push("novalue".into()), Some("NAME=value"));
    check(|s| s.process.cwd = "tmp".into(), Some("absolute"));
    check(|s| s.process.oom_score_adj = Some(1001), Some("between"));
}

#[test]
fn devices_stay_below_dev() {
    let device = |path: &str, access: &str| Device {
        path: path.into(),
        kind: DeviceKind::Char,
        major: 1,
        minor: 3,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: access.into(),
    };
    check(|s| s.devices.push(device("/dev/fuse", "rwm")), None);
    check(
        |s| s.devices.push(device("/etc/x", "rwm")),
        Some("below /dev"),
    );
    check(
        |s| s.devices.push(device("/dev/../x", "rwm")),
        Some("below /dev"),
    );
    check(
        |s| s.devices.push(device("/dev/x", "rx")),
        Some("r, w and m"),
    );
}
