//! Temporary files and directories of the engine, below `<data>/tmp`.
//!
//! Each removes itself; what a crash leaves goes when the engine opens.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::EngineConfig;
use crate::id::random_hex;

/// A directory that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// # Errors
    /// Of the file system.
    pub(crate) fn new(config: &EngineConfig) -> io::Result<Self> {
        let path = dir(config).join(random_hex(8));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it, for writing and then reading.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn file(&self) -> io::Result<File> {
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(random_hex(8)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "remove temporary files");
        }
    }
}

fn dir(config: &EngineConfig) -> PathBuf {
    config.data_dir.join("tmp")
}

/// Removes what an earlier engine left.
///
/// # Errors
/// Of the file system.
pub(crate) fn sweep(config: &EngineConfig) -> io::Result<()> {
    for entry in std::fs::read_dir(dir(config))? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}
