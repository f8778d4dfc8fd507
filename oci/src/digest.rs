//! Content digests: the algorithm and the hash of exact bytes.
//!
//! Source: OCI image-spec `descriptor.md`, section "Digests".

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Name as written before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw hash in bytes.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// Why a text is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    #[error("digest {0:?} has no colon: write algorithm:hex, for example sha256:…")]
    NoAlgorithm(String),
    #[error("digest algorithm {0:?} is not supported: use sha256 or sha512")]
    UnknownAlgorithm(String),
    #[error("digest {0:?} must be lower-case hex of {1} characters")]
    BadHex(String, usize),
}

/// The digest of a blob: algorithm plus raw hash.
///
/// Only lower-case hex of the algorithm's exact length parses, so two equal
/// digests are always the same text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// Hashes `data` with sha256.
    pub fn sha256(data: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(data);
        hasher.finish()
    }

    /// Builds a digest from a raw hash; `None` when the length does not fit.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.len_bytes() {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash.
    pub fn raw(&self) -> &[u8] {
        &self.bytes[..self.algorithm.len_bytes()]
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.raw())
    }

    /// Compact form for database columns: one algorithm byte, then the raw hash.
    pub fn to_column(&self) -> Vec<u8> {
        let mut column = Vec::with_capacity(1 + self.raw().len());
        column.push(match self.algorithm {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        });
        column.extend_from_slice(self.raw());
        column
    }

    /// Reads [`Digest::to_column`] back.
    pub fn from_column(column: &[u8]) -> Option<Self> {
        let (tag, raw) = column.split_first()?;
        let algorithm = match tag {
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha512,
            _ => return None,
        };
        Self::from_raw(algorithm, raw)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, digits) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm(clip(text)))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::UnknownAlgorithm(clip(name))),
        };
        let want = algorithm.len_bytes() * 2;
        let lower = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != want || !lower {
            return Err(DigestError::BadHex(clip(text), want));
        }
        let raw = hex::decode(digits).map_err(|_| DigestError::BadHex(clip(text), want))?;
        Self::from_raw(algorithm, &raw).ok_or_else(|| DigestError::BadHex(clip(text), want))
    }
}

/// Keeps hostile input out of logs and errors at full length.
fn clip(text: &str) -> String {
    text.chars().take(160).collect()
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Incremental hashing with any registered algorithm.
#[derive(Clone, Debug)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(data),
            Self::Sha512(hasher) => hasher.update(data),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => digest_of(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => digest_of(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

fn digest_of(algorithm: Algorithm, raw: &[u8]) -> Digest {
    Digest::from_raw(algorithm, raw).expect("the hasher's output has its algorithm's length")
}

#[cfg(test)]
#[path = "digest/tests.rs"]
mod tests;
