//! What the registry is told when it is opened. Reads no environment itself.

use std::{fmt, path::PathBuf};

/// Where blobs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    Directory(PathBuf),
}

/// Which database holds the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file that this process alone uses.
    Sqlite(PathBuf),
}

/// A backend that this release knows by name and does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnsupportedBackend {
    #[error(
        "storage {0:?}: S3 comes with a later release; give a directory, for example \
         --storage /var/lib/carrack/registry/blobs"
    )]
    S3(String),
    #[error(
        "database {0:?}: PostgreSQL comes with a later release; use SQLite, for example \
         --database-url sqlite:/var/lib/carrack/registry/registry.db"
    )]
    Postgres(String),
    #[error("storage {0:?} is not understood: give a directory")]
    Storage(String),
    #[error("database {0:?} is not understood: give sqlite:<file>")]
    Database(String),
}

impl Storage {
    /// Reads a directory or a URL.
    ///
    /// # Errors
    /// Names the backend that is not there yet.
    pub fn parse(text: &str) -> Result<Self, UnsupportedBackend> {
        match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Directory(path.into())),
            Some(("s3", _)) => Err(UnsupportedBackend::S3(text.to_owned())),
            None if !text.is_empty() => Ok(Self::Directory(text.into())),
            _ => Err(UnsupportedBackend::Storage(text.to_owned())),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
        }
    }
}

impl DatabaseUrl {
    /// Reads `sqlite:<file>` (also `sqlite://<file>`) or names what is not there yet.
    ///
    /// # Errors
    /// See [`UnsupportedBackend`]. A password inside the URL is not repeated.
    pub fn parse(text: &str) -> Result<Self, UnsupportedBackend> {
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
                    true => Err(UnsupportedBackend::Database(text.to_owned())),
                    false => Ok(Self::Sqlite(path.into())),
                }
            }
            "postgres" | "postgresql" => {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                let host = host.trim_start_matches('/');
                Err(UnsupportedBackend::Postgres(format!("{scheme}://{host}")))
            }
            _ => Err(UnsupportedBackend::Database(scheme.to_owned())),
        }
    }
}

/// How to open a registry.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The registry's own directory; keys live in `keys/` below it.
    pub data_dir: PathBuf,
    /// `None`: `blobs/` in the data directory.
    pub storage: Option<Storage>,
    /// `None`: `registry.db` in the data directory.
    pub database: Option<DatabaseUrl>,
    /// Sets the administrator's password; without it the first start makes one up.
    pub admin_password: Option<String>,
    /// How clients reach this registry, `https://registry.example.com`, when it
    /// differs from the `Host` they send: behind a proxy that ends TLS.
    pub public_url: Option<String>,
}

impl RegistryConfig {
    /// Everything below `data_dir`, with defaults.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            storage: None,
            database: None,
            admin_password: None,
            public_url: None,
        }
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
