//! Contexts and Dockerfiles that try to reach the host.

use std::fs;

use crate::harness::{Bench, Context};

/// A file outside every root, whose content must not get into a build.
fn canary(bench: &Bench) -> String {
    let path = bench.path().join("canary");
    fs::write(&path, "CANARY-CONTENT").unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_that_is_a_link_out_of_the_context_is_not_read() {
    let bench = Bench::new().await;
    let canary = canary(&bench);
    for target in [
        canary.as_str(),
        "../../../../../../etc/hostname",
        "/proc/self/environ",
    ] {
        let outcome = bench
            .build(Context::default().link("Dockerfile", target))
            .await;
        assert!(
            outcome.failure().contains("failed to read dockerfile"),
            "{}",
            outcome.failure()
        );
        assert!(!outcome.log.contains("CANARY-CONTENT"));
    }
    for name in ["../canary", "/../../canary", "dir/../../../canary"] {
        let query = format!("dockerfile={name}");
        let outcome = bench
            .build_with(&query, Context::default().dir("dir"))
            .await;
        assert!(
            outcome.failure().contains("failed to read dockerfile"),
            "{}",
            outcome.failure()
        );
    }
    let outcome = bench
        .build(Context::busybox("RUN --network=none true").link(".dockerignore", &canary))
        .await;
    // The link leads to nothing inside the context, so there is no ignore file.
    outcome.succeeded();
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_lead_out_of_the_context_are_not_found() {
    let bench = Bench::new().await;
    let canary = canary(&bench);
    for instruction in [
        "COPY out /x",
        "COPY ../canary /x",
        "COPY dir/out/canary /x",
        "RUN --network=none --mount=source=out,target=/x cat /x",
        "RUN --network=none --mount=source=/../../canary,target=/x cat /x",
    ] {
        let outer = bench.path().to_str().unwrap().to_owned();
        let context = Context::busybox(instruction)
            .link("out", &canary)
            .dir("dir")
            .link("dir/out", &outer);
        let outcome = bench.build(context).await;
        assert!(
            outcome.failure().contains("not found"),
            "{instruction}: {}",
            outcome.failure()
        );
        assert!(!outcome.log.contains("CANARY-CONTENT"));
    }
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let bench = Bench::new().await;
    let canary = canary(&bench);
    let dockerfile = b"FROM scratch\n";
    for context in [
        Context::default().file("../escape", b"x"),
        Context::default()
            .link("d", &canary)
            .hard_link("h", &canary),
        Context::default().hard_link("h", "../../canary"),
    ] {
        let outcome = bench.build(context.file("Dockerfile", dockerfile)).await;
        assert!(
            outcome.failure().contains("the build context is refused"),
            "{}",
            outcome.failure()
        );
    }
    // Through a link, a name stays inside the context.
    let context = Context::default()
        .link("d", bench.path().to_str().unwrap())
        .file("d/canary", b"overwritten")
        .file("Dockerfile", dockerfile);
    let _either_way = bench.build(context).await;
    let mut cut = Context::default().file("Dockerfile", dockerfile).tar();
    cut.truncate(600);
    let (_, body) = bench.post("", cut).await;
    let build: builder_proto::api::Build = serde_json::from_str(&body).unwrap();
    let outcome = bench.wait(&build.id).await;
    assert!(
        outcome.failure().contains("the build context is refused"),
        "{}",
        outcome.failure()
    );
    assert_eq!(fs::read_to_string(&canary).unwrap(), "CANARY-CONTENT");
    assert!(!bench.path().join("escape").exists());
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_cannot_make_later_steps_leave_the_root() {
    let bench = Bench::new().await;
    let canary = canary(&bench);
    let outer = bench.path().to_str().unwrap().to_owned();
    let context = Context::busybox(&format!(
        "RUN --network=none mkdir /a && ln -s {outer} /a/dir && ln -s {canary} /a/file\n\
         WORKDIR /a/dir/made\n\
         COPY busybox /a/dir/canary\n\
         COPY busybox /a/file\n\
         RUN --network=none ls -l {outer}/canary /a/file\n"
    ));
    bench.build(context).await.succeeded();
    assert_eq!(fs::read_to_string(&canary).unwrap(), "CANARY-CONTENT");
    assert!(!bench.path().join("made").exists());

    // Mount points under links, and an owner file that is no file.
    let context = Context::busybox(&format!(
        "RUN --network=none ln -s {outer} /stub\n\
         RUN --network=none --mount=type=tmpfs,target=/stub/inner true\n\
         RUN --network=none mkdir -p /etc && mkfifo /etc/passwd\n\
         COPY --chown=www busybox /x\n"
    ));
    let outcome = bench.build(context).await;
    assert!(
        outcome.failure().contains("cannot look up"),
        "{}",
        outcome.failure()
    );
    assert!(!bench.path().join("inner").exists());
    bench.check_nothing_left().await;
}
