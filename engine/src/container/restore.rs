//! After a start of the daemon: finding the containers again.
//!
//! The monitors are the truth. One that answers has a running container; one
//! that does not has left an exit status, or was killed with the host. What
//! creations left half-made is removed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use runtime::monitor::{ExitStatus, Monitor};
use runtime::ports::PortMapping;

use super::actor::{Actor, channels};
use super::create::cgroup_path;
use super::run::Run;
use super::state::{Exit, State};
use super::{Container, View, restart, start};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::{ContainerRow, NetworkRow};
use crate::error::{Result, chain};
use crate::id::ContainerId;

/// Brings every container of the database back.
///
/// # Errors
/// When the database cannot be read. One container that cannot be restored
/// does not keep the others from it.
pub(crate) async fn restore(core: &Arc<Core>) -> Result<()> {
    let rows = core.db.containers().await?;
    sweep(core, &rows).await;
    let mut actors = Vec::with_capacity(rows.len());
    for row in rows {
        match ContainerId::parse(&row.id) {
            Some(id) => actors.push(restore_one(core, id, row).await),
            None => tracing::error!(container.id = row.id, "not a container id in the database"),
        }
    }
    // All that runs has its place again: the rest on the bridge is an earlier run's.
    if let Some(bridge) = core.host.bridge.clone()
        && let Err(error) = blocking(move || bridge.reconcile()).await
    {
        tracing::error!(%error, "clean up the bridge");
    }
    for (actor, start) in actors {
        core.tasks.spawn(actor.run(start));
    }
    Ok(())
}

async fn restore_one(core: &Arc<Core>, id: ContainerId, row: ContainerRow) -> (Actor, bool) {
    let dir = core.config.data_dir.join("containers").join(id.as_str());
    let mut network = NetworkRow::default();
    let (state, run) = match Monitor::connect(&dir).await {
        Ok(monitor) => {
            let state = running_state(&row, &monitor);
            network = adopt(core, &id, row.network.clone()).await;
            // Only the exit is of interest here.
            let muted = monitor.writer().mute().await;
            if let Err(error) = muted {
                tracing::warn!(container.id = %id, %error, "mute a monitor");
            }
            (state, Some(Run::watch(monitor)))
        }
        Err(error) => {
            tracing::debug!(container.id = %id, error = chain(&error), "no monitor answers");
            let status = ExitStatus::read(&dir).ok().flatten();
            let exit = status.map(|status| Exit {
                code: status.code,
                oom_killed: status.oom_killed,
                error: String::new(),
                started_at: row
                    .state
                    .started_at
                    .as_deref()
                    .and_then(clock::parse_rfc3339),
                finished_at: Some(status.finished_at),
            });
            (State::from_row(&row.state, exit), None)
        }
    };
    let state = match state {
        State::Running { .. } | State::Paused { .. } | State::Dead { .. } => state,
        state if core.host.layers.parents(id.as_str()).is_ok() => state,
        // The machine lost power in a removal, or somebody else took it away.
        state => State::Dead {
            last: state.last_exit().cloned(),
            reason: "its file system is gone: remove it".to_owned(),
        },
    };
    let unfinished = end_that_was_begun(&row, &state);
    let start = run.is_none()
        && restart::wanted_at_boot(
            &row.host_config.restart_policy,
            state.last_exit().map_or(0, |exit| exit.code),
            row.stopped,
            matches!(state, State::Exited { .. }),
        );
    let view = View {
        name: row.name.clone(),
        last_exit: state.last_exit().cloned(),
        state,
        host_config: Arc::new(row.host_config.clone()),
        network,
        restart_count: row.restart_count,
        stopped: row.stopped,
        exits: 0,
        removed: false,
    };
    let ended = run.is_none();
    let (view_in, view, commands, commands_out) = channels(view);
    let container = Arc::new(Container {
        cgroup: cgroup_path(core, &row.host_config, &id),
        created_at: clock::parse_rfc3339(&row.created_at).unwrap_or_else(clock::now),
        image_id: row.image_id,
        config: row.config,
        mounts: row.mounts,
        mounting: Arc::default(),
        id: id.clone(),
        dir,
        view,
        commands,
    });
    if let Err(error) = core.containers.reserve(&row.name, &id) {
        tracing::error!(container.id = %id, %error, "restore the container's name");
    }
    core.containers.insert(Arc::clone(&container));
    if ended {
        start::release_cgroup(&container).await;
    }
    match unfinished {
        Some(volumes) => finish_removal(core, &container, volumes),
        None => thaw(&container).await,
    }
    let actor = Actor::new(Arc::clone(core), container, view_in, commands_out, run);
    (actor, start)
}

/// Whether a removal has to be ended: one that was begun, or a `--rm` that
/// nobody was there for. `true` inside takes the anonymous volumes along.
fn end_that_was_begun(row: &ContainerRow, state: &State) -> Option<bool> {
    match state {
        State::Exited { .. } if row.host_config.auto_remove => Some(true),
        State::Dead { .. } if row.state.status == "removing" => Some(row.state.remove_volumes),
        _ => None,
    }
}

fn finish_removal(core: &Core, container: &Arc<Container>, volumes: bool) {
    let container = Arc::clone(container);
    core.tasks.spawn(async move {
        if let Err(error) = container.remove(true, volumes).await {
            tracing::warn!(container.id = %container.id, %error, "end a removal");
        }
    });
}

/// Lets a container go on that is not paused by what is recorded: the engine
/// died before it had recorded a pause, or after it had a commit freeze it.
async fn thaw(container: &Container) {
    if matches!(container.view().state, State::Running { .. }) {
        let path = container.cgroup.clone();
        if let Err(error) = blocking(move || runtime::cgroup::thaw(&path)).await {
            tracing::warn!(container.id = %container.id, %error, "thaw the container");
        }
    }
}

fn running_state(row: &ContainerRow, monitor: &Monitor) -> State {
    let recorded = row.state.started_at.as_deref();
    // Of another run, unless this one was recorded.
    let recorded = recorded.filter(|_| matches!(row.state.status.as_str(), "running" | "paused"));
    let started_at = recorded
        .and_then(clock::parse_rfc3339)
        .unwrap_or_else(clock::now);
    let pid = monitor.pid();
    if row.state.status == "paused" {
        State::Paused { pid, started_at }
    } else {
        State::Running { pid, started_at }
    }
}

/// Claims the container's place on the bridge and its ports.
async fn adopt(core: &Core, id: &ContainerId, network: NetworkRow) -> NetworkRow {
    let address = network.endpoint.ip_address.parse::<Ipv4Addr>().ok();
    let (Some(bridge), Some(address)) = (core.host.bridge.clone(), address) else {
        return network;
    };
    let veth = network.veth_host.clone();
    let ports = mappings(&network);
    match blocking(move || bridge.adopt(address, &veth, &ports)).await {
        Ok(()) => network,
        Err(error) => {
            tracing::warn!(container.id = %id, %error, "the container lost its network");
            NetworkRow::default()
        }
    }
}

fn mappings(network: &NetworkRow) -> Vec<PortMapping> {
    let mut mappings = Vec::new();
    for (port, bindings) in &network.ports {
        let Some((number, protocol)) = port.split_once('/') else {
            continue;
        };
        for binding in bindings.iter().flatten() {
            let parsed = (
                binding.host_ip.parse::<IpAddr>(),
                binding.host_port.parse(),
                number.parse(),
            );
            if let (Ok(host_ip), Ok(host_port), Ok(container_port)) = parsed {
                mappings.push(PortMapping {
                    host_ip,
                    host_port,
                    container_port,
                    protocol: match protocol {
                        "udp" => runtime::ports::Protocol::Udp,
                        _ => runtime::ports::Protocol::Tcp,
                    },
                });
            }
        }
    }
    mappings
}

/// Removes directories and snapshots of containers that have no row: what a
/// crash left of a creation or a removal.
async fn sweep(core: &Core, rows: &[ContainerRow]) {
    let known: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    let dir = core.config.data_dir.join("containers");
    let layers = core.host.layers.clone();
    let swept = blocking(move || {
        for entry in std::fs::read_dir(&dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if ContainerId::parse(&name).is_some() && !known.contains(&name) {
                tracing::info!(container.id = name, "removing what is left of a container");
                layers.remove(&name)?;
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })
    .await;
    if let Err(error) = swept {
        tracing::warn!(%error, "sweep the containers' directory");
    }
}
