//! `.dockerignore`: which files of a build context are left out.
//!
//! A matcher over relative paths with `/` between their parts; it touches no
//! file system. The last pattern that matches decides; a pattern that matches a
//! directory also matches what is below it; `!` takes files back in.
//!
//! Source: the Docker documentation, "Build context", section ".dockerignore
//! files"; the wildcards are those of Go's `filepath.Match` and `**` for any
//! number of directories.

/// Longest pattern, in bytes, and most patterns in one file. Each path of a
/// context is matched against each pattern.
const PATTERN_BYTES_MAX: usize = 4_096;
const PATTERNS_MAX: usize = 10_000;

/// The ignore file of any Dockerfile that has none of its own.
pub const IGNORE_FILE: &str = ".dockerignore";

/// Why a text is no ignore file.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum IgnoreError {
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    Bare { line: usize },
    #[error("line {line}: syntax error in pattern {pattern:?}: close each '[' and escape a '\\'")]
    Syntax { line: usize, pattern: String },
    #[error("line {line}: the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong { line: usize },
    #[error("more than {PATTERNS_MAX} patterns")]
    TooMany,
}

/// Where the patterns for a Dockerfile are looked for, in this order; the first
/// file that exists is the only one that counts.
pub fn file_names(dockerfile: &str) -> [String; 2] {
    [format!("{dockerfile}{IGNORE_FILE}"), IGNORE_FILE.to_owned()]
}

/// The patterns of one ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

impl Ignore {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    /// Malformed or oversized patterns, with their line.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.starts_with('#') {
                continue;
            }
            if let Some(pattern) = Pattern::parse(line, number)? {
                if patterns.len() == PATTERNS_MAX {
                    return Err(IgnoreError::TooMany);
                }
                patterns.push(pattern);
            }
        }
        Ok(Self { patterns })
    }

    /// The patterns, cleaned, one per line of the file that has one.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.patterns.iter().map(|pattern| {
            let mark = if pattern.takes_back { "!" } else { "" };
            format!("{mark}{}", pattern.text)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `path` is left out. The context's root never is.
    pub fn is_ignored(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        if path.is_empty() || path == "." {
            return false;
        }
        let mut ignored = false;
        for pattern in &self.patterns {
            // Only a pattern that would change the answer is worth matching.
            if pattern.takes_back == ignored && pattern.matches_or_parent(path) {
                ignored = !pattern.takes_back;
            }
        }
        ignored
    }

    /// Whether everything below the directory `path` is left out, so that a walk
    /// need not enter it. Errs on the side of entering.
    pub fn is_pruned(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        self.is_ignored(path)
            && !self
                .patterns
                .iter()
                .any(|pattern| pattern.takes_back && pattern.may_match_below(path))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    takes_back: bool,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyName,
    /// `**` at the end, or before text that it may run into.
    AnyPath,
    /// `**/`: any number of whole directories.
    AnyDirectories,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// `None` for a line without pattern.
    fn parse(line: &str, number: usize) -> Result<Option<Self>, IgnoreError> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() > PATTERN_BYTES_MAX {
            return Err(IgnoreError::TooLong { line: number });
        }
        let (takes_back, written) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if written.is_empty() {
            return Err(IgnoreError::Bare { line: number });
        }
        let text = clean(written);
        let tokens = tokens(&text).ok_or_else(|| IgnoreError::Syntax {
            line: number,
            pattern: line.to_owned(),
        })?;
        Ok(Some(Self {
            text,
            takes_back,
            tokens,
        }))
    }

    fn matches_or_parent(&self, path: &str) -> bool {
        if matches(&self.tokens, path) {
            return true;
        }
        let slashes = path.match_indices('/').map(|(at, _)| at);
        slashes
            .into_iter()
            .any(|at| matches(&self.tokens, &path[..at]))
    }

    /// Whether a path below `directory` could match: compares the text before
    /// the first wildcard.
    fn may_match_below(&self, directory: &str) -> bool {
        let literal: String = self
            .tokens
            .iter()
            .map_while(|token| match token {
                Token::Char(ch) => Some(*ch),
                _ => None,
            })
            .collect();
        let whole = literal.len() == self.text.len();
        let below = format!("{directory}/");
        if whole {
            return literal.starts_with(&below) || below.starts_with(&format!("{literal}/"));
        }
        literal.starts_with(&below) || below.starts_with(&literal)
    }
}

/// Removes `.`, `..`, doubled and leading slashes, as Go's `filepath.Clean` does.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return if rooted { "/" } else { "." }.to_owned();
    }
    parts.join("/")
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        let token = match ch {
            '*' if chars.next_if_eq(&'*').is_some() => {
                let slash = chars.next_if_eq(&'/').is_some();
                if chars.peek().is_none() {
                    Token::AnyPath
                } else if tokens.is_empty() && !slash && !chars.clone().any(is_special) {
                    // `**x` alone is any path that ends in x.
                    Token::AnyPath
                } else {
                    Token::AnyDirectories
                }
            }
            '*' => Token::AnyName,
            '?' => Token::AnyChar,
            '[' => class(&mut chars)?,
            '\\' => Token::Char(chars.next()?),
            ch => Token::Char(ch),
        };
        tokens.push(token);
    }
    Some(tokens)
}

fn is_special(ch: char) -> bool {
    matches!(ch, '*' | '?' | '[' | '\\')
}

/// After `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            ']' | '-' => return None,
            first => {
                let low = if first == '\\' { chars.next()? } else { first };
                let high = match chars.next_if_eq(&'-') {
                    None => low,
                    Some(_) => match chars.next()? {
                        '\\' => chars.next()?,
                        '-' | ']' => return None,
                        high => high,
                    },
                };
                ranges.push((low, high));
            }
        }
    }
}

/// Matches the whole of `path`, following all possibilities at once: the cost
/// is the product of the lengths, whatever the pattern.
fn matches(tokens: &[Token], path: &str) -> bool {
    // `at[i]`: the first i tokens match the text so far. `AnyDirectories`
    // needs to know that it began, so it stays reachable at its own index and
    // is left only at the start or after a slash.
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    let mut boundary = vec![false; tokens.len() + 1];
    boundary[0] = true;
    advance(tokens, &mut reached, &boundary);
    for ch in path.chars() {
        let mut next = vec![false; tokens.len() + 1];
        let mut entered = vec![false; tokens.len() + 1];
        for (at, token) in tokens.iter().enumerate() {
            if !reached[at] {
                continue;
            }
            match token {
                Token::Char(wanted) if *wanted == ch => {
                    next[at + 1] = true;
                    entered[at + 1] = true;
                }
                Token::AnyChar if ch != '/' => {
                    next[at + 1] = true;
                    entered[at + 1] = true;
                }
                Token::Class { negated, ranges } => {
                    let inside = ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&ch));
                    if inside != *negated {
                        next[at + 1] = true;
                        entered[at + 1] = true;
                    }
                }
                Token::AnyName if ch != '/' => {
                    next[at] = true;
                    entered[at] = true;
                }
                Token::AnyPath => {
                    next[at] = true;
                    entered[at] = true;
                }
                Token::AnyDirectories => {
                    next[at] = true;
                    // A directory ended: what follows may begin.
                    entered[at] |= ch == '/';
                }
                _ => {}
            }
        }
        advance(tokens, &mut next, &entered);
        reached = next;
    }
    reached[tokens.len()]
}

/// Steps over tokens that may match nothing. `fresh` marks where matching of
/// the token may begin anew, which for [`Token::AnyDirectories`] is not every
/// position that it runs over.
fn advance(tokens: &[Token], reached: &mut [bool], fresh: &[bool]) {
    let mut fresh = fresh.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        let skips = match token {
            Token::AnyName | Token::AnyPath => reached[at],
            Token::AnyDirectories => fresh[at],
            _ => false,
        };
        if skips {
            reached[at + 1] = true;
            fresh[at + 1] = true;
        }
    }
}

#[cfg(test)]
#[path = "ignore/tests.rs"]
mod tests;
