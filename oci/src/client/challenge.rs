//! `WWW-Authenticate` challenges, and whether a token realm may see a secret.
//!
//! Pure. Source: RFC 9110 section 11.6.1, distribution token specification.

use reqwest::Url;

/// A challenge that a registry answers 401 with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        /// Space-separated scopes.
        scope: Option<String>,
    },
}

/// Longest header value that is parsed, in bytes.
const HEADER_BYTES_MAX: usize = 8192;

/// Reads every challenge in one header value that this client can answer.
pub(super) fn parse(value: &str) -> Vec<Challenge> {
    if value.len() > HEADER_BYTES_MAX {
        return Vec::new();
    }
    let mut challenges = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let (scheme, after) = split_word(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        rest = after.trim_start_matches([' ', ',', '\t']);
        let find = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = find("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: find("service"),
                scope: find("scope"),
            });
        }
    }
    challenges
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads `key=value` pairs until something that is not one, which starts the next challenge.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', ',', '\t']);
        let (key, after) = split_word(start);
        let Some(after) = after
            .trim_start()
            .strip_prefix('=')
            .filter(|_| !key.is_empty())
        else {
            // What cannot start a challenge either would never advance: drop it.
            return (found, if key.is_empty() { "" } else { start });
        };
        let Some((value, after)) = value(after.trim_start()) else {
            return (found, "");
        };
        found.push((key.to_owned(), value));
        text = after;
    }
}

/// A token or a quoted string with its escapes removed; `None` when unterminated.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, after) = split_word(text);
        return Some((word.to_owned(), after));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// Whether a secret meant for the registry at `registry` may be sent to `realm`.
///
/// The realm is chosen by whoever answers for the registry, so it is trusted
/// only on the same host, below it, or beside it under a parent domain that one
/// owner plausibly holds (`registry-1.docker.io` and `auth.docker.io`).
pub(super) fn realm_is_trusted(registry: &Url, realm: &Url) -> bool {
    if !realm.username().is_empty() || realm.password().is_some() {
        return false;
    }
    if registry.scheme() == "https" && realm.scheme() != "https" {
        return false;
    }
    let (Some(ours), Some(theirs)) = (registry.host_str(), realm.host_str()) else {
        return false;
    };
    if ours == theirs {
        return true;
    }
    let is_ip = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::IpAddr>().is_ok()
    };
    if is_ip(ours) || is_ip(theirs) {
        return false;
    }
    if is_below(theirs, ours) {
        return true;
    }
    match ours.split_once('.') {
        Some((_, parent)) => {
            could_be_owned(parent) && (theirs == parent || is_below(theirs, parent))
        }
        None => false,
    }
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent)
        .is_some_and(|head| head.ends_with('.'))
}

/// Rules out top-level domains and the `co.uk` family, where strangers are neighbours.
fn could_be_owned(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    match labels.as_slice() {
        [] | [_] => false,
        [second, top] => !(top.len() == 2 && second.len() <= 3),
        _ => true,
    }
}

#[cfg(test)]
#[path = "challenge/tests.rs"]
mod tests;
