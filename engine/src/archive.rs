//! Files of a container, in and out: `docker cp` and `docker export`.
//!
//! A running container's root is reached through its init process, so that its
//! mounts are seen; a stopped one's through a detached mount of its snapshot,
//! or the source of the mount that the path is below. Every path is resolved
//! inside that root by descriptor, and archives are packed and unpacked in this
//! process: nothing of the container's files is ever run (CVE-2018-15664,
//! CVE-2019-14271, CVE-2026-41567), and nothing is mounted on the host
//! (CVE-2026-41568). Blocking.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use engine_api::PathStat;
use oci::layer::{Entry, EntryKind, LayerError, Mtime, TarWriter};
use runtime::root::{FileKind, Metadata, PathError, Root};
use runtime::unpack::{self, UnpackError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::OwnedMutexGuard;

use crate::clock;
use crate::container::Container;
use crate::core::Core;
use crate::error::{EngineError, Result, chain};

/// Deepest tree that is archived; bounds recursion.
const DEPTH_MAX: usize = 255;

/// A path inside one root.
#[derive(Debug)]
pub(crate) struct Place {
    root: Root,
    path: PathBuf,
    /// The root, or the mount that the path is in, takes no writes.
    read_only: bool,
    /// While the snapshot is mounted for writing here, nobody else may.
    _mounting: Option<OwnedMutexGuard<()>>,
}

/// What a path is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The root as the process `pid` sees it; `None` once that has ended, or when
/// `holds` says that the pid is no longer the one that was meant. Until the
/// descriptor says that its process ended, the number cannot name another.
fn live_root(
    pid: u32,
    holds: impl FnOnce() -> bool,
) -> std::result::Result<Option<Root>, PathError> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else {
        return Ok(None);
    };
    let root = Root::open(&PathBuf::from(format!("/proc/{pid}/root")));
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let alive = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&now)) == Ok(0);
    if alive && holds() {
        root.map(Some)
    } else {
        Ok(None)
    }
}

/// Finds the root that a path of a container is in. Waits for others that
/// write to the snapshot of a stopped container.
///
/// # Errors
/// When the container's root cannot be opened.
pub(crate) fn place(
    core: &Core,
    container: &Container,
    path: &str,
    access: Access,
) -> Result<Place> {
    let view = container.view();
    let asked = Path::new("/").join(path);
    let failed = |error: &dyn std::error::Error| {
        EngineError::Internal(format!("open the container's root: {}", chain(error)))
    };
    let mount = container
        .mounts
        .iter()
        .filter(|mount| asked.starts_with(&mount.destination))
        .max_by_key(|mount| mount.destination.len());
    let read_only = match mount {
        Some(mount) => !mount.rw,
        None => view.host_config.readonly_rootfs,
    };
    let pid = view.state.pid();
    let mut mounting = None;
    let live = live_root(pid, || container.view().state.pid() == pid);
    let (root, path) = match (live.map_err(|error| failed(&error))?, mount) {
        (None, Some(mount)) if mount.kind == "tmpfs" => {
            return Err(EngineError::Conflict(format!(
                "{} is a tmpfs: it exists only while the container runs",
                mount.destination
            )));
        }
        (None, Some(mount)) => {
            let rest = asked
                .strip_prefix(&mount.destination)
                .unwrap_or(&asked)
                .to_owned();
            let root = Root::open(Path::new(&mount.source)).map_err(|error| failed(&error))?;
            (root, rest)
        }
        (None, None) => {
            if access == Access::Write {
                mounting = Some(Arc::clone(&container.mounting).blocking_lock_owned());
                if container.view().state.is_up() {
                    // It was started meanwhile, and holds the mount itself.
                    drop(mounting);
                    return place(core, container, path, access);
                }
            }
            let snapshot = core
                .host
                .layers
                .get(container.id.as_str())
                .map_err(|error| failed(&error))?;
            let root = match access {
                Access::Read => snapshot.mount_detached_read_only(),
                Access::Write => snapshot.mount_detached(),
            };
            (Root::from_fd(root.map_err(|error| failed(&error))?), asked)
        }
        (Some(root), _) => (root, asked),
    };
    Ok(Place {
        root,
        path,
        read_only,
        _mounting: mounting,
    })
}

impl Place {
    /// What the path is; its last part is followed only when it ends in a slash.
    ///
    /// # Errors
    /// 404 with Docker's text.
    pub(crate) fn stat(&self, asked: &str, container: &str) -> Result<PathStat> {
        let metadata = self
            .metadata(asked)
            .map_err(|error| path_error(error, asked, container))?;
        let link_target = match metadata.kind {
            FileKind::Symlink => {
                let target = self.root.read_link(&self.path);
                let target = target.map_err(|error| path_error(error, asked, container))?;
                let above = self.path.parent().unwrap_or(Path::new("/"));
                clean(&above.join(target)).to_string_lossy().into_owned()
            }
            _ => String::new(),
        };
        let mtime = time::OffsetDateTime::from_unix_timestamp(metadata.mtime).ok();
        Ok(PathStat {
            name: base_name(asked),
            size: i64::try_from(metadata.size_bytes).unwrap_or(i64::MAX),
            mode: go_mode(&metadata),
            mtime: clock::rfc3339_or_never(mtime),
            link_target,
        })
    }

    fn metadata(&self, asked: &str) -> std::result::Result<Metadata, PathError> {
        if follows(asked) || self.path.file_name().is_none() {
            self.root.metadata(&self.path)
        } else {
            self.root.symlink_metadata(&self.path)
        }
    }

    /// Writes the file or tree as a tar whose names begin with its own.
    ///
    /// # Errors
    /// Of either side; what was written before stays written.
    pub(crate) fn pack(&self, asked: &str, out: impl Write) -> Result<(), PackError> {
        let mut packer = Packer {
            root: &self.root,
            tar: TarWriter::new(out),
            links: HashMap::new(),
        };
        let name = match base_name(asked).as_str() {
            "/" => PathBuf::new(),
            name => PathBuf::from(name),
        };
        let metadata = self.metadata(asked)?;
        packer.add(&self.path, &name, &metadata, 0)?;
        packer.tar.finish()?;
        Ok(())
    }

    /// Unpacks a tar, packed or not, into the directory. With `keep_kinds`
    /// nothing takes the place of a directory but a directory, nor the reverse.
    ///
    /// # Errors
    /// 400 for a target that is no directory or takes no writes, and for an
    /// archive that is hostile or would break `keep_kinds`; 404 for a target
    /// that is not there.
    pub(crate) fn unpack(
        &self,
        asked: &str,
        container: &str,
        archive: impl Read + Send,
        keep_kinds: bool,
    ) -> Result<()> {
        if self.read_only {
            return Err(EngineError::bad(
                "container rootfs or the mounted volume is marked read-only",
            ));
        }
        let metadata = self.root.metadata(&self.path);
        let metadata = metadata.map_err(|error| path_error(error, asked, container))?;
        if metadata.kind != FileKind::Directory {
            return Err(EngineError::bad("extraction point is not a directory"));
        }
        let into = self.root.subroot(&self.path);
        let into = into.map_err(|error| path_error(error, asked, container))?;
        let options = unpack::Options {
            devices: true,
            keep_kinds,
            ..Default::default()
        };
        match unpack::extract(&into, archive, &options) {
            Ok(_) => Ok(()),
            Err(
                error @ (UnpackError::Archive(_)
                | UnpackError::NotADirectory(_)
                | UnpackError::IsADirectory(_)),
            ) => Err(EngineError::bad(chain(&error))),
            Err(error) => Err(EngineError::Internal(chain(&error))),
        }
    }
}

/// Why a tree could not be archived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Tar(#[from] LayerError),
    #[error("{} is nested more than {DEPTH_MAX} deep", .0.display())]
    TooDeep(PathBuf),
}

struct Packer<'a, W> {
    root: &'a Root,
    tar: TarWriter<W>,
    /// Files with several names: inode to the first name.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<'_, W> {
    fn add(
        &mut self,
        path: &Path,
        name: &Path,
        metadata: &Metadata,
        depth: usize,
    ) -> Result<(), PackError> {
        if depth > DEPTH_MAX {
            return Err(PackError::TooDeep(path.to_owned()));
        }
        let (major, minor) = metadata.rdev;
        if metadata.links > 1 && metadata.kind != FileKind::Directory {
            if let Some(first) = self.links.get(&metadata.inode) {
                let entry = entry(name, EntryKind::HardLink(first.clone()), metadata, 0);
                return Ok(self.tar.append(&entry, &mut std::io::empty())?);
            }
            self.links.insert(metadata.inode, name.to_owned());
        }
        let kind = match metadata.kind {
            FileKind::Regular => {
                let mut file = self.root.open_regular(path)?;
                // Of the file that is read: the path may have been replaced since.
                let size = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
                let entry = entry(name, EntryKind::Regular, metadata, size);
                return Ok(self.tar.append(&entry, &mut file)?);
            }
            FileKind::Directory => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink(self.root.read_link(path)?),
            FileKind::CharDevice => EntryKind::CharDevice { major, minor },
            FileKind::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileKind::Fifo => EntryKind::Fifo,
            // Means nothing without the process that bound it.
            FileKind::Socket => return Ok(()),
        };
        self.tar
            .append(&entry(name, kind, metadata, 0), &mut std::io::empty())?;
        if metadata.kind != FileKind::Directory {
            return Ok(());
        }
        for child in self.root.read_dir(path)? {
            let (below, name) = (path.join(&child.name), name.join(&child.name));
            match self.root.symlink_metadata(&below) {
                Ok(metadata) => self.add(&below, &name, &metadata, depth + 1)?,
                // Removed since the directory was read.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn entry(name: &Path, kind: EntryKind, metadata: &Metadata, size_bytes: u64) -> Entry {
    Entry {
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: Mtime {
            sec: metadata.mtime,
            nsec: metadata.mtime_nsec,
        },
        size_bytes,
        ..Entry::new(name, kind, metadata.mode)
    }
}

/// `/.` and a trailing slash mean what a link points at.
fn follows(asked: &str) -> bool {
    asked.ends_with('/') || asked.ends_with("/.")
}

fn base_name(asked: &str) -> String {
    match clean(Path::new(asked)).file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "/".to_owned(),
    }
}

/// Without `.` and `..`, lexically and for display only.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

fn path_error(error: PathError, asked: &str, container: &str) -> EngineError {
    if error.is_absent() {
        EngineError::NotFound(format!(
            "Could not find the file {asked} in container {container}"
        ))
    } else {
        EngineError::bad(chain(&error))
    }
}

/// Go's `os.FileMode`: type bits at the top, permissions as in stat(2).
fn go_mode(metadata: &Metadata) -> u32 {
    let kind = match metadata.kind {
        FileKind::Regular => 0,
        FileKind::Directory => 1 << 31,
        FileKind::Symlink => 1 << 27,
        FileKind::BlockDevice => 1 << 26,
        FileKind::CharDevice => 1 << 26 | 1 << 21,
        FileKind::Fifo => 1 << 25,
        FileKind::Socket => 1 << 24,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special
        .iter()
        .filter(|(bit, _)| metadata.mode & bit != 0)
        .fold(0, |all, (_, flag)| all | flag);
    kind | special | metadata.mode & 0o777
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;
