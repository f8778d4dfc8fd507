//! Image references: `[registry/]repository[:tag][@digest]`.
//!
//! Source: distribution-spec section "Pulling manifests" for the name and tag
//! grammar; the familiar short forms follow the reference grammar that Docker
//! clients use (`busybox` is `docker.io/library/busybox:latest`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError};

/// Longest `registry/repository`, in bytes, that clients accept.
const NAME_BYTES_MAX: usize = 255;
/// Longest tag, in bytes.
const TAG_BYTES_MAX: usize = 128;
/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// Why a text is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    #[error("invalid reference format: the name is empty")]
    Empty,
    #[error("invalid reference format: the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    #[error(
        "invalid reference format: {0:?} is not a repository name: use a-z, 0-9 and single separators . _ __ - between them"
    )]
    BadName(String),
    #[error("invalid reference format: {0:?} is not a tag: use at most 128 of A-Z a-z 0-9 _ . -")]
    BadTag(String),
    #[error("invalid reference format: {0:?} is not a registry host")]
    BadRegistry(String),
    #[error("invalid reference format: {0}")]
    BadDigest(#[from] DigestError),
}

/// A repository name without its registry host: `library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

impl Repository {
    /// Parses by the distribution-spec grammar.
    ///
    /// # Errors
    /// Anything that is not lower-case components joined by `/`, at most 255 bytes.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase(text.to_owned()));
        }
        if !text.split('/').all(is_component) {
            return Err(ReferenceError::BadName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component: the organisation that owns the repository.
    pub fn organisation(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if alnum(&bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && !alnum(&bytes[at]) {
            at += 1;
        }
        let separator = &bytes[start..at];
        let fine = separator == b"." || separator == b"_" || separator == b"__";
        if !fine && !separator.iter().all(|b| *b == b'-') {
            return false;
        }
    }
    true
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// # Errors
    /// When the text does not match the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let fine = bytes.first().is_some_and(|b| word(*b))
            && bytes.len() <= TAG_BYTES_MAX
            && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::BadTag(text.chars().take(160).collect()))
        }
    }

    /// The tag a reference without tag and digest means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A full image reference.
///
/// [`fmt::Display`] prints the canonical form with the registry host;
/// [`Reference::familiar`] the short form that people type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// Assembles a reference from parts that were already checked.
    ///
    /// # Errors
    /// When `registry` is not `host[:port]`.
    pub fn new(
        registry: &str,
        repository: Repository,
        tag: Option<Tag>,
        digest: Option<Digest>,
    ) -> Result<Self, ReferenceError> {
        check_registry(registry)?;
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// `host[:port]` of the registry; `docker.io` when none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What goes after `/manifests/`: the digest when there is one, else the tag.
    pub fn manifest_key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same reference with `latest` filled in when it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(Tag::latest());
        }
        self
    }

    /// The same repository at another tag, without digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository pinned to `digest`, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Registry and repository in the short form that people type:
    /// `docker.io/library/busybox` is `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.as_str().strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.repository.to_string(),
        }
    }

    /// The whole reference in the short form that people type.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    /// Whether the registry is on this host, where plain HTTP is allowed
    /// without configuration, as Docker does.
    pub fn is_loopback(&self) -> bool {
        let host = match self.registry.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => self
                .registry
                .rsplit_once(':')
                .map_or(self.registry.as_str(), |(h, _)| h),
        };
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag.as_str());
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(format!("{}/{}", self.registry, self.repository)))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it is a port.
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(Tag::parse(tag)?)),
            None => (rest, None),
        };
        if name.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        let (registry, path) = split_registry(name);
        check_registry(registry)?;
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            Repository::parse(&format!("library/{path}"))?
        } else {
            Repository::parse(path)?
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

/// Splits off the host: the first component is one when it holds a dot or a
/// colon, is `localhost`, or has upper-case letters.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => match first {
            "index.docker.io" => (DEFAULT_REGISTRY, rest),
            _ => (first, rest),
        },
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn looks_like_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(text: &str) -> Result<(), ReferenceError> {
    let bad = || ReferenceError::BadRegistry(text.chars().take(160).collect());
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(bad)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return Err(bad()),
        }
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(bad());
    }
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match host {
        Some(host) if !host.split('.').all(label) => Err(bad()),
        _ => Ok(()),
    }
}

macro_rules! serde_as_text {
    ($($type:ty => $parse:expr),* $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text! {
    Repository => Repository::parse,
    Tag => Tag::parse,
    Reference => Reference::from_str,
}

#[cfg(test)]
#[path = "reference/tests.rs"]
mod tests;
