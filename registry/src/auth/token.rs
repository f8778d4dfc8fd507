//! Bearer tokens: JWT, ES256, one key, strict.
//!
//! The header must be exactly what this registry writes: a key that a token
//! brings along (`jwk`, `jku`, `x5u`, `x5c`) ends its check, whatever its value
//! (CVE-2025-24976). Times must be whole numbers (CVE-2026-25537).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Grant, SERVICE, keys::SigningKey};
use oci::Digest;

/// Largest token, in bytes; one with many scopes is about 2 KiB.
const TOKEN_BYTES_MAX: usize = 12 * 1024;
/// Verified tokens remembered.
const VERIFIED_MAX: usize = 4096;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    Expired,
    Invalid,
}

/// A verified token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenCaller {
    /// The user's name; empty for tokens given to anonymous callers.
    pub(crate) subject: String,
    pub(crate) user_id: Option<i64>,
    pub(crate) grants: Vec<Grant>,
    /// Unix seconds.
    expires: u64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    /// Binds the token to the user, not to a name that may be given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<i64>,
    access: Vec<Grant>,
}

#[derive(Debug)]
pub(super) struct Tokens {
    key: SigningKey,
    verified: Mutex<HashMap<Digest, Arc<TokenCaller>>>,
}

impl Tokens {
    pub(super) fn new(key: SigningKey) -> Self {
        Self {
            key,
            verified: Mutex::default(),
        }
    }

    pub(super) fn issue(
        &self,
        subject: &str,
        user_id: Option<i64>,
        access: Vec<Grant>,
        ttl: Duration,
    ) -> String {
        let now = unix_seconds();
        let claims = Claims {
            iss: SERVICE.to_owned(),
            sub: subject.to_owned(),
            aud: SERVICE.to_owned(),
            exp: now + ttl.as_secs(),
            nbf: now.saturating_sub(5),
            iat: now,
            jti: uuid::Uuid::new_v4().simple().to_string(),
            uid: user_id,
            access,
        };
        let header = Header {
            kid: Some(self.key.id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key.encoding)
            .expect("claims are plain JSON and the key was checked when it was opened")
    }

    pub(super) fn verify(&self, token: &str) -> Result<Arc<TokenCaller>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX || token.bytes().filter(|b| *b == b'.').count() != 2 {
            return Err(TokenError::Invalid);
        }
        let digest = Digest::sha256(token.as_bytes());
        let now = unix_seconds();
        let known = self.lock().get(&digest).cloned();
        let caller = match known {
            Some(caller) => caller,
            None => Arc::new(self.check(token)?),
        };
        if caller.expires <= now {
            self.lock().remove(&digest);
            return Err(TokenError::Expired);
        }
        let mut verified = self.lock();
        if verified.len() >= VERIFIED_MAX {
            verified.retain(|_, caller| caller.expires > now);
            if verified.len() >= VERIFIED_MAX {
                verified.clear();
            }
        }
        verified.insert(digest, Arc::clone(&caller));
        Ok(caller)
    }

    fn check(&self, token: &str) -> Result<TokenCaller, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let plain = header.typ.as_deref() == Some("JWT")
            && header.alg == Algorithm::ES256
            && header.kid.as_deref() == Some(self.key.id.as_str())
            && header.jku.is_none()
            && header.jwk.is_none()
            && header.x5u.is_none()
            && header.x5c.is_none()
            && header.crit.is_none();
        if !plain {
            return Err(TokenError::Invalid);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[SERVICE]);
        validation.set_issuer(&[SERVICE]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.decoding, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        Ok(TokenCaller {
            subject: claims.sub,
            user_id: claims.uid,
            grants: claims.access,
            expires: claims.exp,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<TokenCaller>>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
