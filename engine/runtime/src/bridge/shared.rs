//! What the threads of a bridge share, and what more than one of them does.

use std::{
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    sync::{Condvar, Mutex},
};

use super::{BridgeConfig, NetError, error::during, firewall::Firewall, lock, state::State};
use crate::netlink::Route;

/// What the bridge's threads share. Locks are taken in the order of the
/// fields, and none is held while waiting for anything but the kernel.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cfg: BridgeConfig,
    pub(super) bridge_index: u32,
    pub(super) state: Mutex<State>,
    pub(super) firewall: Mutex<Firewall>,
    pub(super) route: Mutex<Route>,
    /// Something in `state` changed.
    pub(super) changed: Condvar,
    pub(super) wake: OwnedFd,
    /// Abstract socket that marks the bridge's name as taken in this network
    /// namespace; goes with the process.
    pub(super) _claim: UnixDatagram,
}

impl Shared {
    pub(super) fn wake_watcher(&self) {
        // Fails only when the counter is full, and then it is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub(super) fn restore_rules(&self) {
        match lock(&self.firewall).restore() {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                bridge.name = self.cfg.name,
                "nft tables were changed from outside: restored"
            ),
            Err(error) => tracing::error!(
                bridge.name = self.cfg.name,
                error = &error as &dyn std::error::Error,
                "cannot restore nft tables"
            ),
        }
    }

    /// Indexes of all links on the bridge.
    pub(super) fn ports(&self) -> Result<Vec<u32>, NetError> {
        let links = lock(&self.route).links().map_err(during("list links"))?;
        Ok(links
            .into_iter()
            .filter(|link| link.master == Some(self.bridge_index))
            .map(|link| link.index)
            .collect())
    }

    /// Frees every draining address whose link is not there.
    pub(super) fn recount_links(&self) {
        let links = match lock(&self.route).links() {
            Ok(links) => links,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot list links"
                );
                return;
            }
        };
        let there: Vec<_> = links
            .iter()
            .filter_map(|link| self.cfg.address_of(&link.name))
            .collect();
        let mut state = lock(&self.state);
        let gone: Vec<_> = state
            .draining()
            .map(|(address, _)| address)
            .filter(|address| !there.contains(address))
            .collect();
        for address in gone {
            state.link_gone(address);
        }
    }

    /// Removes the links of these addresses now, and frees the addresses.
    pub(super) fn delete_links(&self, addresses: &[Ipv4Addr]) -> Result<(), NetError> {
        for address in addresses {
            let mut route = lock(&self.route);
            if let Some(link) = route
                .link(&self.cfg.veth_name(*address))
                .map_err(during("find veth"))?
            {
                route
                    .delete_links(&[link.index])
                    .map_err(during("remove veth"))?;
            }
            drop(route);
            lock(&self.state).link_gone(*address);
        }
        self.changed.notify_all();
        Ok(())
    }
}
