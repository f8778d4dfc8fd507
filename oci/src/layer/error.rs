//! Why a layer archive was refused.

use std::io;

/// An archive that cannot be trusted to mean one thing, asks for too much, or
/// could not be read. Names in messages are clipped and escaped.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("the archive ends in the middle of {0}: it was cut off, send it again")]
    Truncated(&'static str),
    #[error("header at byte {offset}: {problem}")]
    BadHeader { offset: u64, problem: &'static str },
    #[error("extended header at byte {offset}: {problem}")]
    BadRecord { offset: u64, problem: &'static str },
    /// Readers in the wild would disagree about what this is.
    #[error(
        "entry {name}: {problem}, which tar readers understand differently; write the archive with GNU tar or bsdtar defaults"
    )]
    Ambiguous { name: String, problem: &'static str },
    #[error("entry {name} is of tar type {kind:?}, which is not supported{hint}")]
    UnsupportedType {
        name: String,
        kind: char,
        hint: &'static str,
    },
    #[error("entry {name}: sparse files are not supported; write the archive without --sparse")]
    Sparse { name: String },
    #[error("entry {name}: {problem}")]
    BadName { name: String, problem: &'static str },
    #[error("entry {name}: {field} {value} is out of range")]
    OutOfRange {
        name: String,
        field: &'static str,
        value: i128,
    },
    #[error("the archive exceeds the limit of {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error(
        "{read_bytes} bytes unpack to more than {ratio_max} times their size: refused as a decompression bomb"
    )]
    Bomb { read_bytes: u64, ratio_max: u64 },
    #[error("layers compressed with {0} are not supported; use gzip, zstd or plain tar")]
    UnsupportedCompression(String),
    #[error("the {compression} stream is corrupt")]
    Corrupt {
        compression: &'static str,
        source: io::Error,
    },
    /// The source itself failed: network or disk, not the archive.
    #[error("read the layer")]
    Source(#[source] io::Error),
    #[error("write the layer")]
    Sink(#[source] io::Error),
}

impl LayerError {
    /// Takes a `LayerError` back out of the `io::Error` that carried it through
    /// a `Read`.
    pub fn from_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::Source(error),
        }
    }
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        let kind = match &error {
            LayerError::Truncated(_) => io::ErrorKind::UnexpectedEof,
            LayerError::Source(source) | LayerError::Sink(source) => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// A name as an error may show it.
pub(super) fn shown(name: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 120;
    let clipped = &name[..name.len().min(SHOWN_BYTES_MAX)];
    let dots = if clipped.len() < name.len() {
        "…"
    } else {
        ""
    };
    format!("{:?}{dots}", String::from_utf8_lossy(clipped))
}
