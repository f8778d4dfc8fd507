//! Who a request comes from.
//!
//! Owns the users in memory, the signing key, and two bounded caches of
//! finished checks: passwords (argon2 takes about 30 ms, and docker logs in
//! anew for every layer) and token signatures. Caches hold keyed hashes, never
//! secrets, and are lost with the process.

mod caller;
mod keys;
mod password;
mod scope;
mod token;

pub use caller::Caller;
pub(crate) use caller::Readable;
pub(crate) use scope::{Grant, ResourceKind, Scope};
pub(crate) use token::TokenError;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use oci::Repository;

use self::{keys::SigningKey, password::Passwords, token::Tokens};
use crate::{
    db::{Database, DbError},
    endpoint::Action,
};

/// The only user that the first start makes.
pub(crate) const ADMIN: &str = "admin";
/// Audience and issuer of this registry's tokens. Instances differ by key, not by name.
pub(crate) const SERVICE: &str = "carrack";
/// Largest `Authorization` header, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("incorrect username or password")]
    BadCredentials,
    #[error("the bearer token is not valid: {0}")]
    BadToken(&'static str),
    #[error("the Authorization header is neither Basic nor Bearer with readable contents")]
    BadHeader,
    #[error("the Authorization header is larger than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLarge,
    #[error("too many logins at the same time: try again in a second")]
    Busy,
    #[error("the registry's user database failed")]
    Database(#[from] DbError),
}

/// Why the key or the users could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    #[error("signing key {path}: {reason}")]
    Key { path: String, reason: String },
    #[error("hashing the administrator's password failed: {0}")]
    Hash(String),
    #[error(transparent)]
    Database(#[from] DbError),
}

/// A user as the registry knows it while it runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) password_hash: String,
    /// May pull, push and delete everywhere.
    pub(crate) is_admin: bool,
}

impl User {
    pub(crate) fn may(&self, _repo: &Repository, _action: Action) -> bool {
        self.is_admin
    }
}

/// Authentication for the registry and for what the front serves beside it.
#[derive(Debug)]
pub(crate) struct Auth {
    db: Arc<Database>,
    users: RwLock<HashMap<String, Arc<User>>>,
    passwords: Passwords,
    tokens: Tokens,
}

impl Auth {
    /// Loads users and key; at the first start makes both. Returns the password
    /// when one had to be generated.
    pub(crate) async fn open(
        db: Arc<Database>,
        keys_dir: &Path,
        admin_password: Option<String>,
    ) -> Result<(Self, Option<String>), AuthSetupError> {
        let tokens = Tokens::new(SigningKey::open(keys_dir)?);
        let passwords = Passwords::new()?;
        let admin = db
            .system_users()
            .await?
            .into_iter()
            .find(|u| u.name == ADMIN);
        let mut generated = None;
        let set = match (&admin, admin_password) {
            (None, None) => {
                let password = password::generate();
                generated = Some(password.clone());
                Some(password)
            }
            (Some(admin), Some(wanted)) if password::matches(&admin.password_hash, &wanted) => None,
            (_, wanted) => wanted,
        };
        if let Some(password) = set {
            let hash = password::hash(&password)?;
            db.system_set_user(ADMIN.to_owned(), hash, "admin").await?;
        }
        let users = db
            .system_users()
            .await?
            .into_iter()
            .map(|row| {
                let user = User {
                    id: row.id,
                    password_hash: row.password_hash,
                    is_admin: row.role == "admin",
                    name: row.name,
                };
                (user.name.clone(), Arc::new(user))
            })
            .collect();
        let auth = Self {
            db,
            users: RwLock::new(users),
            passwords,
            tokens,
        };
        Ok((auth, generated))
    }

    /// The caller of a request; `Anonymous` when it has no `Authorization`.
    ///
    /// # Errors
    /// When it has one that is not valid.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Caller::ANONYMOUS);
        };
        if values.next().is_some() {
            return Err(AuthError::BadHeader);
        }
        if value.len() > HEADER_BYTES_MAX {
            return Err(AuthError::HeaderTooLarge);
        }
        let value = value.to_str().map_err(|_| AuthError::BadHeader)?;
        let (scheme, rest) = value.split_once(' ').ok_or(AuthError::BadHeader)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.bearer(rest.trim());
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let (user, password) = basic(rest.trim()).ok_or(AuthError::BadHeader)?;
            return self.login(&user, &password).await.map(Caller::user);
        }
        Err(AuthError::BadHeader)
    }

    /// Checks a password; a user that does not exist takes as long as one that does.
    pub(crate) async fn login(&self, name: &str, password: &str) -> Result<Arc<User>, AuthError> {
        let user = self.user_named(name);
        self.passwords.check(user, name, password).await
    }

    fn bearer(&self, token: &str) -> Result<Caller, AuthError> {
        let caller = self.tokens.verify(token).map_err(|error| match error {
            TokenError::Expired => AuthError::BadToken("it has expired"),
            TokenError::Invalid => AuthError::BadToken("it was not issued by this registry"),
        })?;
        // A deleted user's tokens end with it, whatever their expiry says.
        let live = match caller.user_id {
            None => true,
            Some(id) => self
                .user_named(&caller.subject)
                .is_some_and(|user| user.id == id),
        };
        match live {
            true => Ok(Caller::token(caller)),
            false => Err(AuthError::BadToken("its user is gone")),
        }
    }

    /// A token for `user` with what it may do of `wanted`; anonymous without user.
    pub(crate) fn issue(&self, user: Option<&User>, grants: Vec<Grant>, ttl: Duration) -> String {
        let (name, id) = user.map_or(("", None), |user| (user.name.as_str(), Some(user.id)));
        self.tokens.issue(name, id, grants, ttl)
    }

    /// A token narrowed to one job: pull what the caller may pull, push to `push` only.
    pub(crate) fn job_token(&self, caller: &Caller, push: &[Repository], ttl: Duration) -> String {
        let mut grants = caller.pull_grants();
        grants.extend(
            push.iter()
                .filter(|repo| caller.may(repo, Action::Push))
                .map(|repo| Grant::repository(repo, vec![Action::Pull, Action::Push])),
        );
        let (name, id) = caller.identity();
        self.tokens.issue(name, id, grants, ttl)
    }

    /// Makes a refresh token for `user`: opaque, kept as a hash, ended by a new password.
    pub(crate) async fn create_refresh_token(
        &self,
        user: &User,
        client_id: &str,
    ) -> Result<String, AuthError> {
        let token = password::random_text(43);
        let client_id = client_id.chars().take(100).collect();
        self.db
            .create_refresh_token(
                password::token_hash(&token),
                user.id,
                SERVICE.to_owned(),
                client_id,
            )
            .await?;
        Ok(token)
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<Arc<User>, AuthError> {
        let id = self
            .db
            .use_refresh_token(password::token_hash(token), SERVICE.to_owned())
            .await?
            .ok_or(AuthError::BadCredentials)?;
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users
            .values()
            .find(|user| user.id == id)
            .cloned()
            .ok_or(AuthError::BadCredentials)
    }

    fn user_named(&self, name: &str) -> Option<Arc<User>> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.get(name).cloned()
    }
}

/// Takes user and password out of Basic credentials (RFC 7617).
fn basic(encoded: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
