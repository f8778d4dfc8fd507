//! Docker's `config.json`: read as it is, and rewritten without losing what
//! this program does not know.
//!
//! A rewrite goes to a file beside it that replaces it, so a crash leaves the
//! old or the new one. Mode 0600: it may hold passwords.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::CliError;

/// A config.json larger than this is not one.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// The file's contents.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    path: PathBuf,
    root: Map<String, Value>,
}

/// One entry of `auths`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredAuth {
    /// base64 of `user:password`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
}

impl std::fmt::Debug for StoredAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredAuth(…)")
    }
}

impl StoredAuth {
    pub fn of_password(user: &str, password: &str) -> Self {
        Self {
            auth: BASE64.encode(format!("{user}:{password}")),
            identitytoken: String::new(),
        }
    }

    /// User and password; `None` when `auth` is not base64 of such a pair.
    pub fn password(&self) -> Option<(String, String)> {
        let bytes = BASE64.decode(self.auth.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        // Old clients padded the password with NUL.
        Some((user.to_owned(), password.trim_matches('\0').to_owned()))
    }
}

impl ConfigFile {
    /// Reads `<dir>/config.json`; a missing file is an empty one.
    ///
    /// # Errors
    /// A file that cannot be read or is not a JSON object.
    pub fn load(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join("config.json");
        let root = match read_bounded(&path) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Map::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                CliError::usage(format!(
                    "{} is not a JSON object: {error}; correct it or move it away",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => {
                return Err(CliError::io(
                    format!("cannot read {}", path.display()),
                    error,
                ));
            }
        };
        Ok(Self { path, root })
    }

    /// A text setting, such as `psFormat` or `detachKeys`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.root
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The credential helper for a registry: its own, else the general one.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        self.root
            .get("credHelpers")
            .and_then(|helpers| helpers.get(registry))
            .and_then(Value::as_str)
            .or_else(|| self.text("credsStore"))
            .filter(|name| !name.is_empty())
    }

    /// Everything under `auths` that can be read.
    pub fn auths(&self) -> BTreeMap<String, StoredAuth> {
        let entries = self.root.get("auths").and_then(Value::as_object);
        entries
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| {
                let auth = serde_json::from_value(value.clone()).ok()?;
                Some((key.clone(), auth))
            })
            .collect()
    }

    /// Sets the entry of `registry`.
    pub fn set_auth(&mut self, registry: &str, auth: &StoredAuth) {
        let value = serde_json::to_value(auth).unwrap_or_default();
        let auths = self
            .root
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(registry.to_owned(), value);
        }
    }

    /// Removes the entry of `registry`; whether there was one.
    pub fn remove_auth(&mut self, registry: &str) -> bool {
        self.root
            .get_mut("auths")
            .and_then(Value::as_object_mut)
            .is_some_and(|auths| auths.remove(registry).is_some())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file back.
    ///
    /// # Errors
    /// Any failure of the file system; the old file is then still there.
    pub fn save(&self) -> Result<(), CliError> {
        self.write()
            .map_err(|error| CliError::io(format!("cannot write {}", self.path.display()), error))
    }

    fn write(&self) -> io::Result<()> {
        // A config.json that is a link (dotfiles repositories) stays one.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let mut bytes = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
        self.root.serialize(&mut serializer)?;
        bytes.push(b'\n');
        let beside = dir.join(format!(".config.json.{}", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, &target));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path)?.take(CONFIG_BYTES_MAX + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is larger than 4 MiB",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
