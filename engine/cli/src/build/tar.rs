//! Writes tar archives: POSIX ustar with pax records for what does not fit.
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange
//! Format". The same entries always give the same bytes: owners are not sent,
//! times are whole seconds.

use std::io::{self, Read, Write};

const BLOCK_BYTES: usize = 512;
/// Largest size that twelve octal digits of a header hold.
const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;
/// Longest name of a header.
const NAME_BYTES_MAX: usize = 100;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Directory,
    /// Size in bytes.
    File(u64),
    Symlink(&'a [u8]),
}

/// One entry's metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Relative, without a slash at either end.
    pub(super) path: &'a [u8],
    pub(super) mode: u32,
    /// Seconds since the epoch; earlier times are sent as the epoch.
    pub(super) mtime: i64,
    pub(super) kind: Kind<'a>,
}

/// An archive being written to `out`.
#[derive(Debug)]
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Appends an entry; `content` is read for files only.
    ///
    /// # Errors
    /// When the output fails, or the file has less content than was said:
    /// the archive is unusable then.
    pub(super) fn append(&mut self, entry: Entry<'_>, content: impl Read) -> io::Result<()> {
        let mut path = entry.path.to_vec();
        let (flag, size, link) = match entry.kind {
            Kind::Directory => {
                path.push(b'/');
                (b'5', 0, &[][..])
            }
            Kind::File(size) => (b'0', size, &[][..]),
            Kind::Symlink(target) => (b'2', 0, target),
        };
        let mut records = Vec::new();
        if path.len() > NAME_BYTES_MAX {
            record(&mut records, "path", &path);
        }
        if link.len() > NAME_BYTES_MAX {
            record(&mut records, "linkpath", link);
        }
        if size > OCTAL_SIZE_MAX {
            record(&mut records, "size", size.to_string().as_bytes());
        }
        if !records.is_empty() {
            let length = records.len() as u64;
            let head = header(b"pax", b'x', 0o644, 0, length, &[]);
            self.out.write_all(&head)?;
            self.out.write_all(&records)?;
            self.pad(length)?;
        }
        let header_size = if size > OCTAL_SIZE_MAX { 0 } else { size };
        let head = header(&path, flag, entry.mode, entry.mtime, header_size, link);
        self.out.write_all(&head)?;
        if size > 0 {
            let copied = io::copy(&mut content.take(size), &mut self.out)?;
            if copied != size {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter while it was read",
                ));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let over = (written % BLOCK_BYTES as u64) as usize;
        match over {
            0 => Ok(()),
            over => self.out.write_all(&[0; BLOCK_BYTES][over..]),
        }
    }
}

fn header(
    path: &[u8],
    flag: u8,
    mode: u32,
    mtime: i64,
    size: u64,
    link: &[u8],
) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block[..100], path);
    octal(&mut block[100..108], u64::from(mode & 0o7777));
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(
        &mut block[136..148],
        u64::try_from(mtime).unwrap_or(0).min(OCTAL_SIZE_MAX),
    );
    block[148..156].fill(b' ');
    block[156] = flag;
    put(&mut block[157..257], link);
    put(&mut block[257..265], b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits and a NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    put(&mut field[..digits], text.as_bytes());
}

/// `length key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
#[path = "tar/tests.rs"]
mod tests;
