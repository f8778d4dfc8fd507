//! A tar writer whose bytes depend on the entries alone.
//!
//! Ustar where a value fits, else one PAX header with the records that do not,
//! in a fixed order. Times are whole seconds: what a layer's history of
//! nanoseconds would add is a PAX header for every file.

use std::{
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt as _,
};

use super::{
    BLOCK_BYTES, Entry, EntryKind, LayerError,
    header::{
        CHECKSUM, GID, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, PREFIX, SIZE, TYPE, UID,
        checksum,
    },
};

const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// Writes entries to `out` in the order they are given.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            buffer: vec![0; COPY_BUFFER_BYTES],
        }
    }

    /// Writes one entry and, for a regular file, [`Entry::size_bytes`] bytes of
    /// `content`.
    ///
    /// # Errors
    /// [`LayerError::Source`] when the content ends early, [`LayerError::Sink`].
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), LayerError> {
        let header = encode(entry);
        self.out.write_all(&header).map_err(LayerError::Sink)?;
        if entry.kind == EntryKind::Regular {
            self.copy(entry.size_bytes, content)?;
        }
        Ok(())
    }

    /// Writes the end-of-archive marker and gives the output back.
    pub fn finish(mut self) -> Result<W, LayerError> {
        self.out
            .write_all(&[0; 2 * BLOCK_BYTES])
            .map_err(LayerError::Sink)?;
        Ok(self.out)
    }

    fn copy(&mut self, size: u64, content: &mut dyn Read) -> Result<(), LayerError> {
        let mut left = size;
        while left > 0 {
            let step =
                usize::try_from(left).map_or(COPY_BUFFER_BYTES, |l| l.min(COPY_BUFFER_BYTES));
            let length = match content.read(&mut self.buffer[..step]) {
                Ok(0) => {
                    return Err(LayerError::Source(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file shrank while it was read",
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(LayerError::Source)?,
            };
            self.out
                .write_all(&self.buffer[..length])
                .map_err(LayerError::Sink)?;
            left -= length as u64;
        }
        let block = BLOCK_BYTES as u64;
        let padding = usize::try_from((block - size % block) % block).expect("below one block");
        self.out
            .write_all(&[0; BLOCK_BYTES][..padding])
            .map_err(LayerError::Sink)
    }
}

/// The header blocks of an entry: PAX first if anything does not fit ustar.
fn encode(entry: &Entry) -> Vec<u8> {
    let mut block = [0; BLOCK_BYTES];
    let mut records = Vec::new();
    let mut path = entry.path.as_os_str().as_bytes().to_vec();
    if path.is_empty() {
        path.extend_from_slice(b".");
    }
    if entry.kind == EntryKind::Directory {
        path.push(b'/');
    }
    put_path(&mut block, &path, &mut records);
    let (flag, link, device) = type_of(&entry.kind);
    block[TYPE] = flag;
    if link.len() > LINK.1 {
        record(&mut records, b"linkpath", link);
    }
    put(&mut block, LINK, &link[..link.len().min(LINK.1)]);
    put_number(&mut block, MODE, i128::from(entry.mode), b"", &mut records);
    put_number(&mut block, UID, i128::from(entry.uid), b"uid", &mut records);
    put_number(&mut block, GID, i128::from(entry.gid), b"gid", &mut records);
    let size = match entry.kind {
        EntryKind::Regular => entry.size_bytes,
        _ => 0,
    };
    put_number(&mut block, SIZE, i128::from(size), b"size", &mut records);
    let mtime = i128::from(entry.mtime.sec);
    put_number(&mut block, MTIME, mtime, b"mtime", &mut records);
    if let Some((major, minor)) = device {
        put_number(&mut block, MAJOR, i128::from(major), b"", &mut records);
        put_number(&mut block, MINOR, i128::from(minor), b"", &mut records);
    }
    for (name, value) in &entry.xattrs {
        let key = [b"SCHILY.xattr.", name.as_slice()].concat();
        record(&mut records, &key, value);
    }
    seal(&mut block);
    let mut blocks = Vec::with_capacity(BLOCK_BYTES);
    if !records.is_empty() {
        blocks.extend_from_slice(&extension(&records));
        blocks.extend_from_slice(&records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    blocks.extend_from_slice(&block);
    blocks
}

fn type_of(kind: &EntryKind) -> (u8, &[u8], Option<(u32, u32)>) {
    match kind {
        EntryKind::Regular => (b'0', b"", None),
        EntryKind::HardLink(target) => (b'1', target.as_os_str().as_bytes(), None),
        EntryKind::Symlink(target) => (b'2', target.as_os_str().as_bytes(), None),
        EntryKind::CharDevice { major, minor } => (b'3', b"", Some((*major, *minor))),
        EntryKind::BlockDevice { major, minor } => (b'4', b"", Some((*major, *minor))),
        EntryKind::Directory => (b'5', b"", None),
        EntryKind::Fifo => (b'6', b"", None),
    }
}

/// The header that announces PAX records.
fn extension(records: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block, NAME, b"PaxHeaders.0/entry");
    block[TYPE] = b'x';
    let mut none = Vec::new();
    for at in [MODE, UID, GID, MTIME] {
        put_number(&mut block, at, 0, b"", &mut none);
    }
    put_number(&mut block, SIZE, records.len() as i128, b"", &mut none);
    seal(&mut block);
    block
}

/// Name, or prefix and name split at a slash, or a PAX record.
fn put_path(block: &mut [u8; BLOCK_BYTES], path: &[u8], records: &mut Vec<u8>) {
    if path.len() <= NAME.1 {
        put(block, NAME, path);
        return;
    }
    // The last slash that leaves a prefix that fits; a directory's own final
    // slash stays with the name.
    let split = path[..path.len() - 1]
        .iter()
        .take(PREFIX.1 + 1)
        .rposition(|b| *b == b'/')
        .filter(|at| *at > 0 && path.len() - at - 1 <= NAME.1);
    match split {
        Some(at) => {
            put(block, PREFIX, &path[..at]);
            put(block, NAME, &path[at + 1..]);
        }
        None => {
            record(records, b"path", path);
            put(block, NAME, &path[..NAME.1]);
        }
    }
}

/// Octal digits and a NUL, or a PAX record and zero.
fn put_number(
    block: &mut [u8; BLOCK_BYTES],
    at: (usize, usize),
    value: i128,
    key: &[u8],
    records: &mut Vec<u8>,
) {
    let digits = at.1 - 1;
    let mut text = format!("{value:0digits$o}");
    if value < 0 || text.len() > digits {
        if !key.is_empty() {
            record(records, key, value.to_string().as_bytes());
        }
        text = "0".repeat(digits);
    }
    put(block, at, text.as_bytes());
}

fn put(block: &mut [u8; BLOCK_BYTES], (start, length): (usize, usize), value: &[u8]) {
    debug_assert!(value.len() <= length, "the value fits its field");
    block[start..start + value.len()].copy_from_slice(value);
}

fn seal(block: &mut [u8; BLOCK_BYTES]) {
    put(block, MAGIC, b"ustar\x0000");
    let sum = format!("{:06o}\0 ", checksum(block));
    put(block, CHECKSUM, sum.as_bytes());
}

/// `"%d %s=%s\n"`, the length counting its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
