//! The path layer: every path that a tar, a build, a `-v` or an API call names
//! inside a root is resolved here, by descriptor, with openat2(2).
//!
//! A [`Root`] owns one directory descriptor and no other state. The kernel
//! resolves below it (`RESOLVE_IN_ROOT`): symbolic links, absolute ones and
//! `..` included, cannot leave it, and magic links of `/proc` are refused.
//! What comes back is a descriptor, never a path, so a process that renames
//! directories meanwhile can change which file inside the root is meant but
//! never make it one outside. Nothing here checks a path as a string and then
//! uses it as one.
//!
//! Crash behaviour: single operations are those of the kernel; trees that were
//! half copied or half removed stay as they are.

mod attributes;
mod copy;
mod error;
mod metadata;
mod remove;
mod xattr;

use std::{
    any::Any,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Dir, Gid, Mode, OFlags, ResolveFlags, Uid},
    io::Errno,
};

pub use attributes::Xattr;
pub(crate) use attributes::{Attributes, apply as apply_attributes, set_mtime};
pub(crate) use copy::open_made;
pub use copy::{Conflict, Copied, CopyOptions, ModeOf, Select};
pub(crate) use error::ErrnoContext;
pub use error::PathError;
pub use metadata::{FileKind, Metadata};
pub(crate) use remove::remove_at;
pub(crate) use xattr::{is_reserved_xattr, list_xattrs, set_xattr};

/// Attempts before giving up on a root whose directories keep moving. Each
/// EAGAIN needs a rename inside the microseconds of one resolution, so honest
/// neighbours never reach this.
const UNSTABLE_ATTEMPTS_MAX: u32 = 256;

/// Dangling links followed while making directories; the kernel's own limit
/// (path_resolution(7)).
const LINK_HOPS_MAX: u32 = 40;

const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory that bounds all paths resolved through it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    /// What must live as long as any handle of the directory.
    guard: Option<Guard>,
}

/// Ends something when the last handle of a [`Root`] is gone.
pub(crate) type Guard = Arc<dyn Any + Send + Sync>;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: OsString,
    pub kind: FileKind,
}

impl Root {
    /// Opens the directory at `dir`, a path of the host that must be trusted:
    /// it is the only one here that is resolved without a bound.
    pub fn open(dir: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty()).at("open", dir)?;
        Ok(Self::from_fd(dir))
    }

    /// Takes a directory descriptor (for example of a detached mount) as the root.
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir, guard: None }
    }

    /// Keeps `guard` until this and every handle made from it is dropped.
    pub(crate) fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Another handle of the same directory.
    pub fn try_clone(&self) -> Result<Self, PathError> {
        let dir = self
            .dir
            .try_clone()
            .map_err(|source| PathError::from_io("dup", Path::new("/"), source))?;
        let guard = self.guard.clone();
        Ok(Self { dir, guard })
    }

    /// The root that is the directory `path` of this one.
    pub fn subroot(&self, path: &Path) -> Result<Self, PathError> {
        Ok(Self {
            dir: self.open_dir(path)?,
            guard: self.guard.clone(),
        })
    }

    /// Opens `path` for use in other calls only (`O_PATH`): no permission to
    /// read is needed, devices and FIFOs are not touched. Links are followed.
    pub fn open_path(&self, path: &Path) -> Result<OwnedFd, PathError> {
        self.resolve(path, OFlags::PATH, Mode::empty(), RESOLVE)
    }

    /// Like [`Root::open_path`] but the last component is not followed.
    pub fn open_path_nofollow(&self, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        self.resolve(path, flags, Mode::empty(), RESOLVE)
    }

    /// Opens a directory for reading and as the base of `*at` calls.
    pub fn open_dir(&self, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.resolve(path, flags, Mode::empty(), RESOLVE)
    }

    /// Like [`Root::open_dir`], but refuses a path with any symbolic link in it
    /// ([`PathError::SymlinkLoop`], the kernel's answer).
    pub fn open_dir_no_links(&self, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let resolve = RESOLVE.union(ResolveFlags::NO_SYMLINKS);
        self.resolve(path, flags, Mode::empty(), resolve)
    }

    /// Opens or creates a file with the caller's flags. Never waits for the
    /// other end of a FIFO.
    ///
    /// `mode` is subject to the process's umask.
    pub fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<File, PathError> {
        let flags = flags | OFlags::NONBLOCK;
        self.resolve(path, flags, mode, RESOLVE).map(File::from)
    }

    /// Opens an existing regular file for reading. Devices, FIFOs and sockets
    /// are refused without being opened.
    pub fn open_regular(&self, path: &Path) -> Result<File, PathError> {
        let handle = self.open_path(path)?;
        let kind = stat_fd(&handle, path)?.kind;
        if kind != FileKind::Regular {
            return Err(PathError::NotRegular {
                path: path.to_owned(),
                kind,
            });
        }
        reopen(handle.as_fd(), OFlags::RDONLY)
            .at("open", path)
            .map(File::from)
    }

    /// Reads a whole regular file of at most `max_bytes`, for files of images
    /// that we interpret ourselves (`/etc/passwd`).
    ///
    /// # Errors
    /// [`PathError::NotRegular`] and [`PathError::TooLarge`] before anything is
    /// read, and again if the file grows meanwhile.
    pub fn read_regular(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>, PathError> {
        let too_large = || PathError::TooLarge {
            path: path.to_owned(),
            max_bytes,
        };
        let file = self.open_regular(path)?;
        if stat_fd(&file, path)?.size_bytes > max_bytes {
            return Err(too_large());
        }
        let mut data = Vec::new();
        file.take(max_bytes.saturating_add(1))
            .read_to_end(&mut data)
            .map_err(|source| PathError::from_io("read", path, source))?;
        if data.len() as u64 > max_bytes {
            return Err(too_large());
        }
        Ok(data)
    }

    /// `mkdir -p`: opens the directory `path`, making what is missing. Links
    /// are followed, dangling ones to where they point inside the root.
    /// Directories that exist keep their mode and owner.
    pub fn make_dirs(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<OwnedFd, PathError> {
        self.make_dirs_with(path, &mut |dir| set_mode_and_owner(dir, mode, owner))
    }

    /// [`Root::make_dirs`] with the caller's own finishing of each new directory.
    pub(crate) fn make_dirs_with(
        &self,
        path: &Path,
        finish: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<OwnedFd, PathError> {
        let mut hops = 0;
        self.make_dirs_hop(path, finish, &mut hops)
    }

    fn make_dirs_hop(
        &self,
        path: &Path,
        finish: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
        hops: &mut u32,
    ) -> Result<OwnedFd, PathError> {
        match self.open_dir(path) {
            Err(PathError::NotFound(_)) => {}
            done => return done,
        }
        let mut prefix = PathBuf::new();
        let mut dir = self.open_dir(Path::new(""))?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            prefix.push(name);
            // One step down needs no resolution; anything else starts at the
            // root again, because only the root bounds `..` and links.
            let child = match component {
                Component::Normal(_) => open_child_dir(dir.as_fd(), name).at("open", &prefix)?,
                _ => None,
            };
            dir = match child {
                Some(child) => child,
                None => match self.open_dir(&prefix) {
                    Err(PathError::NotFound(_)) => {
                        self.make_one(&dir, name, &prefix, path, finish, hops)?
                    }
                    found => found?,
                },
            };
        }
        Ok(dir)
    }

    /// Makes the directory `prefix`, whose parent is open as `parent`.
    fn make_one(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        prefix: &Path,
        whole: &Path,
        finish: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
        hops: &mut u32,
    ) -> Result<OwnedFd, PathError> {
        match make_dir_at(parent.as_fd(), name, finish) {
            Err(Errno::EXIST) => {}
            made => return made.at("mkdir", prefix),
        }
        // Resolves to nothing and yet exists: a dangling link, or someone was faster.
        match rustix::fs::readlinkat(parent, name, Vec::new()) {
            Ok(target) => {
                *hops += 1;
                if *hops > LINK_HOPS_MAX {
                    return Err(PathError::SymlinkLoop(whole.to_owned()));
                }
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                let above = prefix.parent().unwrap_or(Path::new(""));
                self.make_dirs_hop(&above.join(target), finish, hops)
            }
            Err(Errno::INVAL | Errno::NOENT) => self.open_dir(prefix),
            Err(errno) => Err(PathError::new("readlink", prefix, errno)),
        }
    }

    /// Resolves everything but the last component: the open parent directory
    /// and the final name, for `*at` calls. With `create`, missing parents are
    /// made with mode 0755 and owner 0:0.
    ///
    /// # Errors
    /// [`PathError::NoName`] when the path is the root or ends in `..`.
    pub fn parent_of(&self, path: &Path, create: bool) -> Result<(OwnedFd, OsString), PathError> {
        let (parent, name) = split_name(path)?;
        let dir = if create {
            self.make_dirs(parent, 0o755, None)?
        } else {
            self.open_dir(parent)?
        };
        Ok((dir, name.to_owned()))
    }

    /// stat(2) of what `path` leads to.
    pub fn metadata(&self, path: &Path) -> Result<Metadata, PathError> {
        stat_fd(&self.open_path(path)?, path)
    }

    /// stat(2) of `path` itself, a symbolic link included.
    pub fn symlink_metadata(&self, path: &Path) -> Result<Metadata, PathError> {
        stat_fd(&self.open_path_nofollow(path)?, path)
    }

    /// Whether `path` leads to something.
    pub fn exists(&self, path: &Path) -> bool {
        self.open_path(path).is_ok()
    }

    /// The text of the symbolic link `path`, unresolved.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, PathError> {
        let (dir, name) = self.parent_of(path, false)?;
        let target = rustix::fs::readlinkat(&dir, &name, Vec::new()).at("readlink", path)?;
        Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// The extended attributes of `path` itself, sorted by name, without those
    /// that steer overlayfs.
    pub fn attributes(&self, path: &Path) -> Result<Vec<Xattr>, PathError> {
        let fd = self.open_path_nofollow(path)?;
        let mut attributes = list_xattrs(fd.as_fd()).at("read attributes of", path)?;
        attributes.retain(|(name, _)| !is_reserved_xattr(name));
        Ok(attributes)
    }

    /// The names in the directory `path`, sorted bytewise, without `.` and `..`.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, PathError> {
        read_dir_fd(self.open_dir(path)?.as_fd(), path)
    }

    /// Removes `path` and all below it. Links are removed, not followed; that
    /// `path` is absent is no error.
    ///
    /// # Errors
    /// [`PathError::NoName`] for the root itself.
    pub fn remove_all(&self, path: &Path) -> Result<(), PathError> {
        let (parent, name) = split_name(path)?;
        let dir = match self.open_dir(parent) {
            Err(error) if error.is_absent() => return Ok(()),
            dir => dir?,
        };
        remove_at(dir.as_fd(), name, path)
    }

    /// Empties the directory `path` and keeps it.
    pub fn clear_dir(&self, path: &Path) -> Result<(), PathError> {
        let dir = self.open_dir(path)?;
        remove::clear(dir.as_fd(), path)
    }

    /// Writes a regular file in one step: readers see the old content or all of
    /// the new. The parent must exist; a link at `path` is replaced.
    pub fn write(&self, path: &Path, data: &[u8], mode: u32) -> Result<(), PathError> {
        let (dir, name) = self.parent_of(path, false)?;
        let mut temporary = OsString::from(".carrack-");
        temporary.push(random_name());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&dir, &temporary, flags, Mode::from(0o600)).at("create", path)?;
        let written = rustix::fs::fchmod(&fd, Mode::from(mode))
            .at("chmod", path)
            .and_then(|()| {
                std::io::Write::write_all(&mut File::from(fd), data)
                    .map_err(|source| PathError::from_io("write", path, source))
            })
            .and_then(|()| rustix::fs::renameat(&dir, &temporary, &dir, &name).at("rename", path));
        if written.is_err() {
            // The first error is the one to tell; the name is unique, so nothing of others goes.
            let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        }
        written
    }

    fn resolve(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, PathError> {
        let name = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let mut flags = flags | OFlags::CLOEXEC;
        // openat2(2) refuses flags that O_PATH makes meaningless.
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NOCTTY;
        }
        let mut attempts = 0;
        loop {
            match rustix::fs::openat2(&self.dir, name, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) if attempts < UNSTABLE_ATTEMPTS_MAX => {
                    attempts += 1;
                }
                result => return result.at("open", path),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Parent and final name of a path; nothing is resolved.
pub(crate) fn split_name(path: &Path) -> Result<(&Path, &OsStr), PathError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(PathError::NoName(path.to_owned())),
    }
}

/// Opens a directory by its name in another, links not followed. `None` when
/// there is none of that name, or it is no directory.
pub(crate) fn open_child_dir(
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes a new directory and finishes it through its descriptor.
pub(crate) fn make_dir_at(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    finish: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, Mode::from(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    finish(dir.as_fd())?;
    Ok(dir)
}

/// Owner first: chown(2) clears setuid and setgid, so the mode must follow.
pub(crate) fn set_mode_and_owner(
    fd: BorrowedFd<'_>,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), Errno> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(fd, Some(uid_of(uid)), Some(gid_of(gid)))?;
    }
    rustix::fs::fchmod(fd, Mode::from(mode))
}

pub(crate) fn uid_of(uid: u32) -> Uid {
    Uid::from_raw(uid)
}

pub(crate) fn gid_of(gid: u32) -> Gid {
    Gid::from_raw(gid)
}

pub(crate) fn stat_fd(fd: impl AsFd, path: &Path) -> Result<Metadata, PathError> {
    rustix::fs::fstat(fd).at("stat", path).map(Metadata::from)
}

/// stat(2) of a name in an open directory, links not followed.
pub(crate) fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Metadata, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(Metadata::from)
}

/// The name under which procfs offers the very inode of a descriptor, for calls
/// that have no descriptor form for `O_PATH` or symbolic links.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the inode behind an `O_PATH` descriptor anew, with other flags.
pub(crate) fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(proc_path(fd), flags, Mode::empty())
}

/// The names in an open directory, sorted bytewise.
pub(crate) fn read_dir_fd(dir: BorrowedFd<'_>, path: &Path) -> Result<Vec<DirEntry>, PathError> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir).at("read directory", path)? {
        let entry = entry.at("read directory", path)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsStr::from_bytes(name).to_owned();
        let kind = match FileKind::from_type(entry.file_type()) {
            Some(kind) => kind,
            None => match stat_at(dir, &name) {
                Ok(metadata) => metadata.kind,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(PathError::new("stat", &path.join(&name), errno)),
            },
        };
        entries.push(DirEntry { name, kind });
    }
    entries.sort();
    Ok(entries)
}

/// 64 random bits in hex, for names of temporary files.
pub(crate) fn random_name() -> String {
    let mut random = [0; 8];
    // Only fails before the kernel's generator is seeded; the name is created
    // exclusively, so zeros are still safe.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    hex::encode(random)
}

#[cfg(test)]
#[path = "root/tests.rs"]
mod tests;
