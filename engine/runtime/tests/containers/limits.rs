//! Control groups around real containers, on whichever version this host has.

use std::collections::BTreeMap;

use runtime::cgroup;
use runtime::spec::{Limits, Resource, Rlimit};

use crate::harness::{Host, drain, expect_output, is_unified};

#[tokio::test]
async fn memory_beyond_the_limit_kills_and_says_so() {
    let host = Host::start().await;
    let mut spec = host.shell("dd if=/dev/zero of=/dev/null bs=256M count=1");
    spec.cgroup.limits.memory_bytes = Some(32 << 20);
    spec.cgroup.limits.memory_swap_bytes = Some(32 << 20);
    let output = host.run(&spec).await;
    assert_eq!(
        (output.status.oom_killed, output.status.code),
        (true, 137),
        "{output:?}"
    );
    // And not otherwise.
    let mut spec = host.shell("dd if=/dev/zero of=/dev/null bs=1M count=1");
    spec.cgroup.limits.memory_bytes = Some(64 << 20);
    let output = host.run(&spec).await;
    assert_eq!(
        (output.status.oom_killed, output.status.code),
        (false, 0),
        "{output:?}"
    );
}

#[tokio::test]
async fn processes_beyond_the_limit_are_refused() {
    let host = Host::start().await;
    let mut spec = host.shell("for i in 1 2 3 4 5 6 7 8; do sleep 10 & done; echo all");
    spec.cgroup.limits.pids_max = Some(5);
    let output = host.run(&spec).await;
    assert!(output.stderr.contains("can't fork"), "{output:?}");
}

#[tokio::test]
async fn limits_show_in_the_containers_own_view() {
    let (files, expected) = match is_unified() {
        false => (
            "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
             cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus",
            "67108864\n50000\n100000\n512\n100\n0\n",
        ),
        true => (
            "memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus",
            "67108864\n33554432\n33554432\n50000 100000\n59\n100\n0\n",
        ),
    };
    let host = Host::start().await;
    let mut spec = host.shell(&format!("cd /sys/fs/cgroup; cat {files}"));
    spec.cgroup.limits = Limits {
        memory_bytes: Some(64 << 20),
        memory_reservation_bytes: Some(32 << 20),
        memory_swap_bytes: is_unified().then_some(96 << 20),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        cpu_shares: Some(512),
        cpuset_cpus: Some("0".into()),
        pids_max: Some(100),
        ..Limits::default()
    };
    let output = host.run(&spec).await;
    assert_eq!(output.stdout, expected, "{output:?}");
}

#[tokio::test]
async fn a_group_is_measured_paused_changed_and_killed() {
    let host = Host::start().await;
    let spec = host.shell("echo ready; while :; do echo tick; sleep 0.01; done");
    let path = &spec.cgroup.path;
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    expect_output(&mut reader, "tick").await;
    let stats = cgroup::stats(path).unwrap();
    assert!(
        stats.pids >= 1 && stats.cpu_total_ns > 0 && stats.memory_usage_bytes > 0,
        "{stats:?}"
    );
    let limits = Limits {
        pids_max: Some(77),
        ..Limits::default()
    };
    assert!(cgroup::update(path, &limits).unwrap().is_empty());
    assert_eq!(cgroup::stats(path).unwrap().pids_limit, Some(77));
    cgroup::freeze(path).unwrap();
    let before = cgroup::stats(path).unwrap().cpu_total_ns;
    assert_eq!(cgroup::stats(path).unwrap().cpu_total_ns, before);
    cgroup::thaw(path).unwrap();
    expect_output(&mut reader, "tick").await;
    cgroup::kill_all(path).unwrap();
    assert_eq!(drain(&mut reader).await.status.code, 137);
    assert!(cgroup::stats(path).is_err());
    drop(writer);
}

/// A limit that is above the daemon's own is cut, and the caller is told.
#[tokio::test]
async fn resource_limits_are_set_or_clamped_with_a_warning() {
    let host = Host::start().await;
    let mut spec = host.shell("ulimit -n; ulimit -c");
    let limit = |resource, soft, hard| Rlimit {
        resource,
        soft,
        hard,
    };
    spec.process.rlimits = vec![
        limit(Resource::Nofile, 100, 200),
        limit(Resource::Core, 0, 0),
    ];
    let monitor = host.launch(&spec).await.unwrap();
    assert!(monitor.warnings().is_empty(), "{:?}", monitor.warnings());
    assert_eq!(crate::harness::collect(monitor).await.stdout, "100\n0\n");

    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let mut spec = host.shell("ulimit -n");
    spec.process.rlimits = vec![limit(Resource::Nofile, u64::MAX, u64::MAX)];
    let monitor = host.launch(&spec).await.unwrap();
    let warnings = monitor.warnings().join("\n");
    let output = crate::harness::collect(monitor).await;
    if let Some(own) = own {
        assert_eq!(output.stdout, format!("{own}\n"));
        assert!(warnings.contains("ulimit nofile cut"), "{warnings}");
    }
}

#[tokio::test]
async fn sysctls_of_its_namespaces_are_set() {
    let host = Host::start().await;
    let mut spec = host.shell("cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward");
    spec.sysctls = BTreeMap::from([
        ("kernel.msgmax".to_owned(), "12345".to_owned()),
        ("net.ipv4.ip_forward".to_owned(), "1".to_owned()),
    ]);
    assert_eq!(host.run(&spec).await.stdout, "12345\n1\n");
}

/// A paused container can be killed, by its monitor and by its group.
#[tokio::test]
async fn frozen_processes_die() {
    for by_group in [false, true] {
        let host = Host::start().await;
        let spec = host.shell("echo ready; sleep 1000");
        let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
        expect_output(&mut reader, "ready").await;
        let path = spec.cgroup.path.clone();
        cgroup::freeze(&path).unwrap();
        if by_group {
            let killed = tokio::task::spawn_blocking(move || cgroup::kill_all(&path));
            killed.await.unwrap().unwrap();
        } else {
            writer.signal(9).await.unwrap();
        }
        assert_eq!(drain(&mut reader).await.status.code, 137);
    }
}
