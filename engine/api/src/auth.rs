//! Registry credentials as clients send them in `X-Registry-Auth`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::null::{is_default, null};

/// Credentials for one registry. `Debug` hides the secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub username: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub password: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub auth: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub email: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub registrytoken: String,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

/// Answer of `POST /auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthResponse {
    pub status: String,
    #[serde(skip_serializing_if = "is_default")]
    pub identity_token: String,
}
