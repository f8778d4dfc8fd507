//! ADD of a local archive: its content instead of the file.

use std::path::Path;

use oci::layer::{Decoder, LayerError, Limits, TarReader};
use runtime::{
    root::Root,
    unpack::{self, UnpackError},
};

use super::change::failed;
use crate::solver::OpError;

/// Whether a file is an archive that ADD unpacks: told by its content, as
/// Docker does. A compressed file that holds no archive is none.
pub(crate) fn is_archive(source: &Root, path: &Path) -> Result<bool, OpError> {
    let file = source
        .open_regular(path)
        .map_err(|error| failed("read the source", error))?;
    let limits = Limits::default();
    match Decoder::new(file, None, limits) {
        Ok(decoder) => Ok(matches!(
            TarReader::new(decoder, limits).next_entry(),
            Ok(Some(_))
        )),
        Err(LayerError::UnsupportedCompression(name)) => Err(OpError::User(format!(
            "ADD cannot unpack {name}: pack {:?} with gzip or zstd, or COPY it and unpack it in a RUN",
            path.display().to_string()
        ))),
        Err(error) => Err(OpError::host("read the source of an ADD", &error)),
    }
}

/// Unpacks an archive into the directory `dest`, which must exist. Names and
/// links in it stay below that directory.
pub(crate) fn unpack(
    root: &Root,
    dest: &Path,
    source: &Root,
    path: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), OpError> {
    let file = source
        .open_regular(path)
        .map_err(|error| failed("read the source", error))?;
    let below = root
        .subroot(dest)
        .map_err(|error| failed("open the destination", error))?;
    let options = unpack::Options {
        owner,
        ..unpack::Options::default()
    };
    match unpack::extract(&below, file, &options) {
        Ok(_) => Ok(()),
        Err(UnpackError::Path(error)) => Err(failed("unpack an archive", error)),
        Err(error) => Err(OpError::User(format!(
            "the archive {:?} is refused: {}",
            path.display().to_string(),
            crate::solver::error::chain(&error)
        ))),
    }
}
