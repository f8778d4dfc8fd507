//! What is found in the cache, after what change, and after a restart.

use builder_proto::api::StepStatus;

use crate::harness::{Bench, Context, names};

fn context(source: &str, note: &str) -> Context {
    Context::busybox(
        "FROM base AS made\nCOPY src /src\nRUN --network=none cat /src/a > /made\n\
         FROM base\nCOPY --from=made /made /made\nRUN --network=none cat /made\n",
    )
    .dir("src")
    .file("src/a", source.as_bytes())
    .file("note", note.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_runs_again() {
    let mut bench = Bench::new().await;
    let first = bench.build(context("one", "x")).await.succeeded();
    assert_eq!(first.steps(StepStatus::Cached), [""; 0]);

    let same = bench.build(context("one", "x")).await.succeeded();
    assert_eq!(same.steps(StepStatus::Cached).len(), 6, "{}", same.log);

    // A file that no instruction takes.
    let other = bench.build(context("one", "y")).await.succeeded();
    assert_eq!(other.steps(StepStatus::Cached).len(), 6, "{}", other.log);

    bench.restart().await;
    let after = bench.build(context("one", "y")).await.succeeded();
    assert_eq!(after.steps(StepStatus::Cached).len(), 6, "{}", after.log);

    let changed = bench.build(context("two", "y")).await.succeeded();
    assert!(
        changed.cached("COPY --chmod=755 busybox"),
        "{}",
        changed.log
    );
    assert!(
        !changed.cached("COPY src") && !changed.cached("cat /made"),
        "{}",
        changed.log
    );
    assert!(changed.log.contains(" two\n"), "{}", changed.log);

    let anew = bench
        .build_with("no-cache=1", context("two", "y"))
        .await
        .succeeded();
    assert_eq!(anew.steps(StepStatus::Cached), [""; 0], "{}", anew.log);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_equal_files_is_found_although_its_source_ran_again() {
    let bench = Bench::new().await;
    let context = |comment: &str| {
        Context::busybox(&format!(
            "FROM base AS made\nRUN --network=none : {comment}; echo same > /made\n\
             FROM base\nCOPY --from=made /made /made\nRUN --network=none cat /made\n"
        ))
    };
    bench.build(context("one")).await.succeeded();
    let again = bench.build(context("two")).await.succeeded();
    assert!(!again.cached(": two"), "{}", again.log);
    assert!(
        again.cached("COPY --from=made") && again.cached("cat /made"),
        "{}",
        again.log
    );
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_a_restart_interrupts_goes_on_after_it() {
    let mut bench = Bench::new().await;
    let context = Context::busybox(
        "RUN --network=none echo first\n\
         RUN --network=none --mount=type=cache,target=/c \
             [ -e /c/again ] || { touch /c/again; echo waiting; sleep 987654321; }\n",
    );
    let build = bench.submit("", context).await;
    let waiting = |event: &builder_proto::api::Event| matches!(event, builder_proto::api::Event::Log { data, .. } if data.contains("waiting"));
    bench.events(&build.id, None, waiting).await;
    bench.restart().await;
    let outcome = bench.wait(&build.id).await.succeeded();
    assert!(outcome.cached("echo first"), "{}", outcome.log);
    // The log goes on where it was, without a hole.
    let seqs: Vec<i64> = outcome.events.iter().map(|(seq, _)| *seq).collect();
    let expected: Vec<i64> = (1..=seqs.len() as i64).collect();
    assert_eq!(seqs, expected);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_over_its_bound_loses_what_nobody_uses() {
    let mut bench = Bench::new().await;
    let old = bench.build(context("one", "x")).await.succeeded();
    let before = bench.layers.list_layers().unwrap();
    assert!(before.len() > 3, "{}", old.log);
    // As an image of the engine holds its layers.
    let pin = bench.layers.pin(&before[..1]);

    bench.bound_cache(1).await;
    let again = bench.build(context("one", "x")).await.succeeded();
    assert_eq!(again.steps(StepStatus::Cached).len(), 6, "{}", again.log);
    // Tidying starts when the build has ended.
    let shrunk = async {
        while bench.layers.list_layers().unwrap() != before[..1] {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), shrunk).await;
    assert!(waited.is_ok(), "{:?}", bench.layers.list_layers());

    let anew = bench.build(context("one", "x")).await.succeeded();
    assert_eq!(anew.steps(StepStatus::Cached), [""; 0], "{}", anew.log);
    drop(pin);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_mounts_count_and_go_with_the_rest() {
    let mut bench = Bench::new().await;
    let context = |note: &str| {
        Context::busybox(&format!(
            "RUN --network=none --mount=type=cache,target=/c : {note}; ls /c; \
                 dd if=/dev/zero of=/c/large bs=1M count=16 2>/dev/null\n"
        ))
    };
    bench.build(context("one")).await.succeeded();
    let caches = bench.path().join("builder/cache");
    let again = bench.build(context("two")).await.succeeded();
    assert!(again.log.contains(" large\n"), "{}", again.log);
    assert_eq!(names(&caches).len(), 1);

    // Room for all layers, but not for the cache.
    bench.bound_cache(12 << 20).await;
    bench.build(context("three")).await.succeeded();
    let emptied = async {
        while !names(&caches).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), emptied).await;
    assert!(waited.is_ok(), "{:?}", names(&caches));
    let anew = bench.build(context("four")).await.succeeded();
    assert!(!anew.log.contains(" large\n"), "{}", anew.log);
    bench.check_nothing_left().await;
}
