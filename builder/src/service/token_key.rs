//! The key that seals the registry tokens of builds which wait.
//!
//! Owns `token.key` (32 random bytes, mode 0600), made at the first start.
//! Whoever reads `builder.db` alone, such as a backup of it, learns no token.
//! A token is sealed for the id of its build, so a row cannot borrow
//! another's. A crash leaves the whole key or none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};

use crate::db::{Db, DbError};

/// Name of the file in the data directory.
const FILE_NAME: &str = "token.key";
/// AES-256.
const KEY_BYTES: usize = 32;
/// What the proof is sealed for; ids of builds are hexadecimal.
const PROOF: &str = "proof of the token key";

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    #[error("cannot use the key file {path}")]
    File { path: String, source: io::Error },
    #[error(
        "the key file {0} is damaged: it must hold {KEY_BYTES} bytes; put back the one that belongs to builder.db, or remove it: a new key is made then, and builds that wait with a token fail"
    )]
    Damaged(String),
    #[error(
        "the key file {0} is not the one that belongs to builder.db; put that one back, or remove this: a new key is made then, and builds that wait with a token fail"
    )]
    Foreign(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A token that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the registry token of build {id} cannot be opened: its row is damaged, or {FILE_NAME} was replaced since the build was queued; send the build again"
)]
pub(super) struct SealBroken {
    id: String,
}

pub(super) struct TokenKey(RandomizedNonceKey);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// Reads the key in `directory` or makes one, and seals what an earlier
    /// version stored in plain text.
    ///
    /// # Errors
    /// A file that cannot be read or made, is damaged, or is not the one that
    /// sealed the tokens in `db`.
    pub(super) async fn open(directory: &Path, db: &Db) -> Result<Self, TokenKeyError> {
        let path = directory.join(FILE_NAME);
        let name = || path.display().to_string();
        let file = |source| TokenKeyError::File {
            path: name(),
            source,
        };
        let mut proof = db.system_key_proof().await?;
        let bytes = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // First: a crash must not leave a new key beside an old proof.
                if proof.take().is_some() {
                    db.system_set_key_proof(None).await?;
                    tracing::warn!("{} is gone: builds that wait with a token fail", name());
                }
                make(directory, &path).map_err(file)?
            }
            read => read.map_err(file)?,
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| TokenKeyError::Damaged(name()))?;
        let key = Self(key);
        let fits = proof.map(|proof| key.open_bytes(PROOF, &proof).is_some());
        if fits == Some(false) {
            return Err(TokenKeyError::Foreign(name()));
        }
        let plain = db.system_plain_tokens().await?;
        for (id, token) in &plain {
            db.system_seal_token(id, &key.seal(id, token)).await?;
        }
        if fits.is_none() || !plain.is_empty() {
            db.system_scrub().await?;
        }
        if fits.is_none() {
            let proof = key.seal(PROOF, "");
            db.system_set_key_proof(Some(&proof)).await?;
        }
        Ok(key)
    }

    /// Nonce, ciphertext and tag of the token of build `id`.
    pub(super) fn seal(&self, id: &str, token: &str) -> Vec<u8> {
        let mut text = token.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(id), &mut text)
            .expect("tokens are far shorter than what AES-GCM can seal");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        sealed
    }

    /// # Errors
    /// When it is not what [`Self::seal`] made with this key for this build.
    pub(super) fn open_token(&self, id: &str, sealed: &[u8]) -> Result<String, SealBroken> {
        self.open_bytes(id, sealed)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| SealBroken { id: id.to_owned() })
    }

    fn open_bytes(&self, id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(id), &mut text);
        opened.ok().map(|token| token.to_vec())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more, so that a longer file does not pass.
    File::open(path)?
        .take(KEY_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes beside and renames, so that a crash leaves no half key.
fn make(directory: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "token_key/tests.rs"]
mod tests;
