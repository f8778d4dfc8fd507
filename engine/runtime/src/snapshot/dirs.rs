//! Directories of the store: made private, moved in one step, removed whole.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use super::SnapshotError;
use crate::root::{Attributes, Root, apply_attributes};

/// A directory in `tmp`, removed when dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    /// Takes charge of a directory that exists.
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path: Some(path) }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
            .as_deref()
            .expect("only rename and delete take the path, and they consume self")
    }

    /// Makes it visible under its real name.
    pub(super) fn rename(mut self, to: &Path) -> Result<(), SnapshotError> {
        fs::rename(self.path(), to).map_err(SnapshotError::io("publish", to))?;
        self.path = None;
        Ok(())
    }

    pub(super) fn delete(mut self) -> Result<(), SnapshotError> {
        match self.path.take() {
            Some(path) => delete_tree(&path),
            None => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = delete_tree(&path)
        {
            tracing::warn!(path = %path.display(), %error, "leftover in the layer store; removed at the next start");
        }
    }
}

pub(super) fn delete_tree(path: &Path) -> Result<(), SnapshotError> {
    let root = Root::open(path)?;
    root.clear_dir(Path::new(""))?;
    fs::remove_dir(path).map_err(SnapshotError::io("remove", path))
}

pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(SnapshotError::io("read", dir))
}

/// Nobody but root may look at layers: they hold setuid programs of strangers.
pub(super) fn make_private_dir(path: &Path) -> Result<(), SnapshotError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(SnapshotError::io("make", path)(error))
        }
        _ => Ok(()),
    }
}

/// The root of a layer, which containers see as `/`.
pub(super) fn make_root_dir(path: &Path) -> Result<(), SnapshotError> {
    make_private_dir(path)?;
    // Not by mkdir's mode, which the umask would cut.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(SnapshotError::io("set the mode of", path))
}

/// The root directory of a snapshot shows those of its layers, unless
/// something changes it.
pub(super) fn copy_root_attributes(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    let metadata = Root::open(from)?.metadata(Path::new(""))?;
    let target = Root::open(to)?;
    let attributes = Attributes {
        uid: metadata.uid,
        gid: metadata.gid,
        mode: Some(metadata.mode),
        mtime: Some(metadata.mtime_spec()),
        xattrs: &[],
    };
    apply_attributes(target.as_fd(), &attributes)
        .map_err(|errno| SnapshotError::io("set attributes of", to)(errno.into()))
}

pub(super) fn sync_file_system(root: &Root, path: &Path) -> Result<(), SnapshotError> {
    rustix::fs::syncfs(root).map_err(|errno| SnapshotError::io("sync", path)(errno.into()))
}

/// Identifies the running boot of the machine (proc_sys_kernel(5)).
pub(super) fn boot_id() -> Result<String, SnapshotError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path)
        .map(|id| id.trim().to_owned())
        .map_err(SnapshotError::io("read", path))
}
