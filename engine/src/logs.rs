//! Reading a container's log: the json-file and its rotated predecessors.
//!
//! The monitor writes `container.log` and rotates it to `container.log.1`,
//! `.2` and so on. A reader starts at the first record wanted (found from the
//! end, so a tail of a huge log costs what it shows), walks the files oldest
//! first, and stays with the newest across rotations. Blocking; the async side
//! reads batches on the blocking pool and waits for changes with inotify.

mod follow;
mod tail;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::OffsetDateTime;

use crate::clock;

pub(crate) use follow::Changes;

/// Rotated files looked for at most.
const FILES_MAX: u32 = 1000;
/// Longest line; the monitor writes far shorter ones, so a longer one is damage.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogQuery {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) until: Option<OffsetDateTime>,
    /// The last so many records; `None` is all.
    pub(crate) tail: Option<u64>,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// As written: RFC 3339 with nanoseconds.
    pub(crate) time: String,
    pub(crate) stderr: bool,
    pub(crate) data: Vec<u8>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

/// Reads records in order.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    query: LogQuery,
    /// Rotated files still to read, oldest first.
    older: VecDeque<File>,
    /// The file being read and its inode.
    current: Option<(BufReader<File>, u64)>,
    /// Beginning of a line whose end is not written yet.
    partial: Vec<u8>,
    done: bool,
}

impl LogReader {
    /// Opens the log at `path`; one that does not exist yet is empty.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn open(path: &Path, query: LogQuery) -> io::Result<Self> {
        let mut files = Vec::new();
        if let Some(file) = open(path)? {
            files.push(file);
            for number in 1..FILES_MAX {
                match open(&rotated(path, number))? {
                    Some(file) => files.push(file),
                    None => break,
                }
            }
        }
        if let Some(records) = query.tail {
            tail::seek(&mut files, records)?;
        }
        files.reverse();
        let mut reader = Self {
            path: path.to_owned(),
            query,
            older: files.into(),
            current: None,
            partial: Vec::new(),
            done: false,
        };
        reader.next_file()?;
        Ok(reader)
    }

    /// Records that are there now, at most about `bytes_max`; none at the end.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn batch(&mut self, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max && !self.done {
            let Some(line) = self.line()? else { break };
            if let Some(record) = self.select(&line) {
                bytes += record.data.len() + 64;
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Nothing later can be wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The next whole line, without its end; `None` when there is none yet.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some((file, inode)) = &mut self.current else {
                // The log did not exist when it was opened.
                match open(&self.path)? {
                    Some(file) => {
                        self.current = Some(wrap(file)?);
                        continue;
                    }
                    None => return Ok(None),
                }
            };
            let count = file.read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if self.partial.len() > LINE_BYTES_MAX {
                self.partial.clear();
            }
            if count > 0 {
                continue;
            }
            let inode = *inode;
            if !self.older.is_empty() {
                self.partial.clear();
                self.next_file()?;
            } else if !self.rotated_away(inode)? {
                return Ok(None);
            }
        }
    }

    /// Whether the file being read is no longer the newest; its successors are
    /// then queued. What was written before the rotation is read first.
    fn rotated_away(&mut self, inode: u64) -> io::Result<bool> {
        let newest = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if newest == inode {
            return Ok(false);
        }
        if let Some((file, _)) = &mut self.current
            && file.read_until(b'\n', &mut self.partial)? > 0
        {
            return Ok(true);
        }
        self.older.clear();
        if let Some(file) = open(&self.path)? {
            self.older.push_front(file);
        }
        for number in 1..FILES_MAX {
            match open(&rotated(&self.path, number))? {
                Some(file) if file.metadata()?.ino() != inode => self.older.push_front(file),
                _ => break,
            }
        }
        self.partial.clear();
        self.next_file()?;
        Ok(true)
    }

    fn next_file(&mut self) -> io::Result<()> {
        if let Some(file) = self.older.pop_front() {
            self.current = Some(wrap(file)?);
        }
        Ok(())
    }

    /// The record of a line, if the query wants it. Damaged lines are skipped.
    fn select(&mut self, line: &[u8]) -> Option<Record> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let stderr = line.stream == "stderr";
        if self.query.since.is_some() || self.query.until.is_some() {
            let at = clock::parse_rfc3339(&line.time)?;
            if self.query.until.is_some_and(|until| at > until) {
                self.done = true;
                return None;
            }
            if self.query.since.is_some_and(|since| at < since) {
                return None;
            }
        }
        let wanted = if stderr {
            self.query.stderr
        } else {
            self.query.stdout
        };
        wanted.then(|| Record {
            time: line.time.into_owned(),
            stderr,
            data: line.log.into_owned().into_bytes(),
        })
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the position that `tail` chose.
fn wrap(mut file: File) -> io::Result<(BufReader<File>, u64)> {
    let inode = file.metadata()?.ino();
    let at = file.stream_position()?;
    file.seek(SeekFrom::Start(at))?;
    Ok((BufReader::with_capacity(64 * 1024, file), inode))
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
