//! What a layer leaves to the layers below it: attributes of directories it
//! only passes through, and hard links to files it does not contain.
//!
//! Layers are unpacked at the same time, so those below may not be there yet.
//! Then the rest is kept with the layer and done when it is first used.

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
    Attributes, CopyOptions, FileKind, PathError, Root, Xattr, apply_attributes, is_reserved_xattr,
    list_xattrs, stat_fd,
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

    /// Does the work. `below` shows the layers under this one, merged; `None`
    /// when there are none. Doing it twice does no harm.
    pub(crate) fn resolve(&self, layer: &Root, below: Option<&Root>) -> Result<(), UnpackError> {
        let mut links: Vec<_> = self.links.iter().collect();
        links.sort_by_key(|(_, (sequence, _))| *sequence);
        for (path, (_, target)) in links {
            resolve_link(layer, below, &path.0, &target.0)?;
        }
        // Last, because links moved the times of their parents.
        if let Some(below) = below {
            for path in &self.directories {
                adopt(layer, below, &path.0)?;
            }
        }
        Ok(())
    }
}

fn resolve_link(
    layer: &Root,
    below: Option<&Root>,
    path: &Path,
    target: &Path,
) -> Result<(), UnpackError> {
    let missing = || UnpackError::LinkTarget {
        path: path.to_owned(),
        target: target.to_owned(),
    };
    // Another link that waited may have brought the target into this layer.
    let (from, metadata) = match layer.symlink_metadata(target) {
        Ok(metadata) if !metadata.is_whiteout() => (layer, metadata),
        _ => {
            let below = below.ok_or_else(missing)?;
            let metadata = below.symlink_metadata(target).map_err(|error| {
                if error.is_absent() {
                    missing()
                } else {
                    error.into()
                }
            })?;
            (below, metadata)
        }
    };
    if metadata.kind == FileKind::Directory {
        return Err(missing());
    }
    layer.copy_from(path, from, target, &CopyOptions::default())?;
    Ok(())
}

/// Gives a directory that the archive did not describe the attributes it has
/// below, so that it does not change by being passed through.
fn adopt(layer: &Root, below: &Root, path: &Path) -> Result<(), UnpackError> {
    let source = match below.open_path_nofollow(path) {
        Err(error) if error.is_absent() => return Ok(()),
        source => source?,
    };
    let metadata = stat_fd(&source, path)?;
    if metadata.kind != FileKind::Directory {
        return Ok(());
    }
    let target = layer.open_path_nofollow(path)?;
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
