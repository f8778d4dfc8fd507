//! Who has which address, and which namespaces are ready.
//!
//! Every address that is not free has a [`Slot`]; `find_work` and the methods
//! below are the only transitions:
//!
//! ```text
//! free → Making → Ready → Leased → Draining → free
//!          └───────────────────────↗
//! Found (a link seen at setup) → Leased (adopted) or Draining (swept)
//! ```
//!
//! An address is free again only when its link is gone: its name, its MAC
//! address and the bridge's forwarding entry all derive from it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{BridgeConfig, NetError};
use crate::ports::Reservation;

/// After an attach the pool is refilled only when the container has had time
/// to start: making a namespace costs 2 ms of CPU that the start would miss.
const REFILL_DELAY: Duration = Duration::from_millis(30);

/// How long a worker waits after a failure that nobody was told of.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A namespace that only needs an owner.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) address: Ipv4Addr,
    pub(super) netns: OwnedFd,
}

/// What an address is used for.
#[derive(Debug)]
pub(super) enum Slot {
    /// A worker is making its namespace.
    Making,
    /// Its namespace is in the pool.
    Ready,
    /// A container has it.
    Leased { ports: Vec<Reservation> },
    /// An earlier run left its link; nobody has claimed it yet.
    Found,
    /// Its container is gone, its link not yet.
    Draining { since: Instant },
}

/// What a worker shall do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    Make(Ipv4Addr),
    /// Nothing before that time, unless something changes.
    Wait(Option<Instant>),
    Stop,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) slots: BTreeMap<Ipv4Addr, Slot>,
    /// Oldest first.
    pub(super) pool: VecDeque<Ready>,
    /// Namespaces made for one address that somebody asked for.
    pub(super) wanted: BTreeMap<Ipv4Addr, OwnedFd>,
    /// Addresses asked for, until they are made.
    pub(super) asked: BTreeSet<Ipv4Addr>,
    /// Asked for, and not yet taken up by a worker.
    requests: VecDeque<Ipv4Addr>,
    /// Callers that wait for any address.
    pub(super) waiting: usize,
    /// Number of the latest failure, and what it was.
    pub(super) failures: u64,
    pub(super) last_failure: Option<Arc<NetError>>,
    retry_at: Option<Instant>,
    last_attach: Option<Instant>,
    next_host: u32,
    pub(super) stopping: bool,
}

impl State {
    pub(super) fn new(found: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        Self {
            slots: found.into_iter().map(|a| (a, Slot::Found)).collect(),
            pool: VecDeque::new(),
            wanted: BTreeMap::new(),
            asked: BTreeSet::new(),
            requests: VecDeque::new(),
            waiting: 0,
            failures: 0,
            last_failure: None,
            retry_at: None,
            last_attach: None,
            next_host: 2,
            stopping: false,
        }
    }

    /// Takes the next piece of work; the address is then `Making`.
    pub(super) fn find_work(&mut self, cfg: &BridgeConfig, now: Instant) -> Work {
        if self.stopping {
            return Work::Stop;
        }
        if let Some(address) = self.requests.pop_front() {
            return Work::Make(address);
        }
        let supply = self.pool.len() + self.making();
        if supply >= self.waiting {
            if supply >= cfg.pool {
                return Work::Wait(None);
            }
            let refill_at = self.last_attach.map(|at| at + REFILL_DELAY);
            let low = supply * 2 < cfg.pool;
            let not_before = refill_at.filter(|_| !low).max(self.retry_at);
            if let Some(at) = not_before.filter(|at| *at > now) {
                return Work::Wait(Some(at));
            }
        }
        match self.free_address(cfg) {
            Some(address) => {
                self.slots.insert(address, Slot::Making);
                Work::Make(address)
            }
            None => {
                if self.waiting > 0 && self.is_full_for_good() {
                    self.fail(NetError::NoAddressLeft(cfg.subnet), now);
                }
                Work::Wait(None)
            }
        }
    }

    /// Reserves a wanted address for making. The slot must be free.
    pub(super) fn ask(&mut self, address: Ipv4Addr) {
        self.slots.insert(address, Slot::Making);
        self.asked.insert(address);
        self.requests.push_back(address);
    }

    /// Takes the ready namespace of an address: from the pool, or the one that
    /// was made for the caller, if it asked.
    pub(super) fn take(&mut self, address: Ipv4Addr, asked: bool) -> Option<OwnedFd> {
        let pooled = self.pool.iter().position(|ready| ready.address == address);
        match pooled {
            Some(index) => self.pool.remove(index).map(|ready| ready.netns),
            None if asked => self.wanted.remove(&address),
            None => None,
        }
    }

    /// Whoever asked for the address no longer waits: what was or will be made
    /// is for the pool.
    pub(super) fn abandon(&mut self, address: Ipv4Addr) {
        self.asked.remove(&address);
        if let Some(netns) = self.wanted.remove(&address) {
            self.pool.push_back(Ready { address, netns });
        }
    }

    /// A worker has finished.
    pub(super) fn deliver(&mut self, ready: Ready) {
        self.slots.insert(ready.address, Slot::Ready);
        if self.asked.remove(&ready.address) {
            self.wanted.insert(ready.address, ready.netns);
        } else {
            self.pool.push_back(ready);
        }
    }

    /// Records a failure that all who wait are told of.
    pub(super) fn fail(&mut self, error: NetError, now: Instant) {
        self.failures += 1;
        self.last_failure = Some(Arc::new(error));
        self.retry_at = Some(now + RETRY_DELAY);
    }

    /// Gives the address to a container.
    pub(super) fn lease(&mut self, address: Ipv4Addr, now: Instant) {
        self.slots
            .insert(address, Slot::Leased { ports: Vec::new() });
        self.last_attach = Some(now);
    }

    pub(super) fn drain(&mut self, address: Ipv4Addr, now: Instant) {
        self.slots.insert(address, Slot::Draining { since: now });
    }

    /// The link of the address is gone. A leased address stays its container's.
    pub(super) fn link_gone(&mut self, address: Ipv4Addr) {
        if let Some(Slot::Draining { .. } | Slot::Found) = self.slots.get(&address) {
            self.slots.remove(&address);
        }
    }

    /// Addresses whose link has not gone yet, with the time it began to.
    pub(super) fn draining(&self) -> impl Iterator<Item = (Ipv4Addr, Instant)> {
        self.slots.iter().filter_map(|(address, slot)| match slot {
            Slot::Draining { since } => Some((*address, *since)),
            _ => None,
        })
    }

    fn making(&self) -> usize {
        let making = |slot: &&Slot| matches!(slot, Slot::Making);
        self.slots.values().filter(making).count() - self.asked.len()
    }

    /// Whether no address will become free without a detach.
    fn is_full_for_good(&self) -> bool {
        let passing = |slot: &Slot| {
            matches!(
                slot,
                Slot::Draining { .. } | Slot::Making | Slot::Ready | Slot::Found
            )
        };
        !self.slots.values().any(passing)
    }

    /// The next free address after the last one given, so that an address
    /// rests as long as possible before it is used again.
    fn free_address(&mut self, cfg: &BridgeConfig) -> Option<Ipv4Addr> {
        let hosts = !cfg.subnet.mask();
        for _ in 2..hosts {
            let host = self.next_host;
            self.next_host = if host + 1 < hosts { host + 1 } else { 2 };
            let address = Ipv4Addr::from(u32::from(cfg.subnet.network()) | host);
            if !self.slots.contains_key(&address) {
                return Some(address);
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
