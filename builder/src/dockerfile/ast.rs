//! The syntax tree of a Dockerfile: what is written, nothing expanded.

use super::{error::Span, heredoc::Heredoc, mount::MountText};

/// The comments at the top of the file that steer the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the frontend asked for. Ours speaks the language itself.
    pub syntax: Option<String>,
    /// `# check=`: lint options.
    pub check: Option<String>,
    /// `# escape=`: backslash or backtick.
    pub escape: char,
    pub(super) escape_set: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            syntax: None,
            check: None,
            escape: '\\',
            escape_set: false,
        }
    }
}

/// A whole Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// As errors name it.
    pub file_name: String,
    pub text: String,
    pub directives: Directives,
    /// ARG before the first FROM.
    pub global_args: Vec<Instruction>,
    /// Never empty.
    pub stages: Vec<Stage>,
    pub warnings: Vec<Warning>,
}

/// FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Lower case.
    pub name: Option<String>,
    /// Image or earlier stage, as written.
    pub base: String,
    pub platform: Option<String>,
    /// The FROM line with continuations joined.
    pub source: String,
    pub instructions: Vec<Instruction>,
    pub span: Span,
    /// The comment directly above that begins with the stage's name, without it.
    pub description: Option<String>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// As written, in any case.
    pub keyword: String,
    /// The text with continuations joined and without heredoc bodies.
    pub source: String,
    pub span: Span,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Add(Copy),
    Arg(Vec<ArgPair>),
    Cmd(CommandLine),
    Copy(Copy),
    Entrypoint(CommandLine),
    Env(Vec<Pair>),
    /// Sorted, as Docker's builder sorts them.
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The trigger's text with its heredocs.
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl Kind {
    /// The stages and images that the instruction reads from, as written.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        let (copy, mounts) = match self {
            Self::Copy(copy) => (copy.from.as_deref(), &[][..]),
            Self::Run(run) => (None, run.mounts.as_slice()),
            _ => (None, &[][..]),
        };
        copy.into_iter()
            .chain(mounts.iter().filter_map(|mount| mount.from.as_deref()))
    }

    /// The instruction's name in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// COPY or ADD. Flags that only one of the two has are empty for the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    pub sources: Vec<String>,
    /// Files whose content is in the Dockerfile.
    pub contents: Vec<Heredoc>,
    pub destination: String,
    /// COPY: a stage, its index, or an image.
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
    /// ADD
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub unpack: Option<bool>,
}

/// `NAME[=value]` of ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPair {
    pub name: String,
    pub value: Option<String>,
}

/// `name=value` of ENV and LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    pub value: String,
    /// Written in the legacy form, with a blank instead of `=`.
    pub legacy: bool,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell.
    Shell(String),
    /// The arguments themselves, from a JSON array.
    Exec(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: CommandLine,
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<MountText>,
    pub network: Option<String>,
    pub security: Option<String>,
    pub devices: Vec<String>,
}

/// HEALTHCHECK. Durations are nanoseconds; 0 is the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    pub interval_ns: i64,
    pub timeout_ns: i64,
    pub start_period_ns: i64,
    pub start_interval_ns: i64,
    pub retries: u32,
}

/// Advice about a Dockerfile that builds. The rule's name is the one that
/// Docker's build checks use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub line: u32,
    pub rule: &'static str,
    pub message: String,
}
