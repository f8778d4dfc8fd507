//! Writes entries. The same entries always give the same bytes.

use std::{
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt as _,
};

use super::{BLOCK_BYTES, Entry, Kind};

/// Largest numbers that the octal digits of a header hold.
const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;
const OCTAL_ID_MAX: u32 = 0o7_777_777;
/// Longest name of a header.
const NAME_BYTES_MAX: usize = 100;

/// An archive being written to `out`.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Appends an entry; `content` is read for files only.
    ///
    /// # Errors
    /// When the output fails or the content is shorter than was said. The
    /// archive is unusable then.
    pub fn append(&mut self, entry: &Entry, content: impl Read) -> io::Result<()> {
        let mut path = entry.path.as_os_str().as_bytes().to_vec();
        let (flag, size, link) = match &entry.kind {
            Kind::Directory => {
                path.push(b'/');
                (b'5', 0, None)
            }
            Kind::File => (b'0', entry.size_bytes, None),
            Kind::Symlink(target) => (b'2', 0, Some(target)),
            Kind::Hardlink(target) => (b'1', 0, Some(target)),
            Kind::Special => return Ok(()),
        };
        let link = link.map_or(&[][..], |target| target.as_os_str().as_bytes());
        let mut records = Vec::new();
        if path.len() > NAME_BYTES_MAX {
            record(&mut records, "path", &path);
        }
        if link.len() > NAME_BYTES_MAX {
            record(&mut records, "linkpath", link);
        }
        for (key, value, max) in [
            ("size", size, OCTAL_SIZE_MAX),
            ("uid", u64::from(entry.uid), u64::from(OCTAL_ID_MAX)),
            ("gid", u64::from(entry.gid), u64::from(OCTAL_ID_MAX)),
        ] {
            if value > max {
                record(&mut records, key, value.to_string().as_bytes());
            }
        }
        if !records.is_empty() {
            let extension = Entry {
                path: "pax".into(),
                kind: Kind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 0,
                size_bytes: records.len() as u64,
            };
            self.out
                .write_all(&header(&extension, b"pax", b'x', extension.size_bytes, &[]))?;
            self.out.write_all(&records)?;
            self.pad(extension.size_bytes)?;
        }
        self.out
            .write_all(&header(entry, &path, flag, size, link))?;
        if size > 0 {
            let copied = io::copy(&mut content.take(size), &mut self.out)?;
            if copied != size {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} became shorter while it was read", entry.path.display()),
                ));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// Writes the end of the archive.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        match (written % BLOCK_BYTES as u64) as usize {
            0 => Ok(()),
            over => self.out.write_all(&[0; BLOCK_BYTES][over..]),
        }
    }
}

fn header(entry: &Entry, path: &[u8], flag: u8, size: u64, link: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let id = |id: u32| u64::from(if id > OCTAL_ID_MAX { 0 } else { id });
    let mtime = u64::try_from(entry.mtime).unwrap_or(0);
    put(&mut block[..100], path);
    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    octal(&mut block[108..116], id(entry.uid));
    octal(&mut block[116..124], id(entry.gid));
    octal(
        &mut block[124..136],
        if size > OCTAL_SIZE_MAX { 0 } else { size },
    );
    octal(&mut block[136..148], mtime.min(OCTAL_SIZE_MAX));
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
    put(
        &mut field[..digits],
        format!("{value:0digits$o}").as_bytes(),
    );
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
#[path = "writer/tests.rs"]
mod tests;
