//! Variable expansion and quote removal in instruction arguments.
//!
//! Source: the Dockerfile reference, "Environment replacement". Pure; a word
//! that expands to more than a megabyte, or nests deeper than a hundred
//! substitutions, is refused, so a hostile file costs bounded memory and stack.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    str::Chars,
};

use super::{error::Problem, pattern::Pattern};

/// Longest result, in bytes: variables that double each other grow exponentially.
const EXPANDED_BYTES_MAX: usize = 1 << 20;
/// Deepest `${a:-${b:-…}}`: each level is a stack frame.
const DEPTH_MAX: u32 = 100;

/// Where variables come from.
pub(crate) trait Variables {
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// No variable is set.
#[derive(Debug)]
pub(crate) struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// What becomes of quotes, escapes and unset variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expansion {
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) keep_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) keep_escapes: bool,
    /// Quotes mean nothing: heredoc bodies.
    pub(crate) plain_quotes: bool,
    /// `$unset` stays as written instead of becoming empty.
    pub(crate) keep_unset: bool,
}

impl Expansion {
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            keep_quotes: false,
            keep_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// Expands `source` as one word.
    ///
    /// # Errors
    /// Unbalanced quotes and braces, unknown modifiers, `${v:?message}` of an
    /// unset variable, and results over the limits.
    pub(crate) fn word(self, source: &str, env: &dyn Variables) -> Result<Expanded, Problem> {
        let mut scan = Scan {
            options: self,
            chars: source.chars().peekable(),
            env,
            words: Words::default(),
            unset: BTreeSet::new(),
            depth: 0,
        };
        let text = scan
            .until(None, self.keep_escapes, false)
            .map_err(|problem| Problem {
                message: format!(
                    "failed to process {}: {}",
                    shortened(source),
                    problem.message
                ),
                ..problem
            })?;
        Ok(Expanded {
            text,
            words: scan.words.finish(),
            unset: scan.unset,
        })
    }
}

/// `source` quoted, cut where it would flood a message.
fn shortened(source: &str) -> String {
    match source.char_indices().nth(200) {
        Some((at, _)) => format!("{:?}…", &source[..at]),
        None => format!("{source:?}"),
    }
}

/// The result of an expansion.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// The result split at blanks that were not quoted.
    pub(crate) words: Vec<String>,
    /// Variables that were asked for and not set.
    pub(crate) unset: BTreeSet<String>,
}

/// Splits the outermost level into words while it is produced.
#[derive(Debug, Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn split(&mut self, text: &str) {
        for ch in text.chars() {
            if !ch.is_whitespace() {
                self.word.push(ch);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Scan<'a> {
    options: Expansion,
    chars: Peekable<Chars<'a>>,
    env: &'a dyn Variables,
    words: Words,
    unset: BTreeSet<String>,
    depth: u32,
}

impl Scan<'_> {
    /// Expands up to `stop`, which it consumes, or to the end.
    ///
    /// `keep_escapes` and `keep_pattern_escapes` are on inside patterns, where
    /// the escape character is for the pattern to read.
    fn until(
        &mut self,
        stop: Option<char>,
        keep_escapes: bool,
        keep_pattern_escapes: bool,
    ) -> Result<String, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::too_large(format!(
                "variable substitutions are nested more than {DEPTH_MAX} deep"
            )));
        }
        let outermost = stop.is_none();
        let mut out = String::new();
        while let Some(&ch) = self.chars.peek() {
            if Some(ch) == stop {
                self.chars.next();
                self.depth -= 1;
                return Ok(out);
            }
            let (piece, splits) = match ch {
                '$' => (self.dollar()?, true),
                '<' => (self.heredoc_mark(), false),
                '\'' if !self.options.plain_quotes => {
                    (self.single_quoted(keep_pattern_escapes)?, false)
                }
                '"' if !self.options.plain_quotes => (
                    self.double_quoted(keep_escapes, keep_pattern_escapes)?,
                    false,
                ),
                _ => self.plain(ch, keep_escapes),
            };
            out.push_str(&piece);
            if out.len() > EXPANDED_BYTES_MAX {
                return Err(Problem::too_large(format!(
                    "variables expand to more than {EXPANDED_BYTES_MAX} bytes"
                )));
            }
            match (outermost, splits) {
                (true, true) => self.words.split(&piece),
                (true, false) => self.words.word.push_str(&piece),
                (false, _) => {}
            }
        }
        match stop {
            None => Ok(out),
            Some(stop) => Err(Problem::syntax(format!(
                "unexpected end of statement while looking for matching {stop}"
            ))),
        }
    }

    fn plain(&mut self, ch: char, keep_escapes: bool) -> (String, bool) {
        self.chars.next();
        if ch != self.options.escape {
            return (ch.to_string(), true);
        }
        let mut out = String::new();
        if keep_escapes {
            out.push(ch);
        }
        out.extend(self.chars.next());
        (out, false)
    }

    /// `<<` and the blanks after it belong to the word they begin.
    fn heredoc_mark(&mut self) -> String {
        self.chars.next();
        if self.chars.next_if_eq(&'<').is_none() {
            return "<".to_owned();
        }
        let mut out = "<<".to_owned();
        while let Some(blank) = self.chars.next_if(|ch| matches!(ch, '\t' | '\r' | ' ')) {
            out.push(blank);
        }
        out
    }

    fn single_quoted(&mut self, keep_pattern_escapes: bool) -> Result<String, Problem> {
        self.chars.next();
        let mut out = String::new();
        if self.options.keep_quotes {
            out.push('\'');
        }
        for ch in self.chars.by_ref() {
            if ch == '\'' {
                if self.options.keep_quotes {
                    out.push('\'');
                }
                return Ok(out);
            }
            // Literal here, so escaped for the pattern that reads it.
            if keep_pattern_escapes && ch == self.options.escape {
                out.push(ch);
            }
            out.push(ch);
        }
        Err(Problem::syntax(
            "unexpected end of statement while looking for matching single-quote",
        ))
    }

    fn double_quoted(
        &mut self,
        keep_escapes: bool,
        keep_pattern_escapes: bool,
    ) -> Result<String, Problem> {
        self.chars.next();
        let mut out = String::new();
        if self.options.keep_quotes {
            out.push('"');
        }
        let escape = self.options.escape;
        while let Some(&ch) = self.chars.peek() {
            if ch == '$' {
                out.push_str(&self.dollar()?);
                continue;
            }
            self.chars.next();
            if ch == '"' {
                if self.options.keep_quotes {
                    out.push('"');
                }
                return Ok(out);
            }
            if ch != escape {
                out.push(ch);
                continue;
            }
            match self.chars.peek() {
                None => {}
                Some(&next) if next == '"' || next == '$' || next == escape => {
                    if keep_escapes {
                        out.push(ch);
                    }
                    out.push(next);
                    self.chars.next();
                }
                Some(_) => {
                    if keep_escapes && (!self.options.keep_quotes || keep_pattern_escapes) {
                        out.push(ch);
                    }
                    out.push(ch);
                }
            }
        }
        Err(Problem::syntax(
            "unexpected end of statement while looking for matching double-quote",
        ))
    }

    fn dollar(&mut self) -> Result<String, Problem> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.look_up(&name) {
            Some(value) => value,
            None if self.options.keep_unset => format!("${name}"),
            None => String::new(),
        })
    }

    /// After `${`.
    fn braces(&mut self) -> Result<String, Problem> {
        match self.chars.peek() {
            None => return Err(missing_brace()),
            Some('{' | '}' | ':') => {
                return Err(Problem::syntax("syntax error: bad substitution"));
            }
            Some(_) => {}
        }
        let name = self.name();
        let Some(modifier) = self.chars.next() else {
            return Err(missing_brace());
        };
        match modifier {
            '}' => Ok(match self.look_up(&name) {
                Some(value) => value,
                None if self.options.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let second = self.chars.next();
                match second {
                    Some(second @ ('-' | '+' | '?')) => self.alternative(&name, second, true),
                    second => Err(unsupported(&format!(
                        ":{}",
                        second.map(String::from).unwrap_or_default()
                    ))),
                }
            }
            '-' | '+' | '?' => self.alternative(&name, modifier, false),
            '#' | '%' => self.trim(&name, modifier),
            '/' => self.replace(&name),
            other => Err(unsupported(&other.to_string())),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`, with `:` also for empty values.
    fn alternative(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, Problem> {
        let word = self.operand('}', false)?;
        let value = self.look_up(name);
        if self.options.keep_unset && value.is_none() {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let is_empty = value.as_deref() == Some("");
        let given = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, given) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) => {
                let reason = match word.as_str() {
                    "" if is_empty => "is not allowed to be empty",
                    "" => "is not allowed to be unset",
                    word => word,
                };
                Err(Problem::invalid(format!("{name}: {reason}")))
            }
        }
    }

    /// `${name#pattern}` and its three siblings.
    fn trim(&mut self, name: &str, modifier: char) -> Result<String, Problem> {
        let word = self.operand('}', true)?;
        let Some(value) = self.look_up(name) else {
            return Ok(if self.options.keep_unset {
                format!("${{{name}{modifier}{word}}}")
            } else {
                String::new()
            });
        };
        let (source, longest) = match word.strip_prefix(modifier) {
            Some(source) => (source, true),
            None => (word.as_str(), false),
        };
        let pattern = Pattern::parse(source)?;
        match modifier {
            '#' => pattern.trim_start(&value, longest),
            _ => pattern.trim_end(&value, longest),
        }
    }

    /// `${name/pattern/replacement}`, `//` for all occurrences.
    fn replace(&mut self, name: &str) -> Result<String, Problem> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let source = self.until(Some('/'), true, true).map_err(|problem| {
            if self.chars.peek().is_some() {
                return problem;
            }
            Problem::syntax("syntax error: missing '/' in ${}")
        })?;
        let replacement = self.operand_kept('}', true, false)?;
        let Some(value) = self.look_up(name) else {
            return Ok(if self.options.keep_unset {
                format!("${{{name}/{source}/{replacement}}}")
            } else {
                String::new()
            });
        };
        Pattern::parse(&source)?.replace(&value, &replacement, all)
    }

    fn operand(&mut self, stop: char, is_pattern: bool) -> Result<String, Problem> {
        self.operand_kept(stop, is_pattern, is_pattern)
    }

    fn operand_kept(
        &mut self,
        stop: char,
        keep_escapes: bool,
        keep_pattern_escapes: bool,
    ) -> Result<String, Problem> {
        let result = self.until(Some(stop), keep_escapes, keep_pattern_escapes);
        match result {
            Err(problem) if self.chars.peek().is_none() && is_unfinished(&problem) => {
                Err(missing_brace())
            }
            other => other,
        }
    }

    /// A variable's name: letters, digits and `_`; digits alone; or one of the
    /// shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self
            .chars
            .next_if(|ch| matches!(ch, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0'))
        {
            return special.to_string();
        }
        let positional = self.chars.peek().is_some_and(|ch| ch.is_numeric());
        while let Some(ch) = self.chars.next_if(|ch| {
            if positional {
                ch.is_numeric()
            } else {
                ch.is_alphanumeric() || *ch == '_'
            }
        }) {
            name.push(ch);
        }
        name
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = self.env.get(name).map(str::to_owned);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value
    }
}

fn is_unfinished(problem: &Problem) -> bool {
    problem.message.starts_with("unexpected end of statement")
}

fn missing_brace() -> Problem {
    Problem::syntax("syntax error: missing '}'")
}

fn unsupported(modifier: &str) -> Problem {
    Problem::syntax(format!("unsupported modifier ({modifier}) in substitution"))
}

#[cfg(test)]
#[path = "expand/tests.rs"]
mod tests;
