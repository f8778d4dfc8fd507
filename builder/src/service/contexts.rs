//! Context tarballs on disk: `contexts/<id>.tar`, and beside it, while the
//! build runs, the unpacked `contexts/<id>/`.
//!
//! A tarball exists from before its build is acknowledged until the build
//! ends. It is written to a temporary name, synced and renamed, so a name that
//! ends in `.tar` is whole. What belongs to no unended build is removed when
//! the service starts.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use tokio::{fs, io::AsyncWriteExt, time::Instant};

use super::error::ApiError;

/// What an upload must bring in each stretch of waiting for it. Few are
/// received at once, so one that its sender left, or that drips to hold a
/// place, must not keep it; a sender that still packs its files is not silent
/// that long, and a line slower than this is no line for contexts.
const PACE_MIN: Pace = Pace {
    bytes: 1024 * 1024,
    within: Duration::from_secs(60),
};

/// A lower bound on progress.
#[derive(Clone, Copy, Debug)]
struct Pace {
    bytes: u64,
    within: Duration,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    dir: PathBuf,
    bytes_max: u64,
    pace_min: Pace,
}

impl Contexts {
    pub(crate) fn open(dir: PathBuf, bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            bytes_max,
            pace_min: PACE_MIN,
        })
    }

    /// The tarball of a build.
    pub(crate) fn tarball(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.tar"))
    }

    /// Where a build's context is unpacked.
    pub(crate) fn tree(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Refuses a body whose announced size is over the limit.
    pub(crate) fn check_size(&self, length: Option<u64>) -> Result<(), ApiError> {
        match length {
            Some(length) if length > self.bytes_max => Err(ApiError::TooLarge(self.bytes_max)),
            _ => Ok(()),
        }
    }

    /// Stores a request body durably under `id`.
    ///
    /// # Errors
    /// Bodies over the limit, that break off or stall, or that are no archive;
    /// nothing is left then.
    pub(crate) async fn store(&self, id: &str, body: Body) -> Result<(), ApiError> {
        let part = Part(self.dir.join(format!("{id}.part")));
        let mut pieces = body.into_data_stream();
        if let Err(error) = self.receive(&part.0, &mut pieces).await {
            drop(part);
            if !matches!(error, ApiError::UploadSlow { .. } | ApiError::UploadBroken) {
                linger(&mut pieces).await;
            }
            return Err(error);
        }
        fs::rename(&part.0, self.tarball(id))
            .await
            .map_err(ApiError::from_io)?;
        sync_dir(&self.dir).await.map_err(ApiError::from_io)
    }

    async fn receive(&self, path: &Path, pieces: &mut BodyDataStream) -> Result<(), ApiError> {
        let file = fs::File::create_new(path)
            .await
            .map_err(ApiError::from_io)?;
        let mut file = tokio::io::BufWriter::with_capacity(512 * 1024, file);
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let mut size = 0_u64;
        let mut progress = Progress::new(self.pace_min);
        while let Some(piece) = progress.next(pieces).await? {
            size += piece.len() as u64;
            if size > self.bytes_max {
                return Err(ApiError::TooLarge(self.bytes_max));
            }
            let missing = HEAD_BYTES - head.len();
            head.extend_from_slice(&piece[..piece.len().min(missing)]);
            file.write_all(&piece).await.map_err(ApiError::from_io)?;
        }
        if !is_archive(&head) {
            return Err(ApiError::InvalidArgument(
                "the body is not a tar archive (plain, gzip or zstd): send the build context as one"
                    .to_owned(),
            ));
        }
        file.flush().await.map_err(ApiError::from_io)?;
        file.get_ref().sync_all().await.map_err(ApiError::from_io)
    }

    /// Removes the tarball of a build that has ended. Blocks.
    pub(crate) fn remove(&self, id: &str) {
        if let Err(error) = std::fs::remove_file(self.tarball(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(build.id = id, %error, "cannot remove a build context");
        }
    }

    /// Removes what belongs to no build in `unended`, and every unpacked tree:
    /// a build that starts again unpacks anew. Blocks.
    pub(crate) fn sweep(&self, unended: &HashSet<String>) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let kept = name
                .strip_suffix(".tar")
                .is_some_and(|id| unended.contains(id));
            if kept {
                continue;
            }
            match path.is_dir() {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        Ok(())
    }
}

/// What arrived in the present stretch of waiting. Only waiting counts: a slow
/// disk is no fault of the sender's.
struct Progress {
    pace: Pace,
    waited: Duration,
    arrived: u64,
}

impl Progress {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            waited: Duration::ZERO,
            arrived: 0,
        }
    }

    /// The next piece of a body; `None` at its end.
    async fn next(&mut self, pieces: &mut BodyDataStream) -> Result<Option<Bytes>, ApiError> {
        loop {
            let since = Instant::now();
            let left = self.pace.within.saturating_sub(self.waited);
            let next = tokio::time::timeout(left, pieces.next()).await;
            self.waited += since.elapsed();
            let piece = match next {
                Ok(Some(piece)) => Some(piece.map_err(|_| ApiError::UploadBroken)?),
                Ok(None) => return Ok(None),
                Err(_) => None,
            };
            self.arrived += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            // Also after a piece: timers are coarse, and the next may be as late.
            if self.waited >= self.pace.within {
                if self.arrived < self.pace.bytes {
                    return Err(ApiError::UploadSlow {
                        arrived: self.arrived,
                        expected: self.pace.bytes,
                        seconds: self.pace.within.as_secs(),
                    });
                }
                *self = Self::new(self.pace);
            }
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }
}

/// Reads on after a refusal, for a while: closing a connection with unread bytes
/// resets it, and takes the answer from a sender that is still busy (RFC 9112,
/// section 9.6).
async fn linger(pieces: &mut BodyDataStream) {
    let rest = async { while let Some(Ok(_)) = pieces.next().await {} };
    let _over = tokio::time::timeout(LINGER, rest).await;
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _absent = std::fs::remove_file(&self.0);
    }
}

/// How long the rest of a refused body is read.
const LINGER: Duration = Duration::from_secs(10);
/// A tar header block.
const HEAD_BYTES: usize = 512;

/// Whether bytes may start a tar archive, plain or compressed. Only a first
/// look that spares the sender a failed build; the reader checks everything.
fn is_archive(head: &[u8]) -> bool {
    let gzip = head.starts_with(&[0x1f, 0x8b]);
    let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    gzip || zstd
        || head.len() == HEAD_BYTES && (checksum_fits(head) || head.iter().all(|b| *b == 0))
}

/// The checksum of a tar header: the sum of its bytes with the field itself
/// taken as spaces.
fn checksum_fits(head: &[u8]) -> bool {
    let field = String::from_utf8_lossy(&head[148..156]);
    let field = field.trim_matches(|c: char| c == '\0' || c == ' ');
    let sum: u32 = head[..148]
        .iter()
        .chain(&head[156..])
        .map(|b| u32::from(*b))
        .sum();
    u32::from_str_radix(field, 8) == Ok(sum + 8 * u32::from(b' '))
}

async fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir).await?.sync_all().await
}

#[cfg(test)]
#[path = "contexts/tests.rs"]
mod tests;
