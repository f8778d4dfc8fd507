//! Digests of files as a step sees them: paths, types, modes, owners, link
//! targets, device numbers and bytes. Times are left out, since checking out
//! the same sources again changes them.

use std::{
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use oci::{Algorithm, Digest, Hasher};
use runtime::root::{FileKind, Metadata, PathError, Root};
use tokio_util::sync::CancellationToken;

use super::select::{self, relative};
use crate::solver::{OpError, key::Files, op_decode::clean};

/// Bytes hashed at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Digest of the files of `root` that `files` names. Blocks.
pub(crate) fn digest(
    root: &Root,
    files: &Files,
    cancel: &CancellationToken,
) -> Result<Digest, OpError> {
    let mut content = Content {
        root,
        hasher: Hasher::new(Algorithm::Sha256),
        buffer: vec![0; BUFFER_BYTES],
        cancel,
    };
    match files {
        Files::Below(path) => {
            let path = relative(&clean(&format!("/{path}")).unwrap_or_default());
            let metadata = root.metadata(&path).map_err(missing)?;
            content.entry(&path, Path::new(""), &metadata)?;
            if metadata.kind == FileKind::Directory {
                content.below(&path, None)?;
            }
        }
        Files::Copy(copy) => {
            for chosen in select::sources(root, copy)? {
                // The name decides where the copy goes.
                content.entry(&chosen.path, &chosen.path, &chosen.metadata)?;
                if chosen.metadata.kind == FileKind::Directory {
                    content.below(&chosen.path, chosen.only.as_ref())?;
                }
            }
        }
    }
    Ok(content.hasher.finish())
}

fn missing(error: PathError) -> OpError {
    match error {
        PathError::NotFound(path) | PathError::NotADirectory(path) => {
            select::not_found(&format!("/{}", path.display()))
        }
        error => OpError::host("read the files of a step", &error),
    }
}

struct Content<'a> {
    root: &'a Root,
    hasher: Hasher,
    buffer: Vec<u8>,
    cancel: &'a CancellationToken,
}

impl Content<'_> {
    fn below(
        &mut self,
        top: &Path,
        only: Option<&std::collections::BTreeSet<PathBuf>>,
    ) -> Result<(), OpError> {
        let root = self.root;
        select::walk(root, top, &mut |path, _| {
            if only.is_some_and(|only| !only.contains(path)) {
                return Ok(());
            }
            let full = top.join(path);
            let metadata = root.symlink_metadata(&full).map_err(missing)?;
            self.entry(&full, path, &metadata)
        })
    }

    /// Adds one entry: `full` is where it is, `name` what it is called.
    fn entry(&mut self, full: &Path, name: &Path, metadata: &Metadata) -> Result<(), OpError> {
        if self.cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        self.field(name.as_os_str().as_bytes());
        self.field(&[metadata.kind as u8]);
        for number in [metadata.mode, metadata.uid, metadata.gid] {
            self.hasher.update(&number.to_le_bytes());
        }
        match metadata.kind {
            FileKind::Regular => self.file(full, metadata)?,
            FileKind::Symlink => {
                let target = self.root.read_link(full).map_err(missing)?;
                self.field(target.as_os_str().as_bytes());
            }
            FileKind::CharDevice | FileKind::BlockDevice => {
                self.hasher.update(&metadata.rdev.0.to_le_bytes());
                self.hasher.update(&metadata.rdev.1.to_le_bytes());
            }
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => {}
        }
        let attributes = self.root.attributes(full).map_err(missing)?;
        for (name, value) in attributes {
            self.field(&name);
            self.field(&value);
        }
        self.field(b"end");
        Ok(())
    }

    fn file(&mut self, full: &Path, metadata: &Metadata) -> Result<(), OpError> {
        let failed =
            |error: &dyn std::error::Error| OpError::host("read the files of a step", error);
        let mut file = self.root.open_regular(full).map_err(missing)?;
        self.hasher.update(&metadata.size_bytes.to_le_bytes());
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.hasher.update(&self.buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
            }
            if self.cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
        }
    }

    /// Adds bytes with their length before them.
    fn field(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

#[cfg(test)]
#[path = "content/tests.rs"]
mod tests;
