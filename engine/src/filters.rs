//! The `filters` parameter of lists, prunes and events.
//!
//! Two forms are on the wire: `{"label":{"a=b":true}}` and the older
//! `{"label":["a=b"]}`. A key the endpoint does not know is refused, so that
//! a typing error never widens a prune.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{EngineError, Result};

/// Filter keys with their wanted values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// # Errors
    /// Text that is neither form, or a key outside `known`.
    pub(crate) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        let raw: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| EngineError::bad("invalid filter"))?;
        let mut filters = BTreeMap::new();
        for (key, values) in raw {
            if !known.contains(&key.as_str()) {
                return Err(EngineError::bad(format!("invalid filter '{key}'")));
            }
            let values = match values {
                Values::Set(set) => set
                    .into_iter()
                    .filter(|(_, on)| *on)
                    .map(|(v, _)| v)
                    .collect(),
                Values::List(list) => list.into_iter().collect(),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|values| !values.is_empty())
    }

    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// No filter of that key, or one of its values satisfies `accept`.
    pub(crate) fn any(&self, key: &str, accept: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(accept)
    }

    /// A filter that is a truth value: absent is `None`.
    ///
    /// # Errors
    /// A value that is neither true nor false.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.values(key).next() {
            None => Ok(None),
            Some("1" | "true" | "True" | "TRUE" | "t") => Ok(Some(true)),
            Some("0" | "false" | "False" | "FALSE" | "f") => Ok(Some(false)),
            Some(other) => Err(EngineError::bad(format!("invalid filter '{key}={other}'"))),
        }
    }

    /// Every `label` filter holds, and no `label!` filter does.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(holds) && !self.values("label!").any(holds)
    }

    /// A name or id matches as a part of it, as Docker's regular expressions
    /// do for plain words; `^` and `$` anchor.
    pub(crate) fn name_matches(pattern: &str, name: &str) -> bool {
        let (pattern, start) = match pattern.strip_prefix('^') {
            Some(rest) => (rest.strip_prefix('/').unwrap_or(rest), true),
            None => (pattern.strip_prefix('/').unwrap_or(pattern), false),
        };
        let (pattern, end) = match pattern.strip_suffix('$') {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        match (start, end) {
            (true, true) => name == pattern,
            (true, false) => name.starts_with(pattern),
            (false, true) => name.ends_with(pattern),
            (false, false) => name.contains(pattern),
        }
    }
}

/// Shell-style match of `*` and `?`, where `*` does not cross a slash:
/// Go's `path.Match` without character classes.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    fn step(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                step(&pattern[1..], text)
                    || text.first().is_some_and(|b| *b != b'/') && step(pattern, &text[1..])
            }
            (Some(b'?'), Some(b)) if *b != b'/' => step(&pattern[1..], &text[1..]),
            (Some(p), Some(t)) if p == t => step(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    // Adjacent stars mean the same as one and would only multiply the work.
    let mut squeezed = String::with_capacity(pattern.len());
    for c in pattern.chars().take(512) {
        if c != '*' || !squeezed.ends_with('*') {
            squeezed.push(c);
        }
    }
    if squeezed.matches('*').count() > 8 {
        return false;
    }
    step(squeezed.as_bytes(), text.as_bytes())
}

#[cfg(test)]
#[path = "filters/tests.rs"]
mod tests;
