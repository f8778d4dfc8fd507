//! One request to a registry: scheme, authentication, patience and redirects.
//!
//! Secrets never leave the registry's origin: `Authorization` is attached by
//! origin on every hop, redirects are followed by hand, and https never becomes
//! http (advisories CVE-2020-15157, CVE-2026-50151).

use std::{collections::HashMap, io, sync::Mutex, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{
    ClientConfig,
    auth::{self, Credentials, TokenCache, TokenKey},
    challenge,
    error::{ClientError, RegistryMessage, Subject, clip, is_passing},
    patience::Tries,
};
use crate::{DEFAULT_REGISTRY, Reference};

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 8;
/// Error bodies are read up to here, in bytes.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Connections that break without an answer to plain HTTP before TLS is tried: a
/// server that is starting does so for a moment, some TLS servers always.
const BROKEN_PROBES_MAX: u32 = 3;
/// The host behind the name `docker.io`.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Connections, schemes and tokens; shared by all clones of a client.
pub(super) struct Transport {
    http: reqwest::Client,
    config: ClientConfig,
    tokens: TokenCache,
    /// Scheme found for registries that may be spoken to in plain HTTP.
    schemes: Mutex<HashMap<String, &'static str>>,
}

/// A request whose body, if any, is held in memory and may therefore be sent again.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path below the registry's root, or a whole URL that the registry gave.
    pub(super) target: Target<'a>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) subject: Subject<'a>,
    /// `pull`, or `pull,push`.
    pub(super) actions: &'static str,
    /// More scopes to ask for, such as `pull` on the source of a mount.
    pub(super) extra_scopes: Vec<String>,
}

pub(super) enum Target<'a> {
    Path(String),
    Url(&'a Url),
}

impl Transport {
    pub(super) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.progress_timeout)
            .pool_max_idle_per_host(16)
            .build()
            .map_err(|error| ClientError::Setup(chain(&error)))?;
        Ok(Self {
            http,
            config,
            tokens: TokenCache::default(),
            schemes: Mutex::default(),
        })
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The root URL of the registry that `reference` names.
    pub(super) async fn base(&self, reference: &Reference) -> Result<Url, ClientError> {
        let registry = reference.registry();
        let host = match registry {
            DEFAULT_REGISTRY => DOCKER_HUB_HOST,
            other => other,
        };
        let scheme = if self.may_be_plain(reference) {
            self.probe_scheme(registry, host).await?
        } else {
            "https"
        };
        parse_base(registry, scheme, host)
    }

    fn may_be_plain(&self, reference: &Reference) -> bool {
        reference.is_loopback()
            || self
                .config
                .plain_http
                .iter()
                .any(|allowed| allowed == reference.registry())
    }

    /// Asks once which of http and https an allowed registry speaks.
    async fn probe_scheme(&self, registry: &str, host: &str) -> Result<&'static str, ClientError> {
        if let Some(known) = lock(&self.schemes).get(registry) {
            return Ok(known);
        }
        let url = parse_base(registry, "http", host)?
            .join("v2/")
            .map_err(|error| protocol(registry, error))?;
        let mut tries = self.tries();
        let mut broken = 0;
        let scheme = loop {
            let error = match self.http.get(url.clone()).send().await {
                // A TLS server answers plain HTTP with 400 or with bytes that are not HTTP.
                Ok(response) if response.status() == StatusCode::BAD_REQUEST => break "https",
                Ok(_) => break "http",
                Err(error) => error,
            };
            if error.is_connect() || error.is_timeout() {
                tries.after(unreachable(registry, &url, &error)).await?;
                continue;
            }
            broken += 1;
            if !is_broken(&error) || broken == BROKEN_PROBES_MAX || !tries.wait(None).await {
                break "https";
            }
        };
        lock(&self.schemes).insert(registry.to_owned(), scheme);
        Ok(scheme)
    }

    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.config.patience)
    }

    /// Sends `call` until it is answered with something else than a challenge or
    /// a passing failure, or patience ends. Returns the answer, of any status, and the URL it came from.
    pub(super) async fn send(
        &self,
        call: &Call<'_>,
        credentials: &Credentials,
    ) -> Result<(Response, Url), ClientError> {
        let reference = call.reference();
        let base = self.base(reference).await?;
        let url = match &call.target {
            Target::Path(path) => base
                .join(path)
                .map_err(|error| protocol(reference.registry(), error))?,
            Target::Url(url) => (*url).clone(),
        };
        let key = call.token_key(&base, credentials);
        let mut authorization = self.authorization(&key);
        let mut challenged = false;
        let mut tries = self.tries();
        loop {
            let outcome = self.hop(call, &base, &url, authorization.as_deref()).await;
            match outcome {
                Ok((response, at))
                    if response.status() == StatusCode::UNAUTHORIZED
                        && !challenged
                        && !matches!(credentials, Credentials::Bearer(_))
                        && same_origin(&base, &at) =>
                {
                    challenged = true;
                    self.tokens.forget(&key);
                    authorization = Some(self.authenticate(&base, &response, &key).await?);
                }
                Ok((response, at)) => {
                    let passing = is_passing(response.status().as_u16());
                    if !passing || !tries.wait(retry_after(&response)).await {
                        return Ok((response, at));
                    }
                }
                Err(error) => tries.after(error).await?,
            }
        }
    }

    /// As [`Transport::send`], with every status outside 2xx turned into an error.
    pub(super) async fn send_ok(
        &self,
        call: &Call<'_>,
        credentials: &Credentials,
    ) -> Result<(Response, Url), ClientError> {
        let (response, url) = self.send(call, credentials).await?;
        if response.status().is_success() {
            return Ok((response, url));
        }
        Err(refusal(&call.subject, response).await)
    }

    /// The `Authorization` value known for a body that can be sent only once.
    ///
    /// Call it after a bodyless request with the same scopes has settled the token.
    pub(super) fn authorization(&self, key: &TokenKey) -> Option<String> {
        match &key.credentials {
            Credentials::Bearer(token) => Some(format!("Bearer {token}")),
            _ => self.tokens.get(key),
        }
    }

    async fn authenticate(
        &self,
        base: &Url,
        response: &Response,
        key: &TokenKey,
    ) -> Result<String, ClientError> {
        let challenges: Vec<_> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let registry = base.host_str().unwrap_or_default();
        let (http, scopes, credentials) = (&self.http, &key.scopes, &key.credentials);
        let mut tries = self.tries();
        let (header, lifetime) = loop {
            match auth::answer(http, registry, base, &challenges, scopes, credentials).await {
                Ok(answered) => break answered,
                Err(error) => tries.after(error).await?,
            }
        };
        self.tokens.put(key.clone(), header.clone(), lifetime);
        Ok(header)
    }

    /// One try, with redirects followed and secrets kept at their origin.
    async fn hop(
        &self,
        call: &Call<'_>,
        base: &Url,
        url: &Url,
        authorization: Option<&str>,
    ) -> Result<(Response, Url), ClientError> {
        let registry = call.reference().registry();
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self
                .http
                .request(call.method.clone(), url.clone())
                .headers(call.headers.clone());
            if same_origin(base, &url)
                && let Some(authorization) = authorization
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            if matches!(call.method, Method::POST | Method::PUT) {
                request = request.body(call.body.clone());
            }
            let response = request
                .send()
                .await
                .map_err(|error| unreachable(registry, &url, &error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, url));
            }
            url = location(registry, &url, &response)?;
        }
        Err(ClientError::Protocol {
            registry: registry.to_owned(),
            reason: format!("more than {REDIRECTS_MAX} redirects"),
        })
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(
        method: Method,
        path: String,
        subject: Subject<'a>,
        actions: &'static str,
    ) -> Self {
        Self {
            method,
            target: Target::Path(path),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            subject,
            actions,
            extra_scopes: Vec::new(),
        }
    }

    pub(super) fn reference(&self) -> &'a Reference {
        match self.subject {
            Subject::Manifest(reference)
            | Subject::Blob(reference, _)
            | Subject::Push(reference) => reference,
        }
    }

    pub(super) fn token_key(&self, base: &Url, credentials: &Credentials) -> TokenKey {
        let mut scopes = vec![format!(
            "repository:{}:{}",
            self.reference().repository(),
            self.actions
        )];
        scopes.extend(self.extra_scopes.iter().cloned());
        scopes.sort();
        TokenKey {
            origin: origin_of(base),
            scopes,
            credentials: credentials.clone(),
        }
    }
}

/// The target of a redirect or an upload session, relative or absolute.
///
/// # Errors
/// When it is missing, not http(s), carries credentials, or leaves https.
pub(super) fn location(
    registry: &str,
    from: &Url,
    response: &Response,
) -> Result<Url, ClientError> {
    let text = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| ClientError::Protocol {
            registry: registry.to_owned(),
            reason: format!("{} without a Location", response.status()),
        })?;
    let url = from
        .join(text)
        .map_err(|error| protocol(registry, format!("Location is not a URL: {error}")))?;
    let refuse = |reason| ClientError::Unsafe {
        registry: registry.to_owned(),
        target: clip(url.as_str(), 200),
        reason,
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("only http and https are followed"));
    }
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(refuse("it leaves https for plain http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it carries credentials"));
    }
    Ok(url)
}

/// Reads the error body of `response` into a typed error.
pub(super) async fn refusal(subject: &Subject<'_>, response: Response) -> ClientError {
    let status = response.status();
    let retry_after = retry_after(&response);
    let body = bounded_body(response, ERROR_BODY_BYTES_MAX)
        .await
        .unwrap_or_default();
    subject.refuse(status, retry_after, &RegistryMessage::parse(&body))
}

/// Reads at most `bytes_max` of a body; `None` when it is longer or breaks.
pub(super) async fn bounded_body(mut response: Response, bytes_max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > bytes_max {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Scheme, host and port, with the default port written out.
pub(super) fn origin_of(url: &Url) -> String {
    format!(
        "{}://{}:{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    origin_of(a) == origin_of(b)
}

fn parse_base(registry: &str, scheme: &str, host: &str) -> Result<Url, ClientError> {
    Url::parse(&format!("{scheme}://{host}/")).map_err(|error| protocol(registry, error))
}

fn protocol(registry: &str, reason: impl ToString) -> ClientError {
    ClientError::Protocol {
        registry: registry.to_owned(),
        reason: reason.to_string(),
    }
}

pub(super) fn unreachable(registry: &str, url: &Url, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable {
        registry: registry.to_owned(),
        origin: origin_of(url),
        reason: chain(error),
        passing: match error.is_connect() {
            true => is_refusal(error),
            false => true,
        },
    }
}

/// Whether a connection broke before anything that is an answer came.
fn is_broken(error: &reqwest::Error) -> bool {
    let incomplete = |cause: &hyper::Error| cause.is_incomplete_message();
    is_refusal(error) || find(error, incomplete)
}

/// Whether a host that is up did not take or keep a connection.
fn is_refusal(error: &reqwest::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [
        Kind::ConnectionRefused,
        Kind::ConnectionReset,
        Kind::ConnectionAborted,
        Kind::BrokenPipe,
        Kind::UnexpectedEof,
    ];
    find(error, |cause: &io::Error| kinds.contains(&cause.kind()))
}

/// Whether a cause of `error` is an `E` that `is` holds for.
fn find<E: std::error::Error + 'static>(error: &reqwest::Error, is: impl Fn(&E) -> bool) -> bool {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<E>())
        .any(is)
}

/// The innermost causes of an HTTP client error, without its URL.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    match texts.is_empty() {
        true => error.to_string(),
        false => texts.join(": "),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
