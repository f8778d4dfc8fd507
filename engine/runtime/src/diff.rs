//! The way back: an overlay directory written as an OCI layer.
//!
//! Walks by descriptor in byte order of names, so equal trees give equal
//! archives. Overlay whiteouts and opaque directories become OCI ones, hard
//! links stay links to the first name met. Owns nothing; reads only.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use oci::layer::{Entry, EntryKind, LayerError, Mtime, TarWriter};
use rustix::fs::{Mode, OFlags};

use crate::{
    root::{
        ErrnoContext as _, FileKind, Metadata, PathError, Root, is_reserved_xattr, list_xattrs,
        read_dir_fd, reopen, stat_fd,
    },
    unpack::{OPAQUE, PREFIX},
};

/// Deepest tree written: what [`oci::layer::Limits`] lets in again.
const DEPTH_MAX: usize = 255;

/// Why a tree could not be written as a layer.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Archive(#[from] LayerError),
    /// It would delete a file when the layer is unpacked.
    #[error("{}: a name that starts with `.wh.` cannot be stored in an image layer; rename it", .0.display())]
    ReservedName(PathBuf),
}

/// Writes the tree at `path` of `root` as a layer. Sockets are left out: they
/// mean nothing without the process that bound them.
pub fn write_layer<W: Write>(
    root: &Root,
    path: &Path,
    tar: &mut TarWriter<W>,
) -> Result<(), DiffError> {
    let dir = root.open_dir(path)?;
    let mut walk = Walk {
        tar,
        links: HashMap::new(),
    };
    walk.directory(dir, Path::new(""), 0)
}

/// Size of all regular files below, files with several names counted once.
pub fn size_bytes(root: &Root) -> Result<u64, PathError> {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let dir = root.open_dir(Path::new(""))?;
    add_sizes(dir, Path::new(""), 0, &mut |metadata| {
        if metadata.links < 2 || seen.insert(metadata.inode) {
            total += metadata.size_bytes;
        }
    })?;
    Ok(total)
}

fn add_sizes(
    dir: OwnedFd,
    path: &Path,
    depth: usize,
    add: &mut dyn FnMut(&Metadata),
) -> Result<(), PathError> {
    check_depth(path, depth)?;
    for entry in read_dir_fd(dir.as_fd(), path)? {
        let path = path.join(&entry.name);
        match entry.kind {
            FileKind::Directory => {
                // A running container may have removed it since.
                match open_dir(dir.as_fd(), &entry.name, &path) {
                    Err(error) if error.is_absent() => {}
                    child => add_sizes(child?, &path, depth + 1, add)?,
                }
            }
            FileKind::Regular => {
                if let Ok(metadata) = crate::root::stat_at(dir.as_fd(), &entry.name) {
                    add(&metadata);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

struct Walk<'a, W: Write> {
    tar: &'a mut TarWriter<W>,
    /// Inode of files with several names → first path.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, dir: OwnedFd, path: &Path, depth: usize) -> Result<(), DiffError> {
        check_depth(path, depth)?;
        let metadata = stat_fd(&dir, path)?;
        let xattrs = list_xattrs(dir.as_fd()).at("read attributes of", path)?;
        let opaque = xattrs
            .iter()
            .any(|(name, value)| name == b"trusted.overlay.opaque" && value == b"y");
        let entry = entry(path, EntryKind::Directory, &metadata, xattrs);
        self.tar.append(&entry, &mut std::io::empty())?;
        if opaque {
            self.marker(&path.join(OPAQUE))?;
        }
        for child in read_dir_fd(dir.as_fd(), path)? {
            let path = path.join(&child.name);
            if child.kind == FileKind::Directory {
                check_name(&path)?;
                let child = open_dir(dir.as_fd(), &child.name, &path)?;
                self.directory(child, &path, depth + 1)?;
            } else {
                self.file(dir.as_fd(), &path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DiffError> {
        let name = path.file_name().unwrap_or_default();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).at("open", path)?;
        let metadata = stat_fd(&fd, path)?;
        if metadata.is_whiteout() {
            let mut marker = std::ffi::OsString::from(PREFIX);
            marker.push(name);
            return self.marker(&path.with_file_name(marker));
        }
        check_name(path)?;
        let Some(kind) = self.kind(&fd, &metadata, path)? else {
            return Ok(());
        };
        let is_link = matches!(kind, EntryKind::HardLink(_));
        let xattrs = if is_link {
            Vec::new()
        } else {
            list_xattrs(fd.as_fd()).at("read attributes of", path)?
        };
        let entry = entry(path, kind, &metadata, xattrs);
        if entry.kind == EntryKind::Regular {
            let file = reopen(fd.as_fd(), OFlags::RDONLY | OFlags::NOATIME).at("open", path)?;
            self.tar.append(&entry, &mut File::from(file))?;
        } else {
            self.tar.append(&entry, &mut std::io::empty())?;
        }
        Ok(())
    }

    /// `None` for what has no place in a layer.
    fn kind(
        &mut self,
        fd: &OwnedFd,
        metadata: &Metadata,
        path: &Path,
    ) -> Result<Option<EntryKind>, DiffError> {
        if metadata.kind == FileKind::Socket {
            return Ok(None);
        }
        if metadata.links > 1 {
            if let Some(first) = self.links.get(&metadata.inode) {
                return Ok(Some(EntryKind::HardLink(first.clone())));
            }
            self.links.insert(metadata.inode, path.to_owned());
        }
        let (major, minor) = metadata.rdev;
        Ok(match metadata.kind {
            FileKind::Regular => Some(EntryKind::Regular),
            FileKind::Symlink => {
                let target = rustix::fs::readlinkat(fd, c"", Vec::new()).at("readlink", path)?;
                let target = std::ffi::OsStr::from_bytes(target.to_bytes());
                Some(EntryKind::Symlink(PathBuf::from(target)))
            }
            FileKind::CharDevice => Some(EntryKind::CharDevice { major, minor }),
            FileKind::BlockDevice => Some(EntryKind::BlockDevice { major, minor }),
            FileKind::Fifo => Some(EntryKind::Fifo),
            FileKind::Directory | FileKind::Socket => None,
        })
    }

    /// An empty file of the name, owned by root, at time 0: it carries no more
    /// than its name.
    fn marker(&mut self, path: &Path) -> Result<(), DiffError> {
        let entry = Entry::new(path, EntryKind::Regular, 0o600);
        self.tar.append(&entry, &mut std::io::empty())?;
        Ok(())
    }
}

fn entry(
    path: &Path,
    kind: EntryKind,
    metadata: &Metadata,
    mut xattrs: Vec<(Vec<u8>, Vec<u8>)>,
) -> Entry {
    xattrs.retain(|(name, _)| !is_reserved_xattr(name));
    let size_bytes = match kind {
        EntryKind::Regular => metadata.size_bytes,
        _ => 0,
    };
    Entry {
        path: path.to_owned(),
        kind,
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: Mtime {
            sec: metadata.mtime,
            nsec: 0,
        },
        size_bytes,
        xattrs,
    }
}

fn check_name(path: &Path) -> Result<(), DiffError> {
    let name = path.file_name().unwrap_or_default();
    if name.as_bytes().starts_with(PREFIX.as_bytes()) {
        return Err(DiffError::ReservedName(path.to_owned()));
    }
    Ok(())
}

fn check_depth(path: &Path, depth: usize) -> Result<(), PathError> {
    if depth > DEPTH_MAX {
        return Err(PathError::TooDeep {
            path: path.to_owned(),
            depth_max: DEPTH_MAX,
        });
    }
    Ok(())
}

fn open_dir(
    parent: BorrowedFd<'_>,
    name: &std::ffi::OsStr,
    path: &Path,
) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", path)
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
