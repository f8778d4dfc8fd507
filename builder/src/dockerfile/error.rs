//! What is wrong with a Dockerfile, and where.

use std::fmt;

use builder_proto::api::BuildFailure;

/// Lines shown on either side of the ones that an error is about.
const EXCERPT_CONTEXT_LINES: u32 = 2;
/// Longest line that an excerpt shows, in characters; source lines may have 64 KiB.
const EXCERPT_COLUMNS_MAX: usize = 160;
/// Most lines an excerpt shows: an instruction with its heredocs may have thousands.
const EXCERPT_LINES_MAX: u32 = 12;

/// Lines of the source, 1-based and inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn line(line: u32) -> Self {
        Self {
            start: line,
            end: line,
        }
    }
}

/// What the author of the Dockerfile can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not the language: correct the text.
    Syntax,
    /// The language, but its values make no sense: correct them or the build's options.
    Invalid,
    /// Correct, but this builder does not do it.
    Unsupported,
    /// Over a limit: make it smaller.
    TooLarge,
}

/// What is wrong, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub kind: ErrorKind,
    pub message: String,
}

impl Problem {
    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Syntax, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Adds the nearest of `known` when it is near enough to be what was meant.
    pub(crate) fn suggest<'a>(
        mut self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if let Some(near) = nearest(written, known) {
            let near = match written.chars().any(char::is_lowercase) {
                true => near.to_lowercase(),
                false => near.to_owned(),
            };
            self.message.push_str(&format!(" (did you mean {near}?)"));
        }
        self
    }

    pub(crate) fn at(
        self,
        file: &SourceFile<'_>,
        span: Span,
        instruction: &str,
    ) -> DockerfileError {
        DockerfileError {
            kind: self.kind,
            message: self.message,
            file: file.name.to_owned(),
            span: Some(span),
            instruction: (!instruction.is_empty()).then(|| instruction.to_owned()),
            excerpt: file.excerpt(span),
        }
    }

    /// For what no line of the Dockerfile is to blame for, such as an unknown target.
    pub(crate) fn nowhere(self, file: &SourceFile<'_>) -> DockerfileError {
        DockerfileError {
            kind: self.kind,
            message: self.message,
            file: file.name.to_owned(),
            span: None,
            instruction: None,
            excerpt: String::new(),
        }
    }
}

/// A Dockerfile that cannot be built, with the place in it that says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DockerfileError {
    pub kind: ErrorKind,
    /// Where Docker's builder has a phrase for it, that phrase: tools match on it.
    pub message: String,
    pub file: String,
    pub span: Option<Span>,
    /// The instruction's name in upper case.
    pub instruction: Option<String>,
    /// The source lines, framed and numbered; the blamed ones are marked.
    pub excerpt: String,
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(span) = self.span {
            write!(f, ":{}", span.start)?;
        }
        match &self.instruction {
            Some(instruction) => write!(f, ": {instruction}: {}", self.message),
            None => write!(f, ": {}", self.message),
        }
    }
}

impl DockerfileError {
    /// The error as the build API shows it.
    pub fn to_failure(&self) -> BuildFailure {
        BuildFailure {
            message: self.message.clone(),
            file: Some(self.file.clone()),
            line: self.span.map(|span| span.start),
            instruction: self.instruction.clone(),
            excerpt: (!self.excerpt.is_empty()).then(|| self.excerpt.clone()),
            exit_code: None,
        }
    }
}

/// The text that spans refer to.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl SourceFile<'_> {
    /// The lines of `span` with their neighbours, as buildx prints them.
    pub fn excerpt(&self, span: Span) -> String {
        let first = span.start.saturating_sub(EXCERPT_CONTEXT_LINES).max(1);
        let last = span
            .end
            .min(span.start.saturating_add(EXCERPT_LINES_MAX))
            .saturating_add(EXCERPT_CONTEXT_LINES);
        let frame = "--------------------";
        let mut out = format!("{}:{}\n{frame}\n", self.name, span.start);
        let lines = self.text.lines().zip(1u32..);
        for (line, number) in lines.skip_while(|(_, n)| *n < first) {
            if number > last {
                break;
            }
            let marked = (span.start..=span.end).contains(&number);
            let mark = if marked { ">>>" } else { "   " };
            let shown: String = line.chars().take(EXCERPT_COLUMNS_MAX).collect();
            out.push_str(format!("{number:4} | {mark} {shown}").trim_end());
            out.push('\n');
        }
        out.push_str(frame);
        out.push('\n');
        out
    }
}

/// The one of `known` with the smallest edit distance, at most 2, from `written`.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer texts are no misspelt names, and the table below is quadratic.
    if written.len() > 64 {
        return None;
    }
    let wanted = written.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        if candidate.len() > 64 {
            continue;
        }
        let distance = edit_distance(&wanted, &candidate.to_lowercase());
        if distance == 0 {
            return None;
        }
        if distance <= 2 && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let substituted = row[j] + usize::from(a[i] != b[j]);
            let mut least = substituted.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}
