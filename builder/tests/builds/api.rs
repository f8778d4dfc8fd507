//! The build API's promises to its clients.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use builder_proto::api::{Build, BuildState, Event};

use crate::{
    db,
    harness::{Bench, Context, error_code, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_answered_at_once_and_followed_without_loss() {
    let bench = Bench::new().await;
    let request = Request::post("/api/v1/builds?label=a%3Db&build-arg=X%3D1")
        .header("carrack-caller", "alice")
        .body(Body::from(
            Context::busybox("RUN --network=none echo done").tar(),
        ))
        .unwrap();
    let response = bench.request(request).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let build: Build = serde_json::from_str(&text(response).await.1).unwrap();
    assert_eq!(location, format!("/api/v1/builds/{}", build.id));
    assert_eq!(build.created_by, "alice");
    assert_eq!(build.options.build_args["X"], "1");

    let outcome = bench.wait(&build.id).await.succeeded();
    let states: Vec<BuildState> = outcome
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::State { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            BuildState::Queued,
            BuildState::Running,
            BuildState::Succeeded
        ]
    );
    assert!(outcome.build.started_at.is_some() && outcome.build.ended_at.is_some());

    // From any point on, the rest and nothing else.
    for after in [1, 3, outcome.events.len() as i64 - 1] {
        let rest = bench.events(&build.id, Some(after), |_| false).await;
        assert_eq!(rest, outcome.events[after as usize..]);
    }
    let (status, list) = bench.get("/api/v1/builds?limit=1").await;
    assert_eq!(status, StatusCode::OK);
    let list: Vec<Build> = serde_json::from_str(&list).unwrap();
    assert_eq!(list, [outcome.build]);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_a_typed_answer() {
    let bench = Bench::new().await;
    let check = |query: &'static str, body: &'static [u8], expected: &'static str| {
        let bench = &bench;
        async move {
            let (status, body) = bench.post(query, body.to_vec()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(error_code(&body), "invalid_argument");
            assert!(body.contains(expected), "{body}");
        }
    };
    check("", b"", "not a tar archive").await;
    check("", b"FROM scratch\n", "not a tar archive").await;
    check("tag=UPPER", b"", "lowercase").await;
    check("colour=red", b"", "colour").await;
    for path in [
        "/api/v1/builds/x",
        "/api/v1/builds/x/log",
        "/api/v1/builds/x/events",
        "/api/v1/nothing",
    ] {
        let (status, body) = bench.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(error_code(&body), "not_found");
    }
    for limit in ["0", "x", "1001"] {
        let (status, body) = bench.get(&format!("/api/v1/builds?limit={limit}")).await;
        assert_eq!(
            (status, error_code(&body).as_str()),
            (StatusCode::BAD_REQUEST, "invalid_argument")
        );
    }
    let request = Request::delete("/api/v1/builds")
        .body(Body::empty())
        .unwrap();
    let (status, body) = text(bench.request(request).await).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(error_code(&body), "method_not_allowed");
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_error_names_its_line() {
    let bench = Bench::new().await;
    let outcome = bench.build(Context::busybox("RNU true\n")).await;
    let error = outcome.build.error.clone().unwrap();
    assert_eq!(error.line, Some(Context::LINES + 1), "{error:?}");
    assert!(error.message.contains("RNU"), "{error:?}");
    assert!(error.excerpt.unwrap().contains("RNU true"));
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_build_can_be_cancelled() {
    let bench = Bench::new().await;
    // As many builds as there are workers keep the third one waiting.
    let slow = "RUN --network=none echo started; sleep 987654320";
    let mut ids = Vec::new();
    for number in 0..3 {
        let context = Context::busybox(&format!("ENV N={number}\n{slow}"));
        ids.push(bench.submit("", context).await.id);
    }
    let started =
        |event: &Event| matches!(event, Event::Log { data, .. } if data.contains("started"));
    bench.events(&ids[0], None, started).await;
    bench.events(&ids[1], None, started).await;
    assert_eq!(bench.show(&ids[2]).await.state, BuildState::Queued);
    for id in ids.iter().rev() {
        assert_eq!(bench.cancel(id).await.state, BuildState::Cancelled);
    }
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_nothing_half_written_stays() {
    let bench = Bench::new().await;
    let contexts = bench.path().join("builder/contexts");
    let mount = |args: &[&str]| {
        let done = std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(&contexts)
            .status();
        assert!(done.unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs"]);
    let context = Context::busybox("").file("big", &vec![7; 8 << 20]);
    let (status, body) = bench.post("", context.tar()).await;
    let left = crate::harness::names(&contexts);
    // What fits is still taken and built.
    let small = Context::default().file("Dockerfile", b"FROM scratch\nENV A=1\n");
    let outcome = bench.build(small).await;
    mount(&["umount"]);
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{body}");
    assert_eq!(error_code(&body), "no_space");
    assert_eq!(left, [""; 0]);
    outcome.succeeded();
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_user_can_look_into_contexts() {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::new().await;
    let dir = std::fs::metadata(bench.path().join("builder")).unwrap();
    assert_eq!(dir.permissions().mode() & 0o777, 0o700);
}

/// The first end of the build cannot be stored, and it has to run once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_keeps_its_context_until_its_end_is_stored() {
    let bench = Bench::new().await;
    db::refuse_first_end(&bench.path().join("builder/builder.db")).await;
    let build = bench.submit("", Context::busybox("ENV A=1\n")).await;
    bench.wait(&build.id).await.succeeded();
    bench.check_nothing_left().await;
}

/// Whether a file below `dir` holds `text`.
fn holds(dir: &std::path::Path, text: &[u8]) -> bool {
    let mut entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.any(|entry| {
        // Steps come and go meanwhile; what they run on is none of ours.
        let Ok(kind) = entry.file_type() else {
            return false;
        };
        if kind.is_dir() {
            return entry.file_name() != "run" && holds(&entry.path(), text);
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        kind.is_file() && bytes.windows(text.len()).any(|bytes| bytes == text)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_holds_the_token_of_a_build() {
    let bench = Bench::new().await;
    let data = bench.path().join("builder");
    let submit = async |name: &str| {
        let context = Context::busybox(&format!(
            "RUN --network=none echo {name}; sleep 987654321\n"
        ));
        let request = Request::post(format!("/api/v1/builds?label=note={name}"))
            .header("carrack-registry-token", "eyJh-token-of-a-build")
            .body(Body::from(context.tar()))
            .unwrap();
        let (status, body) = text(bench.request(request).await).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        serde_json::from_str::<Build>(&body).unwrap().id
    };
    // Two run, one after the other has all workers waits.
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let id = submit(name).await;
        let said = |event: &Event| matches!(event, Event::Log { data, .. } if data.contains(name));
        bench.events(&id, None, said).await;
        ids.push(id);
    }
    ids.push(submit("three").await);
    assert_eq!(bench.show(&ids[2]).await.state, BuildState::Queued);
    assert!(holds(&data, b"note") && holds(&data, ids[2].as_bytes()));
    assert!(!holds(&data, b"eyJh-token-of-a-build"));
    for id in ids.iter().rev() {
        assert_eq!(bench.cancel(id).await.state, BuildState::Cancelled);
    }
    assert!(!holds(&data, b"eyJh-token-of-a-build"));
    bench.check_nothing_left().await;
}
