//! `docker ps`: filters and lines. Reads views only, so a stuck container
//! never delays the list.

use std::sync::Arc;

use engine_api::{ContainerSummary, SummaryHostConfig, SummaryNetworkSettings};

use super::inspect::{list_ports, networks};
use super::state::State;
use super::{Container, View, merge};
use crate::clock;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;

const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: &[&str] = &[
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// What a list asks for.
#[derive(Debug, Default)]
pub(crate) struct ListQuery {
    pub(crate) all: bool,
    /// Only the newest so many, in any state.
    pub(crate) limit: Option<usize>,
    pub(crate) filters: Filters,
}

impl ListQuery {
    /// # Errors
    /// 400 for a filter or state that does not exist.
    pub(crate) fn parse(all: bool, limit: Option<i64>, filters: Option<&str>) -> Result<Self> {
        let filters = Filters::parse(filters, KEYS)?;
        for state in filters.values("status") {
            if !STATES.contains(&state) {
                return Err(EngineError::bad(format!("invalid filter 'status={state}'")));
            }
        }
        for code in filters.values("exited") {
            if code.parse::<i32>().is_err() {
                return Err(EngineError::bad(format!("invalid filter 'exited={code}'")));
            }
        }
        Ok(Self {
            all,
            limit: limit
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0),
            filters,
        })
    }
}

/// The containers that fit, newest first.
pub(crate) async fn list(core: &Core, query: &ListQuery) -> Result<Vec<ContainerSummary>> {
    let mut containers: Vec<(Arc<Container>, View)> = core
        .containers
        .all()
        .into_iter()
        .map(|container| {
            let view = container.view();
            (container, view)
        })
        .filter(|(_, view)| !view.removed)
        .collect();
    containers.sort_by_key(|(container, _)| std::cmp::Reverse(container.created_at));
    let filters = &query.filters;
    let before = bound(core, filters, "before")?;
    let since = bound(core, filters, "since")?;
    let ancestors = ancestors(core, filters).await;
    // A filter by state, `-a` and `-n` also show what does not run.
    let any_state =
        query.all || query.limit.is_some() || filters.has("status") || filters.has("exited");
    let fits = |container: &Container, view: &View| {
        (any_state || view.state.is_up() || matches!(view.state, State::Restarting { .. }))
            && before.is_none_or(|at| container.created_at < at)
            && since.is_none_or(|at| container.created_at > at)
            && ancestors
                .as_ref()
                .is_none_or(|ids| ids.contains(&container.image_id))
            && matches(filters, container, view)
    };
    containers.retain(|(container, view)| fits(container, view));
    if let Some(limit) = query.limit {
        containers.truncate(limit);
    }
    Ok(containers
        .iter()
        .map(|(container, view)| summary(container, view))
        .collect())
}

fn bound(core: &Core, filters: &Filters, key: &str) -> Result<Option<time::OffsetDateTime>> {
    filters
        .values(key)
        .next()
        .map(|name| core.containers.find(name).map(|found| found.created_at))
        .transpose()
}

/// Ids of the images named by `ancestor`; an image that is not there fits nothing.
async fn ancestors(core: &Core, filters: &Filters) -> Option<Vec<String>> {
    if !filters.has("ancestor") {
        return None;
    }
    let mut ids = Vec::new();
    for name in filters.values("ancestor") {
        if let Ok(image) = core.images.get(core, name).await {
            ids.push(image.id.clone());
        }
    }
    Some(ids)
}

fn matches(filters: &Filters, container: &Container, view: &View) -> bool {
    let exit = view.state.last_exit();
    let exposed = |wanted: &str, published: bool| {
        let wanted = if wanted.contains('/') {
            wanted.to_owned()
        } else {
            format!("{wanted}/tcp")
        };
        let ports = &view.network.ports;
        ports
            .get(&wanted)
            .is_some_and(|bindings| !published || bindings.is_some())
            || (!published && container.config.exposed_ports.contains_key(&wanted))
    };
    filters.any("id", |prefix| container.id.as_str().starts_with(prefix))
        && filters.any("name", |pattern| Filters::name_matches(pattern, &view.name))
        && filters.any("status", |state| state == view.state.status())
        && filters.any("exited", |code| {
            !view.state.is_up() && exit.is_some_and(|exit| Ok(exit.code) == code.parse())
        })
        && filters.labels(&container.config.labels)
        && filters.any("network", |name| {
            networks(view).iter().any(|(own, endpoint)| {
                own == name || (!name.is_empty() && endpoint.network_id.starts_with(name))
            })
        })
        && filters.any("volume", |name| {
            container
                .mounts
                .iter()
                .any(|m| m.name == name || m.destination == name || m.source == name)
        })
        && filters.any("expose", |port| exposed(port, false))
        && filters.any("publish", |port| exposed(port, true))
        && filters.any("health", |health| health == "none")
        && filters.any("is-task", |task| task == "false" || task == "0")
        && filters.any("isolation", |isolation| isolation == "default")
}

fn summary(container: &Container, view: &View) -> ContainerSummary {
    ContainerSummary {
        id: container.id.to_string(),
        names: vec![format!("/{}", view.name)],
        image: container.config.image.clone(),
        image_id: container.image_id.clone(),
        command: shown(&merge::command(&container.config)),
        created: container.created_at.unix_timestamp(),
        ports: list_ports(&view.network.ports),
        labels: container.config.labels.clone(),
        state: view.state.status().to_owned(),
        status: status(&view.state),
        host_config: SummaryHostConfig {
            network_mode: view.host_config.network_mode.clone(),
            ..Default::default()
        },
        network_settings: SummaryNetworkSettings {
            networks: networks(view),
        },
        mounts: container.mounts.clone(),
        ..Default::default()
    }
}

/// A command in one line: words with spaces are quoted, as Docker does.
fn shown(command: &[String]) -> String {
    let quoted = command.iter().enumerate().map(|(at, word)| {
        if at > 0 && word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status(state: &State) -> String {
    let since = |at: Option<time::OffsetDateTime>| {
        clock::human_duration(at.map_or(0, |at| (clock::now() - at).whole_seconds()))
    };
    let exit = state.last_exit();
    let code = exit.map_or(0, |exit| exit.code);
    let ended = since(exit.and_then(|exit| exit.finished_at));
    match state {
        State::Created { .. } => "Created".to_owned(),
        State::Running { started_at, .. } => format!("Up {}", since(Some(*started_at))),
        State::Paused { started_at, .. } => format!("Up {} (Paused)", since(Some(*started_at))),
        State::Restarting { .. } => format!("Restarting ({code}) {ended} ago"),
        State::Exited { .. } => format!("Exited ({code}) {ended} ago"),
        State::Removing { .. } => "Removal In Progress".to_owned(),
        State::Dead { .. } => "Dead".to_owned(),
    }
}
