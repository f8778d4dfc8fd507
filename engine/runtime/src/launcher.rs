//! The daemon's handle on its launcher: a single-threaded process of the same
//! binary that forks one monitor for each container, exec and build step.
//!
//! The daemon has threads, so it must not fork and go on running code; the
//! launcher has none. Each request gets a socket pair: one end travels to the
//! launcher, which forks a monitor around it; the specification follows on the
//! other end. The launcher itself therefore never parses a request and never
//! waits for one. When it dies it is started again at the next request;
//! running monitors do not notice.

mod error;
mod sealed;
mod zygote;

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex as StdMutex};

use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::net::{SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::process::Child;
use tokio::sync::Mutex;

pub use self::error::LaunchError;
pub(crate) use self::error::{Failure, FailureKind, chain, error_text};
pub use self::zygote::launcher_main;
use crate::monitor::Monitor;
use crate::monitor::frame::{self, Kind};
use crate::seccomp;
use crate::spec::{Capabilities, ContainerSpec, NetMode, ProcessSpec, Seccomp};

/// Compiled filters kept; a host uses a handful of profiles.
const FILTERS_MAX: usize = 64;

/// What the first byte of a request to the launcher says.
pub(crate) const REQUEST_CONTAINER: u8 = b'C';
pub(crate) const REQUEST_EXEC: u8 = b'E';

/// A process to add to a running container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecSpec {
    pub(crate) container_state_dir: PathBuf,
    pub(crate) exec_id: String,
    pub(crate) process: ProcessSpec,
}

/// Starts containers and execs. Cheap to clone; all clones share one launcher
/// process, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Launcher {
    shared: Arc<Shared>,
}

/// Compiled filters by what they were compiled from.
type Filters = HashMap<(Seccomp, Capabilities), Arc<[u8]>>;

#[derive(Debug)]
struct Shared {
    binary: PathBuf,
    zygote: Mutex<Zygote>,
    filters: StdMutex<Filters>,
}

#[derive(Debug)]
struct Zygote {
    control: Arc<UnixDatagram>,
    process: Child,
}

impl Launcher {
    /// Starts the launcher: runs `<binary> launcher` with the request socket
    /// as standard input. The binary must call [`launcher_main`] for that.
    ///
    /// # Errors
    /// When the binary cannot be protected or started.
    pub async fn start(binary: &Path) -> Result<Launcher, LaunchError> {
        let zygote = Zygote::spawn(binary)?;
        Ok(Launcher {
            shared: Arc::new(Shared {
                binary: binary.to_owned(),
                zygote: Mutex::new(zygote),
                filters: StdMutex::default(),
            }),
        })
    }

    /// Pid of the launcher process.
    pub async fn pid(&self) -> Option<u32> {
        self.shared.zygote.lock().await.process.id()
    }

    /// Sets up a container: everything is in place, its first process waits
    /// before it executes its program. `netns` goes with [`NetMode::Fd`].
    /// Dropping the [`Monitor`] before [`Monitor::start`] undoes it all.
    ///
    /// # Errors
    /// A refused specification, or what failed during the set-up; nothing is
    /// left behind then.
    pub async fn create(
        &self,
        spec: &ContainerSpec,
        netns: Option<OwnedFd>,
    ) -> Result<Monitor, LaunchError> {
        spec.validate()?;
        if (spec.namespaces.net == NetMode::Fd) != netns.is_some() {
            let message = "a network namespace must be sent exactly with NetMode::Fd".to_owned();
            return Err(LaunchError::Refused(message));
        }
        let filter = self.filter(&spec.process)?;
        let spec = serde_json::to_vec(spec).expect("a specification serialises");
        self.request(REQUEST_CONTAINER, netns, &spec, &filter).await
    }

    /// Sets up a process in the namespaces and cgroup of a running container;
    /// it waits for [`Monitor::start`].
    ///
    /// # Errors
    /// [`LaunchError::NotRunning`] when the container is not running.
    pub async fn exec(
        &self,
        container_state_dir: &Path,
        exec_id: &str,
        process: &ProcessSpec,
    ) -> Result<Monitor, LaunchError> {
        process.validate()?;
        if exec_id.is_empty() || exec_id.starts_with('.') || exec_id.contains(['/', '\0']) {
            return Err(LaunchError::Refused(format!(
                "exec id {exec_id:?} is not a plain name"
            )));
        }
        let filter = self.filter(process)?;
        let spec = ExecSpec {
            container_state_dir: container_state_dir.to_owned(),
            exec_id: exec_id.to_owned(),
            process: process.clone(),
        };
        let spec = serde_json::to_vec(&spec).expect("a specification serialises");
        self.request(REQUEST_EXEC, None, &spec, &filter).await
    }

    async fn request(
        &self,
        kind: u8,
        netns: Option<OwnedFd>,
        spec: &[u8],
        filter: &[u8],
    ) -> Result<Monitor, LaunchError> {
        let failed = |e| LaunchError::system("make a socket pair", e);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut stream = UnixStream::from_std(ours).map_err(failed)?;
        self.send(kind, theirs.into(), netns).await?;

        let mut out = Vec::with_capacity(spec.len() + filter.len() + 32);
        frame::push(&mut out, Kind::Spec, spec);
        frame::push(&mut out, Kind::Filter, filter);
        // A monitor that already failed has closed its end; its reason is
        // then still readable.
        let sent = stream.write_all(&out).await;
        match Monitor::greet(stream).await {
            Err(LaunchError::Gone) => match sent {
                Err(e) => Err(LaunchError::system("send the specification", e)),
                Ok(()) => Err(LaunchError::Died),
            },
            result => result,
        }
    }

    /// Hands one end of a connection to the launcher, starting it again if it
    /// has died.
    async fn send(
        &self,
        kind: u8,
        connection: OwnedFd,
        netns: Option<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let control = Arc::clone(&self.shared.zygote.lock().await.control);
        let failed = |e| LaunchError::system("reach the launcher", e);
        match send_request(&control, kind, &connection, netns.as_ref()).await {
            Err(e) if is_disconnected(&e) => {
                let control = self.restart(&control).await?;
                send_request(&control, kind, &connection, netns.as_ref())
                    .await
                    .map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    /// Replaces the launcher unless another task already did.
    async fn restart(&self, dead: &Arc<UnixDatagram>) -> Result<Arc<UnixDatagram>, LaunchError> {
        let mut zygote = self.shared.zygote.lock().await;
        if Arc::ptr_eq(&zygote.control, dead) {
            let status = zygote.process.try_wait();
            tracing::warn!(?status, "the launcher ended; starting it again");
            *zygote = Zygote::spawn(&self.shared.binary)?;
        }
        Ok(Arc::clone(&zygote.control))
    }

    /// The compiled system call filter of a process; empty for none.
    fn filter(&self, process: &ProcessSpec) -> Result<Arc<[u8]>, LaunchError> {
        if process.seccomp == Seccomp::Unconfined {
            return Ok(Arc::default());
        }
        let key = (process.seccomp.clone(), process.capabilities);
        let mut filters = self.shared.filters.lock().expect("no panic while locked");
        if let Some(filter) = filters.get(&key) {
            return Ok(Arc::clone(filter));
        }
        let filter = seccomp::compile(&process.seccomp, process.capabilities)
            .map_err(|e| LaunchError::Refused(format!("seccomp profile: {e}")))?;
        let filter: Arc<[u8]> = filter.into();
        if filters.len() >= FILTERS_MAX {
            filters.clear();
        }
        filters.insert(key, Arc::clone(&filter));
        Ok(filter)
    }
}

impl Zygote {
    fn spawn(binary: &Path) -> Result<Zygote, LaunchError> {
        let failed = |e: std::io::Error| LaunchError::system("start the launcher", e);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(|e| failed(e.into()))?;
        // The launcher waits in recvmsg; the flag belongs to each end.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(|e| failed(e.into()))?;
        let program = sealed::open(binary)?;
        let process = tokio::process::Command::new(program.path())
            .arg0("carrack")
            .arg("launcher")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        // The type only stands for a descriptor that tokio watches: std has no
        // name for a socket that keeps messages apart and tells when it ends.
        let control = UnixDatagram::from_std(control.into()).map_err(failed)?;
        Ok(Zygote {
            control: Arc::new(control),
            process,
        })
    }
}

async fn send_request(
    control: &UnixDatagram,
    kind: u8,
    connection: &OwnedFd,
    netns: Option<&OwnedFd>,
) -> std::io::Result<()> {
    loop {
        control.writable().await?;
        let sent = control.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [Some(connection), netns];
            let fds: Vec<_> = fds.into_iter().flatten().map(AsFd::as_fd).collect();
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let kind = [kind];
            let data = [std::io::IoSlice::new(&kind)];
            rustix::net::sendmsg(control, &data, &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        });
        match sent {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn is_disconnected(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected
    )
}
