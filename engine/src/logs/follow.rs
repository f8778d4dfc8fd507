//! Waiting for a log to change: inotify on its directory.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// Tells when something in a directory was written, made or renamed.
#[derive(Debug)]
pub(crate) struct Changes {
    fd: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches from now on.
    ///
    /// # Errors
    /// When the host's limit of watches is reached, or the directory is gone.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd keeps its number, which is all that it asks"
    )]
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags)?;
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, dir, events)?;
        Ok(Self {
            fd: AsyncFd::new(fd)?,
        })
    }

    /// Waits for the next change; changes since the last call count.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        let mut guard = self.fd.readable_mut().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(guard.get_inner(), &mut buffer);
        // Which file changed does not matter; all events are taken at once.
        while events.next().is_ok() {}
        guard.clear_ready();
        Ok(())
    }
}
