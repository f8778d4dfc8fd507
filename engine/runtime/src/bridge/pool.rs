//! The workers that make namespaces ahead of demand.
//!
//! Each is a thread of its own, since it enters the namespaces it makes. Two
//! suffice: the kernel serialises most of the work under its RTNL lock.

use std::{net::Ipv4Addr, os::fd::AsFd, sync::Arc, time::Instant};

use super::{
    MacAddress, NetError,
    error::during,
    lock,
    shared::Shared,
    state::{Ready, Work},
};
use crate::{
    netlink::{Route, Veth},
    netns::{NetnsError, Workshop, write_sysctl},
};

/// How many workers make namespaces at the same time.
pub(super) const WORKERS: usize = 2;

/// Name of the container's link; images and users expect Docker's.
const CONTAINER_LINK: &str = "eth0";

/// Kernel parameters (below `net/ipv4`) of a container's namespace.
const PARAMETERS: [(&str, &str); 4] = [
    // A host that forwards within one link tells the sender to go there
    // directly; for a translated packet that is wrong.
    ("conf/all/accept_redirects", "0"),
    ("conf/default/accept_redirects", "0"),
    // As Docker: the ports and pings of a namespace of its own harm nobody.
    ("ip_unprivileged_port_start", "0"),
    ("ping_group_range", "0 2147483647"),
];

/// Body of a worker thread; returns when the bridge stops.
pub(super) fn work(shared: &Arc<Shared>) {
    let mut tools = match Tools::open() {
        Ok(tools) => tools,
        Err(error) => {
            tracing::error!(
                bridge.name = shared.cfg.name,
                error = &error as &dyn std::error::Error,
                "cannot make network namespaces"
            );
            lock(&shared.state).fail(error, Instant::now());
            shared.changed.notify_all();
            return;
        }
    };
    while let Some(address) = next_work(shared) {
        let made = tools.make(shared, address);
        let now = Instant::now();
        let mut state = lock(&shared.state);
        match made {
            Ok(ready) => state.deliver(ready),
            Err(error) => {
                tracing::error!(
                    bridge.name = shared.cfg.name,
                    error = &error as &dyn std::error::Error,
                    "cannot make network namespace"
                );
                state.asked.remove(&address);
                // The link may exist for a moment longer than its namespace.
                state.drain(address, now);
                state.fail(error, now);
                drop(state);
                shared.wake_watcher();
            }
        }
        shared.changed.notify_all();
    }
}

fn next_work(shared: &Shared) -> Option<Ipv4Addr> {
    let mut state = lock(&shared.state);
    loop {
        let now = Instant::now();
        let failures = state.failures;
        match state.find_work(&shared.cfg, now) {
            Work::Make(address) => return Some(address),
            Work::Stop => return None,
            Work::Wait(until) => {
                if state.failures != failures {
                    shared.changed.notify_all();
                }
                state = match until {
                    None => shared
                        .changed
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner),
                    Some(until) => {
                        shared
                            .changed
                            .wait_timeout(state, until - now)
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .0
                    }
                };
            }
        }
    }
}

struct Tools {
    workshop: Workshop,
    /// Opened at home, and bound to it.
    route: Route,
}

impl Tools {
    fn open() -> Result<Self, NetError> {
        Ok(Self {
            workshop: Workshop::open()?,
            route: Route::open().map_err(during("open rtnetlink"))?,
        })
    }

    /// Makes a namespace that only needs an owner: links up, address and
    /// route set, admitted by the bridge.
    fn make(&mut self, shared: &Shared, address: Ipv4Addr) -> Result<Ready, NetError> {
        let cfg = &shared.cfg;
        let veth = cfg.veth_name(address);
        let mac = MacAddress::of(address);
        let route = &mut self.route;
        let (netns, ()) = self.workshop.make(|netns, inside| {
            for (name, value) in PARAMETERS {
                write_sysctl(&format!("net/ipv4/{name}"), value)?;
            }
            route
                .add_veth(&Veth {
                    host_name: &veth,
                    bridge: shared.bridge_index,
                    mtu: cfg.mtu,
                    peer_name: CONTAINER_LINK,
                    peer_netns: netns.as_fd(),
                    peer_mac: mac.0,
                })
                .map_err(during("make veth pair"))?;
            let link = inside
                .link(CONTAINER_LINK)
                .map_err(during("find the container's link"))?
                .ok_or_else(|| NetError::LinkGone(veth.clone()))?;
            inside
                .configure(
                    link.index,
                    address,
                    cfg.subnet.prefix_len(),
                    cfg.subnet.gateway(),
                )
                .map_err(during("set the container's address and route"))
        })?;
        disable_ipv6(&veth)?;
        let port = route.link(&veth).map_err(during("find veth"))?;
        let port = port.ok_or_else(|| NetError::LinkGone(veth.clone()))?;
        route
            .set_hairpin(port.index)
            .map_err(during("set hairpin mode"))?;
        lock(&shared.firewall).admit(&veth, mac, address)?;
        Ok(Ready { address, netns })
    }
}

/// Keeps the host from having an address of its own on the link; a kernel
/// without IPv6 needs nothing.
pub(super) fn disable_ipv6(link: &str) -> Result<(), NetError> {
    match write_sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "1") {
        Err(NetnsError::Sysctl { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => Ok(other?),
    }
}
