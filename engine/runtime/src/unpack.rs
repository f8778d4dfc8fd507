//! Extraction of archives into a root.
//!
//! Every entry is created relative to the descriptor of its parent, which the
//! path layer resolved inside the root; owner, mode, attributes and time are
//! set through the descriptor of what was created. A name or link in an
//! archive can therefore choose any place inside the root and none outside, no
//! matter what another process does to the tree meanwhile.
//!
//! Layers are written in overlay form: a whiteout becomes a character device
//! 0:0, an opaque directory gets `trusted.overlay.opaque`. Attributes of the
//! archive that overlayfs would obey are dropped.
//!
//! Crash behaviour: extraction into a layer happens in a directory nobody sees
//! yet, see [`crate::snapshot`].

mod error;
mod parent;
mod pending;
mod pipeline;
mod space;
mod whiteout;

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci::layer::{Entry, EntryKind, LayerError, Limits, TarReader};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timespec},
    io::Errno,
};

pub use error::UnpackError;
pub(crate) use pending::{Pending, Stack};
pub use pipeline::extract;
pub(crate) use pipeline::unpack_layer;
pub(crate) use whiteout::{OPAQUE, PREFIX};

use crate::root::{
    Attributes, ErrnoContext as _, FileKind, PathError, Root, Xattr, apply_attributes, make_dir_at,
    open_child_dir, open_made, remove_at, set_xattr, split_name, stat_at,
};
use parent::Parent;
use space::Space;
use whiteout::Meaning;

const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// How an archive is extracted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub limits: Limits,
    /// Owner of everything instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Device nodes are created; else they refuse the archive.
    pub devices: bool,
    /// An entry that would put a directory in the place of something else, or
    /// something else in the place of a directory, refuses the archive.
    pub keep_kinds: bool,
}

/// What an extraction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    pub entries: u64,
    /// Size of the regular files.
    pub size_bytes: u64,
}

/// Whether whiteouts have their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// They delete, as overlayfs stores it.
    Layer,
    /// They are ordinary names.
    Plain,
}

struct Extractor<'a> {
    root: &'a Root,
    form: Form,
    options: Options,
    parent: Parent,
    pending: Pending,
    space: Space,
    buffer: Vec<u8>,
    extracted: Extracted,
    /// Whether an entry set the attributes of the root itself.
    describes_root: bool,
    /// Whether the root is opaque, which overlayfs does not look at.
    hides_below: bool,
}

impl<'a> Extractor<'a> {
    fn new(root: &'a Root, form: Form, options: Options) -> Self {
        Self {
            root,
            form,
            options,
            parent: Parent::default(),
            pending: Pending::default(),
            space: Space::default(),
            buffer: vec![0; COPY_BUFFER_BYTES],
            extracted: Extracted::default(),
            describes_root: false,
            hides_below: false,
        }
    }

    /// Extracts all entries; the archive is read to its end.
    fn run<R: Read>(&mut self, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        while let Some(entry) = tar.next_entry()? {
            self.extracted.entries += 1;
            self.entry(&entry, tar)?;
        }
        self.parent.close()?;
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        if self.form == Form::Layer {
            match whiteout::meaning(entry)? {
                Meaning::Create => {}
                Meaning::Ignore => return Ok(()),
                Meaning::Opaque => return self.opaque(&entry.path),
                Meaning::Delete(name) => return self.delete(&entry.path, &name),
            }
        }
        self.pending.settle(&entry.path);
        if entry.path.as_os_str().is_empty() {
            self.parent.close()?;
            self.describes_root = true;
            let root = self.root.open_dir(Path::new(""))?;
            return self.finish(root.as_fd(), entry);
        }
        let (above, name) = split_name(&entry.path)?;
        match &entry.kind {
            EntryKind::Directory => self.directory(entry, above, name),
            EntryKind::Regular => self.regular(entry, above, name, content),
            EntryKind::HardLink(target) => self.hard_link(entry, above, name, target),
            _ => self.special(entry, above, name),
        }
    }

    /// Opens the parent of an entry, making what the archive left out.
    fn enter(&mut self, above: &Path) -> Result<(), UnpackError> {
        if self.parent.get(above).is_some() {
            return Ok(());
        }
        self.parent.close()?;
        let fd = match self.root.open_dir(above) {
            Ok(fd) => fd,
            Err(PathError::NotFound(_) | PathError::NotADirectory(_)) => self.imply(above)?,
            Err(error) => return Err(error.into()),
        };
        self.parent.set(above, fd)?;
        Ok(())
    }

    /// Makes the directories of `above` that no entry described.
    fn imply(&mut self, above: &Path) -> Result<OwnedFd, UnpackError> {
        if self.form == Form::Plain {
            return Ok(self.root.make_dirs(above, 0o755, self.options.owner)?);
        }
        let mut prefix = PathBuf::new();
        let mut dir = self.root.open_dir(Path::new(""))?;
        for name in above {
            prefix.push(name);
            dir = match open_child_dir(dir.as_fd(), name).at("open", &prefix)? {
                Some(child) => child,
                None => self.imply_one(&dir, name, &prefix)?,
            };
        }
        Ok(dir)
    }

    /// Makes the directory `prefix`, or follows the link of that name.
    fn imply_one(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        prefix: &Path,
    ) -> Result<OwnedFd, UnpackError> {
        let make = || {
            let plain = |dir: BorrowedFd<'_>| rustix::fs::fchmod(dir, Mode::from(0o755));
            make_dir_at(parent.as_fd(), name, &mut { plain }).at("mkdir", prefix)
        };
        match stat_at(parent.as_fd(), name) {
            Err(Errno::NOENT) => {
                let dir = make()?;
                self.pending.add_directory(prefix)?;
                Ok(dir)
            }
            Ok(metadata) if metadata.is_whiteout() => {
                // Deleted below and made anew: nothing of the old shows.
                remove_at(parent.as_fd(), name, prefix)?;
                let dir = make()?;
                mark_opaque(dir.as_fd(), prefix)?;
                self.pending.add_directory(prefix)?;
                Ok(dir)
            }
            // Where the link leads is not known to the layers below by this name.
            Ok(_) => Ok(self.root.make_dirs(prefix, 0o755, None)?),
            Err(errno) => Err(PathError::new("stat", prefix, errno).into()),
        }
    }

    fn parent_fd(&self, above: &Path) -> BorrowedFd<'_> {
        self.parent
            .get(above)
            .expect("an entry's parent is entered before it is created")
    }

    fn directory(&mut self, entry: &Entry, above: &Path, name: &OsStr) -> Result<(), UnpackError> {
        self.enter(above)?;
        let path = &entry.path;
        let parent = self.parent_fd(above);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut replaced = false;
        let dir = loop {
            match make_dir_at(parent, name, &mut |_| Ok(())) {
                Err(Errno::EXIST) => {}
                made => break made.at("mkdir", path)?,
            }
            // A directory that is there is taken over; anything else, a link
            // to a directory included, makes way (CVE-2026-33056).
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(dir) => break dir,
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) if self.options.keep_kinds => {
                    return Err(UnpackError::NotADirectory(path.clone()));
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    remove_at(parent, name, path)?;
                    replaced = true;
                }
                Err(errno) => return Err(PathError::new("open", path, errno).into()),
            }
        };
        if replaced && self.form == Form::Layer {
            // What stood here hid a lower directory of this name completely.
            mark_opaque(dir.as_fd(), path)?;
        }
        self.finish(dir.as_fd(), entry)
    }

    fn regular(
        &mut self,
        entry: &Entry,
        above: &Path,
        name: &OsStr,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        self.enter(above)?;
        let path = &entry.path;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = self.create(above, name, path, |parent| {
            rustix::fs::openat(parent, name, flags, Mode::from(0o600))
        })?;
        let mut file = File::from(fd);
        self.space.claim(file.as_fd(), path, entry.size_bytes)?;
        let mut left = entry.size_bytes;
        while left > 0 {
            let length = content
                .read(&mut self.buffer)
                .map_err(|error| UnpackError::Archive(LayerError::from_io(error)))?;
            if length == 0 {
                return Err(LayerError::Truncated("an entry's content").into());
            }
            file.write_all(&self.buffer[..length])
                .map_err(|error| PathError::from_io("write", path, error))?;
            left -= length as u64;
        }
        self.extracted.size_bytes += entry.size_bytes;
        self.finish(file.as_fd(), entry)
    }

    fn special(&mut self, entry: &Entry, above: &Path, name: &OsStr) -> Result<(), UnpackError> {
        let path = &entry.path;
        let (kind, file_type, device) = match &entry.kind {
            EntryKind::Symlink(_) => (FileKind::Symlink, FileType::Symlink, (0, 0)),
            EntryKind::CharDevice { major, minor } => (
                FileKind::CharDevice,
                FileType::CharacterDevice,
                (*major, *minor),
            ),
            EntryKind::BlockDevice { major, minor } => (
                FileKind::BlockDevice,
                FileType::BlockDevice,
                (*major, *minor),
            ),
            EntryKind::Fifo => (FileKind::Fifo, FileType::Fifo, (0, 0)),
            EntryKind::Regular | EntryKind::Directory | EntryKind::HardLink(_) => return Ok(()),
        };
        if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) && !self.options.devices {
            return Err(UnpackError::DeviceRefused(path.clone()));
        }
        if kind == FileKind::CharDevice && device == (0, 0) {
            return Err(UnpackError::FakeWhiteout(path.clone()));
        }
        self.enter(above)?;
        self.create(above, name, path, |parent| match &entry.kind {
            EntryKind::Symlink(target) => rustix::fs::symlinkat(target, parent, name),
            _ => {
                let device = rustix::fs::makedev(device.0, device.1);
                rustix::fs::mknodat(parent, name, file_type, Mode::from(0o600), device)
            }
        })?;
        let made = open_made(self.parent_fd(above), name, kind).at("open", path)?;
        self.finish(made.as_fd(), entry)
    }

    /// A link has no attributes of its own: those of its header are not
    /// applied, or they would reach through it (CVE-2021-32760).
    fn hard_link(
        &mut self,
        entry: &Entry,
        above: &Path,
        name: &OsStr,
        target: &Path,
    ) -> Result<(), UnpackError> {
        let path = &entry.path;
        let missing = || UnpackError::LinkTarget {
            path: path.clone(),
            target: target.to_owned(),
        };
        self.enter(above)?;
        let (target_above, target_name) = split_name(target)?;
        let found = match self.root.open_dir(target_above) {
            Ok(dir) => match stat_at(dir.as_fd(), target_name) {
                Ok(metadata) if !metadata.is_whiteout() => Some((dir, metadata)),
                Ok(_) | Err(Errno::NOENT) => None,
                Err(errno) => return Err(PathError::new("stat", target, errno).into()),
            },
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error.into()),
        };
        let Some((dir, metadata)) = found else {
            if self.form == Form::Plain {
                return Err(missing());
            }
            remove_at(self.parent_fd(above), name, path)?;
            return self.pending.add_link(path, target);
        };
        if metadata.kind == FileKind::Directory {
            return Err(missing());
        }
        if let Ok(old) = stat_at(self.parent_fd(above), name)
            && old.inode == metadata.inode
        {
            return Ok(());
        }
        self.create(above, name, path, |parent| {
            rustix::fs::linkat(&dir, target_name, parent, name, AtFlags::empty())
        })
    }

    /// Creates a name; if it is taken, the later entry wins.
    fn create<T>(
        &self,
        above: &Path,
        name: &OsStr,
        path: &Path,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let parent = self.parent_fd(above);
        match make(parent) {
            Err(Errno::EXIST) => {}
            made => return Ok(made.at("create", path)?),
        }
        if self.options.keep_kinds
            && stat_at(parent, name).is_ok_and(|old| old.kind == FileKind::Directory)
        {
            return Err(UnpackError::IsADirectory(path.to_owned()));
        }
        remove_at(parent, name, path)?;
        Ok(make(parent).at("create", path)?)
    }

    /// Sets owner, mode, attributes and time of what was created.
    fn finish(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let xattrs: Vec<Xattr> = entry
            .xattrs
            .iter()
            .filter(|(name, _)| is_image_xattr(name))
            .cloned()
            .collect();
        let attributes = Attributes {
            uid,
            gid,
            mode: match entry.kind {
                EntryKind::Symlink(_) => None,
                _ => Some(entry.mode),
            },
            mtime: Some(Timespec {
                tv_sec: entry.mtime.sec,
                tv_nsec: i64::from(entry.mtime.nsec),
            }),
            xattrs: &xattrs,
        };
        apply_attributes(fd, &attributes).at("set attributes of", &entry.path)?;
        Ok(())
    }

    /// Whiteouts name real directories: an honest layer was made from a tree,
    /// where no parent is a link.
    fn whiteout_parent(&mut self, path: &Path) -> Result<(), UnpackError> {
        let (above, _) = split_name(path)?;
        self.enter(above)?;
        match self.root.open_dir_no_links(above) {
            Ok(_) => Ok(()),
            Err(PathError::SymlinkLoop(_)) => Err(UnpackError::BadWhiteout {
                path: path.to_owned(),
                problem: "a parent of the whiteout is a symbolic link",
            }),
            Err(error) => Err(error.into()),
        }
    }

    fn opaque(&mut self, path: &Path) -> Result<(), UnpackError> {
        self.whiteout_parent(path)?;
        let (above, _) = split_name(path)?;
        self.hides_below |= above.as_os_str().is_empty();
        mark_opaque(self.parent_fd(above), above)
    }

    /// Whiteouts reach lower layers only: what this layer holds under the name
    /// stays (OCI image-spec, "Whiteouts").
    fn delete(&mut self, path: &Path, name: &OsStr) -> Result<(), UnpackError> {
        self.whiteout_parent(path)?;
        let (above, _) = split_name(path)?;
        let parent = self.parent_fd(above);
        match stat_at(parent, name) {
            Ok(metadata) if metadata.kind == FileKind::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir =
                    rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", path)?;
                self.pending.settle(&above.join(name));
                mark_opaque(dir.as_fd(), path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let file_type = FileType::CharacterDevice;
                rustix::fs::mknodat(parent, name, file_type, Mode::empty(), 0).at("mknod", path)?;
                Ok(())
            }
            Err(errno) => Err(PathError::new("stat", path, errno).into()),
        }
    }
}

/// What of an image's attributes may reach the disk: those of its users, its
/// file capabilities and its access lists. The rest would steer overlayfs or
/// the host's security modules.
fn is_image_xattr(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

fn mark_opaque(dir: BorrowedFd<'_>, path: &Path) -> Result<(), UnpackError> {
    set_xattr(dir, c"trusted.overlay.opaque", b"y").at("make opaque", path)?;
    Ok(())
}

#[cfg(test)]
#[path = "unpack/tests.rs"]
mod tests;
