//! The registry client: pull and push by the OCI distribution specification.
//!
//! Owns one connection pool, the token cache and nothing on disk. Content is
//! verified against its digest before it is handed on or, for streams, before
//! their end is reported. Registries on loopback and those listed in
//! [`ClientConfig::plain_http`] may be spoken to in plain HTTP; all others are
//! https and never fall back. Credentials go to the registry's own origin and
//! its token server only.

mod auth;
mod blob;
mod challenge;
mod error;
mod login;
mod patience;
mod pull;
mod push;
mod source;
mod transport;
mod upload;

use std::{sync::Arc, time::Duration};

pub use auth::Credentials;
pub use blob::{BlobReader, BlobStream};
pub use error::ClientError;
pub use patience::Patience;
pub use pull::Image;
pub use source::{BlobBytes, BlobSource, FileSource, RemoteSource};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub user_agent: String,
    /// Registries (`host[:port]`) besides loopback that may be spoken to without TLS.
    pub plain_http: Vec<String>,
    pub connect_timeout: Duration,
    /// Longest silence within an answer. There is no limit on the whole transfer.
    pub progress_timeout: Duration,
    /// How long a registry that is busy or restarting is waited for.
    pub patience: Patience,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("carrack/", env!("CARGO_PKG_VERSION")).to_owned(),
            plain_http: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(60),
            patience: Patience::default(),
        }
    }
}

/// A registry client. Clones share connections and tokens.
///
/// Every method takes the repository as a [`crate::Reference`], whose tag and digest
/// matter only where a manifest is named.
#[derive(Clone)]
pub struct Client {
    transport: Arc<transport::Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// # Errors
    /// `Setup` when the TLS trust store of the host cannot be read.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Arc::new(transport::Transport::new(config)?),
        })
    }
}
