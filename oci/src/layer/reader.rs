//! A streaming tar reader that refuses what tar readers disagree about.
//!
//! Owns the position in the stream and nothing else. Memory is bounded by the
//! buffer plus two extended headers of [`Limits::record_bytes_max`].

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Read},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use super::{
    BLOCK_BYTES, Entry, EntryKind, LayerError, Limits, Mtime,
    error::shown,
    header::{self, Header},
    pax::Pax,
};

const BUFFER_BYTES: usize = 128 * 1024;

/// Reads entries one by one; between two calls of [`TarReader::next_entry`] the
/// reader itself yields the content of the current one.
#[derive(Debug)]
pub struct TarReader<R> {
    input: BufReader<R>,
    limits: Limits,
    offset: u64,
    /// Content of the current entry not yet read, and its padding.
    content: u64,
    padding: u64,
    entries: u64,
    global: Pax,
    ended: bool,
}

/// Extended headers met before the entry they belong to.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

impl<R: Read> TarReader<R> {
    /// `input` yields the uncompressed archive.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            limits,
            offset: 0,
            content: 0,
            padding: 0,
            entries: 0,
            global: Pax::default(),
            ended: false,
        }
    }

    /// Skips what is left of the current entry and reads the next header.
    /// `None` after the end-of-archive marker, when the input has been read to
    /// its end: a hash over it is then complete.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        if self.ended {
            return Ok(None);
        }
        self.skip_entry()?;
        let mut extensions = Extensions::default();
        loop {
            let offset = self.offset;
            let block = self.block("a header")?;
            if block == [0; BLOCK_BYTES] {
                self.end(offset, &extensions)?;
                return Ok(None);
            }
            let header = Header::parse(&block)
                .map_err(|problem| LayerError::BadHeader { offset, problem })?;
            if self.extension(&header, &mut extensions, offset)? {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries_max {
                return Err(LayerError::TooLarge {
                    what: "entries",
                    limit: self.limits.entries_max,
                });
            }
            let entry = self.entry(&header, extensions, offset)?;
            self.content = entry.size_bytes;
            self.padding = padding(entry.size_bytes);
            return Ok(Some(entry));
        }
    }

    /// The input, wherever it stands.
    pub fn into_inner(self) -> R {
        self.input.into_inner()
    }

    /// Takes an extension header into `extensions`. False for a real entry.
    fn extension(
        &mut self,
        header: &Header<'_>,
        extensions: &mut Extensions,
        offset: u64,
    ) -> Result<bool, LayerError> {
        let twice = || LayerError::BadHeader {
            offset,
            problem: "two extended headers of one kind precede an entry",
        };
        match header.type_flag() {
            b'x' => {
                let pax = self.pax(header, offset)?;
                if extensions.pax.replace(pax).is_some() {
                    return Err(twice());
                }
            }
            b'g' => {
                let global = self.pax(header, offset)?;
                if global.changes_identity() {
                    return Err(LayerError::BadRecord {
                        offset,
                        problem: "a global header sets path, linkpath, size or attributes, which tar readers understand differently",
                    });
                }
                self.global = global.over(&self.global);
            }
            b'L' => {
                let name = self.long_text(header, offset)?;
                if extensions.long_name.replace(name).is_some() {
                    return Err(twice());
                }
            }
            b'K' => {
                let link = self.long_text(header, offset)?;
                if extensions.long_link.replace(link).is_some() {
                    return Err(twice());
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pax(&mut self, header: &Header<'_>, offset: u64) -> Result<Pax, LayerError> {
        let data = self.record(header, offset)?;
        Pax::parse(&data, &self.limits).map_err(|problem| LayerError::BadRecord { offset, problem })
    }

    /// The text of a GNU long-name record, which ends in a NUL.
    fn long_text(&mut self, header: &Header<'_>, offset: u64) -> Result<Vec<u8>, LayerError> {
        let mut data = self.record(header, offset)?;
        let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
        if end == 0 || data[end..].iter().any(|b| *b != 0) {
            return Err(LayerError::BadRecord {
                offset,
                problem: "a long name is empty or holds a NUL",
            });
        }
        data.truncate(end);
        Ok(data)
    }

    /// The body of an extension header.
    fn record(&mut self, header: &Header<'_>, offset: u64) -> Result<Vec<u8>, LayerError> {
        let size = header
            .number(header::SIZE)
            .and_then(|size| u64::try_from(size).ok())
            .ok_or(LayerError::BadHeader {
                offset,
                problem: "the size is not a number or is negative",
            })?;
        if size > self.limits.record_bytes_max {
            return Err(LayerError::TooLarge {
                what: "bytes in an extended header",
                limit: self.limits.record_bytes_max,
            });
        }
        let length = usize::try_from(size).expect("the limit of records fits in memory");
        let mut data = vec![0; length];
        self.fill(&mut data, "an extended header")?;
        self.skip(padding(size), "an extended header")?;
        Ok(data)
    }

    fn entry(
        &self,
        header: &Header<'_>,
        extensions: Extensions,
        offset: u64,
    ) -> Result<Entry, LayerError> {
        let pax = extensions.pax.unwrap_or_default().over(&self.global);
        let raw_name = match (pax.path, extensions.long_name) {
            (Some(name), Some(_)) => {
                return Err(LayerError::Ambiguous {
                    name: shown(&name),
                    problem: "it has a PAX and a GNU long name",
                });
            }
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => header.path(),
        };
        let raw_link = match (pax.link, extensions.long_link) {
            (Some(_), Some(_)) => {
                return Err(LayerError::Ambiguous {
                    name: shown(&raw_name),
                    problem: "it has a PAX and a GNU long link target",
                });
            }
            (Some(link), None) | (None, Some(link)) => link,
            (None, None) => header.link(),
        };
        if pax.sparse {
            return Err(LayerError::Sparse {
                name: shown(&raw_name),
            });
        }
        let fields = Fields {
            name: &raw_name,
            offset,
            header,
        };
        let size = fields.ranged("size", pax.size, header::SIZE, 0, i64::MAX.into())?;
        let kind = self.kind(&fields, &raw_link, size)?;
        let path = self.own_name(&raw_name)?;
        if path.as_os_str().is_empty() && kind != EntryKind::Directory {
            return Err(LayerError::BadName {
                name: shown(&raw_name),
                problem: "only a directory can be the root of the layer",
            });
        }
        // 4294967295 is "leave unchanged" to chown(2).
        let id_max = i128::from(u32::MAX) - 1;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Mtime {
                sec: fields.ranged(
                    "mtime",
                    None,
                    header::MTIME,
                    i64::MIN.into(),
                    i64::MAX.into(),
                )?,
                nsec: 0,
            },
        };
        let mode: u64 = fields.ranged("mode", None, header::MODE, 0, i64::MAX.into())?;
        Ok(Entry {
            path,
            mode: u32::try_from(mode & 0o7777).expect("twelve bits"),
            uid: fields.ranged("uid", pax.uid, header::UID, 0, id_max)?,
            gid: fields.ranged("gid", pax.gid, header::GID, 0, id_max)?,
            mtime,
            size_bytes: if kind == EntryKind::Regular { size } else { 0 },
            kind,
            xattrs: pax.xattrs,
        })
    }

    fn kind(
        &self,
        fields: &Fields<'_>,
        raw_link: &[u8],
        size: u64,
    ) -> Result<EntryKind, LayerError> {
        let unsupported = |hint| LayerError::UnsupportedType {
            name: shown(fields.name),
            kind: char::from(fields.header.type_flag()),
            hint,
        };
        let kind = match fields.header.type_flag() {
            // Before POSIX a directory was a file whose name ends in a slash.
            b'0' | 0 | b'7' if fields.name.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => return Ok(EntryKind::Regular),
            b'1' => EntryKind::HardLink(self.link_target(raw_link, fields.name)?),
            b'2' => EntryKind::Symlink(self.symlink_target(raw_link, fields.name)?),
            b'3' => {
                let (major, minor) = fields.device()?;
                EntryKind::CharDevice { major, minor }
            }
            b'4' => {
                let (major, minor) = fields.device()?;
                EntryKind::BlockDevice { major, minor }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => {
                return Err(LayerError::Sparse {
                    name: shown(fields.name),
                });
            }
            b'M' => return Err(unsupported("; join the volumes first")),
            b'D' => return Err(unsupported("; write the archive without --incremental")),
            _ => return Err(unsupported("")),
        };
        if size > 0 {
            return Err(LayerError::Ambiguous {
                name: shown(fields.name),
                problem: "it is no regular file and yet has content",
            });
        }
        Ok(kind)
    }

    fn symlink_target(&self, target: &[u8], name: &[u8]) -> Result<PathBuf, LayerError> {
        let problem = if target.is_empty() {
            "the link target is empty"
        } else if target.len() > self.limits.path_bytes_max {
            "the link target is too long"
        } else {
            return Ok(PathBuf::from(OsStr::from_bytes(target)));
        };
        Err(LayerError::BadName {
            name: shown(name),
            problem,
        })
    }

    fn own_name(&self, name: &[u8]) -> Result<PathBuf, LayerError> {
        let problem = if name.is_empty() {
            "the name is empty"
        } else if name.starts_with(b"/") {
            "the name is absolute; write the archive relative to its root"
        } else {
            return self.clean(name, name);
        };
        Err(LayerError::BadName {
            name: shown(name),
            problem,
        })
    }

    /// Targets of hard links may be absolute: they mean the root of the layer.
    fn link_target(&self, target: &[u8], name: &[u8]) -> Result<PathBuf, LayerError> {
        let target = self.clean(target, name)?;
        if target.as_os_str().is_empty() {
            return Err(LayerError::BadName {
                name: shown(name),
                problem: "the target of the hard link is empty or the root",
            });
        }
        Ok(target)
    }

    /// Drops `.` and empty components, and refuses what no honest archive needs.
    fn clean(&self, path: &[u8], name: &[u8]) -> Result<PathBuf, LayerError> {
        let bad = |problem| LayerError::BadName {
            name: shown(name),
            problem,
        };
        if path.len() > self.limits.path_bytes_max {
            return Err(bad("the path is too long"));
        }
        let mut clean = PathBuf::new();
        let mut depth = 0;
        for component in path.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(bad("the path contains `..`")),
                long if long.len() > self.limits.name_bytes_max => {
                    return Err(bad("a component of the path is too long"));
                }
                component => clean.push(OsStr::from_bytes(component)),
            }
            depth += 1;
        }
        if depth > self.limits.depth_max {
            return Err(bad("the path has too many components"));
        }
        Ok(clean)
    }

    /// After the first zero block: a second one, or the end of the input.
    fn end(&mut self, offset: u64, extensions: &Extensions) -> Result<(), LayerError> {
        if !extensions.is_empty() {
            return Err(LayerError::BadHeader {
                offset,
                problem: "an extended header is not followed by its entry",
            });
        }
        let mut second = [0; BLOCK_BYTES];
        let length = self.fill_some(&mut second)?;
        if second[..length].iter().any(|b| *b != 0) {
            return Err(LayerError::BadHeader {
                offset,
                problem: "a lone block of zeros stands between entries",
            });
        }
        // What follows the marker is padding to every tar reader, but it is
        // part of what was hashed.
        loop {
            let length = self.input.fill_buf().map_err(LayerError::from_io)?.len();
            if length == 0 {
                break;
            }
            self.input.consume(length);
        }
        self.ended = true;
        Ok(())
    }

    fn skip_entry(&mut self) -> Result<(), LayerError> {
        let left = std::mem::take(&mut self.content) + std::mem::take(&mut self.padding);
        self.skip(left, "an entry's content")
    }

    fn skip(&mut self, mut left: u64, what: &'static str) -> Result<(), LayerError> {
        while left > 0 {
            let available = self.input.fill_buf().map_err(LayerError::from_io)?.len();
            if available == 0 {
                return Err(LayerError::Truncated(what));
            }
            let step = usize::try_from(left).map_or(available, |left| left.min(available));
            self.input.consume(step);
            self.offset += step as u64;
            left -= step as u64;
        }
        Ok(())
    }

    fn block(&mut self, what: &'static str) -> Result<[u8; BLOCK_BYTES], LayerError> {
        let mut block = [0; BLOCK_BYTES];
        self.fill(&mut block, what)?;
        Ok(block)
    }

    fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), LayerError> {
        if self.fill_some(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(LayerError::Truncated(what))
        }
    }

    /// Reads until the buffer is full or the input ends.
    fn fill_some(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let mut length = 0;
        while length < buffer.len() {
            match self.input.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::from_io(error)),
            }
        }
        self.offset += length as u64;
        Ok(length)
    }
}

/// Yields the content of the current entry, then 0.
///
/// # Errors
/// An `io::Error` that carries a [`LayerError`]; see [`LayerError::from_io`].
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.content).map_or(buffer.len(), |c| c.min(buffer.len()));
        if length == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(LayerError::Truncated("an entry's content").into());
        }
        self.content -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A header with what errors about it need.
struct Fields<'a> {
    name: &'a [u8],
    offset: u64,
    header: &'a Header<'a>,
}

impl Fields<'_> {
    /// The PAX value, else the header's, within bounds and as a `T`.
    fn ranged<T: TryFrom<i128>>(
        &self,
        field: &'static str,
        pax: Option<i128>,
        at: (usize, usize),
        min: i128,
        max: i128,
    ) -> Result<T, LayerError> {
        let value = match pax {
            Some(value) => value,
            None => self.header.number(at).ok_or(LayerError::BadHeader {
                offset: self.offset,
                problem: "a numeric field is neither octal nor base-256",
            })?,
        };
        let out_of_range = || LayerError::OutOfRange {
            name: shown(self.name),
            field,
            value,
        };
        if value < min || value > max {
            return Err(out_of_range());
        }
        T::try_from(value).map_err(|_| out_of_range())
    }

    fn device(&self) -> Result<(u32, u32), LayerError> {
        let (major, minor) = self.header.device().ok_or(LayerError::BadHeader {
            offset: self.offset,
            problem: "a device number is neither octal nor base-256",
        })?;
        // 12 and 20 bits: the width of dev_t inside Linux.
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major @ ..=0xfff), Ok(minor @ ..=0xf_ffff)) => Ok((major, minor)),
            _ => Err(LayerError::OutOfRange {
                name: shown(self.name),
                field: "device number",
                value: major.max(minor),
            }),
        }
    }
}

/// Bytes up to the next block.
fn padding(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    (block - size % block) % block
}

#[cfg(test)]
#[path = "reader/tests.rs"]
mod tests;
