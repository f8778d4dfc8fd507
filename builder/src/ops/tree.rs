//! A build's context on disk: unpacked from its tarball by the hardened
//! reader, everything owned by root, and without what `.dockerignore` names.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci::{Algorithm, Digest, Hasher, ignore::Ignore};
use runtime::{
    root::{FileKind, PathError, Root},
    unpack::{self, UnpackError},
};
use tokio_util::sync::CancellationToken;

use super::select;
use crate::solver::OpError;

/// An unpacked context. Its directory is removed with it.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
    identity: Digest,
}

impl Tree {
    /// Unpacks `tarball` into the new directory `path`; blocks.
    ///
    /// # Errors
    /// Archives that are hostile or broken, which leave nothing; a full disk.
    pub(crate) fn unpack(
        tarball: &Path,
        path: &Path,
        cancel: &CancellationToken,
    ) -> Result<Self, OpError> {
        let io = |error: io::Error| OpError::host("unpack the build context", &error);
        let file = fs::File::open(tarball).map_err(io)?;
        fs::create_dir(path).map_err(io)?;
        // From here on the directory goes when this does.
        let mut tree = Self {
            path: path.to_owned(),
            identity: Digest::sha256(b""),
        };
        let root = tree.root()?;
        let mut source = Hashed {
            inner: io::BufReader::with_capacity(256 * 1024, file),
            hasher: Hasher::new(Algorithm::Sha256),
            cancel: cancel.clone(),
        };
        let options = unpack::Options {
            owner: Some((0, 0)),
            ..unpack::Options::default()
        };
        let unpacked = unpack::extract(&root, &mut source, &options);
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        unpacked.map_err(refused)?;
        // What follows the archive is part of what was sent.
        io::copy(&mut source, &mut io::sink()).map_err(io)?;
        tree.identity = source.hasher.finish();
        Ok(tree)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn root(&self) -> Result<Root, OpError> {
        Root::open(&self.path).map_err(|error| OpError::host("open the build context", &error))
    }

    /// Stands for the files that are there: the tarball as it was sent, and
    /// the patterns it was pruned by.
    pub(crate) fn identity(&self) -> Digest {
        self.identity
    }

    /// Removes what the patterns of the ignore file `text` name; blocks.
    ///
    /// # Errors
    /// Patterns that cannot be read; `file` is their name for the message.
    pub(crate) fn prune(&mut self, file: &str, text: &str) -> Result<(), OpError> {
        let ignore =
            Ignore::parse(text).map_err(|error| OpError::User(format!("{file}: {error}")))?;
        if ignore.is_empty() {
            return Ok(());
        }
        // One tarball holds several ignore files; the Dockerfile that a build
        // names decides which of them counts.
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.identity.to_column());
        hasher.update(text.as_bytes());
        self.identity = hasher.finish();
        let root = self.root()?;
        let mut ignored = Vec::new();
        select::walk(&root, Path::new(""), &mut |path, kind| {
            if ignore.is_ignored(&path.to_string_lossy()) {
                ignored.push((path.to_owned(), kind));
            }
            Ok(())
        })?;
        // Deepest first, so that a directory is empty unless something in it
        // was taken back in by an exception.
        for (path, kind) in ignored.iter().rev() {
            let keep = *kind == FileKind::Directory
                && root.read_dir(path).is_ok_and(|names| !names.is_empty());
            if !keep {
                root.remove_all(path)
                    .map_err(|error| OpError::host("apply .dockerignore", &error))?;
            }
        }
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a build context");
        }
    }
}

/// A hostile or broken archive is the sender's, a full disk ours.
fn refused(error: UnpackError) -> OpError {
    let host = match &error {
        UnpackError::Path(error) => matches!(
            error,
            PathError::NoSpace(_) | PathError::Unstable(_) | PathError::System { .. }
        ),
        UnpackError::Mount(_) | UnpackError::Store(_) | UnpackError::Thread(_) => true,
        _ => false,
    };
    match host {
        true => OpError::host("unpack the build context", &error),
        false => OpError::User(format!(
            "the build context is refused: {}",
            crate::solver::error::chain(&error)
        )),
    }
}

/// Hashes what passes, and ends when the build is cancelled.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    cancel: CancellationToken,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
