//! Unpacks a container's files into a directory of ours.
//!
//! Every name is resolved by descriptor below the destination with openat2
//! (RESOLVE_BENEATH, no symbolic links), so that no entry, and no link that an
//! earlier entry made, leads out of it.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Entry, Kind, reader::Reader};

/// Permission bits that are kept: set-user-id and set-group-id of a container
/// must not become a privilege here.
const PLAIN_MODE: u32 = 0o1777;

/// Gives the first component of each name another one.
#[derive(Clone, Debug)]
pub struct Rename {
    pub from: OsString,
    pub to: OsString,
}

/// How to unpack.
#[derive(Debug, Default)]
pub struct Unpack {
    pub rename: Option<Rename>,
    /// Keep owners and all permission bits (`cp -a`).
    pub keep_owners: bool,
    /// Bytes of content that were written.
    pub written_bytes: u64,
    /// Entries that were left out: devices, FIFOs, sockets.
    pub left_out: Vec<PathBuf>,
}

impl Unpack {
    /// Unpacks `input` into the directory `destination`, which exists.
    ///
    /// # Errors
    /// A damaged archive, a name that leads out of the destination, and
    /// everything that the file system refuses. What was unpacked until then
    /// stays.
    pub fn run(&mut self, input: impl io::Read, destination: &Path) -> io::Result<()> {
        let root = rustix::fs::openat(
            CWD,
            destination,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut reader = Reader::new(input);
        // Times of directories are set last: what is made inside changes them.
        let mut times = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let path = self.renamed(&clean(&entry.path)?);
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            if path.as_os_str().is_empty() {
                continue;
            }
            self.entry(&root, &path, &entry, &mut reader)
                .map_err(named)?;
            if entry.kind == Kind::Directory {
                times.push((path, entry.mtime));
            }
        }
        for (path, mtime) in times.into_iter().rev() {
            let directory = open_beneath(&root, &path, OFlags::DIRECTORY, Mode::empty())?;
            rustix::fs::futimens(&directory, &stamps(mtime))?;
        }
        Ok(())
    }

    fn renamed(&self, path: &Path) -> PathBuf {
        let Some(rename) = &self.rename else {
            return path.to_owned();
        };
        match path.strip_prefix(&rename.from) {
            Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from(&rename.to),
            Ok(rest) => Path::new(&rename.to).join(rest),
            Err(_) => path.to_owned(),
        }
    }

    fn entry(
        &mut self,
        root: &OwnedFd,
        path: &Path,
        entry: &Entry,
        content: &mut impl io::Read,
    ) -> io::Result<()> {
        let (parent, name) = parent_of(root, path)?;
        let mode = Mode::from_raw_mode(if self.keep_owners {
            entry.mode
        } else {
            entry.mode & PLAIN_MODE
        });
        match &entry.kind {
            Kind::Directory => {
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) => {}
                    // Copying over a directory merges with it.
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let directory = open_beneath(&parent, Path::new(name), flags, Mode::empty())?;
                self.finish(&directory, entry, mode)
            }
            Kind::File => {
                remove(&parent, name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let fd = open_beneath(&parent, Path::new(name), flags, Mode::from_raw_mode(0o600))?;
                let mut file = fs::File::from(fd);
                self.written_bytes += io::copy(content, &mut file)?;
                self.finish(&file, entry, mode)?;
                rustix::fs::futimens(&file, &stamps(entry.mtime))?;
                Ok(())
            }
            Kind::Symlink(target) => {
                remove(&parent, name)?;
                rustix::fs::symlinkat(target.as_path(), &parent, name)?;
                if self.keep_owners {
                    chown_link(&parent, name, entry)?;
                }
                let link = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(&parent, name, &stamps(entry.mtime), link)?;
                Ok(())
            }
            Kind::Hardlink(target) => {
                let target = self.renamed(&clean(target)?);
                let (target_parent, target_name) = parent_of(root, &target)?;
                remove(&parent, name)?;
                rustix::fs::linkat(&target_parent, target_name, &parent, name, AtFlags::empty())?;
                Ok(())
            }
            Kind::Special => {
                self.left_out.push(path.to_owned());
                Ok(())
            }
        }
    }

    fn finish(&self, fd: impl AsFd, entry: &Entry, mode: Mode) -> io::Result<()> {
        if self.keep_owners {
            let (uid, gid) = owner(entry);
            rustix::fs::fchown(&fd, uid, gid)?;
        }
        // After the owner, whose change drops set-id bits.
        rustix::fs::fchmod(&fd, mode)?;
        Ok(())
    }
}

fn owner(entry: &Entry) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (
        Some(rustix::fs::Uid::from_raw(entry.uid)),
        Some(rustix::fs::Gid::from_raw(entry.gid)),
    )
}

fn chown_link(parent: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn stamps(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime,
            tv_nsec: 0,
        },
    }
}

/// The name without `.` parts and leading slashes; names with `..` are refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the archive names {}, which leads out of it",
                        path.display()
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(out)
}

/// The directory that holds `path`, and its last component.
fn parent_of<'a>(root: &OwnedFd, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an entry has no name"))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            open_beneath(root, parent, OFlags::DIRECTORY, Mode::empty())?
        }
        _ => root.try_clone()?,
    };
    Ok((parent, name))
}

fn open_beneath(root: &OwnedFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        mode,
        resolve,
    )?)
}

/// Makes room for a file or link; a directory stays and fails what follows.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ISDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
