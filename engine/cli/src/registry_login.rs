//! Asks a registry whether credentials are good, by its token service.
//!
//! Flow: distribution's token authentication (`GET /v2/` → 401 with a
//! challenge → `GET realm` with Basic). The password is sent to the registry
//! itself, or to a realm on the same host or a parent domain of it, and never
//! over plain HTTP except to loopback.

use std::time::Duration;

use http::{StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, redirect};

use crate::error::CliError;

/// A registry that does not answer within this is down.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Verifies a user's password.
///
/// # Errors
/// Wrong credentials, a registry that cannot be reached, or one that sends
/// the password elsewhere.
pub async fn verify(registry: &str, user: &str, password: &str) -> Result<(), CliError> {
    let host = match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    };
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("carrack/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| CliError::usage(format!("cannot set up HTTPS: {error}")))?;
    let (base, answer) = ping(&client, host).await?;
    let challenge = match answer.status() {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED => answer
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(Challenge::parse),
        status => {
            return Err(CliError::usage(format!(
                "{base}/v2/ answered {status}: is {registry} a container registry?"
            )));
        }
    };
    let request = match challenge {
        None | Some(Challenge::Basic) => client.get(format!("{base}/v2/")),
        Some(Challenge::Bearer { realm, service }) => {
            check_realm(&base, &realm)?;
            let mut query = vec![
                ("account", user.to_owned()),
                ("client_id", "carrack".to_owned()),
            ];
            if let Some(service) = service {
                query.push(("service", service));
            }
            client.get(realm).query(&query)
        }
    };
    judge(registry, request.basic_auth(user, Some(password))).await
}

async fn judge(registry: &str, request: RequestBuilder) -> Result<(), CliError> {
    let mut answer = request
        .send()
        .await
        .map_err(|error| CliError::usage(format!("cannot reach {registry}: {}", chain(&error))))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = message(&mut answer).await;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let why = if text.is_empty() {
            "incorrect username or password"
        } else {
            &text
        };
        return Err(CliError::usage(format!(
            "login to {registry} failed: unauthorized: {why}"
        )));
    }
    Err(CliError::usage(format!(
        "login to {registry} failed: it answered {status} {text}"
    )))
}

/// Finds the scheme: HTTPS, and for loopback plain HTTP first.
async fn ping(client: &Client, host: &str) -> Result<(String, Response), CliError> {
    let order: &[&str] = if is_loopback(host) {
        &["http", "https"]
    } else {
        &["https"]
    };
    let mut last = None;
    for scheme in order {
        let base = format!("{scheme}://{host}");
        match client.get(format!("{base}/v2/")).send().await {
            // What a TLS server says to a plain request.
            Ok(answer) if *scheme == "http" && answer.status() == StatusCode::BAD_REQUEST => {
                last = Some(format!("{base}/v2/ answered {}", answer.status()));
            }
            Ok(answer) => return Ok((base, answer)),
            Err(error) => last = Some(chain(&error)),
        }
    }
    Err(CliError::usage(format!(
        "cannot reach the registry {host}: {}; check the name, and that it is running",
        last.unwrap_or_default()
    )))
}

fn is_loopback(host: &str) -> bool {
    let repository = oci::Repository::parse("x").ok();
    repository
        .and_then(|repository| oci::Reference::new(host, repository, None, None).ok())
        .is_some_and(|reference| reference.is_loopback())
}

/// A realm may be on the registry's own host or under its domain. Anywhere
/// else it would be the registry that decides who gets the password.
fn check_realm(base: &str, realm: &str) -> Result<(), CliError> {
    let refuse = |why: &str| {
        Err(CliError::usage(format!(
            "the registry {base} sends logins to {realm:?}, {why}: the password was not sent"
        )))
    };
    let (Ok(base_url), Ok(url)) = (reqwest::Url::parse(base), reqwest::Url::parse(realm)) else {
        return refuse("which is no URL");
    };
    let (Some(home), Some(host)) = (base_url.host_str(), url.host_str()) else {
        return refuse("which has no host");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("which holds a user name");
    }
    match url.scheme() {
        "https" => {}
        "http" if base_url.scheme() == "http" => {}
        _ => return refuse("which is not encrypted"),
    }
    if host == home
        && (base_url.scheme() == "https"
            || base_url.port_or_known_default() == url.port_or_known_default())
    {
        return Ok(());
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    let domain = |name: &str| {
        let labels: Vec<_> = name.rsplit('.').take(2).collect();
        (labels.len() == 2).then(|| format!("{}.{}", labels[1], labels[0]))
    };
    if !is_address && domain(host).is_some() && domain(host) == domain(home) {
        return Ok(());
    }
    refuse("which is another site")
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// RFC 9110 section 11.6.1, as far as registries use it.
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut service = None;
        let mut rest = rest.trim_start();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (&after[..end], &after[end..])
                }
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
        })
    }
}

/// The message of a registry's error answer; empty when it has none.
async fn message(answer: &mut Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return String::new();
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = json["errors"][0]["message"]
        .as_str()
        .or_else(|| json["details"].as_str())
        .or_else(|| json["error"]["message"].as_str())
        .unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// An error with its causes: reqwest's own text names none.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "commands/login/tests.rs"]
mod tests;
