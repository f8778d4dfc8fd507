//! Reads entries of an archive that cannot be trusted.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use super::{BLOCK_BYTES, Entry, Kind};

/// Largest pax or GNU extension that is accepted.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// What the extensions before a header say about the entry.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
}

/// The entries of an archive, in order. [`Read`] gives the content of the
/// entry that came last.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    /// Content of the current entry that was not read yet, and its padding.
    content_left_bytes: u64,
    padding_bytes: u64,
}

fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive is damaged: {}", message.into()),
    )
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            content_left_bytes: 0,
            padding_bytes: 0,
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// A damaged header, a number out of range, or a failing input.
    pub(super) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            check_sum(&block)?;
            let size = number(&block[124..136])?;
            match block[156] {
                b'x' => {
                    let text = self.extension(size)?;
                    pax(&text, &mut extensions)?;
                }
                // Global: nothing in it concerns an entry of ours.
                b'g' => {
                    self.extension(size)?;
                }
                b'L' => extensions.path = Some(text_of(&self.extension(size)?).to_vec()),
                b'K' => extensions.link = Some(text_of(&self.extension(size)?).to_vec()),
                flag => return self.entry(&block, flag, size, extensions).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        flag: u8,
        size: u64,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let path = extensions.path.unwrap_or_else(|| ustar_path(block));
        let link = extensions
            .link
            .unwrap_or_else(|| text_of(&block[157..257]).to_vec());
        let to_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let small = |field: &[u8]| {
            u32::try_from(number(field)?).map_err(|_| bad("an owner or mode is out of range"))
        };
        let kind = match flag {
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::Hardlink(to_path(&link)),
            b'2' => Kind::Symlink(to_path(&link)),
            b'5' => Kind::Directory,
            b'3' | b'4' | b'6' => Kind::Special,
            other => return Err(bad(format!("an entry of unknown type {other:?}"))),
        };
        let size = match kind {
            Kind::File => extensions.size.unwrap_or(size),
            _ => 0,
        };
        self.content_left_bytes = size;
        self.padding_bytes = padding(size);
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => i64::try_from(number(&block[136..148])?).unwrap_or(0),
        };
        Ok(Entry {
            path: to_path(&path),
            kind,
            mode: small(&block[100..108])? & 0o7777,
            uid: match extensions.uid {
                Some(uid) => uid,
                None => small(&block[108..116])?,
            },
            gid: match extensions.gid {
                Some(gid) => gid,
                None => small(&block[116..124])?,
            },
            mtime,
            size_bytes: size,
        })
    }

    /// A block; `None` at the end of the archive or of the input.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK_BYTES]>> {
        let mut block = [0; BLOCK_BYTES];
        let mut have = 0;
        while have < BLOCK_BYTES {
            match self.input.read(&mut block[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(bad("it ends in a header")),
                len => have += len,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            // The rest is padding; reading it lets the sender finish.
            io::copy(&mut self.input, &mut io::sink())?;
            return Ok(None);
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return Err(bad("an extension is larger than 1 MiB"));
        }
        let mut text = vec![0; size as usize];
        self.input.read_exact(&mut text)?;
        self.content_left_bytes = 0;
        self.padding_bytes = padding(size);
        Ok(text)
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.content_left_bytes + self.padding_bytes;
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink())?;
        if skipped < left {
            return Err(bad("it ends in the content of a file"));
        }
        self.content_left_bytes = 0;
        self.padding_bytes = 0;
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.content_left_bytes).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let len = self.input.read(&mut buffer[..want])?;
        if len == 0 {
            return Err(bad("it ends in the content of a file"));
        }
        self.content_left_bytes -= len as u64;
        Ok(len)
    }
}

fn padding(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    (block - size % block) % block
}

fn check_sum(block: &[u8; BLOCK_BYTES]) -> io::Result<()> {
    let mut sum = 0_u64;
    for (at, byte) in block.iter().enumerate() {
        sum += u64::from(if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        });
    }
    if number(&block[148..156])? == sum {
        Ok(())
    } else {
        Err(bad("the checksum of a header is wrong"))
    }
}

/// Octal digits, or GNU's big-endian binary with the top bit set.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value
                .checked_mul(256)
                .map(|value| value | u64::from(*byte))
                .ok_or_else(|| bad("a number is out of range"))?;
        }
        if field[0] & 0x40 != 0 || i64::try_from(value).is_err() {
            return Err(bad("a number is negative or out of range"));
        }
        return Ok(value);
    }
    let text = text_of(field).trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    let mut value = 0_u64;
    for byte in text {
        match byte {
            b'0'..=b'7' => value = (value << 3) | u64::from(byte - b'0'),
            _ => return Err(bad("a number is not octal")),
        }
    }
    Ok(value)
}

fn text_of(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

fn ustar_path(block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = text_of(&block[..100]);
    let prefix = text_of(&block[345..500]);
    // GNU's old format uses these bytes otherwise and has another magic.
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

fn pax(mut text: &[u8], extensions: &mut Extensions) -> io::Result<()> {
    while !text.is_empty() {
        let broken = || bad("a pax record is broken");
        let space = text.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let length: usize = std::str::from_utf8(&text[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(broken)?;
        if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &text[space + 1..length - 1];
        text = &text[length..];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let digits = || std::str::from_utf8(value).map_err(|_| broken());
        match key {
            b"path" => extensions.path = Some(value.to_vec()),
            b"linkpath" => extensions.link = Some(value.to_vec()),
            b"size" => extensions.size = Some(digits()?.parse().map_err(|_| broken())?),
            b"uid" => extensions.uid = Some(digits()?.parse().map_err(|_| broken())?),
            b"gid" => extensions.gid = Some(digits()?.parse().map_err(|_| broken())?),
            b"mtime" => {
                let whole = digits()?.split('.').next().unwrap_or("0");
                extensions.mtime = Some(whole.parse().map_err(|_| broken())?);
            }
            _ => {}
        }
    }
    if extensions
        .size
        .is_some_and(|size| i64::try_from(size).is_err())
    {
        return Err(bad("a size is out of range"));
    }
    Ok(())
}
