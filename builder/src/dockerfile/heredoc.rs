//! `<<NAME` documents.

use super::{
    error::Problem,
    expand::{Expansion, NoVariables},
};

/// A document written in the Dockerfile itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Variables in the body are expanded: the name was not quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are not part of the body.
    pub strip_tabs: bool,
    /// With a newline after each line; the tabs are still there.
    pub body: String,
}

impl Heredoc {
    /// The body as the document's reader sees it.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }

    /// The document that `word` begins, without its body; `None` for any other word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let rest = word[digits..].strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let written = rest.trim_start();
        if written.is_empty() || written.contains('<') {
            return None;
        }
        let mut expansion = Expansion {
            keep_unset: true,
            ..Expansion::new('\\')
        };
        let mut words = expansion.word(written, &NoVariables).ok()?.words;
        if words.len() != 1 {
            return None;
        }
        let name = words.remove(0);
        expansion.keep_quotes = true;
        let raw = expansion.word(written, &NoVariables).ok()?.text;
        let quotes = |text: &str| text.matches(['\'', '"']).count();
        Some(Self {
            expand: quotes(&name) == quotes(&raw),
            name,
            strip_tabs,
            body: String::new(),
        })
    }

    /// The documents that an instruction's line begins, in order.
    pub(super) fn from_line(line: &str) -> Result<Vec<Self>, Problem> {
        if !line.contains("<<") {
            return Ok(Vec::new());
        }
        let expansion = Expansion {
            keep_quotes: true,
            keep_escapes: true,
            keep_unset: true,
            ..Expansion::new('\\')
        };
        // A line that is no balanced shell text, such as one with an
        // apostrophe in it, begins none.
        let Ok(expanded) = expansion.word(line, &NoVariables) else {
            return Ok(Vec::new());
        };
        let found: Vec<Self> = expanded
            .words
            .iter()
            .filter_map(|word| Self::from_word(word))
            .collect();
        if found.len() > HEREDOCS_MAX {
            return Err(Problem::too_large(format!(
                "more than {HEREDOCS_MAX} heredocs in one instruction"
            )));
        }
        Ok(found)
    }
}

/// Most documents of one instruction; a line of `<<A <<A …` could ask for
/// twenty thousand, each of which becomes an operation of the build.
const HEREDOCS_MAX: usize = 256;
