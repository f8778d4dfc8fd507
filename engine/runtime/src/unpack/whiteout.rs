//! OCI whiteouts: names that delete what lower layers hold.
//!
//! Source: OCI image-spec `layer.md`, "Whiteouts".

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use oci::layer::{Entry, EntryKind};

use super::UnpackError;

pub(crate) const PREFIX: &str = ".wh.";
pub(crate) const OPAQUE: &str = ".wh..wh..opq";

/// Bookkeeping of the long-gone aufs, which ancient images still carry at
/// their root; it means nothing anywhere else.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// What the name of an entry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An ordinary entry.
    Create,
    /// Deletes this name of the same directory.
    Delete(OsString),
    /// Hides all of the directory that lower layers hold.
    Opaque,
    /// Nothing.
    Ignore,
}

/// Reads an entry's name. Anything that starts like a whiteout and is none is
/// refused: what one reader deletes, another would create.
pub(super) fn meaning(entry: &Entry) -> Result<Meaning, UnpackError> {
    let first = entry.path.components().next();
    if first.is_some_and(|first| AUFS.contains(&first.as_os_str().as_bytes())) {
        return Ok(Meaning::Ignore);
    }
    let bad = |problem| UnpackError::BadWhiteout {
        path: entry.path.clone(),
        problem,
    };
    let above = entry.path.parent().unwrap_or(Path::new(""));
    if above.components().any(|c| is_marked(c.as_os_str())) {
        return Err(bad("a whiteout cannot be a directory"));
    }
    let Some(name) = entry.path.file_name().filter(|name| is_marked(name)) else {
        return Ok(Meaning::Create);
    };
    // Aufs wrote whiteouts as hard links to one another.
    let plain = matches!(entry.kind, EntryKind::Regular | EntryKind::HardLink(_));
    if !plain || entry.size_bytes > 0 {
        return Err(bad("a whiteout must be an empty regular file"));
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    let deleted = &name.as_bytes()[PREFIX.len()..];
    if deleted.is_empty() || deleted == b"." || deleted == b".." {
        return Err(bad("the whiteout deletes no name"));
    }
    if deleted.starts_with(PREFIX.as_bytes()) {
        return Err(bad("the whiteout deletes a whiteout"));
    }
    Ok(Meaning::Delete(OsStr::from_bytes(deleted).to_owned()))
}

fn is_marked(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}
