//! Decompression of layers with bounds on what comes out.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::{LayerError, Limits};
use crate::MediaType;

const BUFFER_BYTES: usize = 64 * 1024;

/// The longest magic number we know, that of xz.
const MAGIC_BYTES: u64 = 6;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// Name as in media types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the first bytes say. Registries hold layers whose media type lies
    /// about their packing, and other engines go by the bytes as well; the
    /// digest of the uncompressed archive settles the matter.
    fn sniff(start: &[u8]) -> Result<Self, LayerError> {
        let unsupported = |name: &str| Err(LayerError::UnsupportedCompression(name.to_owned()));
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, with which zstd:chunked and pzstd may begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz"),
            _ => Ok(Self::Plain),
        }
    }
}

/// Yields the uncompressed archive, within [`Limits`].
///
/// Errors are `io::Error`s that carry a [`LayerError`].
pub struct Decoder<R: Read> {
    stream: Stream<R>,
    packing: Packing,
    limits: Limits,
    produced: u64,
}

enum Stream<R: Read> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Source<R>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("packing", &self.packing)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the start of `input` and sets up the decoder for it.
    /// `media_type` only serves to refuse what we cannot unpack.
    ///
    /// # Errors
    /// [`LayerError::UnsupportedCompression`], [`LayerError::Source`].
    pub fn new(
        input: R,
        media_type: Option<&MediaType>,
        limits: Limits,
    ) -> Result<Self, LayerError> {
        if let Some(media_type) = media_type {
            check_media_type(media_type)?;
        }
        let (start, input) = peek(input)?;
        let packing = Packing::sniff(&start)?;
        let source = Source {
            input: BufReader::with_capacity(BUFFER_BYTES, Cursor::new(start).chain(input)),
            consumed: 0,
        };
        let stream = match packing {
            Packing::Plain => Stream::Plain(source),
            Packing::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(source))),
            Packing::Zstd => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(source).and_then(|mut decoder| {
                        decoder.window_log_max(limits.zstd_window_log_max)?;
                        Ok(decoder)
                    });
                Stream::Zstd(decoder.map_err(|error| corrupt(packing, error))?)
            }
        };
        Ok(Self {
            stream,
            packing,
            limits,
            produced: 0,
        })
    }

    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Compressed bytes taken from the input so far.
    pub fn consumed_bytes(&self) -> u64 {
        match &self.stream {
            Stream::Plain(source) => source.consumed,
            Stream::Gzip(decoder) => decoder.get_ref().consumed,
            Stream::Zstd(decoder) => decoder.get_ref().consumed,
        }
    }
}

/// Unknown types are left to the bytes; a type that names another codec is not.
fn check_media_type(media_type: &MediaType) -> Result<(), LayerError> {
    let text = media_type.as_str();
    let suffix = match text.rsplit_once('+') {
        Some((_, suffix)) => suffix,
        None => return Ok(()),
    };
    match suffix {
        "gzip" | "zstd" | "tar" => Ok(()),
        other => Err(LayerError::UnsupportedCompression(
            other.chars().take(60).collect(),
        )),
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.stream {
            Stream::Plain(source) => source.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
            Stream::Zstd(decoder) => decoder.read(buffer),
        };
        let length = read.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => corrupt(self.packing, error).into(),
        })?;
        self.produced += length as u64;
        let consumed = self.consumed_bytes();
        if self.produced > self.limits.ratio_from_bytes
            && self.produced / self.limits.ratio_max > consumed
        {
            return Err(LayerError::Bomb {
                read_bytes: consumed,
                ratio_max: self.limits.ratio_max,
            }
            .into());
        }
        Ok(length)
    }
}

fn corrupt(packing: Packing, error: io::Error) -> LayerError {
    match error.downcast::<LayerError>() {
        Ok(error) => error,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            LayerError::Truncated("its compressed stream")
        }
        Err(source) => LayerError::Corrupt {
            compression: packing.as_str(),
            source,
        },
    }
}

/// Takes the first bytes off the input, as many as a magic number needs; fewer
/// only when the input ends.
fn peek<R: Read>(mut input: R) -> Result<(Vec<u8>, R), LayerError> {
    let mut start = Vec::new();
    input
        .by_ref()
        .take(MAGIC_BYTES)
        .read_to_end(&mut start)
        .map_err(LayerError::from_io)?;
    Ok((start, input))
}

/// The compressed side: counts, and marks its own failures so that they are
/// not taken for damage of the stream.
struct Source<R> {
    input: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    consumed: u64,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer).map_err(source_error)?;
        self.consumed += read as u64;
        Ok(read)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf().map_err(source_error)
    }

    fn consume(&mut self, amount: usize) {
        self.consumed += amount as u64;
        self.input.consume(amount);
    }
}

fn source_error(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        _ => LayerError::from_io(error).into(),
    }
}

#[cfg(test)]
#[path = "decompress/tests.rs"]
mod tests;
