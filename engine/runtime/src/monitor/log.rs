//! Docker's json-file log, written by the monitor itself.
//!
//! One object per line: `{"log":"text\n","stream":"stdout","time":"…"}`. A line
//! longer than 16 KiB is split into several objects of which only the last
//! ends in a newline. The file is rotated by size. A log that cannot be
//! written (disk full) loses lines; it never holds the container back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::spec::LogSpec;

/// Docker's limit for the text of one object.
const TEXT_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The log of one container, with the unfinished line of each stream.
#[derive(Debug)]
pub(crate) struct Log {
    target: Option<Target>,
    unfinished: [Vec<u8>; 2],
    record: Vec<u8>,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    max_bytes: u64,
    max_files: u32,
}

impl Log {
    pub(crate) fn open(spec: &LogSpec) -> io::Result<Log> {
        let target = match spec {
            LogSpec::None => None,
            LogSpec::JsonFile {
                path,
                max_bytes,
                max_files,
            } => {
                let file = open_file(path)?;
                let size_bytes = file.metadata()?.len();
                Some(Target {
                    path: path.clone(),
                    file,
                    size_bytes,
                    max_bytes: (*max_bytes).max(1),
                    max_files: (*max_files).max(1),
                })
            }
        };
        Ok(Log {
            target,
            unfinished: [Vec::new(), Vec::new()],
            record: Vec::new(),
        })
    }

    /// Takes output as it comes; writes the lines that it completes.
    pub(super) fn write(&mut self, stream: Stream, mut data: &[u8], now: OffsetDateTime) {
        if self.target.is_none() {
            return;
        }
        let mut line = std::mem::take(&mut self.unfinished[stream as usize]);
        while !data.is_empty() {
            let room = TEXT_BYTES_MAX - line.len();
            let end = data
                .iter()
                .take(room)
                .position(|&b| b == b'\n')
                .map(|n| n + 1);
            let take = end.unwrap_or(room.min(data.len()));
            line.extend_from_slice(&data[..take]);
            data = &data[take..];
            if end.is_some() || line.len() == TEXT_BYTES_MAX {
                self.put(stream, &line, now);
                line.clear();
            }
        }
        self.unfinished[stream as usize] = line;
    }

    /// Hands what was completed to the kernel.
    pub(super) fn flush(&mut self) {
        let Some(target) = &mut self.target else {
            return;
        };
        // Losing a line is better than stopping the container.
        let _ = target.append(&self.record);
        self.record.clear();
    }

    /// Writes the unfinished lines: the streams have ended.
    pub(super) fn finish(&mut self, now: OffsetDateTime) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.unfinished[stream as usize]);
            if !line.is_empty() {
                self.put(stream, &line, now);
            }
        }
        self.flush();
    }

    fn put(&mut self, stream: Stream, line: &[u8], now: OffsetDateTime) {
        let full = self
            .target
            .as_ref()
            .is_some_and(|t| t.size_bytes + self.record.len() as u64 >= t.max_bytes);
        if full {
            self.flush();
            if let Some(target) = &mut self.target {
                // An old file that cannot be moved keeps growing.
                let _ = target.rotate();
            }
        }
        encode(&mut self.record, stream, line, now);
    }
}

impl Target {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.size_bytes += data.len() as u64;
        self.file.write_all(data)
    }

    /// `log` becomes `log.1`, that becomes `log.2`, and the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        if self.max_files == 1 {
            self.file.set_len(0)?;
            self.size_bytes = 0;
            return Ok(());
        }
        for n in (1..self.max_files - 1).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        self.file = open_file(&self.path)?;
        self.size_bytes = 0;
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

/// One object, escaped as Go's encoder does for readers that compare bytes.
fn encode(out: &mut Vec<u8>, stream: Stream, line: &[u8], now: OffsetDateTime) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            escape(out, c);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    let (date, time) = (now.date(), now.time());
    let (hour, minute, second, nanosecond) = time.as_hms_nano();
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        out,
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z\"}}",
        date.year(),
        u8::from(date.month()),
        date.day(),
    );
}

fn escape(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
