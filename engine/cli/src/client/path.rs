//! Request paths and queries, percent-encoded.

use std::collections::BTreeMap;

/// Query parameters in the order they were added.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    /// Adds `name=1` when `on`.
    #[must_use]
    pub fn flag(self, name: &'static str, on: bool) -> Self {
        if on { self.with(name, 1) } else { self }
    }

    /// Adds the parameter when there is a value.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds `filters={"key":{"value":true}}` when there are any.
    #[must_use]
    pub fn filters(self, filters: &Filters) -> Self {
        if filters.0.is_empty() {
            return self;
        }
        self.with("filters", filters.to_json())
    }

    /// `?a=b&c=d`, or nothing.
    pub(super) fn encoded(&self) -> String {
        let mut out = String::new();
        for (at, (name, value)) in self.0.iter().enumerate() {
            out.push(if at == 0 { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            encode(value, b"-_.~", &mut out);
        }
        out
    }
}

/// `--filter` values by key.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, BTreeMap<String, bool>>);

impl Filters {
    /// Reads `key=value` texts.
    ///
    /// # Errors
    /// A text without `=`.
    pub fn parse(texts: &[String]) -> Result<Self, crate::error::CliError> {
        let mut filters = Self::default();
        for text in texts {
            let Some((key, value)) = text.split_once('=') else {
                return Err(crate::error::CliError::usage(format!(
                    "invalid filter '{text}': write it as key=value"
                )));
            };
            filters.add(key.trim().to_lowercase(), value.trim());
        }
        Ok(filters)
    }

    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0
            .entry(key.into())
            .or_default()
            .insert(value.into(), true);
    }

    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// A name as one path segment. Slashes stay: image names hold them and the
/// engine's routes expect them.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(text, b"-_.~:@/", &mut out);
    out
}

fn encode(text: &str, plain: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
