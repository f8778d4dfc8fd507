//! One 512-byte tar header: checksum, dialect, numbers and strings.
//!
//! Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual,
//! "Basic Tar Format" and "Extensions to ustar"; star's `tar\0` trailer.

use super::BLOCK_BYTES;

/// A checked header block. Fields are read on demand.
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK_BYTES],
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// No magic: no prefix, no device numbers.
    V7,
    Ustar,
    /// `ustar  `: the prefix area holds times instead.
    Gnu,
    /// Ustar with a shorter prefix.
    Star,
}

pub(super) const NAME: (usize, usize) = (0, 100);
pub(super) const MODE: (usize, usize) = (100, 8);
pub(super) const UID: (usize, usize) = (108, 8);
pub(super) const GID: (usize, usize) = (116, 8);
pub(super) const SIZE: (usize, usize) = (124, 12);
pub(super) const MTIME: (usize, usize) = (136, 12);
pub(super) const CHECKSUM: (usize, usize) = (148, 8);
pub(super) const TYPE: usize = 156;
pub(super) const LINK: (usize, usize) = (157, 100);
pub(super) const MAGIC: (usize, usize) = (257, 8);
pub(super) const MAJOR: (usize, usize) = (329, 8);
pub(super) const MINOR: (usize, usize) = (337, 8);
pub(super) const PREFIX: (usize, usize) = (345, 155);
const STAR_PREFIX: (usize, usize) = (345, 131);
const STAR_TRAILER: (usize, usize) = (508, 4);

impl<'a> Header<'a> {
    pub(super) fn parse(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, &'static str> {
        let want = number(field(block, CHECKSUM)).ok_or("the checksum is not a number")?;
        let (unsigned, signed) = checksums(block);
        if want != i128::from(unsigned) && want != i128::from(signed) {
            return Err("the checksum is wrong: this is not a tar archive, or it is damaged");
        }
        let dialect = match field(block, MAGIC) {
            b"ustar  \0" => Dialect::Gnu,
            magic if !magic.starts_with(b"ustar\0") => Dialect::V7,
            _ if field(block, STAR_TRAILER) == b"tar\0" => Dialect::Star,
            _ => Dialect::Ustar,
        };
        Ok(Self { block, dialect })
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[TYPE]
    }

    /// Prefix and name, joined.
    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = match self.dialect {
            Dialect::V7 | Dialect::Gnu => b"",
            Dialect::Ustar => text(field(self.block, PREFIX)),
            Dialect::Star => text(field(self.block, STAR_PREFIX)),
        };
        let mut path = prefix.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(text(field(self.block, NAME)));
        path
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(field(self.block, LINK)).to_vec()
    }

    /// A numeric field: octal or base-256. `None` when it is neither.
    pub(super) fn number(&self, at: (usize, usize)) -> Option<i128> {
        number(field(self.block, at))
    }

    /// Major and minor number; zero where the dialect has none.
    pub(super) fn device(&self) -> Option<(i128, i128)> {
        if self.dialect == Dialect::V7 {
            return Some((0, 0));
        }
        Some((self.number(MAJOR)?, self.number(MINOR)?))
    }
}

fn field(block: &[u8; BLOCK_BYTES], (start, length): (usize, usize)) -> &[u8] {
    &block[start..start + length]
}

/// Up to the first NUL: what every reader takes of a fixed field.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Sums of all bytes with the checksum field as spaces. Some old writers
/// summed signed bytes, and every reader accepts both.
fn checksums(block: &[u8; BLOCK_BYTES]) -> (u32, i32) {
    let (mut unsigned, mut signed) = (0u32, 0i32);
    for (at, byte) in block.iter().enumerate() {
        let in_field = (CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1).contains(&at);
        let byte = if in_field { b' ' } else { *byte };
        unsigned += u32::from(byte);
        signed += i32::from(i8::from_ne_bytes([byte]));
    }
    (unsigned, signed)
}

/// The checksum a header must carry.
pub(super) fn checksum(block: &[u8; BLOCK_BYTES]) -> u32 {
    checksums(block).0
}

fn number(field: &[u8]) -> Option<i128> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

/// Octal digits between spaces and NULs; an empty field is zero.
fn octal(field: &[u8]) -> Option<i128> {
    let digits = field.trim_ascii_start();
    let end = digits
        .iter()
        .position(|b| matches!(b, 0 | b' '))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0i128, |value, byte| match byte {
        b'0'..=b'7' => Some(value * 8 + i128::from(byte - b'0')),
        _ => None,
    })
}

/// GNU's base-256: two's complement, big endian, the top bit a marker.
fn base_256(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let mut value = i128::from(first & 0x3f);
    if negative {
        value -= 0x40;
    }
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    Some(value)
}
