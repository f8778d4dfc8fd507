//! A bridge network: namespaces for containers, their links and addresses,
//! masquerading and published ports.
//!
//! Owner of: the bridge link, its veth ports, the addresses of its subnet, the
//! nft tables, and the reservations of published ports. Everything is named
//! after [`BridgeConfig`], so several instances live on one host.
//!
//! Namespaces are made ahead of demand by [`pool`]; [`Bridge::attach`] hands
//! one out. Links are never deleted on the way: a container's namespace goes
//! with its last process or descriptor, the kernel removes its link, and
//! [`watch`] then frees the address. [`Bridge::settle`] waits for that.
//!
//! Crash behaviour: links and rules of running containers stay and keep
//! working; namespaces of the pool vanish. The next [`Bridge::setup`] finds
//! what is left, [`Bridge::adopt`] claims it container by container, and
//! [`Bridge::reconcile`] removes what nobody claimed.

mod config;
mod error;
mod firewall;
mod pool;
mod rules;
mod setup;
mod shared;
mod state;
mod watch;

use std::{
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use config::{BridgeConfig, MacAddress, Subnet};
pub use error::NetError;
use error::during;
use rules::Port;
use shared::Shared;
use state::{Slot, State};

use crate::ports::{PortError, PortMapping, Reservation};

/// Longest wait for an address that is being given back.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);

/// How long [`Bridge::teardown`] lets the kernel remove links by itself,
/// which is cheaper than asking for each.
const TEARDOWN_PATIENCE: Duration = Duration::from_millis(500);

/// A container's place on the bridge.
#[derive(Debug)]
pub struct Attachment {
    /// Its network namespace: loopback up, `eth0` with address and default
    /// route. Lives as long as this descriptor or a process inside.
    pub netns: OwnedFd,
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Ipv4Addr,
    /// Of `eth0` in the namespace.
    pub mac: MacAddress,
    /// Name of the link's end on the host.
    pub veth_host: String,
}

/// A bridge network of this host. Blocking; dropping it leaves everything in
/// place for the next [`Bridge::setup`].
#[derive(Debug)]
pub struct Bridge {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Bridge {
    pub fn config(&self) -> &BridgeConfig {
        &self.shared.cfg
    }

    /// Gives a container a namespace, with a certain address or any.
    ///
    /// From the pool this takes microseconds; else it waits until one is made.
    ///
    /// # Errors
    /// When the address is taken or not of this subnet, when none is left, or
    /// when the kernel refuses.
    pub fn attach(&self, want: Option<Ipv4Addr>) -> Result<Attachment, NetError> {
        let (address, netns) = match want {
            None => self.attach_any()?,
            Some(address) => (address, self.attach_at(address)?),
        };
        let cfg = &self.shared.cfg;
        Ok(Attachment {
            netns,
            address,
            prefix_len: cfg.subnet.prefix_len(),
            gateway: cfg.subnet.gateway(),
            mac: MacAddress::of(address),
            veth_host: cfg.veth_name(address),
        })
    }

    fn attach_any(&self) -> Result<(Ipv4Addr, OwnedFd), NetError> {
        let shared = &self.shared;
        let mut state = lock(&shared.state);
        let failures = state.failures;
        state.waiting += 1;
        shared.changed.notify_all();
        let result = loop {
            if state.stopping {
                break Err(NetError::Stopped);
            }
            if let Some(ready) = state.pool.pop_front() {
                state.lease(ready.address, Instant::now());
                break Ok((ready.address, ready.netns));
            }
            if let Some(error) = failure_since(&state, failures) {
                break Err(error);
            }
            state = wait(&shared.changed, state);
        };
        state.waiting -= 1;
        result
    }

    fn attach_at(&self, address: Ipv4Addr) -> Result<OwnedFd, NetError> {
        let shared = &self.shared;
        if !shared.cfg.subnet.is_host(address) {
            return Err(NetError::AddressOutside {
                address,
                subnet: shared.cfg.subnet,
            });
        }
        let mut asked = false;
        let result = self.wait_for_address(address, &mut asked);
        if asked && result.is_err() {
            // Whatever is made for us from here on is for anybody.
            lock(&shared.state).abandon(address);
            shared.changed.notify_all();
        }
        result
    }

    /// Waits for a namespace with that address; `asked` tells whether one was
    /// ordered.
    fn wait_for_address(&self, address: Ipv4Addr, asked: &mut bool) -> Result<OwnedFd, NetError> {
        let shared = &self.shared;
        let deadline = Instant::now() + ADDRESS_PATIENCE;
        let mut state = lock(&shared.state);
        let failures = state.failures;
        loop {
            if state.stopping {
                return Err(NetError::Stopped);
            }
            if let Some(error) = failure_since(&state, failures) {
                return Err(error);
            }
            match state.slots.get(&address) {
                None => {
                    state.ask(address);
                    *asked = true;
                    shared.changed.notify_all();
                }
                Some(Slot::Ready) => {
                    let netns = state.take(address, *asked);
                    let netns = netns.ok_or(NetError::AddressInUse(address))?;
                    state.lease(address, Instant::now());
                    shared.changed.notify_all();
                    return Ok(netns);
                }
                Some(Slot::Leased { .. } | Slot::Found) => {
                    return Err(NetError::AddressInUse(address));
                }
                Some(Slot::Making | Slot::Draining { .. }) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(NetError::AddressInUse(address));
                    }
                    state = shared
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }

    /// Claims a running container's place after a restart of the daemon.
    /// When all are claimed, [`Bridge::reconcile`] removes the rest.
    ///
    /// # Errors
    /// [`NetError::LinkGone`] when the container's namespace no longer
    /// exists; [`NetError::AddressInUse`] when it was claimed before.
    pub fn adopt(
        &self,
        address: Ipv4Addr,
        veth_host: &str,
        ports: &[PortMapping],
    ) -> Result<(), NetError> {
        let shared = &self.shared;
        let found = lock(&shared.route)
            .link(veth_host)
            .map_err(during("find the container's link"))?
            .is_some_and(|link| link.master == Some(shared.bridge_index));
        if !found || shared.cfg.veth_name(address) != veth_host {
            return Err(NetError::LinkGone(veth_host.to_owned()));
        }
        let reservations = ports
            .iter()
            .map(|mapping| Reservation::renew(*mapping))
            .collect::<Result<Vec<_>, PortError>>()?;
        let entries: Vec<_> = reservations.iter().map(|r| entry(r, address)).collect();
        {
            let mut state = lock(&shared.state);
            match state.slots.get(&address) {
                Some(Slot::Found) | None => {}
                Some(_) => return Err(NetError::AddressInUse(address)),
            }
            let ports = reservations;
            state.slots.insert(address, Slot::Leased { ports });
        }
        let mut firewall = lock(&shared.firewall);
        firewall.admit(veth_host, MacAddress::of(address), address)?;
        firewall.publish(&entries)
    }

    /// Removes what an earlier run left and nobody adopted, and makes the
    /// kernel's rules what they should be. To be called when all running
    /// containers are adopted; harmless at any time after.
    pub fn reconcile(&self) -> Result<(), NetError> {
        let shared = &self.shared;
        let now = Instant::now();
        let mut state = lock(&shared.state);
        let unclaimed: Vec<_> = state
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Found))
            .map(|(address, _)| *address)
            .collect();
        for address in &unclaimed {
            state.drain(*address, now);
        }
        let mut ports = Vec::new();
        let mut peers = Vec::new();
        for (address, slot) in &state.slots {
            match slot {
                Slot::Leased { ports: held } => {
                    ports.extend(held.iter().map(|reservation| entry(reservation, *address)));
                }
                Slot::Making | Slot::Ready => {}
                Slot::Found | Slot::Draining { .. } => continue,
            }
            let veth = shared.cfg.veth_name(*address);
            peers.push((veth, MacAddress::of(*address), *address));
        }
        lock(&shared.firewall).retain(&ports, &peers)?;
        drop(state);
        shared.delete_links(&unclaimed)
    }

    /// Publishes ports of a container and says which ports of the host they
    /// got. All or none.
    ///
    /// # Errors
    /// [`NetError::Port`] when a port is taken ([`NetError::is_port_in_use`]).
    pub fn publish(
        &self,
        address: Ipv4Addr,
        ports: &[PortMapping],
    ) -> Result<Vec<PortMapping>, NetError> {
        let shared = &self.shared;
        self.check_leased(address)?;
        let reservations = ports
            .iter()
            .map(|mapping| Reservation::take(*mapping))
            .collect::<Result<Vec<_>, PortError>>()?;
        let resolved = reservations.iter().map(|r| r.mapping).collect();
        let entries: Vec<_> = reservations.iter().map(|r| entry(r, address)).collect();
        lock(&shared.firewall).publish(&entries)?;
        let mut state = lock(&shared.state);
        if let Some(Slot::Leased { ports }) = state.slots.get_mut(&address) {
            ports.extend(reservations);
            return Ok(resolved);
        }
        drop(state);
        // The container went away meanwhile.
        lock(&shared.firewall).withdraw(&entries, None)?;
        Err(NetError::NotAttached(address))
    }

    /// Takes published ports of a container back; unknown ones are ignored.
    pub fn unpublish(&self, address: Ipv4Addr, ports: &[PortMapping]) -> Result<(), NetError> {
        let mut state = lock(&self.shared.state);
        let Some(Slot::Leased { ports: held }) = state.slots.get_mut(&address) else {
            return Err(NetError::NotAttached(address));
        };
        let (gone, kept) = std::mem::take(held)
            .into_iter()
            .partition(|reservation| ports.contains(&reservation.mapping));
        *held = kept;
        drop(state);
        // The reservations outlive the rules, so nobody gets a port that still
        // leads to the container.
        let gone: Vec<Reservation> = gone;
        let entries: Vec<_> = gone.iter().map(|r| entry(r, address)).collect();
        lock(&self.shared.firewall).withdraw(&entries, None)
    }

    /// Ends a container's place: its ports are free when this returns, its
    /// address when its namespace is gone. An address that is not attached is
    /// no error, so that clean-up can be repeated.
    pub fn detach(&self, address: Ipv4Addr) -> Result<(), NetError> {
        let shared = &self.shared;
        let mut state = lock(&shared.state);
        let Some(Slot::Leased { ports }) = state.slots.get_mut(&address) else {
            return Ok(());
        };
        let ports = std::mem::take(ports);
        state.drain(address, Instant::now());
        drop(state);
        let entries: Vec<_> = ports.iter().map(|r| entry(r, address)).collect();
        let veth = shared.cfg.veth_name(address);
        let peer = (veth.as_str(), MacAddress::of(address), address);
        let withdrawn = lock(&shared.firewall).withdraw(&entries, Some(peer));
        // Its removal may have been announced before the address was draining.
        let link = lock(&shared.route).link(&veth);
        if matches!(link, Ok(None)) {
            lock(&shared.state).link_gone(address);
            shared.changed.notify_all();
        } else {
            shared.wake_watcher();
        }
        withdrawn
    }

    /// Waits until the links of all detached containers are gone; those that
    /// live longer than `patience` are removed.
    pub fn settle(&self, patience: Duration) -> Result<(), NetError> {
        let shared = &self.shared;
        let deadline = Instant::now() + patience;
        let mut state = lock(&shared.state);
        loop {
            let left: Vec<_> = state.draining().map(|(address, _)| address).collect();
            if left.is_empty() {
                return Ok(());
            }
            let time = deadline.saturating_duration_since(Instant::now());
            if time.is_zero() {
                drop(state);
                return shared.delete_links(&left);
            }
            state = shared
                .changed
                .wait_timeout(state, time)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// How many containers are attached.
    pub fn attached(&self) -> usize {
        let leased = |slot: &&Slot| matches!(slot, Slot::Leased { .. });
        lock(&self.shared.state)
            .slots
            .values()
            .filter(leased)
            .count()
    }

    /// How many namespaces are ready to be handed out.
    pub fn ready(&self) -> usize {
        lock(&self.shared.state).pool.len()
    }

    /// Removes the bridge with everything on it. Attached containers lose
    /// their network. Later calls to other methods fail or do nothing.
    ///
    /// # Errors
    /// The first failure; all steps are tried nevertheless.
    pub fn teardown(&self) -> Result<(), NetError> {
        let shared = &self.shared;
        self.stop();
        {
            let mut state = lock(&shared.state);
            state.pool.clear();
            state.wanted.clear();
            state.slots.clear();
        }
        let ports = self.wait_for_ports();
        let bridge = lock(&shared.route)
            .delete_links(&[shared.bridge_index])
            .map_err(during("remove bridge"));
        let rules = lock(&shared.firewall).remove();
        ports.and(bridge).and(rules)
    }

    /// Removes everything if no container is attached, as a daemon that ends
    /// should; says whether it did. A container that waits for adoption counts.
    pub fn teardown_if_unused(&self) -> Result<bool, NetError> {
        let used = |slot: &Slot| matches!(slot, Slot::Leased { .. } | Slot::Found);
        if lock(&self.shared.state).slots.values().any(used) {
            return Ok(false);
        }
        self.teardown().map(|()| true)
    }

    /// Waits for the bridge's ports to vanish, then removes those that stay.
    /// The watcher has stopped, so this listens itself.
    fn wait_for_ports(&self) -> Result<(), NetError> {
        let shared = &self.shared;
        let deadline = Instant::now() + TEARDOWN_PATIENCE;
        loop {
            let ports = shared.ports()?;
            if ports.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return lock(&shared.route)
                    .delete_links(&ports)
                    .map_err(during("remove veth"));
            }
            // The kernel's removal is polled: it takes some 30 ms, and this
            // is the way out of the program.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn check_leased(&self, address: Ipv4Addr) -> Result<(), NetError> {
        match lock(&self.shared.state).slots.get(&address) {
            Some(Slot::Leased { .. }) => Ok(()),
            _ => Err(NetError::NotAttached(address)),
        }
    }

    fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.changed.notify_all();
        self.shared.wake_watcher();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the bridge panicked");
            }
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A failure that happened since the caller began to wait.
fn failure_since(state: &State, failures: u64) -> Option<NetError> {
    if state.failures == failures {
        return None;
    }
    state.last_failure.clone().map(NetError::Pool)
}

/// What a reservation means to the firewall.
fn entry(reservation: &Reservation, address: Ipv4Addr) -> (Port, Ipv4Addr, u16) {
    let mapping = &reservation.mapping;
    let port = Port {
        host_ip: reservation.host_ip,
        protocol: mapping.protocol,
        port: mapping.host_port,
    };
    (port, address, mapping.container_port)
}

/// A panic of another thread leaves the maps whole: every change is one insert
/// or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a>(changed: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "bridge/tests.rs"]
mod tests;
