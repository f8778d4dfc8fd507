//! Making or taking over a bridge.

use std::{
    io,
    net::Ipv4Addr,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{Arc, Condvar, Mutex},
    thread,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{
    Bridge, BridgeConfig, MacAddress, NetError,
    error::during,
    firewall::Firewall,
    pool,
    shared::Shared,
    state::State,
    watch::{LINK_GROUP, Watcher},
};
use crate::{
    netlink::{Protocol, Route, Socket},
    netns::{read_sysctl, write_sysctl},
    nft::EVENT_GROUP,
};

impl Bridge {
    /// Makes the bridge, its tables and kernel parameters in the calling
    /// thread's network namespace, or takes over what an earlier run left,
    /// and begins to fill the pool.
    ///
    /// # Errors
    /// When another instance has the bridge, the name or the subnet belongs to
    /// something else, or the kernel refuses.
    pub fn setup(cfg: BridgeConfig) -> Result<Self, NetError> {
        cfg.validate()?;
        let claim = claim(&cfg)?;
        let mut route = Route::open().map_err(during("open rtnetlink"))?;
        let bridge_index = ensure_bridge(&mut route, &cfg)?;
        set_parameters(&cfg)?;
        let firewall = Firewall::open(&cfg)?;
        // The sockets must listen before the links are listed, or a link that
        // vanishes in between keeps its address for ever.
        let links = Socket::subscribe(Protocol::Route, LINK_GROUP)
            .map_err(during("listen for link changes"))?;
        let rules = Socket::subscribe(Protocol::Netfilter, EVENT_GROUP)
            .map_err(during("listen for rule changes"))?;
        let found: Vec<Ipv4Addr> = route
            .links()
            .map_err(during("list links"))?
            .iter()
            .filter(|link| link.master == Some(bridge_index))
            .filter_map(|link| cfg.address_of(&link.name))
            .collect();
        let eventfd = |error: rustix::io::Errno| NetError::io("make event counter", error.into());
        let own_port = firewall.port()?;
        let wake = eventfd_pair().map_err(eventfd)?;
        let shared = Arc::new(Shared {
            bridge_index,
            state: Mutex::new(State::new(found)),
            firewall: Mutex::new(firewall),
            route: Mutex::new(route),
            changed: Condvar::new(),
            wake: wake.0,
            cfg,
            _claim: claim,
        });
        let bridge = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        };
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            links,
            rules,
            own_port,
            wake: wake.1.into(),
        };
        bridge.spawn("bridge-watch", move || watcher.run())?;
        for _ in 0..pool::WORKERS {
            let shared = Arc::clone(&shared);
            bridge.spawn("bridge-pool", move || pool::work(&shared))?;
        }
        Ok(bridge)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), NetError> {
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(|error| NetError::io("start a thread of the bridge", error))?;
        super::lock(&self.threads).push(thread);
        Ok(())
    }
}

/// The counter twice: one end to write, one to read.
fn eventfd_pair() -> rustix::io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let write = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let read = rustix::io::fcntl_dupfd_cloexec(&write, 0)?;
    Ok((write, read))
}

/// Abstract sockets belong to a network namespace, as bridges do, and vanish
/// with the process.
fn claim(cfg: &BridgeConfig) -> Result<UnixDatagram, NetError> {
    let name = format!("carrack-bridge-{}", cfg.name);
    SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixDatagram::bind_addr(&address))
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => NetError::InUse(cfg.name.clone()),
            _ => NetError::io("claim the bridge's name", error),
        })
}

fn ensure_bridge(route: &mut Route, cfg: &BridgeConfig) -> Result<u32, NetError> {
    let existing = route.link(&cfg.name).map_err(during("find bridge"))?;
    if let Some(link) = &existing
        && link.kind.as_deref() != Some("bridge")
    {
        return Err(NetError::NotABridge(cfg.name.clone()));
    }
    let own_index = existing.as_ref().map(|link| link.index);
    check_addresses(route, cfg, own_index)?;
    let index = match own_index {
        Some(index) => index,
        None => make_bridge(route, cfg)?,
    };
    route.set_up(index).map_err(during("set bridge up"))?;
    route
        .add_address(index, cfg.subnet.gateway(), cfg.subnet.prefix_len())
        .map_err(during("set the bridge's address"))?;
    Ok(index)
}

fn make_bridge(route: &mut Route, cfg: &BridgeConfig) -> Result<u32, NetError> {
    let mac = MacAddress::of(cfg.subnet.gateway());
    route
        .add_bridge(&cfg.name, mac.0, cfg.mtu)
        .map_err(during("make bridge"))?;
    let link = route.link(&cfg.name).map_err(during("find bridge"))?;
    link.map(|link| link.index)
        .ok_or_else(|| NetError::LinkGone(cfg.name.clone()))
}

fn check_addresses(
    route: &mut Route,
    cfg: &BridgeConfig,
    bridge: Option<u32>,
) -> Result<(), NetError> {
    let wanted = (cfg.subnet.gateway(), cfg.subnet.prefix_len());
    for (link, address, prefix_len) in route.addresses().map_err(during("list addresses"))? {
        if Some(link) == bridge {
            if (address, prefix_len) != wanted {
                return Err(NetError::SubnetChanged {
                    bridge: cfg.name.clone(),
                    address,
                    prefix_len,
                });
            }
        } else if cfg.subnet.overlaps(address, prefix_len) {
            return Err(NetError::SubnetInUse {
                subnet: cfg.subnet,
                address,
                prefix_len,
            });
        }
    }
    Ok(())
}

/// Kernel parameters, ip-sysctl(rst): forwarding for everything that leaves
/// the host, translation of 127.0.0.1 on the bridge only, no IPv6 on it.
fn set_parameters(cfg: &BridgeConfig) -> Result<(), NetError> {
    // Writing it resets other parameters of all links, so only when needed.
    if read_sysctl("net/ipv4/ip_forward")? == "0" {
        write_sysctl("net/ipv4/ip_forward", "1")?;
    }
    let own = |name| format!("net/ipv4/conf/{}/{name}", cfg.name);
    write_sysctl(&own("route_localnet"), "1")?;
    write_sysctl(&own("send_redirects"), "0")?;
    pool::disable_ipv6(&cfg.name)
}
