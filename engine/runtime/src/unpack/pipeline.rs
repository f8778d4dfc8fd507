//! From a compressed stream to files in one pass: one thread decompresses, the
//! calling one hashes and extracts.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use oci::{
    Digest, Hasher, MediaType,
    layer::{Decoder, LayerError, Limits, TarReader},
};

use super::{Extracted, Extractor, Form, Options, Pending, UnpackError};
use crate::root::Root;

/// Chunks between the threads: 2 MiB that even out bursts of small files.
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_MAX: usize = 8;

/// Extracts a plain archive, packed or not, into `root`: a build context, the
/// input of `cp`. Entries may replace what is there; links inside `root` are
/// followed inside `root`. Whiteouts have no meaning.
///
/// # Errors
/// What was extracted before an error stays.
pub fn extract(
    root: &Root,
    archive: impl Read + Send,
    options: &Options,
) -> Result<Extracted, UnpackError> {
    let decoder = Decoder::new(archive, None, options.limits)?;
    read_ahead(decoder, |stream| {
        let mut tar = TarReader::new(stream, options.limits);
        let mut extractor = Extractor::new(root, Form::Plain, *options);
        extractor.run(&mut tar)?;
        Ok(extractor.extracted)
    })
}

/// A layer's files, in overlay form, and what they still need.
pub(crate) struct LayerFiles {
    pub(crate) extracted: Extracted,
    pub(crate) pending: Pending,
    /// Whether the archive set the attributes of the root directory.
    pub(crate) describes_root: bool,
    /// Whether the root is opaque: nothing of the layers below shows.
    pub(crate) hides_below: bool,
}

/// Extracts a layer in overlay form and checks its diff_id.
pub(crate) fn unpack_layer(
    root: &Root,
    diff_id: &Digest,
    compressed: impl Read + Send,
    media_type: &MediaType,
    limits: Limits,
) -> Result<LayerFiles, UnpackError> {
    let decoder = Decoder::new(compressed, Some(media_type), limits)?;
    let options = Options {
        limits,
        owner: None,
        devices: true,
        keep_kinds: false,
    };
    read_ahead(decoder, |stream| {
        let hashing = HashReader {
            inner: stream,
            hasher: Hasher::new(diff_id.algorithm()),
        };
        let mut tar = TarReader::new(hashing, limits);
        let mut extractor = Extractor::new(root, Form::Layer, options);
        extractor.run(&mut tar)?;
        let got = tar.into_inner().hasher.finish();
        if got != *diff_id {
            return Err(UnpackError::DiffIdMismatch {
                want: Box::new(*diff_id),
                got: Box::new(got),
            });
        }
        Ok(LayerFiles {
            extracted: extractor.extracted,
            pending: extractor.pending,
            describes_root: extractor.describes_root,
            hides_below: extractor.hides_below,
        })
    })
}

/// Runs `consume` over what a thread reads ahead from `source`. The thread ends
/// when either side does.
fn read_ahead<S: Read + Send, T>(
    source: S,
    consume: impl FnOnce(Chunks) -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    // Empty buffers on their way back.
    let (recycle, recycled) = sync_channel(CHUNKS_MAX);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("layer-decode".to_owned())
            .spawn_scoped(scope, move || pump(source, &sender, &recycled))
            .map_err(UnpackError::Thread)?;
        consume(Chunks {
            receiver,
            recycle,
            chunk: Vec::new(),
            position: 0,
        })
    })
}

type Chunk = Result<Vec<u8>, io::Error>;

fn pump(mut source: impl Read, sender: &SyncSender<Chunk>, recycled: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        match fill(&mut source, &mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                chunk.truncate(length);
                if sender.send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // The receiver is gone only when it failed first.
                let _ = sender.send(Err(error));
                return;
            }
        }
    }
}

/// Reads until the chunk is full. An error after some bytes comes again at the
/// next read.
fn fill(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match source.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// What the thread sends, as one stream.
struct Chunks {
    receiver: Receiver<Chunk>,
    recycle: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            let Ok(next) = self.receiver.recv() else {
                return Ok(0);
            };
            let spent = std::mem::replace(&mut self.chunk, next?);
            self.position = 0;
            // Full or gone: the buffer is simply freed.
            let _ = self.recycle.try_send(spent);
        }
        let length = buffer.len().min(self.chunk.len() - self.position);
        buffer[..length].copy_from_slice(&self.chunk[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

struct HashReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

impl From<io::Error> for UnpackError {
    fn from(error: io::Error) -> Self {
        Self::Archive(LayerError::from_io(error))
    }
}
