//! Compression of layers, with both digests taken in the same pass.

use std::io::{self, Write};

use super::{LayerError, gzip::GzipWriter};
use crate::{Algorithm, Digest, Hasher, MediaType};

/// How a layer is to be packed. Equal input gives equal bytes on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Levels 1 (fast) to 9 (small).
    Gzip {
        level: u32,
    },
    /// Levels 1 to 19.
    Zstd {
        level: i32,
    },
}

impl Compression {
    /// Gzip at the knee of the curve: level 1 gives 18 % more bytes in two thirds
    /// of the time, level 6 saves 4 % for 60 % more (`tests/bench/layers.rs`).
    pub const GZIP: Self = Self::Gzip { level: 2 };
    /// Zstd at its own default.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The OCI media type of a layer packed this way.
    pub fn media_type(self) -> MediaType {
        MediaType::from(match self {
            Self::None => MediaType::OCI_LAYER_TAR,
            Self::Gzip { .. } => MediaType::OCI_LAYER_GZIP,
            Self::Zstd { .. } => MediaType::OCI_LAYER_ZSTD,
        })
    }
}

/// What came out of a [`LayerWriter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of the bytes written.
    pub digest: Digest,
    pub size_bytes: u64,
    pub uncompressed_bytes: u64,
}

/// Takes an uncompressed archive, writes it compressed and hashes both.
pub struct LayerWriter<W: Write> {
    packer: Packer<HashWriter<W>>,
    hasher: Hasher,
    uncompressed_bytes: u64,
}

enum Packer<W: Write> {
    Plain(W),
    Gzip(Box<GzipWriter<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerWriter")
            .field("uncompressed_bytes", &self.uncompressed_bytes)
            .finish_non_exhaustive()
    }
}

impl<W: Write> LayerWriter<W> {
    /// Compresses on as many threads as there are cores, where the format allows it.
    pub fn new(out: W, compression: Compression) -> Result<Self, LayerError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if cores > 1 { cores } else { 0 };
        let out = HashWriter {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            bytes: 0,
        };
        let packer = match compression {
            Compression::None => Packer::Plain(out),
            Compression::Gzip { level } => Packer::Gzip(Box::new(
                GzipWriter::new(out, level, workers).map_err(LayerError::Sink)?,
            )),
            Compression::Zstd { level } => Packer::Zstd(
                zstd::stream::write::Encoder::new(out, level)
                    .and_then(|mut encoder| {
                        encoder.include_checksum(true)?;
                        Ok(encoder)
                    })
                    .map_err(LayerError::Sink)?,
            ),
        };
        Ok(Self {
            packer,
            hasher: Hasher::new(Algorithm::Sha256),
            uncompressed_bytes: 0,
        })
    }

    /// Ends the stream; returns the output and what it got.
    pub fn finish(self) -> Result<(W, Written), LayerError> {
        let mut inner = match self.packer {
            Packer::Plain(out) => Ok(out),
            Packer::Gzip(gzip) => gzip.finish(),
            Packer::Zstd(encoder) => encoder.finish(),
        }
        .map_err(LayerError::Sink)?;
        inner.flush().map_err(LayerError::Sink)?;
        let written = Written {
            diff_id: self.hasher.finish(),
            digest: inner.hasher.finish(),
            size_bytes: inner.bytes,
            uncompressed_bytes: self.uncompressed_bytes,
        };
        Ok((inner.out, written))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = match &mut self.packer {
            Packer::Plain(out) => out.write(data),
            Packer::Gzip(gzip) => gzip.write(data),
            Packer::Zstd(encoder) => encoder.write(data),
        }?;
        self.hasher.update(&data[..length]);
        self.uncompressed_bytes += length as u64;
        Ok(length)
    }

    /// Does nothing: a flush inside a stream would change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct HashWriter<W> {
    out: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.out.write(data)?;
        self.hasher.update(&data[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[path = "compress/tests.rs"]
mod tests;
