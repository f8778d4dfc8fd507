//! The subset of Go's text/template that `--format` needs.
//!
//! People and scripts pass Docker's format strings, so the language, its
//! functions and its messages follow Go's text/template package
//! documentation and Docker's "Format command and log output" page. Pure: a
//! template and a [`Value`] give a text or an error. `define`, `template` and
//! `block` are deliberately absent: a format is one line.

mod exec;
mod functions;
mod lex;
mod parse;
mod printf;
mod value;

pub use value::{Map, Value};

/// The text of a template is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("template parsing error: template: :{line}: {message}")]
pub struct ParseError {
    /// 1-based.
    pub line: usize,
    pub message: String,
}

impl ParseError {
    fn new(source: &str, at: usize, message: &str) -> Self {
        Self {
            line: line_of(source, at),
            message: message.to_owned(),
        }
    }
}

/// The template does not fit the data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("template: :{line}:{column}: executing \"\" at <{at}>: {message}")]
pub struct RenderError {
    pub line: usize,
    /// Bytes into the line.
    pub column: usize,
    /// The expression that failed.
    pub at: String,
    pub message: String,
}

/// What a key that a map does not have means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// Prints `<no value>`.
    NoValue,
    /// Ends rendering.
    Error,
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    source: String,
    nodes: Vec<parse::Node>,
    missing_key: MissingKey,
}

impl Template {
    /// # Errors
    /// When the text is not a template of the supported subset.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self {
            nodes: parse::parse(source)?,
            source: source.to_owned(),
            missing_key: MissingKey::NoValue,
        })
    }

    #[must_use]
    pub fn on_missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }

    /// Renders with `data` as the dot.
    ///
    /// # Errors
    /// When an expression does not fit the data.
    pub fn render(&self, data: &Value) -> Result<String, RenderError> {
        exec::render(&self.nodes, &self.source, data, self.missing_key)
    }

    /// Whether any part of the template names `field` at the top level, as
    /// `ps` must know before it asks the engine for sizes.
    pub fn mentions(&self, field: &str) -> bool {
        let dotted = format!(".{field}");
        self.source.match_indices(&dotted).any(|(at, _)| {
            !self.source[at + dotted.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    }
}

fn line_of(source: &str, at: usize) -> usize {
    1 + source.as_bytes()[..at.min(source.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

#[cfg(test)]
#[path = "template/tests.rs"]
mod tests;
