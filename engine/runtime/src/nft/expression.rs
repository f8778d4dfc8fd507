//! Expressions: the instructions of a rule.

use crate::netlink::Message;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// Keys of the `meta` expression (`NFT_META_*`).
pub(crate) mod meta {
    pub(crate) const INPUT_NAME: u32 = 6;
    pub(crate) const OUTPUT_NAME: u32 = 7;
    pub(crate) const L4_PROTOCOL: u32 = 16;
}

/// A 4-byte register. Longer values spill into the ones that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

impl Register {
    /// `NFT_REG32_00` is 8; at every fourth begins one of the 16-byte
    /// registers, `NFT_REG_1` to 4, by whose number the kernel calls it.
    pub(super) fn number(self) -> u32 {
        match self.0 % 4 {
            0 => 1 + self.0 / 4,
            _ => 8 + self.0,
        }
    }
}

/// Where a payload offset counts from (`NFT_PAYLOAD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadBase {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// Comparison operators (`NFT_CMP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal = 0,
    NotEqual = 1,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads packet metadata.
    Meta {
        key: u32,
        into: Register,
    },
    /// Loads bytes of the packet.
    Payload {
        base: PayloadBase,
        offset: u32,
        length: u32,
        into: Register,
    },
    /// Loads the connection's state bits (`NF_CT_STATE_BIT`).
    ConnectionState {
        into: Register,
    },
    /// Loads the connection's status bits (`IPS_*`).
    ConnectionStatus {
        into: Register,
    },
    /// Loads the route type of the destination address (`RTN_*`).
    DestinationType {
        into: Register,
    },
    /// Ands a register with a mask.
    Mask {
        register: Register,
        mask: Vec<u8>,
    },
    /// Ends the rule unless the comparison holds.
    Compare {
        operator: Operator,
        register: Register,
        value: Vec<u8>,
    },
    /// Ends the rule unless the key is in the set; loads the data of a map.
    Lookup {
        set: &'static str,
        key: Register,
        into: Option<Register>,
    },
    /// Rewrites the destination.
    DestinationNat {
        address: Register,
        port: Register,
    },
    /// Rewrites the source to the outgoing link's address.
    Masquerade,
    Accept,
    Drop,
}

impl Expression {
    /// Appends the expression as an element of a rule's expression list.
    pub(super) fn write(&self, list: &mut Message) {
        list.nest(LIST_ELEM, |element| {
            element.put_text(EXPR_NAME, self.name());
            element.nest(EXPR_DATA, |data| self.write_data(data));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::ConnectionState { .. } | Self::ConnectionStatus { .. } => "ct",
            Self::DestinationType { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::DestinationNat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Accept | Self::Drop => "immediate",
        }
    }

    fn write_data(&self, data: &mut Message) {
        match self {
            Self::Meta { key, into } => {
                data.put_be_u32(2, *key);
                data.put_be_u32(1, into.number());
            }
            Self::Payload {
                base,
                offset,
                length,
                into,
            } => {
                data.put_be_u32(1, into.number());
                data.put_be_u32(2, *base as u32);
                data.put_be_u32(3, *offset);
                data.put_be_u32(4, *length);
            }
            // NFTA_CT_KEY is 2: NFT_CT_STATE 0, NFT_CT_STATUS 2.
            Self::ConnectionState { into } => {
                data.put_be_u32(2, 0);
                data.put_be_u32(1, into.number());
            }
            Self::ConnectionStatus { into } => {
                data.put_be_u32(2, 2);
                data.put_be_u32(1, into.number());
            }
            // NFTA_FIB_FLAGS: NFTA_FIB_F_DADDR 2; NFTA_FIB_RESULT: NFT_FIB_RESULT_ADDRTYPE 3.
            Self::DestinationType { into } => {
                data.put_be_u32(3, 2);
                data.put_be_u32(2, 3);
                data.put_be_u32(1, into.number());
            }
            Self::Mask { register, mask } => {
                data.put_be_u32(1, register.number());
                data.put_be_u32(2, register.number());
                data.put_be_u32(3, mask.len() as u32);
                data.nest(4, |value| value.put(DATA_VALUE, mask));
                data.nest(5, |value| value.put(DATA_VALUE, &vec![0; mask.len()]));
            }
            Self::Compare {
                operator,
                register,
                value,
            } => {
                data.put_be_u32(1, register.number());
                data.put_be_u32(2, *operator as u32);
                data.nest(3, |data| data.put(DATA_VALUE, value));
            }
            Self::Lookup { set, key, into } => {
                data.put_be_u32(2, key.number());
                if let Some(into) = into {
                    data.put_be_u32(3, into.number());
                }
                data.put_text(1, set);
            }
            // NFTA_NAT_TYPE: NFT_NAT_DNAT 1; NFTA_NAT_FAMILY: NFPROTO_IPV4 2.
            Self::DestinationNat { address, port } => {
                data.put_be_u32(1, 1);
                data.put_be_u32(2, 2);
                data.put_be_u32(3, address.number());
                data.put_be_u32(5, port.number());
            }
            Self::Masquerade => {}
            Self::Accept => write_verdict(data, 1),
            Self::Drop => write_verdict(data, 0),
        }
    }
}

/// Register 0 is the verdict register; codes are `NF_ACCEPT` and `NF_DROP`.
fn write_verdict(data: &mut Message, code: u32) {
    data.put_be_u32(1, 0);
    data.nest(2, |value| {
        value.nest(DATA_VERDICT, |verdict| {
            verdict.put_be_u32(VERDICT_CODE, code);
        });
    });
}
