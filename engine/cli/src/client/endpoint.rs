//! Where an engine listens.

use std::{fmt, io, path::PathBuf, pin::Pin};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::error::CliError;

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
}

/// A connection to either kind of address.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Connection for T {}

impl Endpoint {
    /// Reads `unix:///path`, `/path`, `tcp://host:port` or `http://host:port`.
    ///
    /// # Errors
    /// Any other scheme, by name.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let bad = |why: &str| {
            CliError::usage(format!(
                "cannot use the engine address {text:?}: {why}; write unix:///path/to/engine.sock or tcp://host:port"
            ))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("it has no scheme"));
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(bad("the path of a unix socket starts with /")),
            "tcp" | "http" => {
                let authority = rest.trim_end_matches('/');
                let valid = authority.parse::<http::uri::Authority>();
                match valid {
                    Ok(parsed) if parsed.port_u16().is_some() => {
                        Ok(Self::Tcp(authority.to_owned()))
                    }
                    Ok(_) => Ok(Self::Tcp(format!("{authority}:2375"))),
                    Err(_) => Err(bad("it is not host:port")),
                }
            }
            "https" => Err(bad(
                "TLS to the engine is not supported, use a unix socket over SSH (ssh -L)",
            )),
            "ssh" => Err(bad(
                "ssh is not supported yet, forward the socket with ssh -L",
            )),
            other => Err(bad(&format!("the scheme {other:?} is unknown"))),
        }
    }

    /// What the `Host` header says.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Unix(_) => "engine",
            Self::Tcp(authority) => authority,
        }
    }

    pub(super) async fn connect(&self) -> Result<TokioIo<Pin<Box<dyn Connection>>>, CliError> {
        let connected: io::Result<Pin<Box<dyn Connection>>> = match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(|s| Box::pin(s) as _),
            Self::Tcp(authority) => TcpStream::connect(authority).await.and_then(|stream| {
                // Keystrokes are small; they must not wait for each other.
                stream.set_nodelay(true)?;
                Ok(Box::pin(stream) as _)
            }),
        };
        connected
            .map(TokioIo::new)
            .map_err(|error| CliError::Connect(self.explain(&error)))
    }

    fn explain(&self, error: &io::Error) -> String {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                return format!(
                    "Cannot connect to the engine at {self}: permission denied. Become a member of the socket's group (see `ls -l`), or use sudo."
                );
            }
            _ => error.to_string(),
        };
        format!(
            "Cannot connect to the engine at {self}: {why}. Is it running? Start it with `carrack serve`, or name another one with -H or CARRACK_HOST."
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}
