//! How a process ended, and the file that says so after its monitor is gone.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Name of the status file in the state directory.
const FILE: &str = "exit.json";

/// A status file is a few dozen bytes; anything longer is not one.
const FILE_BYTES_MAX: u64 = 4096;

/// The end of a container's first process, or of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// The program's code, 128 + n after signal n, 125 to 127 when it could
    /// not be started.
    pub code: i32,
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    pub finished_at: OffsetDateTime,
}

/// The status as stored: times as nanoseconds since the epoch.
#[derive(Serialize, Deserialize)]
struct Stored {
    code: i32,
    signal: Option<i32>,
    oom_killed: bool,
    finished_at_ns: i64,
}

impl ExitStatus {
    /// Reads what the monitor left in `state_dir`; `None` while it has not
    /// ended (or was itself killed).
    ///
    /// # Errors
    /// When the file exists and cannot be read as a status.
    pub fn read(state_dir: &Path) -> io::Result<Option<ExitStatus>> {
        let file = match std::fs::File::open(state_dir.join(FILE)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)?;
        Self::from_json(&bytes).map(Some)
    }

    pub(crate) fn failed(code: i32) -> ExitStatus {
        ExitStatus {
            code,
            signal: None,
            oom_killed: false,
            finished_at: OffsetDateTime::now_utc(),
        }
    }

    pub(crate) fn from_wait(status: WaitStatus, oom_killed: bool) -> ExitStatus {
        let signal = status.terminating_signal();
        let code = signal
            .map(|n| 128 + n)
            .or(status.exit_status())
            .unwrap_or(255);
        ExitStatus {
            code,
            signal,
            oom_killed,
            finished_at: OffsetDateTime::now_utc(),
        }
    }

    pub(crate) fn to_json(self) -> Vec<u8> {
        let stored = Stored {
            code: self.code,
            signal: self.signal,
            oom_killed: self.oom_killed,
            finished_at_ns: self.finished_at.unix_timestamp_nanos() as i64,
        };
        serde_json::to_vec(&stored).expect("four plain fields serialise")
    }

    pub(crate) fn from_json(bytes: &[u8]) -> io::Result<ExitStatus> {
        let stored: Stored = serde_json::from_slice(bytes)?;
        let finished_at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(stored.finished_at_ns))
                .map_err(io::Error::other)?;
        Ok(ExitStatus {
            code: stored.code,
            signal: stored.signal,
            oom_killed: stored.oom_killed,
            finished_at,
        })
    }

    /// Writes the status so that a reader sees all of it or nothing.
    pub(crate) fn write(self, dir: impl std::os::fd::AsFd) -> io::Result<()> {
        const TEMPORARY: &str = "exit.json.new";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, TEMPORARY, flags, Mode::from_raw_mode(0o600))?;
        io::Write::write_all(&mut std::fs::File::from(file), &self.to_json())?;
        rustix::fs::renameat(&dir, TEMPORARY, &dir, FILE)?;
        Ok(())
    }

    /// Forgets a status of an earlier run in the same directory.
    pub(crate) fn clear(dir: impl std::os::fd::AsFd) -> io::Result<()> {
        match rustix::fs::unlinkat(dir, FILE, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
