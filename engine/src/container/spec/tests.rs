use serde_json::json;

use super::*;

fn input<'a>(config: &'a ContainerConfig, host: &'a HostConfig) -> SpecInput<'a> {
    SpecInput {
        id: "0123456789abcdef0123456789abcdef",
        state_dir: Path::new("/state"),
        rootfs: Rootfs {
            lower: vec![PathBuf::from("/lower")],
            upper: PathBuf::from("/upper"),
            work: PathBuf::from("/work"),
            volatile: false,
        },
        config,
        host,
        mounts: &[],
        devices: Vec::new(),
        net: Net::Bridge,
        ipc: Namespace::Private,
        pid: Namespace::Private,
        host_name: "host",
        cgroup_parent: "carrack",
        log_max_bytes: 1000,
        log_max_files: 2,
    }
}

fn spec(config: serde_json::Value, host: serde_json::Value) -> Result<ContainerSpec> {
    let mut config: ContainerConfig = serde_json::from_value(config).unwrap();
    if config.cmd.is_none() {
        config.cmd = Some(vec!["true".to_owned()]);
    }
    let host: HostConfig = serde_json::from_value(host).unwrap();
    build(input(&config, &host))
}

/// The values at JSON pointers of the spec that a request makes.
fn check(
    config: serde_json::Value,
    host: serde_json::Value,
    expected: &[(&str, serde_json::Value)],
) {
    let got = serde_json::to_value(spec(config, host).unwrap()).unwrap();
    for (pointer, want) in expected {
        assert_eq!(got.pointer(pointer), Some(want), "{pointer} in {got:#}");
    }
}

fn refused(host: serde_json::Value, expected: &str) {
    assert_eq!(spec(json!({}), host).unwrap_err().to_string(), expected);
}

#[test]
fn a_plain_container_has_dockers_defaults() {
    check(
        json!({"Cmd": ["sh", "-c", "true"]}),
        json!({}),
        &[
            ("/process/args", json!(["sh", "-c", "true"])),
            ("/process/cwd", json!("/")),
            ("/hostname", json!("0123456789ab")),
            ("/process/env/1", json!("HOSTNAME=0123456789ab")),
            ("/namespaces/net", json!("Fd")),
            (
                "/cgroup/path",
                json!("carrack/0123456789abcdef0123456789abcdef"),
            ),
            ("/log/JsonFile/path", json!("/state/container.log")),
            ("/mounts/7/target", json!("/etc/hosts")),
            ("/mounts/7/kind/Bind/source", json!("/state/hosts")),
            ("/privileged", json!(false)),
            ("/process/seccomp", json!("Default")),
        ],
    );
}

#[test]
fn limits_are_converted() {
    check(
        json!({}),
        json!({"NanoCpus": 1_500_000_000, "Memory": 67_108_864, "PidsLimit": 50}),
        &[
            ("/cgroup/limits/cpu_quota_us", json!(150_000)),
            ("/cgroup/limits/cpu_period_us", json!(100_000)),
            ("/cgroup/limits/memory_bytes", json!(67_108_864)),
            ("/cgroup/limits/memory_swap_bytes", json!(134_217_728)),
            ("/cgroup/limits/pids_max", json!(50)),
        ],
    );
    check(
        json!({}),
        json!({"Memory": 67_108_864, "MemorySwap": -1, "PidsLimit": -1}),
        &[
            ("/cgroup/limits/memory_swap_bytes", json!(-1)),
            ("/cgroup/limits/pids_max", json!(null)),
        ],
    );
    refused(json!({"NanoCpus": 1}), "invalid CPUs: the least is 0.01");
}

#[test]
fn a_terminal_sets_size_and_term() {
    check(
        json!({"Tty": true, "OpenStdin": true}),
        json!({"ConsoleSize": [24, 80]}),
        &[
            ("/process/tty", json!(true)),
            ("/process/tty_size", json!([80, 24])),
            ("/process/env/2", json!("TERM=xterm")),
            ("/process/open_stdin", json!(true)),
        ],
    );
}

#[test]
fn security_options_are_applied_or_refused() {
    check(
        json!({}),
        json!({"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}),
        &[
            ("/process/no_new_privileges", json!(true)),
            ("/process/seccomp", json!("Unconfined")),
        ],
    );
    check(
        json!({}),
        json!({"Privileged": true}),
        &[("/privileged", json!(true)), ("/masked_paths", json!([]))],
    );
    refused(
        json!({"SecurityOpt": ["apparmor=mine"]}),
        "--security-opt apparmor=mine is not supported by Carrack yet: use apparmor=unconfined",
    );
    refused(
        json!({"SecurityOpt": ["seccomp=/tmp/x"]}),
        "invalid seccomp profile: send the profile's JSON, unconfined or builtin",
    );
    refused(
        json!({"CapAdd": ["FLY"]}),
        "invalid capability \"FLY\": see capabilities(7) for the names, or use ALL",
    );
    refused(
        json!({"Ulimits": [{"Name": "air", "Hard": 1, "Soft": 1}]}),
        "invalid ulimit type: air",
    );
    refused(
        json!({"Ulimits": [{"Name": "nofile", "Hard": 1, "Soft": 2}]}),
        "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
    );
}

#[test]
fn a_hostile_cgroup_parent_cannot_leave_the_hierarchy() {
    assert!(spec(json!({}), json!({"CgroupParent": "../../x"})).is_err());
    check(
        json!({}),
        json!({"CgroupParent": "/team/"}),
        &[(
            "/cgroup/path",
            json!("team/0123456789abcdef0123456789abcdef"),
        )],
    );
}

#[test]
fn a_mount_of_the_user_replaces_ours() {
    let config = ContainerConfig {
        cmd: Some(vec!["true".to_owned()]),
        ..Default::default()
    };
    let host = HostConfig::default();
    let planned = PlannedMount {
        target: "/etc/hosts".to_owned(),
        read_only: true,
        mode: "ro".to_owned(),
        source: PlannedSource::Bind {
            path: PathBuf::from("/mine"),
            create: true,
            recursive: true,
            propagation: Propagation::Private,
        },
    };
    let mounts = [(planned, PathBuf::from("/mine"))];
    let spec = build(SpecInput {
        mounts: &mounts,
        ..input(&config, &host)
    })
    .unwrap();
    let found: Vec<_> = spec
        .mounts
        .iter()
        .filter(|m| m.target == "/etc/hosts")
        .collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].read_only);
}

#[test]
fn environment_of_the_user_wins() {
    check(
        json!({"Env": ["PATH=/x", "A=b"], "Hostname": "web"}),
        json!({}),
        &[
            ("/process/env", json!(["HOSTNAME=web", "PATH=/x", "A=b"])),
            ("/hostname", json!("web")),
        ],
    );
}
