//! `cp`: files between a container and this machine.

mod place;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use clap::Args;
use engine_api::PathStat;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::Context;
use crate::{
    archive::{self, Rename, Unpack},
    client::{Call, Query, read_all, segment},
    error::CliError,
    output,
    units::human_size,
};
use place::{Place, Target, place, target};

/// Go's `os.ModeDir` and `os.ModeSymlink`, which the engine's answers use.
const GO_MODE_DIRECTORY: u32 = 1 << 31;
const GO_MODE_SYMLINK: u32 = 1 << 27;
/// Pieces of an archive that wait between the disk and the engine.
const PIECES_MAX: usize = 4;
const PIECE_BYTES: usize = 64 << 10;

/// Copy files between a container and this machine.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "carrack cp [OPTIONS] CONTAINER:SOURCE DESTINATION|-\n       carrack cp [OPTIONS] SOURCE|- CONTAINER:DESTINATION",
    after_help = "Examples:\n  \
        carrack cp web:/etc/nginx/nginx.conf .          out of a container\n  \
        carrack cp ./site/. web:/usr/share/nginx/html   the contents of a directory into one\n  \
        carrack cp web:/var/log - | tar t               as a tar archive"
)]
pub struct Cp {
    /// Keep owners and permissions
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link that the source is
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell what was copied
    #[arg(short, long)]
    quiet: bool,
    /// Where from (CONTAINER:PATH, PATH, or - for a tar archive on standard input)
    source: String,
    /// Where to (CONTAINER:PATH, PATH, or - for a tar archive on standard output)
    destination: String,
}

impl Cp {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match (place(&self.source), place(&self.destination)) {
            (Place::Container(name, path), Place::Local(to)) => {
                self.copy_out(ctx, name, path, to).await
            }
            (Place::Local(from), Place::Container(name, path)) => {
                self.copy_in(ctx, from, name, path).await
            }
            (Place::Container(..), Place::Container(..)) => Err(CliError::usage(
                "copying between containers is not supported: copy to this machine first",
            )),
            (Place::Local(_), Place::Local(_)) => Err(CliError::usage(
                "must specify at least one container source: write it as CONTAINER:PATH",
            )),
        }
    }

    async fn copy_out(
        &self,
        ctx: &Context,
        name: &str,
        path: &str,
        to: &str,
    ) -> Result<u8, CliError> {
        let mut path = path.to_owned();
        if self.follow_link
            && let Some(stat) = stat(ctx, name, &path).await?
            && stat.mode & GO_MODE_SYMLINK != 0
        {
            path = place::link_target(&path, &stat.link_target);
        }
        let url = archive_url(name);
        let query = Query::new().with("path", &path);
        let response = ctx
            .engine
            .stream(Method::GET, &url, Call::query(query))
            .await?;
        let stat = path_stat(response.headers())?;
        let mut body = response.into_body();
        if to == "-" {
            if output::stdout_is_terminal() {
                return Err(CliError::usage(
                    "refusing to write a tar archive to a terminal: redirect it",
                ));
            }
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| CliError::Disconnected(error.to_string()))?;
                if let Some(data) = frame.data_ref() {
                    output::print(data)?;
                }
            }
            return Ok(0);
        }
        let is_directory = stat.mode & GO_MODE_DIRECTORY != 0;
        let existing = fs::metadata(to).ok().map(|found| found.is_dir());
        let Target {
            directory,
            name: new_name,
        } = target(to, existing, &path, is_directory).map_err(CliError::Usage)?;
        let rename = new_name.map(|new_name| Rename {
            from: place::archive_name(&path).into(),
            to: new_name.into(),
        });
        // The contents of `dir/.` into a directory that is not there yet.
        if place::is_contents(&path) && existing.is_none() {
            fs::create_dir(to)
                .map_err(|error| CliError::io(format!("cannot create {to}"), error))?;
        }
        let keep_owners = self.archive;
        let into = directory.clone();
        let unpacked = tokio::task::spawn_blocking({
            let input = BodyReader::new(body);
            move || {
                let mut unpack = Unpack {
                    rename,
                    keep_owners,
                    ..Unpack::default()
                };
                unpack.run(input, &into).map(|()| unpack)
            }
        });
        let unpacked = unpacked
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| {
                CliError::io(format!("cannot copy to {}", directory.display()), error)
            })?;
        for path in &unpacked.left_out {
            output::note(format!(
                "left out {}: it is a device, FIFO or socket",
                path.display()
            ));
        }
        self.tell(unpacked.written_bytes, to);
        Ok(0)
    }

    async fn copy_in(
        &self,
        ctx: &Context,
        from: &str,
        name: &str,
        path: &str,
    ) -> Result<u8, CliError> {
        let mut path = path.to_owned();
        let mut found = stat(ctx, name, &path).await?;
        // A link that is the destination means what it points to.
        if let Some(stat) = found.as_ref().filter(|s| s.mode & GO_MODE_SYMLINK != 0) {
            path = place::link_target(&path, &stat.link_target);
            found = self::stat(ctx, name, &path).await?;
        }
        let existing = found.map(|stat| stat.mode & GO_MODE_DIRECTORY != 0);
        let (input, directory) = if from == "-" {
            match existing {
                Some(true) => {}
                Some(false) => {
                    return Err(CliError::usage(format!(
                        "destination \"{name}:{path}\" must be a directory"
                    )));
                }
                None => {
                    return Err(CliError::usage(format!("no such directory: {name}:{path}")));
                }
            }
            (Input::Stdin, PathBuf::from(&path))
        } else {
            let mut source = PathBuf::from(from);
            let metadata = if self.follow_link {
                source = fs::canonicalize(&source)
                    .map_err(|error| CliError::io(format!("cannot read {from}"), error))?;
                fs::metadata(&source)
            } else {
                fs::symlink_metadata(Path::new(from.trim_end_matches("/.")))
            };
            let metadata =
                metadata.map_err(|error| CliError::io(format!("lstat {from}"), error))?;
            // The contents of `dir/.` become a directory that is not there yet.
            let wanted = match existing {
                None => from.trim_end_matches("/."),
                Some(_) => from,
            };
            let Target {
                directory,
                name: new_name,
            } = target(&path, existing, wanted, metadata.is_dir()).map_err(CliError::Usage)?;
            let name = new_name.unwrap_or_else(|| place::archive_name(from));
            (Input::Tree { source, name }, directory)
        };
        let query = Query::new()
            .with("path", directory.display())
            .with("noOverwriteDirNonDir", true)
            .flag("copyUIDGID", self.archive);
        let (sender, mut pieces) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
        let sending = tokio::task::spawn_blocking(move || input.send(sender));
        let content = futures_util::stream::poll_fn(move |ctx| pieces.poll_recv(ctx));
        let sent = ctx
            .engine
            .upload(
                Method::PUT,
                &archive_url(name),
                Call::query(query),
                "application/x-tar",
                content,
            )
            .await;
        let written = sending
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        match (sent, written) {
            // Our own failure explains the engine's complaint about a cut archive.
            (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::io("cannot read the source", error))
            }
            (Err(error), _) => Err(error),
            (Ok(response), written) => {
                read_all(response.into_body()).await?;
                self.tell(written.unwrap_or(0), &format!("{name}:{path}"));
                Ok(0)
            }
        }
    }

    fn tell(&self, bytes: u64, to: &str) {
        if !self.quiet && output::stderr_is_terminal() {
            let size = human_size(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
            output::note(format!("Successfully copied {size} to {to}"));
        }
    }
}

fn archive_url(container: &str) -> String {
    format!("/containers/{}/archive", segment(container))
}

/// What a path in a container is; `None` when it is not there.
async fn stat(ctx: &Context, container: &str, path: &str) -> Result<Option<PathStat>, CliError> {
    let query = Query::new().with("path", path);
    let answer = ctx
        .engine
        .stream(Method::HEAD, &archive_url(container), Call::query(query))
        .await;
    match answer {
        Ok(response) => path_stat(response.headers()).map(Some),
        Err(error) if error.status() == Some(404) => {
            // HEAD has no body: whether the container or the path is missing
            // is told by asking for the container.
            let url = format!("/containers/{}/json", segment(container));
            ctx.engine.bytes(Method::GET, &url, Call::default()).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn path_stat(headers: &http::HeaderMap) -> Result<PathStat, CliError> {
    let bad = || CliError::Disconnected("it did not tell what the path is".to_owned());
    let header = headers
        .get("x-docker-container-path-stat")
        .ok_or_else(bad)?;
    let json = BASE64.decode(header.as_bytes()).map_err(|_| bad())?;
    serde_json::from_slice(&json).map_err(|_| bad())
}

/// What is sent into a container.
enum Input {
    Stdin,
    Tree { source: PathBuf, name: String },
}

impl Input {
    /// Sends the archive; gives its size in bytes.
    fn send(self, sender: mpsc::Sender<io::Result<Bytes>>) -> io::Result<u64> {
        let mut out = io::BufWriter::with_capacity(
            PIECE_BYTES,
            PieceWriter {
                sender: sender.clone(),
                sent_bytes: 0,
            },
        );
        let done = match self {
            Self::Stdin => io::copy(&mut io::stdin().lock(), &mut out).map(|_| ()),
            Self::Tree { source, name } => archive::pack(&source, name.as_ref(), &mut out),
        };
        let done = done.and_then(|()| out.flush());
        if let Err(error) = done {
            // Breaks the upload off, so that the engine does not take half a tree for all.
            let broken = io::Error::new(error.kind(), error.to_string());
            let _ = sender.blocking_send(Err(broken));
            return Err(error);
        }
        Ok(out.get_ref().sent_bytes)
    }
}

struct PieceWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    sent_bytes: u64,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sender
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.sent_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body as a blocking reader, fed by a task.
struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    fn new(mut body: Incoming) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_) => continue,
                    },
                    Err(error) => Err(io::Error::other(error)),
                };
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Self {
            pieces,
            current: Bytes::new(),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let len = buffer.len().min(self.current.len());
        buffer[..len].copy_from_slice(&self.current.split_to(len));
        Ok(len)
    }
}
