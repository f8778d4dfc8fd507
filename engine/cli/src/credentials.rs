//! Registry credentials: config.json's `auths`, or a `docker-credential-…`
//! program that config.json names.
//!
//! Credentials are looked up by registry host and never sent to another one.
//! Secrets travel to helpers on their standard input, never as arguments.

mod helper;

use base64::{Engine as _, engine::general_purpose::URL_SAFE as BASE64_URL};
use engine_api::AuthConfig;
use http::{HeaderName, HeaderValue};
use oci::DEFAULT_REGISTRY;

use crate::{
    config::{ConfigFile, StoredAuth},
    error::CliError,
};

/// Where the engine expects them.
pub const HEADER: HeaderName = HeaderName::from_static("x-registry-auth");
/// What config.json calls the default registry.
const DEFAULT_REGISTRY_KEY: &str = "https://index.docker.io/v1/";
/// The user name that helpers give with an identity token.
const TOKEN_USER: &str = "<token>";

/// The name under which config.json keeps a registry.
pub fn key_of(registry: &str) -> &str {
    match registry {
        DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY_KEY,
        other => other,
    }
}

/// The credentials for a registry; empty when there are none.
///
/// # Errors
/// A helper that cannot be run or fails.
pub async fn find(config: &ConfigFile, registry: &str) -> Result<AuthConfig, CliError> {
    let key = key_of(registry);
    let mut auth = AuthConfig {
        serveraddress: key.to_owned(),
        ..AuthConfig::default()
    };
    if let Some(helper) = config.helper(key) {
        if let Some(found) = helper::get(helper, key).await? {
            if found.username == TOKEN_USER {
                auth.identitytoken = found.secret;
            } else {
                auth.username = found.username;
                auth.password = found.secret;
            }
        }
        return Ok(auth);
    }
    let auths = config.auths();
    let stored = auths.get(key).or_else(|| {
        // Written by older clients as a URL: the host must be the same.
        auths
            .iter()
            .find(|(name, _)| host_of(name) == host_of(key))
            .map(|(_, stored)| stored)
    });
    if let Some(stored) = stored {
        auth.identitytoken.clone_from(&stored.identitytoken);
        if let Some((user, password)) = stored.password() {
            auth.username = user;
            auth.password = password;
        }
    }
    Ok(auth)
}

/// Keeps credentials; tells where.
///
/// # Errors
/// A helper that fails, or a config.json that cannot be written.
pub async fn keep(
    config: &mut ConfigFile,
    registry: &str,
    user: &str,
    password: &str,
) -> Result<Kept, CliError> {
    let key = key_of(registry).to_owned();
    if let Some(helper) = config.helper(&key).map(str::to_owned) {
        helper::store(&helper, &key, user, password).await?;
        // The empty entry tells that there is something in the helper.
        config.set_auth(&key, &StoredAuth::default());
        config.save()?;
        return Ok(Kept::Helper(helper));
    }
    config.set_auth(&key, &StoredAuth::of_password(user, password));
    config.save()?;
    Ok(Kept::File)
}

/// Forgets the credentials of a registry; false when there were none.
///
/// # Errors
/// A helper that fails, or a config.json that cannot be written.
pub async fn forget(config: &mut ConfigFile, registry: &str) -> Result<bool, CliError> {
    let key = key_of(registry).to_owned();
    let mut known = false;
    if let Some(helper) = config.helper(&key).map(str::to_owned) {
        helper::erase(&helper, &key).await?;
        known = true;
    }
    if config.remove_auth(&key) {
        config.save()?;
        known = true;
    }
    Ok(known)
}

/// Where credentials were put.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// In config.json, readable by its owner.
    File,
    /// By `docker-credential-<name>`.
    Helper(String),
}

/// The header that carries a registry's credentials to the engine.
///
/// # Errors
/// As [`find`].
pub async fn header(config: &ConfigFile, registry: &str) -> Result<HeaderValue, CliError> {
    let auth = find(config, registry).await?;
    let json = serde_json::to_vec(&auth).unwrap_or_default();
    let mut value = HeaderValue::from_str(&BASE64_URL.encode(json)).map_err(|error| {
        CliError::usage(format!("the credentials do not fit a header: {error}"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `host[:port]` of a key that may be a URL.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
