//! The key that signs tokens: ECDSA P-256, made at the first start.
//!
//! It lives in `keys/token.p8` (PKCS#8, mode 0600). Losing it ends all tokens
//! and nothing else; refresh tokens and passwords do not depend on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use oci::Digest;

use super::AuthSetupError;

/// Largest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

pub(super) struct SigningKey {
    /// First 16 hex digits of the public key's sha256.
    pub(super) id: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    /// Reads the key in `directory`, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read, written, or holds no such key.
    pub(super) fn open(directory: &Path) -> Result<Self, AuthSetupError> {
        let path = directory.join("token.p8");
        let fail = |reason: String| AuthSetupError::Key {
            path: path.display().to_string(),
            reason,
        };
        let pkcs8 = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = EcdsaKeyPair::generate_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &SystemRandom::new(),
                )
                .map_err(|_| fail("cannot be generated".to_owned()))?;
                write(directory, &path, made.as_ref())
                    .map_err(|error| fail(format!("cannot be written: {error}")))?;
                made.as_ref().to_vec()
            }
            Err(error) => return Err(fail(format!("cannot be read: {error}"))),
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|error| fail(format!("is not a PKCS#8 P-256 key: {error}")))?;
        let public = pair.public_key().as_ref();
        Ok(Self {
            id: Digest::sha256(public).hex()[..16].to_owned(),
            decoding: DecodingKey::from_ec_der(public),
            encoding: EncodingKey::from_ec_der(&pkcs8),
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes beside and renames, so that a crash leaves no half key.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
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
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}
