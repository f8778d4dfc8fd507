//! Archives of layers that their files alone do not give back.
//!
//! The layer store keeps files, not archives. Packed again, they give the bytes
//! of the diff_id for layers that were packed as Carrack does it; a layer that
//! another program packed and that came by `docker load` has no registry to get
//! it from either. So its archive is kept, compressed:
//! `archives/<diff_id>/<digest>`.
//!
//! Owns that directory. An archive comes after its layer was noted as awaited
//! and goes with the layer, so no crash makes one forgotten. Blocking.

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use oci::layer::{Compression, Decoder, LayerWriter, Limits};
use oci::{Algorithm, Descriptor, Digest, Hasher, MediaType};

use crate::config::EngineConfig;
use crate::id::random_hex;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where a layer's archives are.
fn dir(config: &EngineConfig, diff_id: &Digest) -> PathBuf {
    config.data_dir.join("archives").join(diff_id.hex())
}

/// Keeps the archive in `file`, which `described` describes, and says what is
/// kept: the same bytes `as_it_came` or when they are compressed already, else
/// the same archive compressed.
///
/// # Errors
/// When it is not the archive of `diff_id`, and of the disk.
pub(super) fn keep(
    config: &EngineConfig,
    diff_id: &Digest,
    mut file: File,
    described: &Descriptor,
    as_it_came: bool,
) -> Result<Descriptor, Failure> {
    let dir = dir(config, diff_id);
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let new = dir.join(format!(".{}", random_hex(8)));
    let out = File::create_new(&new)?;
    file.rewind()?;
    let compress = !as_it_came && described.media_type.as_str() == MediaType::OCI_LAYER_TAR;
    let compression = match compress {
        true => Compression::GZIP,
        false => Compression::None,
    };
    let kept = recompress(&file, &described.media_type, compression, &out)
        .and_then(|(got, packed)| match got == *diff_id {
            true => Ok(packed),
            false => Err(format!("it is not layer {diff_id} but {got}").into()),
        })
        .and_then(|packed| {
            if compress {
                return Ok(packed);
            }
            // What was written were the unpacked bytes.
            file.rewind()?;
            let mut out = &out;
            out.rewind()?;
            out.set_len(0)?;
            io::copy(&mut file, &mut out)?;
            Ok(described.clone())
        })
        .and_then(|kept| {
            out.sync_all()?;
            std::fs::rename(&new, dir.join(kept.digest.hex()))?;
            File::open(&dir)?.sync_all()?;
            Ok(kept)
        });
    if kept.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    kept
}

/// An archive of the layer, the one with `digest` or any.
///
/// # Errors
/// Of the disk.
pub(super) fn open(
    config: &EngineConfig,
    diff_id: &Digest,
    digest: Option<&Digest>,
) -> io::Result<Option<(File, Descriptor)>> {
    let entries = match std::fs::read_dir(dir(config, diff_id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(found) = format!("sha256:{}", name.to_string_lossy()).parse::<Digest>() else {
            continue;
        };
        if digest.is_none_or(|digest| *digest == found) {
            let mut file = File::open(entry.path())?;
            let size = file.metadata()?.len();
            let media_type = media_type(&mut file)?;
            return Ok(Some((file, Descriptor::new(media_type, found, size))));
        }
    }
    Ok(None)
}

/// Forgets the archives of a layer that is gone.
pub(super) fn remove(config: &EngineConfig, diff_id: &Digest) {
    let dir = dir(config, diff_id);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %dir.display(), %error, "remove a layer's archive");
        }
        _ => {}
    }
}

/// Writes an archive, however it is packed, with another compression: its
/// diff_id and what was written.
///
/// # Errors
/// Of either side, and of a corrupt archive.
pub(super) fn recompress(
    archive: impl Read,
    media_type: &MediaType,
    compression: Compression,
    out: impl Write,
) -> Result<(Digest, Descriptor), Failure> {
    let mut decoder = Decoder::new(archive, Some(media_type), Limits::default())?;
    let out = BufWriter::with_capacity(256 * 1024, out);
    let mut writer = LayerWriter::new(out, compression)?;
    io::copy(&mut decoder, &mut writer)?;
    let (mut out, written) = writer.finish()?;
    out.flush()?;
    let media_type = compression.media_type();
    let packed = Descriptor::new(media_type.as_str(), written.digest, written.size_bytes);
    Ok((written.diff_id, packed))
}

/// Digest, size and packing of a layer's file, which is then at its beginning.
///
/// # Errors
/// Of the file.
pub(super) fn describe(file: &mut File) -> io::Result<Descriptor> {
    let media_type = media_type(file)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    file.rewind()?;
    Ok(Descriptor::new(media_type, hasher.finish(), size))
}

/// By the file's first bytes; it is then at its beginning.
fn media_type(file: &mut File) -> io::Result<&'static str> {
    let mut start = Vec::with_capacity(4);
    file.rewind()?;
    (&mut *file).take(4).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(match start[..] {
        [0x1f, 0x8b, ..] => MediaType::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => MediaType::OCI_LAYER_ZSTD,
        _ => MediaType::OCI_LAYER_TAR,
    })
}

#[cfg(test)]
#[path = "kept/tests.rs"]
mod tests;
