//! One netlink message: header, fixed part, attributes.

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;

/// Message flags, `linux/netlink.h`.
pub(crate) mod flags {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
    /// A flag of requests that replaces what is there; same bit as `NLM_F_ROOT`.
    pub(crate) const REPLACE: u16 = 0x100;
}

/// `NLA_F_NESTED`: the attribute's value is a list of attributes.
pub(super) const NESTED: u16 = 1 << 15;

/// Rounds up to the alignment of messages and attributes.
pub(super) const fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EncodeError {
    /// The length field of an attribute has 16 bits; a longer value would wrap
    /// round and let its tail be read as further attributes (CVE-2021-43784).
    #[error("netlink attribute {kind} would be longer than 65535 bytes")]
    TooLong { kind: u16 },
}

/// Why bytes are not netlink.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DecodeError {
    #[error("netlink message is cut short: {have} bytes of {want}")]
    Short { have: usize, want: usize },
    #[error("netlink length field {0} is smaller than its own header")]
    BadLength(usize),
}

/// A message being written.
///
/// A value too long for its attribute is remembered and reported by
/// [`Message::finish`], so that building needs no error handling at each line.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    too_long: Option<u16>,
}

impl Message {
    /// Starts a message; `fixed` is the struct that follows the header.
    /// The sequence number is written by the socket that sends it.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut message = Self {
            bytes,
            too_long: None,
        };
        message.pad();
        message
    }

    /// Appends raw bytes that are not an attribute (a nested fixed struct).
    pub(crate) fn put_raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// Appends an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(4 + value.len()) else {
            self.too_long.get_or_insert(kind);
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn put_u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// Host byte order, as rtnetlink wants it.
    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Network byte order, as netfilter wants it.
    pub(crate) fn put_be_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Appends text with its terminating NUL.
    pub(crate) fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Appends an attribute that holds the attributes written by `fill`.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => {
                self.too_long.get_or_insert(kind);
            }
        }
    }

    /// Asks the kernel to acknowledge this message.
    pub(crate) fn acknowledge(&mut self) {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags::ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    }

    /// Writes length and sequence number and gives the bytes.
    ///
    /// # Errors
    /// When an attribute does not fit its length field.
    pub(crate) fn finish(mut self, sequence: u32) -> Result<Vec<u8>, EncodeError> {
        if let Some(kind) = self.too_long {
            return Err(EncodeError::TooLong { kind });
        }
        let length =
            u32::try_from(self.bytes.len()).map_err(|_| EncodeError::TooLong { kind: 0 })?;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(self.bytes)
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }
}

/// A received message, borrowed from its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The socket that made the request, also in notifications of its effect.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// Walks the messages of one datagram.
#[derive(Debug)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Some(Err(DecodeError::Short {
                have: bytes.len(),
                want: HEADER_BYTES,
            }));
        };
        let [
            l0,
            l1,
            l2,
            l3,
            k0,
            k1,
            f0,
            f1,
            s0,
            s1,
            s2,
            s3,
            p0,
            p1,
            p2,
            p3,
        ] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        if length < HEADER_BYTES {
            return Some(Err(DecodeError::BadLength(length)));
        }
        if length > bytes.len() {
            return Some(Err(DecodeError::Short {
                have: bytes.len(),
                want: length,
            }));
        }
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok(Frame {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload: &bytes[HEADER_BYTES..length],
        }))
    }
}
