//! Copying files and trees from one root into another: `COPY` of the builder
//! and the first fill of a volume.
//!
//! Content is cloned where the file system can, else copied inside the kernel
//! with holes kept. Names of both sides are opened relative to descriptors and
//! never followed, so a tree that changes meanwhile yields a mixed copy but
//! touches nothing outside either root.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Timespec},
    io::Errno,
};

use super::{
    ErrnoContext as _, FileKind, Metadata, PathError, Root,
    attributes::{self, Attributes, Xattr},
    is_reserved_xattr, list_xattrs, make_dir_at, proc_path, read_dir_fd, remove_at, reopen,
    split_name, stat_at, stat_fd,
};

/// As deep as a layer may be, see `oci::layer::Limits`: deeper trees could be
/// copied but not exported. Bounds descriptors to two per level.
const DEPTH_MAX: usize = 255;

/// What happens when the target exists with another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Conflict {
    /// [`PathError::TypeConflict`] when a directory would replace something else or
    /// the reverse; other files are replaced.
    #[default]
    Refuse,
    /// The target is removed first.
    Replace,
}

/// Chooses entries by their path below the source and their type.
pub type Select<'a> = dyn Fn(&Path, FileKind) -> bool + 'a;

/// Makes the permission bits of a copy from those of its source and its type.
pub type ModeOf<'a> = dyn Fn(u32, FileKind) -> u32 + 'a;

/// How a copy differs from its source.
#[derive(Clone, Copy, Default)]
pub struct CopyOptions<'a> {
    /// Owner of everything copied, instead of the source's.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of everything copied but symbolic links.
    pub mode: Option<u32>,
    /// As `mode`, where the bits depend on the file; `mode` wins.
    pub mode_of: Option<&'a ModeOf<'a>>,
    /// Modification time of everything copied: seconds since the epoch.
    pub mtime: Option<i64>,
    pub conflict: Conflict,
    /// Whether the copy takes what the source path leads to when it is a link.
    pub follow: bool,
    /// Asked for each path below the source, relative to it; false leaves it
    /// out, a directory with all below it.
    pub select: Option<&'a Select<'a>>,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions")
            .field("owner", &self.owner)
            .field("mode", &self.mode)
            .field("conflict", &self.conflict)
            .finish_non_exhaustive()
    }
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Entries of all types.
    pub entries: u64,
    /// Size of the regular files.
    pub bytes: u64,
}

impl Root {
    /// Copies `from_path` of `from` to the name `to` here. A directory merges
    /// into one that exists; that one keeps its own mode, owner and time, those
    /// below take the source's. Files are replaced, never written through.
    /// Hard links inside the copied tree stay linked. The parent of `to` must exist.
    ///
    /// `trusted.*` and `user.overlay.*` attributes are not copied.
    pub fn copy_from(
        &self,
        to: &Path,
        from: &Root,
        from_path: &Path,
        options: &CopyOptions<'_>,
    ) -> Result<Copied, PathError> {
        let source = if options.follow {
            from.open_path(from_path)?
        } else {
            from.open_path_nofollow(from_path)?
        };
        let metadata = stat_fd(&source, from_path)?;
        let mut copier = Copier {
            options,
            base: self.try_clone()?,
            links: HashMap::new(),
            copied: Copied::default(),
        };
        if metadata.kind == FileKind::Directory
            && let Ok(target) = self.open_dir(to)
        {
            copier.base = Root::from_fd(target);
            let target = copier.base.try_clone()?;
            let source =
                reopen(source.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).at("open", from_path)?;
            copier.contents(source.as_fd(), target.as_fd(), Path::new(""), 0)?;
            return Ok(copier.copied);
        }
        let (parent, name) = split_name(to)?;
        copier.base = Root::from_fd(self.open_dir(parent)?);
        let target = copier.base.try_clone()?;
        copier.entry(source, &metadata, target.as_fd(), name, Path::new(name), 0)?;
        Ok(copier.copied)
    }
}

struct Copier<'a> {
    options: &'a CopyOptions<'a>,
    /// Where paths of this copy start.
    base: Root,
    /// Source inode of files with several names → first copy, as path below
    /// `base` and inode.
    links: HashMap<(u64, u64), (PathBuf, (u64, u64))>,
    copied: Copied,
}

impl Copier<'_> {
    fn contents(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), PathError> {
        if depth > DEPTH_MAX {
            return Err(PathError::TooDeep {
                path: path.to_owned(),
                depth_max: DEPTH_MAX,
            });
        }
        for entry in read_dir_fd(source, path)? {
            let path = path.join(&entry.name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(source, &entry.name, flags, Mode::empty()) {
                // Removed since the directory was read.
                Err(Errno::NOENT) => continue,
                fd => fd.at("open", &path)?,
            };
            let metadata = stat_fd(&fd, &path)?;
            if let Some(select) = self.options.select
                && !select(&path, metadata.kind)
            {
                continue;
            }
            self.entry(fd, &metadata, target, &entry.name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        source: OwnedFd,
        metadata: &Metadata,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), PathError> {
        self.copied.entries += 1;
        let merge = self.make_room(metadata.kind, parent, name, path)?;
        if metadata.kind == FileKind::Directory {
            return self.directory(source, metadata, parent, name, path, merge, depth);
        }
        if metadata.links > 1 && self.link(metadata, parent, name, path)? {
            return Ok(());
        }
        let made = match metadata.kind {
            FileKind::Regular => self.regular(source.as_fd(), parent, name, path)?,
            _ => self.special(source.as_fd(), metadata, parent, name, path)?,
        };
        self.finish(source.as_fd(), metadata, made.as_fd(), path)?;
        if metadata.links > 1 {
            let inode = stat_fd(&made, path)?.inode;
            self.links.insert(metadata.inode, (path.to_owned(), inode));
        }
        Ok(())
    }

    /// Clears the way for an entry. True when a directory is there to merge into.
    fn make_room(
        &self,
        new: FileKind,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<bool, PathError> {
        let old = match stat_at(parent, name) {
            Err(Errno::NOENT) => return Ok(false),
            old => old.at("stat", path)?.kind,
        };
        let (is_dir, was_dir) = (new == FileKind::Directory, old == FileKind::Directory);
        if is_dir && was_dir {
            return Ok(true);
        }
        if is_dir != was_dir && self.options.conflict == Conflict::Refuse {
            return Err(PathError::TypeConflict {
                path: path.to_owned(),
                old,
                new,
            });
        }
        remove_at(parent, name, path)?;
        Ok(false)
    }

    #[expect(clippy::too_many_arguments, reason = "one level of a recursion")]
    fn directory(
        &mut self,
        source: OwnedFd,
        metadata: &Metadata,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        merge: bool,
        depth: usize,
    ) -> Result<(), PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = if merge {
            rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", path)?
        } else {
            make_dir_at(parent, name, &mut |_| Ok(())).at("mkdir", path)?
        };
        let source = reopen(source.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).at("open", path)?;
        self.contents(source.as_fd(), target.as_fd(), path, depth + 1)?;
        // After the content: each entry made would move the time.
        self.finish(source.as_fd(), metadata, target.as_fd(), path)
    }

    /// Links to the copy of the same inode made earlier. False when there is none.
    fn link(
        &self,
        metadata: &Metadata,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<bool, PathError> {
        let Some((first, inode)) = self.links.get(&metadata.inode) else {
            return Ok(false);
        };
        let Ok(first) = self.base.open_path_nofollow(first) else {
            return Ok(false);
        };
        if stat_fd(&first, path)?.inode != *inode {
            return Ok(false);
        }
        let source = proc_path(first.as_fd());
        rustix::fs::linkat(
            rustix::fs::CWD,
            &source,
            parent,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )
        .at("link", path)?;
        Ok(true)
    }

    fn regular(
        &mut self,
        source: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<OwnedFd, PathError> {
        let source = reopen(source, OFlags::RDONLY).at("open", path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target =
            rustix::fs::openat(parent, name, flags, Mode::from(0o600)).at("create", path)?;
        self.copied.bytes += copy_file_data(&source, &target)
            .map_err(|error| PathError::from_io("copy", path, error))?;
        Ok(target)
    }

    fn special(
        &self,
        source: BorrowedFd<'_>,
        metadata: &Metadata,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<OwnedFd, PathError> {
        let node = |file_type| {
            let device = rustix::fs::makedev(metadata.rdev.0, metadata.rdev.1);
            rustix::fs::mknodat(parent, name, file_type, Mode::from(0o600), device)
                .at("mknod", path)
        };
        match metadata.kind {
            FileKind::Symlink => {
                let target =
                    rustix::fs::readlinkat(source, c"", Vec::new()).at("readlink", path)?;
                rustix::fs::symlinkat(&target, parent, name).at("symlink", path)?;
            }
            FileKind::CharDevice => node(FileType::CharacterDevice)?,
            FileKind::BlockDevice => node(FileType::BlockDevice)?,
            FileKind::Fifo => node(FileType::Fifo)?,
            FileKind::Socket => node(FileType::Socket)?,
            FileKind::Regular | FileKind::Directory => {}
        }
        open_made(parent, name, metadata.kind).at("open", path)
    }

    fn finish(
        &self,
        source: BorrowedFd<'_>,
        metadata: &Metadata,
        target: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<(), PathError> {
        let xattrs: Vec<Xattr> = list_xattrs(source)
            .at("read attributes of", path)?
            .into_iter()
            .filter(|(name, _)| !is_reserved_xattr(name))
            .collect();
        let (uid, gid) = self.options.owner.unwrap_or((metadata.uid, metadata.gid));
        let mode = match metadata.kind {
            FileKind::Symlink => None,
            kind => Some(self.options.mode.unwrap_or_else(|| {
                let mode_of = self.options.mode_of;
                mode_of.map_or(metadata.mode, |mode_of| mode_of(metadata.mode, kind))
            })),
        };
        let mtime = match self.options.mtime {
            Some(tv_sec) => Timespec { tv_sec, tv_nsec: 0 },
            None => metadata.mtime_spec(),
        };
        let attributes = Attributes {
            uid,
            gid,
            mode,
            mtime: Some(mtime),
            xattrs: &xattrs,
        };
        attributes::apply(target, &attributes).at("set attributes of", path)
    }
}

/// Opens what was just made under `name`, and refuses anything of another type
/// that took its place.
pub(crate) fn open_made(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileKind,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if Metadata::from(rustix::fs::fstat(&fd)?).kind == kind {
        Ok(fd)
    } else {
        Err(Errno::AGAIN)
    }
}

/// Copies the content of an open file: one clone where the file system can,
/// else data segments inside the kernel, holes kept. Returns the file's size.
fn copy_file_data(source: impl AsFd, target: impl AsFd) -> io::Result<u64> {
    let (source, target) = (source.as_fd(), target.as_fd());
    let size = u64::try_from(rustix::fs::fstat(source)?.st_size).unwrap_or(0);
    if size == 0 || rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(size);
    }
    rustix::fs::ftruncate(target, size)?;
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => position,
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(source, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(_) => size,
        };
        copy_range(source, target, start, end)?;
        position = end.max(position + 1);
    }
    Ok(size)
}

fn copy_range(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    start: u64,
    end: u64,
) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let length = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            // The file shrank meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Different file systems on old kernels, or one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(source, target, from, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    start: u64,
    end: u64,
) -> io::Result<()> {
    rustix::fs::seek(source, SeekFrom::Start(start))?;
    rustix::fs::seek(target, SeekFrom::Start(start))?;
    let mut source = File::from(source.try_clone_to_owned()?).take(end - start);
    let mut target = File::from(target.try_clone_to_owned()?);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..length])?;
    }
}
