//! An instruction's text to its keyword, flags and argument words.

use super::error::Problem;

/// The white space that separates words: no newline, which a heredoc-free
/// logical line never holds.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// `KEYWORD --flag… arguments`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command<'a> {
    pub(super) keyword: &'a str,
    pub(super) flags: Vec<String>,
    pub(super) rest: &'a str,
}

impl<'a> Command<'a> {
    pub(super) fn split(line: &'a str, escape: char) -> Self {
        let line = line.trim();
        let Some((keyword, after)) = line.split_once(BLANKS) else {
            return Self {
                keyword: line,
                flags: Vec::new(),
                rest: "",
            };
        };
        let (flags, rest) = split_flags(after, escape);
        Self {
            keyword,
            flags,
            rest: rest.trim(),
        }
    }
}

/// Takes the leading `--flag` words; `--` alone ends them. Quotes and escapes
/// are resolved.
fn split_flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, ch)) = chars.next() {
            match quote {
                None if ch.is_whitespace() => {
                    end = at;
                    break;
                }
                None if matches!(ch, '\'' | '"') => quote = Some(ch),
                Some(open) if ch == open => quote = None,
                _ if ch == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => word.push(ch),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// Words between blanks, exactly as written.
pub(super) fn blank_separated(rest: &str) -> Vec<String> {
    rest.split(BLANKS)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The text before and after the first run of blanks.
pub(super) fn split_blank(rest: &str) -> Option<(&str, &str)> {
    let (first, after) = rest.split_once(BLANKS)?;
    Some((first, after.trim_start_matches(BLANKS)))
}

/// Words as a shell separates them; quotes and escapes stay in the words, for
/// the expansion to resolve.
pub(super) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = rest.chars();
    while let Some(ch) = chars.next() {
        if ch == escape && quote != Some('\'') {
            // At the end of the line it escapes nothing.
            if let Some(escaped) = chars.next() {
                word.push(ch);
                word.push(escaped);
            }
            continue;
        }
        match quote {
            None if ch.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(ch, '\'' | '"') => quote = Some(ch),
            Some(open) if ch == open => quote = None,
            _ => {}
        }
        word.push(ch);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The strings of a JSON array; `None` when the text is no JSON array, which
/// makes it the shell form.
///
/// # Errors
/// When it is an array of anything but strings.
pub(super) fn json_array(rest: &str) -> Result<Option<Vec<String>>, Problem> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else {
        return Ok(None);
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Problem::syntax(
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    });
    strings.collect::<Result<_, _>>().map(Some)
}
