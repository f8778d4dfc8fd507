//! `docker diff`: what a container's writable layer changes of its image.
//! Blocking; reads the layer's own directory, so its cost is what was written.

use std::path::{Path, PathBuf};

use engine_api::ChangeItem;
use runtime::root::{FileKind, Metadata, PathError, Root};

/// Deepest tree that is walked; bounds recursion.
const DEPTH_MAX: usize = 255;

const MODIFIED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;

/// What engine and runtime make in the root of every container.
const MADE: [&str; 7] = [
    "/.dockerenv",
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// The differences, by path.
///
/// `upper` is the writable layer as overlayfs keeps it, `lower` what is below
/// it, `targets` where something is mounted: what stands there was made for
/// the mount.
///
/// # Errors
/// When either tree cannot be read.
pub(crate) fn changes(
    upper: &Root,
    lower: &Root,
    targets: impl IntoIterator<Item = PathBuf>,
) -> Result<Vec<ChangeItem>, PathError> {
    let mut walk = Walk {
        upper,
        lower,
        made: MADE.iter().map(PathBuf::from).chain(targets).collect(),
        found: Vec::new(),
    };
    walk.directory(Path::new("/"), false, 0)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Walk<'a> {
    upper: &'a Root,
    lower: &'a Root,
    made: Vec<PathBuf>,
    found: Vec<ChangeItem>,
}

impl Walk<'_> {
    /// `alone`: nothing of the lower tree shows in this directory.
    fn directory(&mut self, path: &Path, alone: bool, depth: usize) -> Result<(), PathError> {
        if depth > DEPTH_MAX {
            return Err(PathError::TooDeep {
                path: path.to_owned(),
                depth_max: DEPTH_MAX,
            });
        }
        for child in self.upper.read_dir(path)? {
            let path = path.join(&child.name);
            if self.made.contains(&path) {
                continue;
            }
            let now = match self.upper.symlink_metadata(&path) {
                Err(error) if error.is_absent() => continue,
                now => now?,
            };
            let before = match self.lower.symlink_metadata(&path) {
                _ if alone => None,
                Err(error) if error.is_absent() => None,
                before => Some(before?),
            };
            if now.kind == FileKind::Directory {
                self.child_directory(&path, &now, before.as_ref(), depth)?;
            } else if now.is_whiteout() {
                if before.is_some() {
                    self.add(&path, DELETED);
                }
            } else {
                self.add(&path, if before.is_some() { MODIFIED } else { ADDED });
            }
        }
        Ok(())
    }

    fn child_directory(
        &mut self,
        path: &Path,
        now: &Metadata,
        before: Option<&Metadata>,
        depth: usize,
    ) -> Result<(), PathError> {
        let same_kind = before.filter(|before| before.kind == FileKind::Directory);
        let alone = same_kind.is_none() || is_opaque(self.upper, path)?;
        let found = self.found.len();
        if alone && same_kind.is_some() {
            for child in self.lower.read_dir(path)? {
                let path = path.join(&child.name);
                if !self.upper.exists(&path) {
                    self.add(&path, DELETED);
                }
            }
        }
        self.directory(path, alone, depth + 1)?;
        let touched = self.found.len() > found;
        let attributes = |of: &Metadata| (of.mode, of.uid, of.gid);
        match before {
            None if touched || !self.is_above_made(path) => self.add(path, ADDED),
            None => {}
            Some(before) if touched || alone || attributes(before) != attributes(now) => {
                self.add(path, MODIFIED);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Whether the directory was made for a mount below it.
    fn is_above_made(&self, path: &Path) -> bool {
        self.made.iter().any(|made| made.starts_with(path))
    }

    fn add(&mut self, path: &Path, kind: u8) {
        self.found.push(ChangeItem {
            path: path.to_string_lossy().into_owned(),
            kind,
        });
    }
}

/// Whether overlayfs shows nothing of the lower directory of that name.
fn is_opaque(upper: &Root, path: &Path) -> Result<bool, PathError> {
    let dir = upper.open_dir(path)?;
    let mut value = [0; 1];
    // Without the attribute the answer is an error.
    let read = rustix::fs::fgetxattr(&dir, "trusted.overlay.opaque", &mut value[..]);
    Ok(read == Ok(1) && value == *b"y")
}

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
