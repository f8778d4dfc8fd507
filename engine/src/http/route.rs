//! Which request goes where: the API's table of contents.

use std::sync::Arc;

use engine_api::ApiVersion;
use http::Method;

use super::answer::{self, Answer};
use super::request::Request;
use super::{containers, exec, images, networks, system, volumes};
use crate::core::Core;
use crate::error::{EngineError, Result};

/// Answers one request, whatever it is.
pub(super) async fn answer(core: &Arc<Core>, request: Request) -> Answer {
    let (method, path) = (request.method.clone(), request.path.join("/"));
    let version = request.version.clone();
    let began = std::time::Instant::now();
    let result = match check(&version) {
        Ok(()) => dispatch(core, request).await,
        Err(error) => Err(error),
    };
    let mut answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            if error.status().is_server_error() {
                tracing::warn!(http.method = %method, http.path = path, %error, "request failed");
            }
            answer::error(&error)
        }
    };
    answer::stamp(&mut answer, version.unwrap_or(ApiVersion::MAX));
    tracing::debug!(
        http.method = %method,
        http.path = path,
        http.status = answer.status().as_u16(),
        duration_ms = began.elapsed().as_secs_f64() * 1000.0,
        "request"
    );
    answer
}

fn check(version: &std::result::Result<ApiVersion, String>) -> Result<()> {
    match version {
        Ok(version) if *version < ApiVersion::MIN => Err(EngineError::bad(format!(
            "client version {version} is too old. Minimum supported API version is {}, \
             please upgrade your client to a newer version",
            ApiVersion::MIN
        ))),
        Ok(version) if *version > ApiVersion::MAX => Err(EngineError::bad(format!(
            "client version {version} is too new. Maximum supported API version is {}",
            ApiVersion::MAX
        ))),
        Ok(_) => Ok(()),
        Err(text) => Err(EngineError::bad(format!("invalid API version: {text}"))),
    }
}

async fn dispatch(core: &Arc<Core>, request: Request) -> Result<Answer> {
    let path = request.path.clone();
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    match (request.method.as_str(), &segments[..]) {
        ("GET" | "HEAD", ["_ping"]) => system::ping(),
        ("GET", ["version"]) => system::version(),
        ("GET", ["info"]) => system::info(core).await,
        ("POST", ["auth"]) => system::auth(core, request).await,
        ("GET", ["events"]) => system::events(core, &request),
        ("GET", ["system", "df"]) => system::disk_usage(core, &request).await,

        ("GET", ["containers", "json"]) => containers::list(core, &request).await,
        ("POST", ["containers", "create"]) => containers::create(core, request).await,
        ("POST", ["containers", "prune"]) => containers::prune(core, &request).await,
        ("DELETE", ["containers", id]) => containers::remove(core, id, &request).await,
        (method, ["containers", id, action]) => {
            let method = method.to_owned();
            containers::one(core, &method, id, action, request).await
        }
        ("GET", ["containers", _, "attach", "ws"]) => Err(unsupported("attach over WebSocket")),

        ("POST", ["exec", id, "start"]) => exec::start(core, id, request).await,
        ("POST", ["exec", id, "resize"]) => exec::resize(core, id, &request).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(core, id),

        ("GET", ["images", "json"]) => images::list(core, &request).await,
        ("POST", ["images", "create"]) => images::create(core, &request).await,
        ("POST", ["images", "prune"]) => images::prune(core, &request).await,
        ("GET", ["images", "search"]) => Err(unsupported("docker search")),
        ("POST", ["images", "load"]) => images::load(core, request).await,
        ("GET", ["images", "get"]) => images::save(core, &request.query.all("names")).await,
        ("DELETE", ["images", name @ ..]) => images::remove(core, &name.join("/"), &request).await,
        ("GET", ["images", name @ .., "json"]) => {
            images::inspect(core, &name.join("/"), &request).await
        }
        ("GET", ["images", name @ .., "history"]) => images::history(core, &name.join("/")).await,
        ("GET", ["images", name @ .., "get"]) => images::save(core, &[&name.join("/")]).await,
        ("POST", ["images", name @ .., "tag"]) => {
            images::tag(core, &name.join("/"), &request).await
        }
        ("POST", ["images", name @ .., "push"]) => {
            images::push(core, &name.join("/"), &request).await
        }
        ("GET", ["distribution", name @ .., "json"]) => {
            images::distribution(core, &name.join("/"), &request).await
        }
        ("POST", ["commit"]) => containers::commit(core, request).await,
        // `docker system prune` ends with it; the builder's cache is not this
        // socket's.
        ("POST", ["build", "prune"]) => {
            answer::ok(&serde_json::json!({"CachesDeleted": null, "SpaceReclaimed": 0}))
        }
        ("POST", ["build", ..] | ["session"] | ["grpc"]) => Err(EngineError::NotImplemented(
            "builds do not go through this socket yet: use carrack build, or POST /api/v1/builds"
                .to_owned(),
        )),

        ("GET", ["networks"]) => networks::list(core, &request),
        ("POST", ["networks", "create"]) => Err(unsupported("docker network create")),
        ("POST", ["networks", "prune"]) => networks::prune(),
        ("GET", ["networks", name]) => networks::inspect(core, name),
        ("DELETE", ["networks", name]) => networks::remove(core, name),
        ("POST", ["networks", _, "connect" | "disconnect"]) => {
            Err(unsupported("docker network connect and disconnect"))
        }

        ("GET", ["volumes"]) => volumes::list(core, &request).await,
        ("POST", ["volumes", "create"]) => volumes::create(core, request).await,
        ("POST", ["volumes", "prune"]) => volumes::prune(core, &request).await,
        ("GET", ["volumes", name]) => volumes::inspect(core, name).await,
        ("DELETE", ["volumes", name]) => volumes::remove(core, name, &request).await,

        ("GET", ["plugins"]) => answer::ok(&serde_json::json!([])),
        ("GET", ["plugins", name @ .., "json"]) => Err(EngineError::NotFound(format!(
            "plugin \"{}\" not found",
            name.join("/")
        ))),
        (_, ["plugins", ..]) => Err(unsupported("plugins")),
        (
            _,
            [
                "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs",
                ..,
            ],
        ) => Err(EngineError::Unavailable(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
                 to connect this node to swarm and try again."
                .to_owned(),
        )),
        _ if request.method == Method::OPTIONS => Ok(answer::empty(http::StatusCode::OK)),
        _ => Err(EngineError::NotFound("page not found".to_owned())),
    }
}

/// What the API has and this engine does not do yet.
pub(super) fn unsupported(what: &str) -> EngineError {
    EngineError::NotImplemented(format!("{what} is not supported by Carrack yet"))
}
