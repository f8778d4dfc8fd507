//! Reading attributes.

use super::message::{DecodeError, align};

/// Bits of the type field that name the attribute (`NLA_TYPE_MASK`).
const KIND_MASK: u16 = 0x3fff;

/// Walks a list of attributes; yields the kind without its flag bits.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The attributes after a fixed struct of `fixed_bytes`.
    pub(crate) fn after(payload: &'a [u8], fixed_bytes: usize) -> Self {
        Self::new(payload.get(align(fixed_bytes)..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let Some(&[l0, l1, k0, k1]) = bytes.first_chunk::<4>() else {
            return Some(Err(DecodeError::Short {
                have: bytes.len(),
                want: 4,
            }));
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if length < 4 {
            return Some(Err(DecodeError::BadLength(length)));
        }
        if length > bytes.len() {
            return Some(Err(DecodeError::Short {
                have: bytes.len(),
                want: length,
            }));
        }
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([k0, k1]) & KIND_MASK;
        Some(Ok((kind, &bytes[4..length])))
    }
}

/// The value of the first attribute of that kind.
///
/// # Errors
/// When the list is damaged before the attribute is found.
pub(crate) fn find(attributes: Attributes<'_>, kind: u16) -> Result<Option<&[u8]>, DecodeError> {
    for attribute in attributes {
        let (found, value) = attribute?;
        if found == kind {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// A number in host byte order.
pub(crate) fn read_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// A number in network byte order.
pub(crate) fn read_be_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Text up to its NUL; `None` when it is not UTF-8.
pub(super) fn read_text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|&byte| byte == 0);
    std::str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()
}
