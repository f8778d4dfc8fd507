//! Networks: `bridge`, `host` and `none`. Others are not made yet.

use engine_api::{Ipam, IpamPool, Network, NetworkContainer};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::core::Core;
use crate::error::{EngineError, Result};

/// What `--network` can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Bridge,
    None,
    Host,
    /// The network of the container with this name or id.
    Container(String),
}

/// # Errors
/// 404 for a network that does not exist.
pub(crate) fn mode(core: &Core, text: &str) -> Result<Mode> {
    if let Some(name) = text.strip_prefix("container:") {
        return Ok(Mode::Container(name.to_owned()));
    }
    match text {
        "" | "default" => Ok(Mode::Bridge),
        name => match find(core, name)?.name.as_str() {
            "host" => Ok(Mode::Host),
            "none" => Ok(Mode::None),
            _ => Ok(Mode::Bridge),
        },
    }
}

/// The bridge network's id: fixed, since there is one per engine.
pub(crate) fn bridge_id() -> String {
    id_of("bridge")
}

fn id_of(name: &str) -> String {
    hex::encode(Sha256::digest(format!("io.carrack.network/{name}")))
}

/// All networks, without their containers.
pub(crate) fn all(core: &Core) -> Vec<Network> {
    ["bridge", "host", "none"]
        .map(|name| describe(core, name))
        .to_vec()
}

/// Finds by name, id, or the beginning of an id.
///
/// # Errors
/// 404.
pub(crate) fn find(core: &Core, name_or_id: &str) -> Result<Network> {
    let mut networks = all(core);
    let fits = |network: &Network| {
        network.name == name_or_id || (name_or_id.len() >= 4 && network.id.starts_with(name_or_id))
    };
    match networks.iter().position(fits) {
        Some(at) => Ok(networks.swap_remove(at)),
        None => Err(EngineError::NotFound(format!(
            "network {name_or_id} not found"
        ))),
    }
}

/// The network with the containers that are on it now.
pub(crate) fn with_containers(core: &Core, mut network: Network) -> Network {
    for container in core.containers.all() {
        let view = container.view();
        let endpoint = &view.network.endpoint;
        if view.state.is_up() && endpoint.network_id == network.id {
            network.containers.insert(
                container.id.to_string(),
                NetworkContainer {
                    name: view.name.clone(),
                    endpoint_id: endpoint.endpoint_id.clone(),
                    mac_address: endpoint.mac_address.clone(),
                    ipv4_address: format!("{}/{}", endpoint.ip_address, endpoint.ip_prefix_len),
                    ipv6_address: String::new(),
                },
            );
        }
    }
    network
}

fn describe(core: &Core, name: &str) -> Network {
    let mut network = Network {
        name: name.to_owned(),
        id: id_of(name),
        created: clock::rfc3339_nanos(core.started_at),
        scope: "local".to_owned(),
        driver: match name {
            "none" => "null",
            driver => driver,
        }
        .to_owned(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: Some(Vec::new()),
        },
        ..Default::default()
    };
    network
        .config_from
        .insert("Network".to_owned(), String::new());
    if name == "bridge"
        && let Some(bridge) = &core.host.bridge
    {
        let config = bridge.config();
        network.ipam.config = Some(vec![IpamPool {
            subnet: config.subnet.to_string(),
            gateway: config.subnet.gateway().to_string(),
            ..Default::default()
        }]);
        let options = [
            (
                "com.docker.network.bridge.default_bridge",
                "true".to_owned(),
            ),
            ("com.docker.network.bridge.name", config.name.clone()),
            ("com.docker.network.driver.mtu", config.mtu.to_string()),
        ];
        network.options = options.map(|(key, value)| (key.to_owned(), value)).into();
    }
    network
}
