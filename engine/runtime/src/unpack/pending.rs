//! What a layer leaves to the layers below it: attributes of directories it
//! only passes through, and hard links to files it does not contain.
//!
//! The layer itself is the same for everybody who has it, whatever lies below.
//! So this is kept with it, and done for each stack of layers it is used on, in
//! a directory apart. Until then such directories are root's with mode 0755.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    os::{
        fd::AsFd as _,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::UnpackError;
use crate::root::{
    Attributes, Conflict, CopyOptions, FileKind, PathError, Root, Xattr, apply_attributes,
    is_reserved_xattr, list_xattrs, stat_fd,
};

/// Most names kept, and bytes of them: an archive of nothing but deep paths
/// would otherwise grow in memory far beyond its own size.
const NAMES_MAX: u64 = 100_000;
const NAME_BYTES_MAX: usize = 8 << 20;

/// Work left over from unpacking one layer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Directories that were made without an entry of their own.
    directories: BTreeSet<RawPath>,
    /// Path of the link → position in the archive and target.
    links: BTreeMap<RawPath, (u64, RawPath)>,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    names: u64,
}

/// A path in JSON: hex, because names are bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RawPath(PathBuf);

impl Serialize for RawPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.as_os_str().as_bytes()))
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(PathBuf::from(OsString::from_vec(bytes))))
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.links.is_empty()
    }

    pub(super) fn add_directory(&mut self, path: &Path) -> Result<(), UnpackError> {
        self.account(path, Path::new(""))?;
        self.directories.insert(RawPath(path.to_owned()));
        Ok(())
    }

    pub(super) fn add_link(&mut self, path: &Path, target: &Path) -> Result<(), UnpackError> {
        self.account(path, target)?;
        let target = RawPath(target.to_owned());
        self.links
            .insert(RawPath(path.to_owned()), (self.names, target));
        Ok(())
    }

    /// An entry of its own came: nothing below has a say any more.
    pub(super) fn settle(&mut self, path: &Path) {
        if !self.is_empty() {
            let path = RawPath(path.to_owned());
            self.directories.remove(&path);
            self.links.remove(&path);
        }
    }

    fn account(&mut self, path: &Path, target: &Path) -> Result<(), UnpackError> {
        self.names += 1;
        self.bytes += path.as_os_str().len() + target.as_os_str().len();
        if self.names > NAMES_MAX || self.bytes > NAME_BYTES_MAX {
            return Err(UnpackError::TooManyImplied { limit: NAMES_MAX });
        }
        Ok(())
    }

    /// Makes the links whose targets the layer holds after all: later in its
    /// archive.
    pub(crate) fn resolve_within(&mut self, layer: &Root) -> Result<(), UnpackError> {
        for (path, target) in self.links_in_order() {
            if !holds(layer, &target.0)? {
                continue;
            }
            copy_link(layer, layer, &path.0, &target.0)?;
            self.links.remove(&path);
        }
        Ok(())
    }

    /// # Errors
    /// [`UnpackError::LinkTarget`] when a link needs a layer below.
    pub(crate) fn check_without_below(&self) -> Result<(), UnpackError> {
        match self.links_in_order().first() {
            Some((path, target)) => Err(missing(&path.0, &target.0)),
            None => Ok(()),
        }
    }

    /// Does the work for one stack of layers.
    pub(crate) fn resolve(&self, stack: &Stack<'_>) -> Result<(), UnpackError> {
        for (path, target) in self.links_in_order() {
            let (path, target) = (&path.0, &target.0);
            // Another link that waited may have made the target.
            let mut from = None;
            for root in [Some(stack.made), Some(stack.layer), stack.below] {
                if let Some(root) = root
                    && holds(root, target)?
                {
                    from = Some(root);
                    break;
                }
            }
            let from = from.ok_or_else(|| missing(path, target))?;
            copy_link(stack.merged, from, path, target)?;
        }
        // Last, because links moved the times of their parents.
        if let Some(below) = stack.below {
            for path in &self.directories {
                adopt(stack.merged, below, &path.0)?;
            }
        }
        Ok(())
    }

    fn links_in_order(&self) -> Vec<(RawPath, RawPath)> {
        let mut links: Vec<_> = self.links.iter().collect();
        links.sort_by_key(|(_, (sequence, _))| *sequence);
        links
            .into_iter()
            .map(|(path, (_, target))| (path.clone(), target.clone()))
            .collect()
    }
}

/// A layer on those below it, and the directory for what it takes from them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack<'a> {
    /// The layer and those below it, merged. What is written here lands in
    /// `made`.
    pub(crate) merged: &'a Root,
    pub(crate) made: &'a Root,
    /// The layer alone.
    pub(crate) layer: &'a Root,
    /// The layers below, merged; `None` when there are none.
    pub(crate) below: Option<&'a Root>,
}

fn missing(path: &Path, target: &Path) -> UnpackError {
    UnpackError::LinkTarget {
        path: path.to_owned(),
        target: target.to_owned(),
    }
}

fn holds(root: &Root, path: &Path) -> Result<bool, UnpackError> {
    match root.symlink_metadata(path) {
        Ok(metadata) => Ok(!metadata.is_whiteout()),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn copy_link(to: &Root, from: &Root, path: &Path, target: &Path) -> Result<(), UnpackError> {
    let metadata = from.symlink_metadata(target)?;
    if metadata.kind == FileKind::Directory {
        return Err(missing(path, target));
    }
    let options = CopyOptions {
        // A directory of a layer below may have the name.
        conflict: Conflict::Replace,
        ..CopyOptions::default()
    };
    to.copy_from(path, from, target, &options)?;
    Ok(())
}

/// Gives a directory that the archive did not describe the attributes it has
/// below, so that it does not change by being passed through.
fn adopt(merged: &Root, below: &Root, path: &Path) -> Result<(), UnpackError> {
    let source = match below.open_path_nofollow(path) {
        Err(error) if error.is_absent() => return Ok(()),
        source => source?,
    };
    let metadata = stat_fd(&source, path)?;
    if metadata.kind != FileKind::Directory {
        return Ok(());
    }
    let target = merged.open_path_nofollow(path)?;
    if stat_fd(&target, path)?.kind != FileKind::Directory {
        return Ok(());
    }
    let at = |errno| PathError::new("set attributes of", path, errno);
    let xattrs: Vec<Xattr> = list_xattrs(source.as_fd())
        .map_err(at)?
        .into_iter()
        .filter(|(name, _)| !is_reserved_xattr(name))
        .collect();
    let attributes = Attributes {
        uid: metadata.uid,
        gid: metadata.gid,
        mode: Some(metadata.mode),
        mtime: Some(metadata.mtime_spec()),
        xattrs: &xattrs,
    };
    apply_attributes(target.as_fd(), &attributes).map_err(at)?;
    Ok(())
}
