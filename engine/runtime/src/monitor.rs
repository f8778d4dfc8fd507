//! The daemon's connection to a monitor: the small process that stands next to
//! each container, exec and build step, keeps its log and exit code, and
//! outlives the daemon.
//!
//! A [`Monitor`] owns one connection and nothing else: dropping it changes
//! nothing for the container (except that a container which was created and
//! never started is undone). Several connections may exist at once; each gets
//! all output from the moment it connects. A connection whose reader stalls
//! holds back the container's output; with none connected the monitor never
//! blocks.

mod connection;
mod exit;
pub(crate) mod frame;
mod log;
pub(crate) mod process;
mod reader;
pub(crate) mod serve;
pub(crate) mod stdio;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Semaphore};

pub use self::exit::ExitStatus;
pub use self::reader::{MonitorEvent, MonitorReader};
pub use self::writer::MonitorWriter;
use crate::launcher::LaunchError;
use frame::Kind;

/// Name of the monitor's socket in the state directory.
pub(crate) const SOCKET: &str = "monitor.sock";

/// Bytes of standard input that may be on their way to the container: one
/// pipe's worth, so that signals never queue behind unread input.
const STDIN_WINDOW_BYTES: usize = 64 << 10;

/// The first thing a monitor says on every connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) pid: u32,
    pub(crate) warnings: Vec<String>,
}

/// One connection to a monitor.
#[derive(Debug)]
pub struct Monitor {
    greeting: Greeting,
    reader: Mutex<MonitorReader>,
    writer: MonitorWriter,
}

impl Monitor {
    /// Connects to the monitor of a container (or of an exec, see
    /// [`exec_state_dir`]) that an earlier daemon started.
    ///
    /// # Errors
    /// [`LaunchError::Gone`] when the monitor has ended: its exit status is
    /// then in [`ExitStatus::read`].
    pub async fn connect(state_dir: &Path) -> Result<Monitor, LaunchError> {
        use std::os::fd::AsRawFd;
        // Socket addresses hold 107 bytes; a descriptor's path always fits.
        let dir = std::fs::File::open(state_dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => LaunchError::Gone,
            _ => LaunchError::system("open the state directory", e),
        })?;
        let address = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        let stream = UnixStream::connect(address)
            .await
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                    LaunchError::Gone
                }
                _ => LaunchError::system("connect to the monitor", e),
            })?;
        Monitor::greet(stream).await
    }

    /// Waits for the monitor's greeting or its reason to refuse.
    pub(crate) async fn greet(stream: UnixStream) -> Result<Monitor, LaunchError> {
        let credit = Arc::new(Semaphore::new(STDIN_WINDOW_BYTES));
        let (read, write) = stream.into_split();
        let mut reader = MonitorReader::new(read, Arc::clone(&credit));
        let writer = MonitorWriter::new(write, credit);
        let reply = reader
            .frame()
            .await
            .map_err(|e| LaunchError::system("read from the monitor", e))?;
        let greeting = match reply {
            Some((Kind::Created, payload)) => serde_json::from_slice(&payload)
                .map_err(|e| LaunchError::system("read the monitor's greeting", e.into()))?,
            Some((Kind::Failed, payload)) => return Err(LaunchError::from_payload(&payload)),
            Some(_) | None => return Err(LaunchError::Gone),
        };
        Ok(Monitor {
            greeting,
            reader: Mutex::new(reader),
            writer,
        })
    }

    /// Pid, on the host, of the container's first process (or the exec's).
    pub fn pid(&self) -> u32 {
        self.greeting.pid
    }

    /// What was asked for and could only be applied in part, such as a
    /// resource limit above the daemon's own.
    pub fn warnings(&self) -> &[String] {
        &self.greeting.warnings
    }

    /// Lets the process execute its program; returns once it runs.
    ///
    /// # Errors
    /// [`LaunchError::NotFound`] and [`LaunchError::PermissionDenied`] with the
    /// text that Docker's clients expect; the container is then gone, with
    /// that exit code in its exit status.
    pub async fn start(&self) -> Result<(), LaunchError> {
        let mut reader = self.reader.lock().await;
        self.writer
            .send(Kind::Start, &[])
            .await
            .map_err(|_| LaunchError::Gone)?;
        loop {
            match reader.frame().await {
                Ok(Some((Kind::Started, _))) => return Ok(()),
                Ok(Some((Kind::Failed, payload))) => {
                    // The monitor closes when it has cleaned up.
                    while let Ok(Some(_)) = reader.frame().await {}
                    return Err(LaunchError::from_payload(&payload));
                }
                Ok(Some((kind, payload))) => reader.put_back(kind, payload),
                Ok(None) | Err(_) => return Err(LaunchError::Gone),
            }
        }
    }

    /// The two directions, for use by different tasks. Dropping every writer
    /// does not end the container's input; [`MonitorWriter::close_stdin`] does.
    pub fn split(self) -> (MonitorReader, MonitorWriter) {
        (self.reader.into_inner(), self.writer)
    }

    /// Signals and resizes without giving up the reader.
    pub fn writer(&self) -> MonitorWriter {
        self.writer.clone()
    }
}

/// Where the monitor of an exec keeps its socket and exit status.
pub fn exec_state_dir(container_state_dir: &Path, exec_id: &str) -> PathBuf {
    container_state_dir.join("exec").join(exec_id)
}
