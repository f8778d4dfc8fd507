//! Events of what a container is attached to while it runs: its network, and
//! its volumes.

use std::collections::BTreeMap;

use super::Container;
use crate::core::Core;
use crate::network::{self, Mode};

/// Tells of all attachments that they begin, with `up`, or end.
pub(super) fn emit(core: &Core, container: &Container, up: bool) {
    let attributes = |more: &[(&str, &str)]| -> BTreeMap<String, String> {
        let id = [("container", container.id.as_str())];
        let all = id.iter().chain(more);
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    // A network that another container has is that one's.
    let name = match network::mode(core, &container.view().host_config.network_mode) {
        Ok(Mode::Bridge) => Some("bridge"),
        Ok(Mode::Host) => Some("host"),
        Ok(Mode::None) => Some("none"),
        Ok(Mode::Container(_)) | Err(_) => None,
    };
    if let Some(network) = name.and_then(|name| network::find(core, name).ok()) {
        let action = if up { "connect" } else { "disconnect" };
        let more = [
            ("name", network.name.as_str()),
            ("type", network.driver.as_str()),
        ];
        core.events
            .emit("network", action, &network.id, attributes(&more));
    }
    for mount in container.mounts.iter().filter(|m| m.kind == "volume") {
        let more = [
            ("driver", mount.driver.as_str()),
            ("destination", mount.destination.as_str()),
            ("propagation", mount.propagation.as_str()),
            ("read/write", if mount.rw { "true" } else { "false" }),
        ];
        let (action, more) = match up {
            true => ("mount", &more[..]),
            false => ("unmount", &more[..1]),
        };
        core.events
            .emit("volume", action, &mount.name, attributes(more));
    }
}
