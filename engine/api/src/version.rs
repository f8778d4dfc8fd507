//! API versions: which are spoken, and since when what looks how.

use std::{fmt, str::FromStr};

/// A version of the Engine API, always `1.<minor>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion(u16);

/// A text that is not `<major>.<minor>` with major 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersionError;

impl ApiVersion {
    /// Oldest version answered: old test tools pin it.
    pub const MIN: Self = Self(24);
    /// Newest version answered, and what a path without version means.
    pub const MAX: Self = Self(51);

    pub const fn new(minor: u16) -> Self {
        Self(minor)
    }

    pub fn minor(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl fmt::Display for ApiVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an API version: write 1.<minor>, for example 1.50")
    }
}

impl std::error::Error for ApiVersionError {}

impl FromStr for ApiVersion {
    type Err = ApiVersionError;

    fn from_str(text: &str) -> Result<Self, ApiVersionError> {
        let minor = text.strip_prefix("1.").ok_or(ApiVersionError)?;
        if minor.is_empty() || minor.len() > 3 || !minor.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiVersionError);
        }
        minor.parse().map(Self).map_err(|_| ApiVersionError)
    }
}

/// When the wire changed. An answer is built in its newest shape and then
/// cut back for older clients by these marks.
pub mod since {
    use super::ApiVersion;

    /// `wait` sends its headers at once.
    pub const WAIT_HEADERS: ApiVersion = ApiVersion::new(30);
    /// attach and exec name the multiplexed stream in their content type.
    pub const MULTIPLEXED_TYPE: ApiVersion = ApiVersion::new(42);
    /// `BuilderSize` left `/system/df`.
    pub const NO_BUILDER_SIZE: ApiVersion = ApiVersion::new(42);
    /// Anonymous volumes only in `POST /volumes/prune` without `all`.
    pub const PRUNE_ANONYMOUS: ApiVersion = ApiVersion::new(42);
    /// `VirtualSize` left the image types.
    pub const NO_VIRTUAL_SIZE: ApiVersion = ApiVersion::new(44);
    /// Events about images carry `create`.
    pub const IMAGE_CREATE_EVENT: ApiVersion = ApiVersion::new(46);
}

#[cfg(test)]
#[path = "version/tests.rs"]
mod tests;
