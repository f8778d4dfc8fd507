//! One transaction.

use super::{Expression, Family, header, message_kind};
use crate::netlink::{Message, NetlinkError, Socket, flags};

const MESSAGE_NEW_TABLE: u8 = 0;
const MESSAGE_DELETE_TABLE: u8 = 2;
const MESSAGE_NEW_CHAIN: u8 = 3;
const MESSAGE_NEW_RULE: u8 = 6;
const MESSAGE_NEW_SET: u8 = 9;
pub(super) const MESSAGE_NEW_ELEMENT: u8 = 12;
const MESSAGE_DELETE_ELEMENT: u8 = 14;
/// `NFNL_MSG_BATCH_BEGIN` and `_END`; the resource id names the subsystem.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;

/// The list of elements is one attribute of at most 64 KiB; an element takes
/// up to 72 bytes, so this many always fit.
const ELEMENTS_PER_MESSAGE: usize = 800;

/// Where a base chain sees packets (`NF_INET_*`; the bridge family counts alike).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChainKind {
    Filter,
    Nat,
}

/// A base chain with policy accept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) kind: ChainKind,
    pub(crate) hook: Hook,
    /// Chains of one hook run in ascending order.
    pub(crate) priority: i32,
}

/// nft(8)'s type numbers, so that its listing names things rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataType {
    Ipv4Address = 7,
    EtherAddress = 9,
    Protocol = 12,
    Service = 13,
    InterfaceName = 41,
}

impl DataType {
    fn length(self) -> u32 {
        match self {
            Self::Ipv4Address => 4,
            Self::EtherAddress => 6,
            Self::Protocol => 1,
            Self::Service => 2,
            Self::InterfaceName => 16,
        }
    }
}

/// A set, or a map when it has data. Keys and data are concatenations, each
/// part padded to 4 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// Unique in the transaction.
    pub(crate) id: u32,
    pub(crate) key: &'static [DataType],
    pub(crate) data: &'static [DataType],
}

/// An element of a set (no data) or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// A transaction being written.
#[derive(Debug)]
pub(crate) struct Batch {
    messages: Vec<Message>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            messages: Vec::new(),
        }
    }

    /// Commits the transaction; an empty one is nothing to do.
    ///
    /// # Errors
    /// When the kernel refuses any part; then nothing has changed.
    pub(crate) fn commit(self, socket: &mut Socket) -> Result<(), NetlinkError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let edge = |kind| Message::new(kind, flags::REQUEST, &header(0, SUBSYSTEM));
        socket.transact(edge(BATCH_BEGIN), self.messages, edge(BATCH_END))
    }

    /// Adds a table; one that is there stays.
    pub(crate) fn add_table(&mut self, family: Family, table: &str) {
        let message = self.start(MESSAGE_NEW_TABLE, flags::CREATE, family);
        message.put_text(1, table);
        message.put_be_u32(2, 0);
    }

    /// Deletes a table with all that is in it.
    pub(crate) fn delete_table(&mut self, family: Family, table: &str) {
        self.start(MESSAGE_DELETE_TABLE, 0, family)
            .put_text(1, table);
    }

    pub(crate) fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        let message = self.start(MESSAGE_NEW_CHAIN, flags::CREATE, family);
        message.put_text(1, table);
        message.put_text(3, chain.name);
        message.put_text(
            7,
            match chain.kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
            },
        );
        message.put_be_u32(5, 1);
        message.nest(4, |hook| {
            hook.put_be_u32(1, chain.hook as u32);
            hook.put_be_u32(2, chain.priority.cast_unsigned());
        });
    }

    /// Appends a rule to a chain.
    pub(crate) fn add_rule(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        expressions: &[Expression],
    ) {
        let message = self.start(MESSAGE_NEW_RULE, flags::CREATE | flags::APPEND, family);
        message.put_text(1, table);
        message.put_text(2, chain);
        message.nest(4, |list| {
            for expression in expressions {
                expression.write(list);
            }
        });
    }

    pub(crate) fn add_set(&mut self, family: Family, table: &str, set: &Set) {
        const FLAG_MAP: u32 = 0x8;
        let message = self.start(MESSAGE_NEW_SET, flags::CREATE, family);
        message.put_text(1, table);
        message.put_text(2, set.name);
        message.put_be_u32(3, if set.data.is_empty() { 0 } else { FLAG_MAP });
        message.put_be_u32(4, concatenation(set.key));
        message.put_be_u32(5, padded_length(set.key));
        if !set.data.is_empty() {
            message.put_be_u32(6, concatenation(set.data));
            message.put_be_u32(7, padded_length(set.data));
        }
        message.put_be_u32(10, set.id);
    }

    /// Adds elements; one with the same key and other data is refused.
    pub(crate) fn add_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        self.elements(
            MESSAGE_NEW_ELEMENT,
            flags::CREATE,
            (family, table, set),
            elements,
        );
    }

    /// Deletes elements; one that is not there is refused.
    pub(crate) fn delete_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        self.elements(MESSAGE_DELETE_ELEMENT, 0, (family, table, set), elements);
    }

    fn elements(
        &mut self,
        operation: u8,
        flags: u16,
        (family, table, set): (Family, &str, &str),
        elements: &[Element],
    ) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let message = self.start(operation, flags, family);
            message.put_text(1, table);
            message.put_text(2, set);
            message.nest(3, |list| {
                for element in chunk {
                    list.nest(1, |item| {
                        item.nest(1, |key| key.put(1, &element.key));
                        if !element.data.is_empty() {
                            item.nest(2, |data| data.put(1, &element.data));
                        }
                    });
                }
            });
        }
    }

    fn start(&mut self, operation: u8, flags: u16, family: Family) -> &mut Message {
        self.messages.push(Message::new(
            message_kind(operation),
            flags::REQUEST | flags,
            &header(family as u8, 0),
        ));
        self.messages
            .last_mut()
            .expect("a message was pushed in the line above")
    }

    #[cfg(test)]
    pub(super) fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}

/// nft's type number of a concatenation: 6 bits per part.
fn concatenation(parts: &[DataType]) -> u32 {
    parts.iter().fold(0, |sum, part| (sum << 6) | *part as u32)
}

fn padded_length(parts: &[DataType]) -> u32 {
    parts.iter().map(|part| part.length().div_ceil(4) * 4).sum()
}
