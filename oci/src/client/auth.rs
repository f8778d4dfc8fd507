//! Credentials and the token flow.
//!
//! Owns the token cache. A token is cached under the origin, the scopes and the
//! credentials it was issued for, so it can never answer for anyone else; a lost
//! cache costs one round trip. Source: distribution token and OAuth2 specifications.

use std::{
    collections::HashMap,
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::{
    challenge::{Challenge, realm_is_trusted},
    error::{ClientError, RegistryMessage, clip},
    transport::{bounded_body, retry_after, unreachable},
};

/// Who the client is towards a registry.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token, which Docker's configuration calls `identitytoken`.
    IdentityToken(String),
    /// A ready bearer token, sent as it is to the registry and to nobody else.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user}, password hidden)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(hidden)"),
            Self::Bearer(_) => f.write_str("Bearer(hidden)"),
        }
    }
}

impl Credentials {
    /// The `Authorization` value for Basic authentication.
    pub(super) fn basic_header(&self) -> Option<String> {
        match self {
            Self::Basic { user, password } => Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            )),
            Self::Anonymous | Self::IdentityToken(_) | Self::Bearer(_) => None,
        }
    }
}

/// Tokens kept at most; one registry rarely needs more than a few scopes.
const TOKENS_MAX: usize = 512;
/// Lifetime of a token whose issuer names none, by the specification.
const LIFETIME_DEFAULT_S: u64 = 60;
/// A token is not used in its last seconds, so that it does not expire in flight.
const LIFETIME_MARGIN: Duration = Duration::from_secs(5);
/// Largest token answer, in bytes.
const TOKEN_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Name that token servers log for this client.
const CLIENT_ID: &str = "carrack";

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) origin: String,
    /// Sorted.
    pub(super) scopes: Vec<String>,
    pub(super) credentials: Credentials,
}

/// What goes into `Authorization`, until when.
struct Cached {
    header: String,
    expires: Instant,
}

/// Finished authentications by origin, scopes and credentials.
#[derive(Default)]
pub(super) struct TokenCache {
    entries: Mutex<HashMap<TokenKey, Cached>>,
}

impl TokenCache {
    pub(super) fn get(&self, key: &TokenKey) -> Option<String> {
        let entries = self.lock();
        let cached = entries.get(key)?;
        (cached.expires > Instant::now()).then(|| cached.header.clone())
    }

    pub(super) fn put(&self, key: TokenKey, header: String, lifetime: Duration) {
        let mut entries = self.lock();
        if entries.len() >= TOKENS_MAX {
            let now = Instant::now();
            entries.retain(|_, cached| cached.expires > now);
            if entries.len() >= TOKENS_MAX {
                entries.clear();
            }
        }
        let expires = Instant::now() + lifetime.saturating_sub(LIFETIME_MARGIN);
        entries.insert(key, Cached { header, expires });
    }

    pub(super) fn forget(&self, key: &TokenKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TokenKey, Cached>> {
        self.entries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Answers `challenges` for `credentials`: the `Authorization` value and its lifetime.
///
/// # Errors
/// `BadCredentials` when the token server refuses them, `Unsafe` when the realm
/// must not see them, `Protocol` when no challenge can be answered.
pub(super) async fn answer(
    http: &reqwest::Client,
    registry: &str,
    base: &Url,
    challenges: &[Challenge],
    scopes: &[String],
    credentials: &Credentials,
) -> Result<(String, Duration), ClientError> {
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer {
            realm,
            service,
            scope,
        } => Some((realm, service, scope)),
        Challenge::Basic => None,
    });
    let Some((realm, service, scope)) = bearer else {
        return match (challenges.first(), credentials.basic_header()) {
            // Basic has no expiry; an hour bounds how long the cache holds a secret.
            (Some(_), Some(header)) => Ok((header, Duration::from_secs(3600))),
            (Some(_), None) => Err(ClientError::BadCredentials {
                registry: registry.to_owned(),
                message: "unauthorized: it asks for a user name and password".to_owned(),
            }),
            (None, _) => Err(ClientError::Protocol {
                registry: registry.to_owned(),
                reason: "401 without a WWW-Authenticate challenge this client knows".to_owned(),
            }),
        };
    };
    let realm = base.join(realm).map_err(|error| ClientError::Protocol {
        registry: registry.to_owned(),
        reason: format!("token realm is not a URL: {error}"),
    })?;
    let exchange = Exchange {
        http,
        registry,
        service: service.as_deref(),
        scopes: union(scopes, scope.as_deref()),
    };
    let has_secret = !matches!(credentials, Credentials::Anonymous);
    if !matches!(realm.scheme(), "http" | "https")
        || (has_secret && !realm_is_trusted(base, &realm))
    {
        return Err(ClientError::Unsafe {
            registry: registry.to_owned(),
            target: format!("token realm {}", clip(realm.as_str(), 200)),
            reason: "credentials are only sent to the registry's own domain",
        });
    }
    let token = exchange.fetch(&realm, credentials).await?;
    let lifetime = Duration::from_secs(token.expires_in.unwrap_or(LIFETIME_DEFAULT_S).max(60));
    Ok((format!("Bearer {}", token.value(registry)?), lifetime))
}

/// Our scopes and the challenge's, each once.
fn union(ours: &[String], theirs: Option<&str>) -> Vec<String> {
    let mut scopes = ours.to_vec();
    for scope in theirs.unwrap_or("").split_whitespace() {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl TokenBody {
    fn value(self, registry: &str) -> Result<String, ClientError> {
        let token = if self.token.is_empty() {
            self.access_token
        } else {
            self.token
        };
        if token.is_empty() || token.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(ClientError::Protocol {
                registry: registry.to_owned(),
                reason: "the token server answered without a token".to_owned(),
            });
        }
        Ok(token)
    }
}

struct Exchange<'a> {
    http: &'a reqwest::Client,
    registry: &'a str,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

impl Exchange<'_> {
    /// OAuth2 POST first when there is a secret, then GET, which older servers need.
    async fn fetch(
        &self,
        realm: &Url,
        credentials: &Credentials,
    ) -> Result<TokenBody, ClientError> {
        if !matches!(credentials, Credentials::Anonymous) {
            let response = self.post(realm, credentials).await?;
            let unsupported = matches!(response.status().as_u16(), 400 | 401 | 404 | 405);
            if !unsupported || credentials.basic_header().is_none() {
                return self.read(response).await;
            }
        }
        let mut request = self.http.get(self.get_url(realm, credentials));
        if let Some(header) = credentials.basic_header() {
            request = request.header(reqwest::header::AUTHORIZATION, header);
        }
        let response = request.send().await.map_err(|e| self.lost(realm, &e))?;
        self.read(response).await
    }

    fn get_url(&self, realm: &Url, credentials: &Credentials) -> Url {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in &self.scopes {
                query.append_pair("scope", scope);
            }
            if let Credentials::Basic { user, .. } = credentials {
                query.append_pair("account", user);
            }
        }
        url
    }

    async fn post(&self, realm: &Url, credentials: &Credentials) -> Result<Response, ClientError> {
        let scope = self.scopes.join(" ");
        let mut form = vec![
            ("client_id", CLIENT_ID),
            ("scope", scope.as_str()),
            ("service", self.service.unwrap_or("")),
        ];
        match credentials {
            Credentials::Basic { user, password } => form.extend([
                ("grant_type", "password"),
                ("username", user.as_str()),
                ("password", password.as_str()),
            ]),
            Credentials::IdentityToken(token) => form.extend([
                ("grant_type", "refresh_token"),
                ("refresh_token", token.as_str()),
            ]),
            Credentials::Anonymous | Credentials::Bearer(_) => {}
        }
        self.http
            .post(realm.clone())
            .form(&form)
            .send()
            .await
            .map_err(|error| self.lost(realm, &error))
    }

    async fn read(&self, response: Response) -> Result<TokenBody, ClientError> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = bounded_body(response, TOKEN_BODY_BYTES_MAX)
            .await
            .unwrap_or_default();
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| ClientError::Protocol {
                    registry: self.registry.to_owned(),
                    reason: format!("the token answer is not JSON of a token: {error}"),
                })
            }
            StatusCode::TOO_MANY_REQUESTS => Err(ClientError::Throttled {
                registry: self.registry.to_owned(),
                message: RegistryMessage::parse(&body).text("toomanyrequests"),
                retry_after,
            }),
            status if status.is_server_error() => Err(ClientError::Server {
                registry: self.registry.to_owned(),
                status: status.as_u16(),
                message: RegistryMessage::parse(&body).text("token server error"),
                retry_after,
            }),
            status if status.is_client_error() => Err(ClientError::BadCredentials {
                registry: self.registry.to_owned(),
                message: RegistryMessage::parse(&body)
                    .text("unauthorized: incorrect username or password"),
            }),
            status => Err(ClientError::Protocol {
                registry: self.registry.to_owned(),
                reason: format!("the token server answered {status}"),
            }),
        }
    }

    fn lost(&self, realm: &Url, error: &reqwest::Error) -> ClientError {
        unreachable(self.registry, realm, error)
    }
}
