//! The bridge's tables as they should be, and keeping the kernel's alike.
//!
//! Owner of the desired elements. Changes go to the kernel first and are then
//! remembered; when the kernel has lost the tables (`nft flush ruleset`), they
//! are put back whole in one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use rustix::io::Errno;

use super::{
    BridgeConfig, MacAddress, NetError,
    error::during,
    rules::{BOUND, OPEN, PEERS, Port, add_ingress, add_translation, peer_element},
};
use crate::{
    netlink::{NetlinkError, Protocol, Socket, forget_udp},
    nft::{Batch, Element, Family, Tables},
    ports,
};

/// The tables of one bridge.
#[derive(Debug)]
pub(super) struct Firewall {
    socket: Socket,
    cfg: BridgeConfig,
    ingress: Ingress,
    /// Elements by set name.
    ports: BTreeMap<&'static str, BTreeSet<Element>>,
    peers: BTreeSet<Element>,
    /// What the kernel reported right after the tables were put in place.
    fingerprint: u64,
}

/// Whether the kernel can filter frames on bridge ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ingress {
    Filtered,
    /// `nf_tables` of the bridge family is not there.
    Unsupported,
}

impl Firewall {
    /// Puts the tables in place. Elements that an earlier run left stay, so
    /// that running containers notice nothing.
    pub(super) fn open(cfg: &BridgeConfig) -> Result<Self, NetError> {
        let mut socket = Socket::open(Protocol::Netfilter).map_err(during("open nf_tables"))?;
        let mut ports = BTreeMap::new();
        let mut tables = Tables(&mut socket);
        for set in [OPEN.name, BOUND.name] {
            let elements = tables
                .elements(Family::Ipv4, &cfg.table, set)
                .map_err(during("read published ports"))?;
            ports.insert(set, elements.into_iter().collect());
        }
        let mut firewall = Self {
            ingress: Ingress::Filtered,
            peers: BTreeSet::new(),
            socket,
            cfg: cfg.clone(),
            ports,
            fingerprint: 0,
        };
        if let Err(error) = firewall.put_ingress() {
            if !matches!(
                error.errno(),
                Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NOENT)
            ) {
                return Err(during("install bridge filter rules")(error));
            }
            tracing::warn!(
                bridge.name = cfg.name,
                "kernel has no nf_tables for bridges: containers can forge each other's addresses"
            );
            firewall.ingress = Ingress::Unsupported;
        }
        firewall.replace()?;
        firewall.warn_of_drops();
        Ok(firewall)
    }

    /// The number by which the kernel names our changes in notifications.
    pub(super) fn port(&self) -> Result<u32, NetError> {
        self.socket.port().map_err(during("open nf_tables"))
    }

    /// Accepting a packet here does not keep a chain of somebody else from
    /// dropping it; that cannot be repaired from here, only told.
    fn warn_of_drops(&mut self) {
        for chain in Tables(&mut self.socket).forward_drops().unwrap_or_default() {
            tracing::warn!(
                bridge.name = self.cfg.name,
                nft.chain = chain,
                "the host's firewall drops forwarded packets unless it accepts them: \
                 containers reach the outside only if it accepts those of the bridge"
            );
        }
    }

    fn put_ingress(&mut self) -> Result<(), NetlinkError> {
        let peers =
            Tables(&mut self.socket).elements(Family::Bridge, &self.cfg.table, PEERS.name)?;
        self.peers = peers.into_iter().collect();
        let mut batch = Batch::new();
        self.write_ingress(&mut batch);
        batch.commit(&mut self.socket)
    }

    /// Sends the ports to the container, all in one transaction.
    pub(super) fn publish(&mut self, ports: &[(Port, Ipv4Addr, u16)]) -> Result<(), NetError> {
        let elements = by_set(ports);
        let mut batch = Batch::new();
        for (set, elements) in &elements {
            batch.add_elements(Family::Ipv4, &self.cfg.table, set, elements);
        }
        for (set, elements) in elements {
            self.ports.entry(set).or_default().extend(elements);
        }
        if let Err(error) = self.apply(batch) {
            self.forget(ports);
            return Err(error);
        }
        self.forget_connections(ports);
        Ok(())
    }

    /// Takes the ports and, when the container goes, its peer entry away.
    pub(super) fn withdraw(
        &mut self,
        ports: &[(Port, Ipv4Addr, u16)],
        peer: Option<(&str, MacAddress, Ipv4Addr)>,
    ) -> Result<(), NetError> {
        let mut batch = Batch::new();
        for (set, elements) in by_set(ports) {
            batch.delete_elements(Family::Ipv4, &self.cfg.table, set, &elements);
        }
        self.forget(ports);
        if let Some((veth, mac, address)) = peer {
            let element = peer_element(veth, mac, address);
            if self.peers.remove(&element) {
                batch.delete_elements(Family::Bridge, &self.cfg.table, PEERS.name, &[element]);
            }
        }
        let applied = self.apply(batch);
        self.forget_connections(ports);
        applied
    }

    /// UDP clients that keep their port would stay with the earlier target.
    fn forget_connections(&mut self, ports: &[(Port, Ipv4Addr, u16)]) {
        let udp = ports
            .iter()
            .map(|(port, ..)| port)
            .filter(|port| port.protocol == ports::Protocol::Udp);
        for port in udp {
            if let Err(error) = forget_udp(&mut self.socket, port.host_ip, port.port) {
                tracing::warn!(
                    bridge.name = self.cfg.name,
                    port = port.port,
                    error = &error as &dyn std::error::Error,
                    "cannot forget UDP connections: their clients stay with the earlier target"
                );
            }
        }
    }

    /// Lets a container use its addresses.
    pub(super) fn admit(
        &mut self,
        veth: &str,
        mac: MacAddress,
        address: Ipv4Addr,
    ) -> Result<(), NetError> {
        if self.ingress == Ingress::Unsupported {
            return Ok(());
        }
        let element = peer_element(veth, mac, address);
        let mut batch = Batch::new();
        batch.add_elements(
            Family::Bridge,
            &self.cfg.table,
            PEERS.name,
            std::slice::from_ref(&element),
        );
        self.peers.insert(element);
        self.apply(batch)
    }

    /// Makes exactly these ports and peers the desired ones.
    pub(super) fn retain(
        &mut self,
        ports: &[(Port, Ipv4Addr, u16)],
        peers: &[(String, MacAddress, Ipv4Addr)],
    ) -> Result<(), NetError> {
        let mut wanted: BTreeMap<_, BTreeSet<_>> =
            [(OPEN.name, BTreeSet::new()), (BOUND.name, BTreeSet::new())].into();
        for (set, elements) in by_set(ports) {
            wanted.entry(set).or_default().extend(elements);
        }
        self.ports = wanted;
        if self.ingress == Ingress::Filtered {
            self.peers = peers
                .iter()
                .map(|(veth, mac, address)| peer_element(veth, *mac, *address))
                .collect();
        }
        self.restore().map(|_| ())
    }

    /// Compares the kernel's tables with the desired ones and puts them back
    /// when they differ. Says whether they did.
    pub(super) fn restore(&mut self) -> Result<bool, NetError> {
        if self.is_intact().map_err(during("read nft tables"))? {
            return Ok(false);
        }
        self.replace()?;
        Ok(true)
    }

    /// Removes the tables.
    pub(super) fn remove(&mut self) -> Result<(), NetError> {
        let mut batch = Batch::new();
        self.delete_tables(&mut batch);
        batch
            .commit(&mut self.socket)
            .map_err(during("remove nft tables"))
    }

    fn is_intact(&mut self) -> Result<bool, NetlinkError> {
        let table = &self.cfg.table;
        let mut tables = Tables(&mut self.socket);
        for (set, wanted) in &self.ports {
            if !tables.elements(Family::Ipv4, table, set)?.iter().eq(wanted) {
                return Ok(false);
            }
        }
        if self.ingress == Ingress::Filtered
            && !tables
                .elements(Family::Bridge, table, PEERS.name)?
                .iter()
                .eq(&self.peers)
        {
            return Ok(false);
        }
        Ok(self.read_fingerprint()? == self.fingerprint)
    }

    fn read_fingerprint(&mut self) -> Result<u64, NetlinkError> {
        let mut tables = Tables(&mut self.socket);
        let mut fingerprint = tables.fingerprint(Family::Ipv4, &self.cfg.table)?;
        if self.ingress == Ingress::Filtered {
            fingerprint ^= tables
                .fingerprint(Family::Bridge, &self.cfg.table)?
                .rotate_left(1);
        }
        Ok(fingerprint)
    }

    /// Commits a change of elements; when the kernel does not know the tables
    /// or holds other elements, all of it is put in place anew.
    fn apply(&mut self, batch: Batch) -> Result<(), NetError> {
        match batch.commit(&mut self.socket) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::EXIST)) => {
                tracing::warn!(
                    bridge.name = self.cfg.name,
                    "nft tables were changed from outside: restoring them"
                );
                self.replace()
            }
            Err(error) => Err(during("change nft elements")(error)),
        }
    }

    fn replace(&mut self) -> Result<(), NetError> {
        let mut batch = Batch::new();
        self.delete_tables(&mut batch);
        add_translation(&mut batch, &self.cfg);
        for (set, elements) in &self.ports {
            let elements: Vec<_> = elements.iter().cloned().collect();
            batch.add_elements(Family::Ipv4, &self.cfg.table, set, &elements);
        }
        if self.ingress == Ingress::Filtered {
            self.write_ingress(&mut batch);
        }
        batch
            .commit(&mut self.socket)
            .map_err(during("install nft tables"))?;
        self.fingerprint = self.read_fingerprint().map_err(during("read nft tables"))?;
        Ok(())
    }

    /// Deletes and makes the bridge table anew with its elements.
    fn write_ingress(&self, batch: &mut Batch) {
        batch.add_table(Family::Bridge, &self.cfg.table);
        batch.delete_table(Family::Bridge, &self.cfg.table);
        add_ingress(batch, &self.cfg);
        let peers: Vec<_> = self.peers.iter().cloned().collect();
        batch.add_elements(Family::Bridge, &self.cfg.table, PEERS.name, &peers);
    }

    /// Adding first makes deleting a table that is not there no error.
    fn delete_tables(&self, batch: &mut Batch) {
        let mut families = vec![Family::Ipv4];
        if self.ingress == Ingress::Filtered {
            families.push(Family::Bridge);
        }
        for family in families {
            batch.add_table(family, &self.cfg.table);
            batch.delete_table(family, &self.cfg.table);
        }
    }

    fn forget(&mut self, ports: &[(Port, Ipv4Addr, u16)]) {
        for (set, elements) in by_set(ports) {
            if let Some(known) = self.ports.get_mut(set) {
                for element in elements {
                    known.remove(&element);
                }
            }
        }
    }
}

fn by_set(ports: &[(Port, Ipv4Addr, u16)]) -> BTreeMap<&'static str, Vec<Element>> {
    let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (port, address, container_port) in ports {
        sets.entry(port.set())
            .or_default()
            .push(port.element(*address, *container_port));
    }
    sets
}
