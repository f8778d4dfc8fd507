//! Export of a layer as an archive.

use std::{io::Write, path::Path};

use oci::{
    Digest,
    layer::{Compression, LayerWriter, TarWriter},
};

use super::{FILES, LayerName, LayerStore, SnapshotError};
use crate::{diff, root::Root};

/// A layer that was written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of the bytes written.
    pub digest: Digest,
    /// Bytes written.
    pub size_bytes: u64,
    pub uncompressed_bytes: u64,
}

impl LayerStore {
    /// Writes a layer as an OCI archive: walk, tar, compress and both digests in
    /// one pass. The bytes depend on the layer's content alone.
    pub fn export(
        &self,
        name: &LayerName,
        compression: Compression,
        out: impl Write,
    ) -> Result<Exported, SnapshotError> {
        let _pin = self.pin(std::slice::from_ref(name));
        if !self.contains(name) {
            return Err(SnapshotError::LayerNotFound(name.clone()));
        }
        let dir = self.inner.layer_dir(name).join(FILES);
        let root = Root::open(&dir)?;
        let mut tar = TarWriter::new(LayerWriter::new(out, compression)?);
        diff::write_layer(&root, Path::new(""), &mut tar)?;
        let (mut out, written) = tar.finish()?.finish()?;
        out.flush().map_err(SnapshotError::io("write", &dir))?;
        Ok(Exported {
            diff_id: written.diff_id,
            digest: written.digest,
            size_bytes: written.size_bytes,
            uncompressed_bytes: written.uncompressed_bytes,
        })
    }
}
