//! The Dockerfile language: text to syntax tree.
//!
//! Pure: no files, no environment. What is written is kept as written;
//! variables are expanded when stages are lowered ([`crate::lower`]). Memory
//! and time are bounded for any input: files over 8 MiB, lines over 64 KiB,
//! runaway expansions and patterns are refused. Where Docker's builder has a
//! phrase for an error, the same phrase is used, because tools match on it.
//!
//! Source: the Dockerfile reference, syntax version 1.20.

mod ast;
mod duration;
mod error;
mod expand;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod pattern;
mod words;

pub use ast::{
    ArgPair, CommandLine, Copy, Directives, Dockerfile, Healthcheck, Instruction, Kind, Pair, Run,
    Stage, Warning,
};
pub use error::{DockerfileError, ErrorKind, Problem, SourceFile, Span};
pub use heredoc::Heredoc;
pub use mount::{Mount, MountKind, MountText, Sharing};

pub(crate) use error::nearest;
pub(crate) use expand::{Expansion, Variables};

use instruction::Parsed;
use lines::{LogicalLine, Reader};
use words::Command;

/// Largest Dockerfile, in bytes. Generated files with heredocs reach megabytes.
pub const DOCKERFILE_BYTES_MAX: usize = 8 << 20;

/// Parses the text of a Dockerfile; `file_name` is how errors name it.
///
/// # Errors
/// The first thing that is not the language, or is over a limit.
pub fn parse(text: &str, file_name: &str) -> Result<Dockerfile, DockerfileError> {
    let file = SourceFile {
        name: file_name,
        text,
    };
    if text.len() > DOCKERFILE_BYTES_MAX {
        let problem = Problem::too_large(format!(
            "the Dockerfile is {} bytes; at most {DOCKERFILE_BYTES_MAX} are read",
            text.len()
        ));
        return Err(problem.nowhere(&file));
    }
    if text.is_empty() {
        return Err(Problem::syntax("the Dockerfile cannot be empty").nowhere(&file));
    }
    Parser {
        file,
        reader: Reader::new(text),
        global_args: Vec::new(),
        stages: Vec::new(),
        warnings: Vec::new(),
    }
    .run()
}

/// Parses the one instruction of an ONBUILD trigger.
///
/// # Errors
/// When it is not exactly one instruction that a trigger may be.
pub(crate) fn parse_trigger(text: &str) -> Result<Instruction, Problem> {
    let mut reader = Reader::new(text);
    let not_single = || Problem::syntax("onbuild trigger should be a single expression");
    let line = reader
        .next()
        .map_err(|(problem, _)| problem)?
        .ok_or_else(not_single)?;
    let (parsed, span) = instruction(&mut reader, &line).map_err(|(problem, _)| problem)?;
    if reader.next().map_err(|(problem, _)| problem)?.is_some() {
        return Err(not_single());
    }
    match parsed {
        Parsed::Other(kind) if !matches!(kind, Kind::Onbuild(_) | Kind::Maintainer(_)) => {
            Ok(node(line, span, kind))
        }
        _ => Err(Problem::syntax(format!(
            "{} isn't allowed as an ONBUILD trigger",
            keyword(&line.text)
        ))),
    }
}

struct Parser<'a> {
    file: SourceFile<'a>,
    reader: Reader<'a>,
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    warnings: Vec<Warning>,
}

impl Parser<'_> {
    fn run(mut self) -> Result<Dockerfile, DockerfileError> {
        loop {
            let next = self.reader.next();
            let line = next.map_err(|(problem, span)| problem.at(&self.file, span, ""))?;
            let Some(line) = line else { break };
            self.line(line)?;
        }
        if self.stages.is_empty() {
            let problem = match self.global_args.is_empty() {
                true => Problem::syntax("file with no instructions"),
                false => Problem::syntax("dockerfile contains no stages to build"),
            };
            return Err(problem.nowhere(&self.file));
        }
        self.warnings.append(&mut self.reader.warnings);
        self.warnings.sort_by_key(|warning| warning.line);
        Ok(Dockerfile {
            file_name: self.file.name.to_owned(),
            text: self.file.text.to_owned(),
            directives: self.reader.directives,
            global_args: self.global_args,
            stages: self.stages,
            warnings: self.warnings,
        })
    }

    fn line(&mut self, line: LogicalLine) -> Result<(), DockerfileError> {
        let name = keyword(&line.text);
        let parsed = instruction(&mut self.reader, &line);
        let (parsed, span) = parsed.map_err(|(problem, span)| {
            let message = format!("dockerfile parse error on line {}: {problem}", span.start);
            let shown: String = name.chars().take(40).collect();
            Problem { message, ..problem }.at(&self.file, span, &shown)
        })?;
        match parsed {
            Parsed::From(from) => {
                let prefix = from.name.as_ref().map(|name| format!("{name} "));
                let description = prefix.and_then(|prefix| {
                    let mut comments = line.comments.iter();
                    comments.find_map(|comment| comment.strip_prefix(&prefix).map(str::to_owned))
                });
                self.stages.push(Stage {
                    name: from.name,
                    base: from.base,
                    platform: from.platform,
                    source: line.text.trim().to_owned(),
                    instructions: Vec::new(),
                    span,
                    description,
                });
            }
            Parsed::Other(kind) => {
                advise(&kind, span, &mut self.warnings);
                let node = node(line, span, kind);
                match (self.stages.last_mut(), &node.kind) {
                    (Some(stage), _) => stage.instructions.push(node),
                    (None, Kind::Arg(_)) => self.global_args.push(node),
                    (None, _) => {
                        let problem = Problem::syntax("no build stage in current context");
                        return Err(problem.at(&self.file, span, &name));
                    }
                }
            }
        }
        Ok(())
    }
}

fn keyword(line: &str) -> String {
    // The escape character is no part of any keyword.
    Command::split(line, '\\').keyword.to_uppercase()
}

/// Parses `line` and the heredocs below it; the span covers both.
fn instruction(reader: &mut Reader<'_>, line: &LogicalLine) -> lines::Located<(Parsed, Span)> {
    let escape = reader.directives.escape;
    let located = |problem| (problem, line.span);
    let mut documents = instruction::heredocs(&line.text, escape).map_err(located)?;
    for document in &mut documents {
        document.body = reader.heredoc(&document.name, document.strip_tabs, line.span.start)?;
    }
    let span = Span {
        start: line.span.start,
        end: if documents.is_empty() {
            line.span.end
        } else {
            reader.line()
        },
    };
    let parsed = instruction::parse(&line.text, documents, escape);
    Ok((parsed.map_err(|problem| (problem, span))?, span))
}

fn node(line: LogicalLine, span: Span, kind: Kind) -> Instruction {
    let source = line.text.trim().to_owned();
    Instruction {
        keyword: Command::split(&source, '\\').keyword.to_owned(),
        source,
        span,
        kind,
    }
}

/// Notes what builds but should be written differently.
fn advise(kind: &Kind, span: Span, warnings: &mut Vec<Warning>) {
    let (rule, message) = match kind {
        Kind::Maintainer(_) => (
            "MaintainerDeprecated",
            "Maintainer instruction is deprecated in favor of using label".to_owned(),
        ),
        Kind::Env(pairs) | Kind::Label(pairs) if pairs.iter().any(|pair| pair.legacy) => (
            "LegacyKeyValueFormat",
            format!(
                "\"{0} key=value\" should be used instead of legacy \"{0} key value\" format",
                kind.name()
            ),
        ),
        // As in BuildKit, the last source is all that is left then, unless the
        // destination is a directory already.
        Kind::Copy(copy) | Kind::Add(copy)
            if copy.sources.len() + copy.contents.len() > 1
                && !copy.destination.ends_with(['/', '.'])
                && !copy.destination.contains('$') =>
        {
            (
                "CopySeveralToFile",
                format!(
                    "When using {} with more than one source file, the destination should be a directory and end with a /",
                    kind.name()
                ),
            )
        }
        _ => return,
    };
    warnings.push(Warning {
        line: span.start,
        rule,
        message,
    });
}

#[cfg(test)]
#[path = "dockerfile/tests.rs"]
mod tests;
