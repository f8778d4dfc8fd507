//! What `inspect` shows of a container: its view in Docker's words.

use std::collections::BTreeMap;

use engine_api::{
    ContainerInspect, ContainerState, EndpointSettings, GraphDriver, ListPort, NetworkSettings,
    PortMap,
};

use super::spec::log_path;
use super::state::State;
use super::{Container, View, merge};
use crate::clock;
use crate::core::Core;

/// Describes a container; never waits for it.
pub(crate) fn inspect(core: &Core, container: &Container) -> ContainerInspect {
    let view = container.view();
    let mut words = merge::command(&container.config).into_iter();
    let file = |name: &str| container.dir.join(name).to_string_lossy().into_owned();
    let exec_ids = core.execs.of(&container.id);
    ContainerInspect {
        id: container.id.to_string(),
        created: clock::rfc3339_nanos(container.created_at),
        path: words.next().unwrap_or_default(),
        args: words.collect(),
        state: state(&view),
        image: container.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: match view.host_config.log_config.kind.as_str() {
            "none" => String::new(),
            _ => log_path(&container.dir).to_string_lossy().into_owned(),
        },
        name: format!("/{}", view.name),
        restart_count: view.restart_count,
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        host_config: (*view.host_config).clone(),
        graph_driver: GraphDriver {
            data: None,
            name: "overlay2".to_owned(),
        },
        mounts: container.mounts.clone(),
        config: {
            let mut config = container.config.clone();
            if config.hostname.is_empty() {
                container.id.short().clone_into(&mut config.hostname);
            }
            config
        },
        network_settings: network_settings(&view),
        ..Default::default()
    }
}

fn state(view: &View) -> ContainerState {
    let exit = view.state.last_exit();
    let up = view.state.is_up();
    ContainerState {
        status: view.state.status().to_owned(),
        running: view.state.counts_as_running(),
        paused: matches!(view.state, State::Paused { .. }),
        restarting: matches!(view.state, State::Restarting { .. }),
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
        dead: matches!(view.state, State::Dead { .. }),
        pid: view.state.pid(),
        exit_code: exit.map_or(0, |exit| exit.code),
        error: match &view.state {
            State::Dead { reason, .. } => reason.clone(),
            _ => exit.map(|exit| exit.error.clone()).unwrap_or_default(),
        },
        started_at: clock::rfc3339_or_never(view.state.started_at()),
        finished_at: clock::rfc3339_or_never(
            view.last_exit
                .as_ref()
                .filter(|_| !up || view.restart_count > 0)
                .and_then(|exit| exit.finished_at),
        ),
        health: None,
    }
}

fn network_settings(view: &View) -> NetworkSettings {
    let endpoint = &view.network.endpoint;
    NetworkSettings {
        ports: view.network.ports.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: endpoint.gateway.clone(),
        ip_address: endpoint.ip_address.clone(),
        ip_prefix_len: endpoint.ip_prefix_len,
        mac_address: endpoint.mac_address.clone(),
        networks: networks(view),
        ..Default::default()
    }
}

/// The one network a container is on, by name; none when it shares another's.
pub(crate) fn networks(view: &View) -> BTreeMap<String, EndpointSettings> {
    let mode = view.host_config.network_mode.as_str();
    if mode.starts_with("container:") {
        return BTreeMap::new();
    }
    let name = if mode.is_empty() { "bridge" } else { mode };
    BTreeMap::from([(name.to_owned(), view.network.endpoint.clone())])
}

/// Ports as `ps` lists them.
pub(crate) fn list_ports(ports: &PortMap) -> Vec<ListPort> {
    let mut list = Vec::new();
    for (port, bindings) in ports {
        let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        let private_port = number.parse().unwrap_or(0);
        let kind = kind.to_owned();
        match bindings.as_deref() {
            None | Some([]) => list.push(ListPort {
                private_port,
                kind,
                ..Default::default()
            }),
            Some(bindings) => list.extend(bindings.iter().map(|binding| ListPort {
                ip: binding.host_ip.clone(),
                private_port,
                public_port: binding.host_port.parse().unwrap_or(0),
                kind: kind.clone(),
            })),
        }
    }
    list.sort();
    list
}
