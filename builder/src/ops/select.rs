//! What a copy takes: source paths after wildcards, and the entries below
//! them after include and exclude patterns.
//!
//! The digest of a copy's content and the copy itself both ask here, so that
//! they can never disagree on which files are meant.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use oci::ignore::Ignore;
use runtime::root::{FileKind, Metadata, Root};

use super::glob;
use crate::solver::{OpError, op};

/// One source path of a copy.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Relative to the root, as matched: its last name is the copy's name.
    pub(crate) path: PathBuf,
    /// Of what the path leads to, or of the link itself.
    pub(crate) metadata: Metadata,
    /// Paths below it that are taken; `None` is all.
    pub(crate) only: Option<BTreeSet<PathBuf>>,
}

/// The source paths of `copy` inside `root`, in order.
///
/// # Errors
/// A path or required path that does not exist, patterns that are none.
pub(crate) fn sources(root: &Root, copy: &op::Copy) -> Result<Vec<Chosen>, OpError> {
    let pattern = copy.src.trim_matches('/');
    let wild = copy.wildcard && glob::has_wildcards(pattern);
    let paths = match wild {
        true => glob::expand(root, pattern).map_err(|error| OpError::User(error.to_string()))?,
        false => vec![relative(&copy.src)],
    };
    if paths.is_empty() && !copy.allow_empty_wildcard {
        return Err(not_found(&copy.src));
    }
    for required in &copy.required_paths {
        if !root.exists(&relative(required)) {
            return Err(not_found(required));
        }
    }
    let mut chosen = Vec::with_capacity(paths.len());
    for path in paths {
        let metadata = match copy.follow_symlink {
            true => root.metadata(&path),
            false => root.symlink_metadata(&path),
        };
        let metadata = metadata.map_err(|error| match error.is_absent() {
            true => not_found(&format!("/{}", path.display())),
            false => OpError::host("read the source of a copy", &error),
        })?;
        let only = match metadata.kind {
            FileKind::Directory => only(root, &path, copy)?,
            _ => None,
        };
        chosen.push(Chosen {
            path,
            metadata,
            only,
        });
    }
    Ok(chosen)
}

/// In the words that BuildKit has for it, which people search for.
pub(crate) fn not_found(path: &str) -> OpError {
    OpError::User(format!(
        "failed to compute cache key: failed to calculate checksum of ref: {path:?}: not found"
    ))
}

/// A path as the graph writes it, relative to a root.
pub(crate) fn relative(path: &str) -> PathBuf {
    PathBuf::from(path.trim_matches('/'))
}

/// The paths below `top` that the patterns of `copy` let through, with the
/// directories that lead to them.
fn only(root: &Root, top: &Path, copy: &op::Copy) -> Result<Option<BTreeSet<PathBuf>>, OpError> {
    if copy.include.is_empty() && copy.exclude.is_empty() {
        return Ok(None);
    }
    let parse = |lines: &[String]| {
        Ignore::parse(&lines.join("\n")).map_err(|error| OpError::User(error.to_string()))
    };
    let (include, exclude) = (parse(&copy.include)?, parse(&copy.exclude)?);
    let mut taken = BTreeSet::new();
    walk(root, top, &mut |path, kind| {
        let name = path.to_string_lossy();
        let included = copy.include.is_empty() || include.is_ignored(&name);
        let excluded = exclude.is_ignored(&name);
        // Without include patterns, empty directories are copied as well.
        let counts = kind != FileKind::Directory || copy.include.is_empty();
        if included && !excluded && counts {
            taken.extend(
                path.ancestors()
                    .filter(|a| !a.as_os_str().is_empty())
                    .map(Path::to_owned),
            );
        }
        Ok(())
    })?;
    Ok(Some(taken))
}

/// Calls `each` for everything below the directory `top`, with paths relative
/// to it, parents first and names in order.
pub(crate) fn walk(
    root: &Root,
    top: &Path,
    each: &mut dyn FnMut(&Path, FileKind) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let list = |below: &Path| {
        root.read_dir(&top.join(below))
            .map_err(|error| OpError::host("list a directory", &error))
    };
    let mut stack = vec![(PathBuf::new(), list(Path::new(""))?.into_iter())];
    while let Some((below, entries)) = stack.last_mut() {
        let Some(entry) = entries.next() else {
            stack.pop();
            continue;
        };
        let path = below.join(&entry.name);
        each(&path, entry.kind)?;
        if entry.kind == FileKind::Directory {
            if stack.len() > DEPTH_MAX {
                return Err(OpError::User(format!(
                    "directories are nested deeper than {DEPTH_MAX}"
                )));
            }
            let entries = list(&path)?.into_iter();
            stack.push((path, entries));
        }
    }
    Ok(())
}

/// As deep as a layer may be.
const DEPTH_MAX: usize = 255;
