//! Liveness, readiness and metrics.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::config::{Config, Role};

#[derive(Clone, Copy, Debug)]
struct Ready {
    front: bool,
    engine: bool,
}

/// What serves already; ready once every role does.
#[derive(Clone, Debug)]
pub struct Readiness {
    roles: Arc<[Role]>,
    ready: Arc<watch::Sender<Ready>>,
}

impl Readiness {
    pub fn new(config: &Config) -> Self {
        Self {
            roles: config.roles.clone().into(),
            ready: Arc::new(watch::Sender::new(Ready {
                front: false,
                engine: false,
            })),
        }
    }

    pub fn front_is_ready(&self) {
        self.ready.send_modify(|ready| ready.front = true);
    }

    pub fn engine_is(&self, serving: bool) {
        self.ready.send_modify(|ready| ready.engine = serving);
    }

    fn serves(&self, role: Role) -> bool {
        let ready = *self.ready.borrow();
        match role {
            Role::Registry => ready.front,
            Role::Builder | Role::Engine => ready.engine,
        }
    }
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, registry: Option<Registry>) -> Router {
    let of_metrics = registry.clone();
    let metrics = get(move || std::future::ready(metrics(of_metrics.as_ref())));
    Router::new()
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(readyz))
        .route("/metrics", metrics)
        .with_state((readiness, registry))
}

/// What a browser or a lost `curl` sees at `/`.
pub async fn greeting() -> &'static str {
    "Carrack: a private registry, a build service and a container engine.\n\
     Registry API: /v2/   Build API: /api/v1/builds   Health: /readyz   Metrics: /metrics\n"
}

async fn readyz(State((readiness, registry)): State<(Readiness, Option<Registry>)>) -> Response {
    // A registry whose disk failed refuses writes until it is looked after.
    let registry_ready = match &registry {
        Some(registry) => registry.ready().await,
        None => true,
    };
    let serves = |role: Role| readiness.serves(role) && (role != Role::Registry || registry_ready);
    let states: serde_json::Map<String, Value> = readiness
        .roles
        .iter()
        .map(|role| (role.as_str().to_owned(), json!(serves(*role))))
        .collect();
    let ready = readiness.roles.iter().all(|role| serves(*role));
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({ "ready": ready, "roles": states }))).into_response()
}

fn metrics(registry: Option<&Registry>) -> Response {
    let text = registry.map(Registry::metrics).unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
