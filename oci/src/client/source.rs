//! Content to push, from where it lies.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};

use super::{Client, Credentials};
use crate::{Descriptor, Reference};

/// Bytes read from a file at a time: few wake-ups, little memory.
const PIECE_BYTES: usize = 256 * 1024;

/// The bytes of a [`BlobSource`].
pub type BlobBytes = BoxStream<'static, io::Result<Bytes>>;

/// Content that can be read more than once, so that an upload that broke goes on.
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset_bytes` to the end.
    ///
    /// # Errors
    /// When the content cannot be had.
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, io::Result<BlobBytes>>;
}

impl BlobSource for Bytes {
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, io::Result<BlobBytes>> {
        let start = usize::try_from(offset_bytes).map_or(self.len(), |at| at.min(self.len()));
        let rest = self.slice(start..);
        async move { Ok(stream::iter([Ok(rest)]).boxed()) }.boxed()
    }
}

/// An open file, read by position: several readers do not disturb each other.
#[derive(Clone, Debug)]
pub struct FileSource(Arc<File>);

impl From<File> for FileSource {
    fn from(file: File) -> Self {
        Self(Arc::new(file))
    }
}

impl BlobSource for FileSource {
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, io::Result<BlobBytes>> {
        let pieces = stream::try_unfold((Arc::clone(&self.0), offset_bytes), piece);
        async move { Ok(pieces.boxed()) }.boxed()
    }
}

/// The piece at an offset, and where the next one begins.
async fn piece(
    (file, offset_bytes): (Arc<File>, u64),
) -> io::Result<Option<(Bytes, (Arc<File>, u64))>> {
    let task = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        let count = file.read_at(&mut buffer, offset_bytes)?;
        buffer.truncate(count);
        Ok::<_, io::Error>((Bytes::from(buffer), file))
    });
    let (bytes, file) = task.await.map_err(io::Error::other)??;
    let next = offset_bytes + bytes.len() as u64;
    Ok((!bytes.is_empty()).then_some((bytes, (file, next))))
}

/// A blob of another repository, fetched while it is pushed.
#[derive(Clone, Debug)]
pub struct RemoteSource {
    pub client: Client,
    pub repository: Reference,
    pub blob: Descriptor,
    /// Who the caller is towards the source, which may be another registry.
    pub credentials: Credentials,
}

impl BlobSource for RemoteSource {
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, io::Result<BlobBytes>> {
        async move {
            let stream = self
                .client
                .blob(&self.repository, &self.blob, &self.credentials)
                .await
                .map_err(io::Error::other)?;
            // Read from its beginning, since only the whole can be verified.
            Ok(skip(
                stream.map(|chunk| chunk.map_err(io::Error::other)).boxed(),
                offset_bytes,
            ))
        }
        .boxed()
    }
}

/// Leaves out the first `offset_bytes`.
fn skip(bytes: BlobBytes, offset_bytes: u64) -> BlobBytes {
    bytes
        .scan(offset_bytes, |left, chunk| {
            let chunk = chunk.map(|mut chunk| {
                let count = usize::try_from(*left).map_or(chunk.len(), |n| n.min(chunk.len()));
                *left -= count as u64;
                chunk.split_off(count)
            });
            futures_util::future::ready(Some(chunk))
        })
        .filter(|chunk| {
            let empty = chunk.as_ref().is_ok_and(Bytes::is_empty);
            futures_util::future::ready(!empty)
        })
        .boxed()
}
