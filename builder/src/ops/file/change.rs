//! Single changes to a file system: copy, make, link, remove.

use std::{
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use runtime::root::{Conflict, CopyOptions, FileKind, PathError, Root};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use tokio_util::sync::CancellationToken;

use super::archive;
use crate::{
    ops::{
        chmod::Symbolic,
        glob, owner,
        select::{self, Chosen, relative},
    },
    solver::{
        OpError,
        op::{Change, Chmod, Copy, Owner, Principal},
    },
};

/// Applies a change that reads nothing else.
pub(crate) fn apply(root: &Root, change: &Change) -> Result<(), OpError> {
    match change {
        Change::Copy(_) => unreachable!("copies have a source"),
        Change::MakeFile {
            path,
            mode,
            data,
            owner,
            timestamp,
        } => {
            let ids = resolve(root, owner.as_ref())?;
            let path = relative(path);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            let mut file = root
                .open_file(&path, flags, Mode::from(0o600))
                .map_err(|error| failed("make a file", error))?;
            file.write_all(data)
                .map_err(|error| OpError::host("write a file", &error))?;
            finish(
                OwnedFd::from(file),
                ids.or(Some((0, 0))),
                Some(*mode),
                *timestamp,
            )
        }
        Change::MakeDir {
            path,
            mode,
            parents,
            owner,
            timestamp,
        } => {
            let ids = resolve(root, owner.as_ref())?;
            let path = relative(path);
            let had = root.metadata(&path).is_ok();
            if !had && !parents {
                root.parent_of(&path, false)
                    .map_err(|error| failed("make a directory", error))?;
            }
            let dir = root
                .make_dirs(&path, *mode, ids.or(Some((0, 0))))
                .map_err(|error| failed("make a directory", error))?;
            match had {
                true => Ok(()),
                false => finish(dir, None, None, *timestamp),
            }
        }
        Change::Remove {
            path,
            allow_not_found,
            wildcard,
        } => remove(root, path, *allow_not_found, *wildcard),
        Change::Symlink {
            target,
            path,
            owner,
            timestamp,
        } => {
            let (uid, gid) = resolve(root, owner.as_ref())?.unwrap_or((0, 0));
            let (parent, name) = root
                .parent_of(&relative(path), false)
                .map_err(|error| failed("make a link", error))?;
            let made = rustix::fs::symlinkat(target, &parent, &name).and_then(|()| {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&parent, &name, Some(uid), Some(gid), flags)?;
                match timestamp {
                    None => Ok(()),
                    Some(time) => rustix::fs::utimensat(&parent, &name, &times(*time), flags),
                }
            });
            made.map_err(|error| OpError::User(format!("cannot make the link {path:?}: {error}")))
        }
    }
}

fn remove(root: &Root, path: &str, absent_ok: bool, wildcard: bool) -> Result<(), OpError> {
    let paths = match wildcard {
        true => glob::expand(root, path).map_err(|error| OpError::User(error.to_string()))?,
        false => vec![relative(path)],
    };
    for path in &paths {
        let absent = matches!(root.symlink_metadata(path), Err(PathError::NotFound(_)));
        if absent && !absent_ok {
            return Err(failed("remove", PathError::NotFound(path.clone())));
        }
        root.remove_all(path)
            .map_err(|error| failed("remove", error))?;
    }
    match paths.is_empty() && !absent_ok {
        true => Err(failed("remove", PathError::NotFound(relative(path)))),
        false => Ok(()),
    }
}

/// Copies what `copy` names of `source` into `root`.
pub(crate) fn copy(
    root: &Root,
    source: &Root,
    copy: &Copy,
    cancel: &CancellationToken,
) -> Result<(), OpError> {
    let ids = resolve(root, copy.owner.as_ref())?;
    let symbolic = match &copy.mode {
        Some(Chmod::Symbolic(text)) => {
            Some(Symbolic::parse(text).map_err(|error| OpError::User(error.to_string()))?)
        }
        _ => None,
    };
    let mode_of = symbolic.as_ref().map(|symbolic| {
        move |mode: u32, kind: FileKind| symbolic.apply(mode, kind == FileKind::Directory)
    });
    for chosen in select::sources(source, copy)? {
        if copy.unpack
            && chosen.metadata.kind == FileKind::Regular
            && archive::is_archive(source, &chosen.path)?
        {
            let dest = relative(&copy.dest);
            make_dirs(root, copy, &dest, ids)?;
            archive::unpack(root, &dest, source, &chosen.path, ids)?;
            continue;
        }
        let target = target(root, copy, &chosen, ids)?;
        let only = chosen.only.as_ref();
        let select = |path: &Path, _: FileKind| {
            !cancel.is_cancelled() && only.is_none_or(|o| o.contains(path))
        };
        let options = CopyOptions {
            owner: ids,
            mode: match &copy.mode {
                Some(Chmod::Octal(bits)) => Some(*bits),
                _ => None,
            },
            mode_of: mode_of.as_ref().map(|f| f as &dyn Fn(u32, FileKind) -> u32),
            mtime: copy.timestamp.map(|time| time.div_euclid(1_000_000_000)),
            conflict: match copy.always_replace {
                true => Conflict::Replace,
                false => Conflict::Refuse,
            },
            follow: copy.follow_symlink,
            select: Some(&select),
        };
        let copied = root.copy_from(&target, source, &chosen.path, &options);
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        copied.map_err(|error| failed("copy", error))?;
    }
    Ok(())
}

/// Where a source goes, by the rules of COPY: into the destination when that
/// is a directory, else under its name. Directories on the way are made.
fn target(
    root: &Root,
    copy: &Copy,
    chosen: &Chosen,
    ids: Option<(u32, u32)>,
) -> Result<PathBuf, OpError> {
    let dest = followed(root, relative(&copy.dest))?;
    let is_dir = chosen.metadata.kind == FileKind::Directory;
    let make = |path: &Path| make_dirs(root, copy, path, ids);
    match copy.dest.ends_with('/') {
        true => make(&dest)?,
        false => make(dest.parent().unwrap_or(Path::new("")))?,
    }
    let there = root.metadata(&dest).ok();
    let into = match is_dir {
        true => !copy.dir_copy_contents && there.is_some(),
        false => there.is_some_and(|there| there.kind == FileKind::Directory),
    };
    if into {
        let name = chosen.path.file_name();
        return Ok(name.map_or(dest.clone(), |name| dest.join(name)));
    }
    if is_dir && copy.dir_copy_contents {
        make(&dest)?;
    }
    Ok(dest)
}

/// What a destination leads to when it is a link, also where nothing is yet:
/// the copy goes there, and the link stays.
fn followed(root: &Root, dest: PathBuf) -> Result<PathBuf, OpError> {
    let mut path = dest;
    for _ in 0..LINKS_MAX {
        let link = root.symlink_metadata(&path).map(|found| found.kind);
        if !matches!(link, Ok(FileKind::Symlink)) {
            return Ok(path);
        }
        let target = root
            .read_link(&path)
            .map_err(|error| failed("follow the destination", error))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        path = match target.strip_prefix("/") {
            Ok(absolute) => absolute.to_owned(),
            Err(_) => parent.join(target),
        };
    }
    Err(OpError::User(format!(
        "cannot follow the destination: {}: too many links",
        path.display()
    )))
}

/// Links that lead to one another: path_resolution(7) follows as many.
const LINKS_MAX: usize = 40;

/// Makes a directory on the way to a destination.
fn make_dirs(
    root: &Root,
    copy: &Copy,
    path: &Path,
    ids: Option<(u32, u32)>,
) -> Result<(), OpError> {
    if !copy.create_dest_path && !root.exists(path) {
        return Err(failed("copy", PathError::NotFound(path.to_owned())));
    }
    root.make_dirs(path, 0o755, ids.or(Some((0, 0))))
        .map(drop)
        .map_err(|error| failed("make the destination", error))
}

/// User and group as numbers. A user by number without group is its own group.
fn resolve(root: &Root, owner: Option<&Owner>) -> Result<Option<(u32, u32)>, OpError> {
    let Some(owner) = owner else { return Ok(None) };
    let user_error = |error: owner::OwnerError| OpError::User(crate::solver::error::chain(&error));
    let (uid, own) = match &owner.user {
        None => (0, 0),
        Some(Principal::Id(id)) => (*id, *id),
        Some(Principal::Name(name)) => owner::user(root, name).map_err(user_error)?,
    };
    let gid = match &owner.group {
        None => own,
        Some(Principal::Id(id)) => *id,
        Some(Principal::Name(name)) => owner::group(root, name).map_err(user_error)?,
    };
    Ok(Some((uid, gid)))
}

fn times(nanoseconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn finish(
    fd: impl AsFd,
    ids: Option<(u32, u32)>,
    mode: Option<u32>,
    timestamp: Option<i64>,
) -> Result<(), OpError> {
    let fd = fd.as_fd();
    let done = || {
        if let Some((uid, gid)) = ids {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        // After the owner: chown(2) clears set-id bits.
        if let Some(mode) = mode {
            rustix::fs::fchmod(fd, Mode::from(mode))?;
        }
        match timestamp {
            None => Ok(()),
            Some(time) => rustix::fs::futimens(fd, &times(time)),
        }
    };
    done().map_err(|error: rustix::io::Errno| OpError::host("set the attributes of a file", &error))
}

/// What the build asked for cannot be done to its own files; a full or broken
/// disk is the host's.
pub(super) fn failed(doing: &str, error: PathError) -> OpError {
    let host = matches!(
        error,
        PathError::NoSpace(_) | PathError::Unstable(_) | PathError::System { .. }
    );
    match host {
        true => OpError::host(doing, &error),
        false => OpError::User(format!(
            "cannot {doing}: {}",
            crate::solver::error::chain(&error)
        )),
    }
}
