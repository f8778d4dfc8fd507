//! Query strings: every parameter by name, with bounds.

use http::request::Parts;

use crate::{db::Page, error::ApiError};

/// Names on one page of a list, at most.
const PAGE_MAX: i64 = 1000;
/// Parameters looked at.
const PARAMETERS_MAX: usize = 256;

/// The decoded parameters of a request, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(parts: &Parts) -> Self {
        let text = parts.uri.query().unwrap_or("");
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .take(PARAMETERS_MAX)
                .collect(),
        )
    }

    /// The first value of `name`; an empty one counts as absent.
    pub(super) fn get(&self, name: &'static str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `n` and `last`. Larger pages than the largest are cut to it, with a `Link` to go on.
    pub(super) fn page(&self) -> Result<Page, ApiError> {
        let limit = match self.get("n") {
            None => PAGE_MAX,
            Some(text) => {
                let n: u64 = text.parse().map_err(|_| {
                    ApiError::bad("PAGINATION_NUMBER_INVALID", "n must be a whole number")
                })?;
                i64::try_from(n).unwrap_or(PAGE_MAX).min(PAGE_MAX)
            }
        };
        Ok(Page {
            last: self.get("last").unwrap_or("").to_owned(),
            limit,
        })
    }
}
