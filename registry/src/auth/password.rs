//! Passwords: argon2id, with a bound on how many run at once and a short memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc::PasswordHash};
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use oci::Digest;
use tokio::sync::Semaphore;

use super::{AuthError, AuthSetupError, User};

/// Hashes computed at the same time: each takes 19 MiB and a core for about 30 ms.
const RUNNING_MAX: usize = 2;
/// Logins that wait for their turn; more are told to come back.
const WAITING_MAX: usize = 64;
/// How long a password that was right is right without hashing. A changed
/// password is noticed at once, since the stored hash is part of what is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Passwords remembered.
const REMEMBERED_MAX: usize = 1024;
/// Longest password that is looked at, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A hash of nobody's password, checked in place of a user that does not exist.
/// Its cost is that of [`hash`], which a test compares.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// Until when a (user, stored hash, password) is known to be right, by keyed hash.
    right: Mutex<HashMap<[u8; 32], Instant>>,
    key: hmac::Key,
    decoy: Arc<str>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    pub(super) fn new() -> Result<Self, AuthSetupError> {
        let mut key = [0u8; 32];
        rand::fill(&mut key).map_err(|_| AuthSetupError::Hash("no random numbers".to_owned()))?;
        Ok(Self {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
            right: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            decoy: DECOY.into(),
        })
    }

    pub(super) async fn check(
        &self,
        user: Option<Arc<User>>,
        name: &str,
        password: &str,
    ) -> Result<Arc<User>, AuthError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(AuthError::BadCredentials);
        }
        let stored: Arc<str> = match &user {
            Some(user) => user.password_hash.as_str().into(),
            None => Arc::clone(&self.decoy),
        };
        let fingerprint = self.fingerprint(name, &stored, password);
        if let Some(user) = &user
            && self.is_remembered(&fingerprint)
        {
            return Ok(Arc::clone(user));
        }
        let _place = self.waiting.try_acquire().map_err(|_| AuthError::Busy)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| AuthError::Busy)?;
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || {
            let _running = running;
            matches(&stored, &password)
        })
        .await
        .unwrap_or(false);
        match user {
            Some(user) if right => {
                self.remember(fingerprint);
                Ok(user)
            }
            _ => Err(AuthError::BadCredentials),
        }
    }

    fn fingerprint(&self, name: &str, stored: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, stored, password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    fn is_remembered(&self, fingerprint: &[u8; 32]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right
            .get(fingerprint)
            .is_some_and(|until| *until > Instant::now())
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            let now = Instant::now();
            right.retain(|_, until| *until > now);
            if right.len() >= REMEMBERED_MAX {
                right.clear();
            }
        }
        right.insert(fingerprint, Instant::now() + REMEMBERED);
    }
}

/// Memory that argon2 works in, given back to the system when it is done.
///
/// 19 MiB from the allocator's own heap would stay with whichever thread hashed
/// last, and there are many. Above 32 MiB glibc maps memory of its own and unmaps
/// it when freed (mallopt(3), M_MMAP_THRESHOLD); what is never touched costs nothing.
fn blocks(params: &Params) -> Vec<Block> {
    const MAPPED_BYTES: usize = 33 * 1024 * 1024;
    let mut blocks = Vec::with_capacity(MAPPED_BYTES / Block::SIZE);
    blocks.resize(params.block_count(), Block::default());
    blocks
}

/// Hashes with argon2id at its recommended cost; a PHC string.
pub(super) fn hash(password: &str) -> Result<String, AuthSetupError> {
    let fail = |error: &dyn std::fmt::Display| AuthSetupError::Hash(error.to_string());
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|_| fail(&"no random numbers"))?;
    let params = Params::default();
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let memory = blocks(&params);
    let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, memory)
        .map_err(|error| fail(&error))?;
    let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let (salt, output) = (encode(&salt), encode(&output));
    Ok(format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${output}"))
}

/// Compares in constant time, after a full hash; `false` for what is no hash.
pub(super) fn matches(stored: &str, password: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    let (Ok(params), Some(salt), Some(wanted)) =
        (Params::try_from(&stored), &stored.salt, &stored.hash)
    else {
        return false;
    };
    let mut found = vec![0; wanted.len()];
    let memory = blocks(&params);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut found, memory)
        .is_ok_and(|()| verify_slices_are_equal(&found, wanted.as_bytes()).is_ok())
}

/// A password for a person to copy once: 24 letters and digits, 143 bits.
pub(super) fn generate() -> String {
    random_text(24)
}

/// `length` characters of `[A-Za-z0-9]`, each with 5.95 bits.
pub(super) fn random_text(length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    let mut bytes = [0u8; 64];
    while text.len() < length {
        rand::fill(&mut bytes).expect("the kernel's random source does not fail once seeded");
        for byte in bytes {
            // 248 = 4 × 62: what is above would favour the first letters.
            if byte < 248 && text.len() < length {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    text
}

/// What is stored of a refresh token. Unsalted: the token itself is random.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    Digest::sha256(token.as_bytes()).raw().to_vec()
}

#[cfg(test)]
#[path = "password/tests.rs"]
mod tests;
