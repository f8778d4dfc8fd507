//! Reading the rule set back, and notifications about it.

use std::hash::{DefaultHasher, Hash, Hasher};

use rustix::io::Errno;

use super::{Element, Family, Hook, batch::MESSAGE_NEW_ELEMENT, header, message_kind};
use crate::netlink::{
    Attributes, DecodeError, Message, NetlinkError, Socket, find, flags, read_be_u32,
};

const MESSAGE_GET_CHAIN: u8 = 4;
const MESSAGE_GET_RULE: u8 = 7;
const MESSAGE_GET_ELEMENT: u8 = 13;
const MESSAGE_NEW_GENERATION: u8 = 15;
/// Bytes of `struct nfgenmsg`.
const FIXED_BYTES: usize = 4;

/// Reads what is in a table.
#[derive(Debug)]
pub(crate) struct Tables<'a>(pub(crate) &'a mut Socket);

impl Tables<'_> {
    /// The elements of a set, sorted; none when set or table does not exist.
    pub(crate) fn elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<Vec<Element>, NetlinkError> {
        let mut message = dump_message(MESSAGE_GET_ELEMENT, family);
        message.put_text(1, table);
        message.put_text(2, set);
        let mut elements = Vec::new();
        let result = self.0.dump(message, |kind, payload| {
            if kind == message_kind(MESSAGE_NEW_ELEMENT) {
                read_elements(payload, &mut elements)?;
            }
            Ok(())
        });
        absent_is_empty(result.map(|_| ()))?;
        elements.sort();
        Ok(elements)
    }

    /// A hash of all chains and rules of a table, without handles, counters
    /// and elements; equal as long as nobody changes them. It holds within
    /// one process only.
    pub(crate) fn fingerprint(&mut self, family: Family, table: &str) -> Result<u64, NetlinkError> {
        let mut hasher = DefaultHasher::new();
        let wanted = table_attribute(table);
        // Name, hook (number and priority), policy, type.
        let message = dump_message(MESSAGE_GET_CHAIN, family);
        self.hash(message, &wanted, &[3, 4, 5, 7], &mut hasher)?;
        // Chain and expressions.
        let mut message = dump_message(MESSAGE_GET_RULE, family);
        message.put_text(1, table);
        self.hash(message, &wanted, &[2, 4], &mut hasher)?;
        Ok(hasher.finish())
    }

    /// Base chains at the forward hook whose policy is to drop, as "table chain",
    /// of the IPv4 and the combined family.
    pub(crate) fn forward_drops(&mut self) -> Result<Vec<String>, NetlinkError> {
        const FAMILY_INET: u8 = 1;
        let mut found = Vec::new();
        // Family 0 lists all.
        let message = Message::new(
            message_kind(MESSAGE_GET_CHAIN),
            flags::REQUEST | flags::DUMP,
            &header(0, 0),
        );
        self.0.dump(message, |_, payload| {
            let family = payload.first().copied().unwrap_or_default();
            if family != FAMILY_INET && family != Family::Ipv4 as u8 {
                return Ok(());
            }
            let attributes = Attributes::after(payload, FIXED_BYTES);
            let hook = find(attributes.clone(), 4)?.unwrap_or_default();
            let number = find(Attributes::new(hook), 1)?.and_then(read_be_u32);
            let policy = find(attributes.clone(), 5)?.and_then(read_be_u32);
            if number == Some(Hook::Forward as u32) && policy == Some(0) {
                let name = |kind| -> Result<_, DecodeError> {
                    let name = find(attributes.clone(), kind)?.unwrap_or_default();
                    Ok(String::from_utf8_lossy(
                        name.strip_suffix(&[0]).unwrap_or(name),
                    ))
                };
                found.push(format!("{} {}", name(1)?, name(3)?));
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn hash(
        &mut self,
        message: Message,
        table: &[u8],
        kinds: &[u16],
        hasher: &mut DefaultHasher,
    ) -> Result<(), NetlinkError> {
        let result = self.0.dump(message, |_, payload| {
            let attributes = Attributes::after(payload, FIXED_BYTES);
            if find(attributes.clone(), 1)? != Some(table) {
                return Ok(());
            }
            for attribute in attributes {
                let (kind, value) = attribute?;
                if kinds.contains(&kind) {
                    (kind, value).hash(hasher);
                }
            }
            Ok(())
        });
        absent_is_empty(result.map(|_| ()))
    }
}

/// The table that a notification is about; `None` for those of no table.
pub(crate) fn table_of_event(kind: u16, payload: &[u8]) -> Option<&str> {
    if kind == message_kind(MESSAGE_NEW_GENERATION) {
        return None;
    }
    // The first attribute of every object is its table's name.
    let name = find(Attributes::after(payload, FIXED_BYTES), 1).ok()??;
    std::str::from_utf8(name.strip_suffix(&[0])?).ok()
}

fn dump_message(operation: u8, family: Family) -> Message {
    Message::new(
        message_kind(operation),
        flags::REQUEST | flags::DUMP,
        &header(family as u8, 0),
    )
}

fn table_attribute(table: &str) -> Vec<u8> {
    [table.as_bytes(), &[0]].concat()
}

fn read_elements(payload: &[u8], elements: &mut Vec<Element>) -> Result<(), DecodeError> {
    let Some(list) = find(Attributes::after(payload, FIXED_BYTES), 3)? else {
        return Ok(());
    };
    for item in Attributes::new(list) {
        let (_, item) = item?;
        let value = |kind| -> Result<Vec<u8>, DecodeError> {
            let outer = find(Attributes::new(item), kind)?.unwrap_or_default();
            Ok(find(Attributes::new(outer), 1)?
                .unwrap_or_default()
                .to_vec())
        };
        elements.push(Element {
            key: value(1)?,
            data: value(2)?,
        });
    }
    Ok(())
}

fn absent_is_empty(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        other => other,
    }
}
