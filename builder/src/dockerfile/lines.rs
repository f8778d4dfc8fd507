//! Physical lines to logical ones: parser directives, comments, continuations
//! and heredoc bodies.
//!
//! Source: the Dockerfile reference, "Parser directives", "Escape", "Here-Documents".

use super::{
    ast::{Directives, Warning},
    error::{Problem, Span},
};

/// Longest physical line, in bytes, as in Docker's builder.
pub(super) const LINE_BYTES_MAX: usize = 65_535;

/// A problem and the lines it is about.
pub(super) type Located<T> = Result<T, (Problem, Span)>;

/// One instruction's text with continuations joined.
#[derive(Debug)]
pub(super) struct LogicalLine {
    pub(super) text: String,
    pub(super) span: Span,
    /// The comment lines directly above, without their `#`.
    pub(super) comments: Vec<String>,
}

/// Reads a Dockerfile line by line.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a str,
    /// Number of the last physical line that was read.
    line: u32,
    /// Directives are recognised only before anything else.
    in_directives: bool,
    pub(super) directives: Directives,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
            line: 0,
            in_directives: true,
            directives: Directives::default(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// The next instruction, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Located<Option<LogicalLine>> {
        let mut comments = Vec::new();
        while let Some(raw) = self.physical()? {
            let line = trim_newline(raw).trim_start();
            if self.directive(line)? {
                continue;
            }
            if let Some(comment) = line.strip_prefix('#') {
                match comment.trim() {
                    "" => comments.clear(),
                    text => comments.push(text.to_owned()),
                }
                continue;
            }
            let start = self.line;
            let (first, continues) = split_continuation(line, self.directives.escape);
            if first.is_empty() && !continues {
                continue;
            }
            let mut text = first.to_owned();
            if continues {
                self.continuation(&mut text)?;
            }
            let span = Span {
                start,
                end: self.line,
            };
            // A line of nothing but continuation characters.
            if text.trim().is_empty() {
                continue;
            }
            return Ok(Some(LogicalLine {
                text,
                span,
                comments,
            }));
        }
        Ok(None)
    }

    fn continuation(&mut self, text: &mut String) -> Located<()> {
        let mut empty = None;
        while let Some(raw) = self.physical()? {
            let line = trim_newline(raw);
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim_start().is_empty() {
                empty = Some(self.line);
                continue;
            }
            let (part, continues) = split_continuation(line, self.directives.escape);
            text.push_str(part);
            if !continues {
                break;
            }
        }
        if let Some(line) = empty {
            self.warnings.push(Warning {
                line,
                rule: "NoEmptyContinuation",
                message: "Empty continuation line".to_owned(),
            });
        }
        Ok(())
    }

    /// The body of a heredoc, up to the line that is `name`.
    pub(super) fn heredoc(&mut self, name: &str, strip_tabs: bool, start: u32) -> Located<String> {
        let mut body = String::new();
        while let Some(raw) = self.physical()? {
            let line = trim_newline(raw);
            let end = if strip_tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if end == name {
                return Ok(body);
            }
            body.push_str(raw);
        }
        let span = Span {
            start,
            end: self.line,
        };
        Err((Problem::syntax("unterminated heredoc"), span))
    }

    /// The next physical line with its newline.
    fn physical(&mut self) -> Located<Option<&'a str>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.line += 1;
        if trim_newline(line).len() > LINE_BYTES_MAX {
            let problem = Problem::too_large(format!(
                "dockerfile line greater than max allowed size of {LINE_BYTES_MAX}"
            ));
            return Err((problem, Span::line(self.line)));
        }
        // No path, argument or variable can hold it.
        if line.contains('\0') {
            let problem = Problem::syntax("the line holds a NUL byte: this is not a text file");
            return Err((problem, Span::line(self.line)));
        }
        Ok(Some(line))
    }

    /// Takes `line` as a parser directive if it is one.
    fn directive(&mut self, line: &str) -> Located<bool> {
        if !self.in_directives {
            return Ok(false);
        }
        let parsed = line.strip_prefix('#').and_then(split_directive);
        let Some((name, value)) = parsed else {
            self.in_directives = false;
            return Ok(false);
        };
        let located = |problem| (problem, Span::line(self.line));
        let slot = match name.as_str() {
            "syntax" => &mut self.directives.syntax,
            "check" => &mut self.directives.check,
            "escape" => {
                if self.directives.escape_set {
                    return Err(located(once(&name)));
                }
                self.directives.escape_set = true;
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let message =
                            format!("invalid escape token '{value}' does not match ` or \\");
                        return Err(located(Problem::syntax(message)));
                    }
                };
                return Ok(true);
            }
            _ => {
                self.in_directives = false;
                return Ok(false);
            }
        };
        if slot.is_some() {
            return Err(located(once(&name)));
        }
        *slot = Some(value.to_owned());
        Ok(true)
    }
}

fn once(name: &str) -> Problem {
    Problem::syntax(format!("only one {name} parser directive can be used"))
}

/// `name = value` of a directive comment; the name comes back in lower case.
fn split_directive(comment: &str) -> Option<(String, &str)> {
    let (name, value) = comment.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let mut bytes = name.bytes();
    let fine = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric());
    (fine && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Strips a final escape character, after which the line goes on. Two of them
/// are an escaped escape, which ends the line.
fn split_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}
