//! RUN: what a process sees, how it fails, and how it is cancelled.

use std::time::Duration;

use builder_proto::api::{BuildState, Event, StepStatus};

use crate::harness::{Bench, Context};

#[tokio::test(flavor = "multi_thread")]
async fn output_is_logged_and_the_environment_is_the_declared_one() {
    let bench = Bench::new().await;
    let outcome = bench
        .build(Context::busybox(
            "ENV A=1 B=\"two words\"\nARG C=3\nWORKDIR /work\nUSER 1000:1000\n\
             RUN --network=none env && id && pwd && echo to-stderr >&2",
        ))
        .await
        .succeeded();
    let mut env: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, text)| text))
        .filter(|text| {
            let name = text.split('=').next().unwrap_or_default();
            text.contains('=') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
        .collect();
    env.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = [
        "A=1",
        "B=two words",
        "C=3",
        "HOME=/",
        path,
        "PWD=/work",
        "SHLVL=1",
    ];
    assert_eq!(env, expected, "{}", outcome.log);
    assert!(outcome.log.contains("uid=1000 gid=1000"), "{}", outcome.log);
    assert!(outcome.log.contains("to-stderr"));
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_process_names_its_line_and_code() {
    let bench = Bench::new().await;
    let outcome = bench
        .build(Context::busybox(
            "RUN --network=none true\nRUN --network=none \\\n  exit 7\n",
        ))
        .await;
    let error = outcome.build.error.clone().unwrap();
    assert_eq!(
        outcome.failure(),
        "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7"
    );
    assert_eq!(error.exit_code, Some(7));
    assert_eq!(error.file.as_deref(), Some("Dockerfile"));
    assert_eq!(error.line, Some(Context::LINES + 2));
    assert_eq!(error.instruction.as_deref(), Some("RUN"));
    assert!(error.excerpt.unwrap().contains("exit 7"));
    assert!(outcome.log.contains("ERROR: process"), "{}", outcome.log);
    bench.check_nothing_left().await;

    let missing = bench
        .build(Context::busybox(
            "RUN --network=none [\"/no/such/program\"]",
        ))
        .await;
    assert!(
        missing.failure().contains("/no/such/program"),
        "{}",
        missing.failure()
    );
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_confined() {
    let bench = Bench::new().await;
    let outcome = bench
        .build(Context::busybox(
            "RUN --network=none cat /proc/self/status && ls /proc/self/fd | wc -l && \
             ls /sys/class/net && hostname && cat /etc/hosts && \
             (echo x > /proc/sys/kernel/hostname || echo refused)",
        ))
        .await
        .succeeded();
    for expected in [
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "CapEff:\t00000000a80425fb",
        "Seccomp:\t2",
        " refused",
        "127.0.0.1\tlocalhost",
        " buildkitsandbox",
    ] {
        assert!(
            outcome.log.contains(expected),
            "{expected}: {}",
            outcome.log
        );
    }
    let links: Vec<_> = outcome
        .log
        .lines()
        .filter(|l| l.ends_with(" lo") || l.contains(" eth"))
        .collect();
    assert_eq!(links.len(), 1, "{links:?}");
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_an_entitlement_is_refused() {
    let bench = Bench::new().await;
    let outcome = bench
        .build(Context::busybox("RUN --network=host true"))
        .await;
    assert!(
        outcome.failure().contains("the host's network"),
        "{}",
        outcome.failure()
    );
    let outcome = bench
        .build(Context::busybox("RUN --security=insecure true"))
        .await;
    assert!(
        outcome.failure().contains("insecure"),
        "{}",
        outcome.failure()
    );
    // There is no bridge on this bench.
    let outcome = bench.build(Context::busybox("RUN true")).await;
    assert!(
        outcome.failure().contains("network=none"),
        "{}",
        outcome.failure()
    );
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_leaves_no_process() {
    let bench = Bench::new().await;
    // A tree of processes that ignore signals and leave their session.
    let script = "RUN --network=none trap '' TERM INT HUP; \
                  for i in 1 2 3 4 5 6 7 8; do setsid sh -c 'trap \"\" TERM; sleep 987654377' & done; \
                  echo all started; sleep 987654377";
    let build = bench.submit("", Context::busybox(script)).await;
    let ready =
        |event: &Event| matches!(event, Event::Log { data, .. } if data.contains("all started"));
    bench.events(&build.id, None, ready).await;
    let began = std::time::Instant::now();
    let cancelled = bench.cancel(&build.id).await;
    assert_eq!(cancelled.state, BuildState::Cancelled);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sleepers(), 0);
    bench.check_nothing_left().await;
    // Once more changes nothing.
    assert_eq!(bench.cancel(&build.id).await, cancelled);
    let outcome = bench.wait(&build.id).await;
    assert_eq!(outcome.steps(StepStatus::Cancelled).len(), 1);
    assert!(outcome.log.ends_with("CANCELED\n"), "{}", outcome.log);
}

/// Processes of the script above, anywhere on the host.
fn sleepers() -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|p| std::fs::read(p.unwrap().path().join("cmdline")).ok());
    lines
        .filter(|line| line.windows(9).any(|w| w == b"987654377"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_show_their_content_and_leave_nothing_in_the_layer() {
    let bench = Bench::new().await;
    let context = |options: &str, word: &str| {
        Context::busybox(&format!(
            "FROM base\n\
             RUN --network=none --mount=target=/ctx{options} --mount=type=tmpfs,target=/scratch \
                 --mount=type=cache,target=/cache --mount=from=base,source=/bin,target=/tools,ro \
                 cat /ctx/note && touch /scratch/x && ls /tools/busybox && \
                 echo {word} >> /cache/log && cat /cache/log && touch /ctx/written\n\
             FROM base\n\
             RUN --network=none --mount=from=1,target=/m find /m -not -path '/m/bin*' | sort\n"
        ))
        .file("note", b"from the context\n")
    };
    let outcome = bench.build(context("", "one")).await;
    // The default bind is read-only.
    assert!(
        outcome.log.contains("Read-only file system"),
        "{}",
        outcome.log
    );
    let outcome = bench.build(context(",rw", "two")).await.succeeded();
    assert!(outcome.log.contains("from the context"), "{}", outcome.log);
    // The cache kept what the first build wrote.
    assert!(
        outcome.log.contains(" one\n") && outcome.log.contains(" two\n"),
        "{}",
        outcome.log
    );
    let left: Vec<_> = outcome
        .log
        .lines()
        .filter_map(|l| l.split_once(" /m").map(|(_, p)| p))
        .filter(|l| !l.contains("sort"))
        .collect();
    assert_eq!(left, [""], "{}", outcome.log);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_take_turns_with_a_locked_cache_and_never_wait_for_each_other() {
    let bench = Bench::new().await;
    // Each holds both caches for a moment; which comes first differs.
    let stage = |name: &str, first: &str, second: &str| {
        format!(
            "FROM base AS {name}\n\
             RUN --network=none --mount=type=cache,id={first},sharing=locked,target=/1 \
                 --mount=type=cache,id={second},sharing=locked,target=/2 \
                 --mount=type=cache,id={first},sharing=locked,target=/3 \
                 mkdir /1/busy && touch /3/seen && rmdir /1/busy && echo {name} > /{name}\n"
        )
    };
    let dockerfile = format!(
        "{}{}FROM base\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n",
        stage("a", "x", "y"),
        stage("b", "y", "x")
    );
    for _ in 0..3 {
        let context = Context::busybox(&dockerfile);
        bench.build_with("no-cache=1", context).await.succeeded();
    }
    bench.check_nothing_left().await;
}
