//! The commands against a server that speaks the build API.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use builder_proto::api::{
    BuildFailure, BuildOptions, BuildState, ErrorBody, ErrorDetail, Event, StepStatus,
};
use clap::Parser;

use super::*;
use crate::config::Globals;

/// What the server saw, and what it will say.
#[derive(Default)]
struct Script {
    queries: Vec<Vec<(String, String)>>,
    bodies: Vec<Vec<u8>>,
    authorization: Vec<String>,
    resumed_after: Vec<String>,
    cancelled: bool,
    /// Answers a POST with this instead of a build.
    refuse: Option<(StatusCode, &'static str)>,
    events: Vec<Event>,
    /// Events per connection, after which it breaks off.
    per_connection: usize,
}

type Shared = Arc<Mutex<Script>>;

fn build(state: BuildState) -> Build {
    Build {
        id: "b1".to_owned(),
        state,
        options: BuildOptions {
            tags: vec!["127.0.0.1:5000/app:1".to_owned()],
            push: true,
            ..BuildOptions::default()
        },
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        started_at: None,
        ended_at: None,
        digest: (state == BuildState::Succeeded).then(|| "sha256:00".to_owned()),
        error: None,
        created_by: "admin".to_owned(),
    }
}

async fn create(
    State(script): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if let Some((status, message)) = script.lock().unwrap().refuse {
        let body = ErrorBody {
            error: ErrorDetail {
                code: "refused".to_owned(),
                message: message.to_owned(),
            },
        };
        return (status, Json(body)).into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 24).await;
    let Ok(body) = body else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut script = script.lock().unwrap();
    script.queries.push(query);
    script.bodies.push(body.to_vec());
    let authorization = headers
        .get("authorization")
        .map(|v| v.to_str().unwrap().to_owned());
    script.authorization.extend(authorization);
    (StatusCode::ACCEPTED, Json(build(BuildState::Queued))).into_response()
}

async fn events(State(script): State<Shared>, headers: HeaderMap) -> Response {
    let mut script = script.lock().unwrap();
    let after = headers
        .get("last-event-id")
        .map(|v| v.to_str().unwrap().to_owned());
    let from = after
        .as_deref()
        .map_or(0, |id| id.parse::<usize>().unwrap() + 1);
    script.resumed_after.extend(after);
    let mut text = ": hello\n\n".to_owned();
    let count = script.per_connection;
    for (number, event) in script.events.iter().enumerate().skip(from).take(count) {
        let data = serde_json::to_string(event).unwrap();
        text.push_str(&format!("id: {number}\nevent: x\ndata: {data}\n\n"));
    }
    text.into_response()
}

async fn cancel(State(script): State<Shared>, UrlPath(id): UrlPath<String>) -> Response {
    if id != "b1" {
        return StatusCode::NOT_FOUND.into_response();
    }
    script.lock().unwrap().cancelled = true;
    StatusCode::ACCEPTED.into_response()
}

/// Starts the server; gives its address.
async fn serve(script: &Shared) -> String {
    let router = Router::new()
        .route(
            "/api/v1/builds",
            post(create).get(|| async { Json(vec![build(BuildState::Failed)]) }),
        )
        .route(
            "/api/v1/builds/{id}",
            get(|| async { Json(build(BuildState::Succeeded)) }),
        )
        .route("/api/v1/builds/{id}/events", get(events))
        .route("/api/v1/builds/{id}/cancel", post(cancel))
        .with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Settings for the server, with credentials for it in config.json.
fn settings(server: &str, config: &tempfile::TempDir) -> Settings {
    let host = server.strip_prefix("http://").unwrap();
    let auths = serde_json::json!({ "auths": { host: { "auth": "YWRtaW46c2VjcmV0" } } });
    fs::write(config.path().join("config.json"), auths.to_string()).unwrap();
    Settings::resolve(&Globals {
        server: Some(server.to_owned()),
        config_dir: Some(config.path().to_owned()),
        ..Globals::default()
    })
    .unwrap()
}

fn succeeding() -> Vec<Event> {
    let step = |status| Event::Step {
        step: 1,
        name: "[1/1] COPY a /".to_owned(),
        status,
        duration_ms: 5,
        error: None,
    };
    vec![
        Event::State {
            state: BuildState::Running,
            digest: None,
            error: None,
        },
        step(StepStatus::Started),
        step(StepStatus::Done),
        Event::State {
            state: BuildState::Succeeded,
            digest: Some("sha256:00".to_owned()),
            error: None,
        },
    ]
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    build: BuildImage,
}

fn line(args: &[&str]) -> BuildImage {
    let args = ["build"].iter().chain(args);
    Line::try_parse_from(args).unwrap().build
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY a /\n").unwrap();
    fs::write(dir.path().join("a"), "content of a").unwrap();
    dir
}

#[tokio::test]
async fn a_build_is_sent_and_followed_across_lost_connections() {
    let script = Shared::default();
    {
        let mut script = script.lock().unwrap();
        script.events = succeeding();
        script.per_connection = 1;
    }
    let server = serve(&script).await;
    let (config, dir) = (tempfile::tempdir().unwrap(), directory());
    let path = dir.path().to_str().unwrap().to_owned();
    let iid = dir.path().join("iid");
    let metadata = dir.path().join("metadata");
    let command = line(&[
        "-t",
        "team/app:1",
        "-t",
        "localhost:1/x",
        "--build-arg",
        "A=b c&d",
        "--label",
        "l",
        "--no-cache",
        "--target",
        "t",
        "--network",
        "none",
        "--platform",
        "linux/amd64",
        "--progress",
        "quiet",
        "--iidfile",
        iid.to_str().unwrap(),
        "--metadata-file",
        metadata.to_str().unwrap(),
        &path,
    ]);
    let code = command.run(&settings(&server, &config)).await.unwrap();
    assert_eq!(code, 0);

    let script = script.lock().unwrap();
    let host = server.strip_prefix("http://").unwrap();
    let expected = [
        ("tag", format!("{host}/team/app:1")),
        ("tag", "localhost:1/x:latest".to_owned()),
        ("dockerfile", "Dockerfile".to_owned()),
        ("target", "t".to_owned()),
        ("platform", "linux/amd64".to_owned()),
        ("network", "none".to_owned()),
        ("build-arg", "A=b c&d".to_owned()),
        ("label", "l=".to_owned()),
        ("no-cache", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    assert_eq!(script.queries[0], expected);
    assert_eq!(script.authorization, ["Basic YWRtaW46c2VjcmV0"]);
    // Each event arrived on a connection of its own, and none twice.
    assert_eq!(script.resumed_after, ["0", "1", "2"]);
    let body = String::from_utf8_lossy(&script.bodies[0]).into_owned();
    assert!(body.contains("content of a"));
    assert_eq!(fs::read_to_string(iid).unwrap(), "sha256:00");
    let metadata: BTreeMap<String, String> =
        serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], "sha256:00");
    assert_eq!(metadata["buildx.build.ref"], "b1");
}

#[tokio::test]
async fn a_failed_build_exits_with_one() {
    let script = Shared::default();
    {
        let mut script = script.lock().unwrap();
        script.per_connection = usize::MAX;
        script.events = vec![Event::State {
            state: BuildState::Failed,
            digest: None,
            error: Some(BuildFailure {
                message: "no".to_owned(),
                ..BuildFailure::default()
            }),
        }];
    }
    let server = serve(&script).await;
    let (config, dir) = (tempfile::tempdir().unwrap(), directory());
    let command = line(&["--progress", "quiet", dir.path().to_str().unwrap()]);
    assert_eq!(command.run(&settings(&server, &config)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cancelled_build_exits_as_interrupted() {
    let script = Shared::default();
    {
        let mut script = script.lock().unwrap();
        script.per_connection = usize::MAX;
        script.events = vec![Event::State {
            state: BuildState::Cancelled,
            digest: None,
            error: None,
        }];
    }
    let server = serve(&script).await;
    let (config, dir) = (tempfile::tempdir().unwrap(), directory());
    let command = line(&["--progress", "quiet", dir.path().to_str().unwrap()]);
    assert_eq!(command.run(&settings(&server, &config)).await.unwrap(), 130);

    let server = Server::new(&settings(&server, &config)).await.unwrap();
    server.cancel("b1").await.unwrap();
    assert!(script.lock().unwrap().cancelled);
    assert!(server.cancel("b2").await.is_err());
    let odd = server.cancel("../b1").await.unwrap_err();
    assert!(odd.to_string().contains("is not the id of a build"));
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let script = Shared::default();
    let server = serve(&script).await;
    let (config, dir) = (tempfile::tempdir().unwrap(), directory());
    let host = server.strip_prefix("http://").unwrap();
    for (status, said, shown) in [
        (
            StatusCode::UNAUTHORIZED,
            "authentication required",
            format!(
                "Error response from {host}: authentication required; run `carrack login {host}`"
            ),
        ),
        (
            StatusCode::BAD_REQUEST,
            "no such stage",
            format!("Error response from {host}: no such stage"),
        ),
    ] {
        script.lock().unwrap().refuse = Some((status, said));
        let command = line(&["--progress", "quiet", dir.path().to_str().unwrap()]);
        let error = command.run(&settings(&server, &config)).await.unwrap_err();
        assert_eq!(error.to_string(), shown);
        assert_eq!(error.exit_code(), 1);
    }
    // Nobody listens there.
    let command = line(&["--progress", "quiet", dir.path().to_str().unwrap()]);
    let error = command
        .run(&settings("http://127.0.0.1:1", &config))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot reach the Carrack server at http://127.0.0.1:1: ")
    );
}

#[tokio::test]
async fn a_context_that_breaks_off_makes_no_build() {
    let script = Shared::default();
    let server = serve(&script).await;
    let (config, dir) = (tempfile::tempdir().unwrap(), directory());
    // Its size says more than can be read from it.
    std::os::unix::fs::symlink("/nowhere", dir.path().join("fine")).unwrap();
    let context = Context::open(dir.path(), None, dir.path()).unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    fs::create_dir(dir.path().join("z")).unwrap();
    let name = std::ffi::OsStr::new("not UTF-8 \u{fffd}").to_owned();
    let mut bytes = std::os::unix::ffi::OsStringExt::into_vec(name);
    bytes.push(0xff);
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
    fs::write(dir.path().join("z").join(name), "").unwrap();

    let server = Server::new(&settings(&server, &config)).await.unwrap();
    let mut progress = Progress::new(
        Mode::Quiet,
        Look {
            color: false,
            log_lines: 1,
        },
    );
    let body = Body::Directory(Box::new(context));
    let error = upload::send(&server, &[], body, &mut progress)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("has a name that is not UTF-8"),
        "{error}"
    );
    assert!(script.lock().unwrap().bodies.is_empty());
}

#[test]
fn tags_get_the_servers_registry() {
    let full = |tag: &str| full_tag(tag, "host:5000").map_err(|error| error.to_string());
    assert_eq!(full("app").unwrap(), "host:5000/app:latest");
    assert_eq!(full("team/app:1").unwrap(), "host:5000/team/app:1");
    assert_eq!(full("other:80/app").unwrap(), "other:80/app:latest");
    assert_eq!(full("ghcr.io/a/b:c").unwrap(), "ghcr.io/a/b:c");
    assert!(
        full("App")
            .unwrap_err()
            .starts_with("invalid tag \"App\": ")
    );
}

#[test]
fn options_that_contradict_are_refused() {
    let run = |args: &[&str]| {
        let command = line(args);
        let server = tempfile::tempdir().unwrap();
        let settings = settings("http://127.0.0.1:1", &server);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(command.run(&settings))
            .unwrap_err()
            .to_string()
    };
    let dir = directory();
    let path = dir.path().to_str().unwrap();
    assert_eq!(run(&["--push", path]), "--push needs a --tag to push to");
    assert_eq!(
        run(&["--build-arg", "=x", path]),
        "--build-arg =x has no name"
    );
    assert!(run(&["https://example.org/x.git"]).contains("is not a directory"));
    assert!(Line::try_parse_from(["build", "--network", "lo", "."]).is_err());
    assert!(Line::try_parse_from(["build"]).is_err());
}
