//! One instruction's text to its syntax tree.

use super::{
    ast::{ArgPair, CommandLine, Copy, Healthcheck, Kind, Pair, Run},
    duration,
    error::Problem,
    flags::{FlagKind, Flags, Known},
    heredoc::Heredoc,
    mount::MountText,
    words::{self, Command},
};

/// The instructions of the language.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// `FROM base [AS name]`.
#[derive(Debug)]
pub(super) struct From {
    pub(super) base: String,
    pub(super) name: Option<String>,
    pub(super) platform: Option<String>,
}

#[derive(Debug)]
pub(super) enum Parsed {
    From(From),
    Other(Kind),
}

/// The documents that the instruction begins, which the reader must fetch
/// before [`parse`] can be called.
pub(super) fn heredocs(line: &str, escape: char) -> Result<Vec<Heredoc>, Problem> {
    let mut command = Command::split(line, escape);
    if command.keyword.eq_ignore_ascii_case("ONBUILD") {
        command = Command::split(command.rest, escape);
    }
    let takes = ["ADD", "COPY", "RUN"]
        .iter()
        .any(|keyword| command.keyword.eq_ignore_ascii_case(keyword));
    if !takes || words::json_array(command.rest)?.is_some() {
        return Ok(Vec::new());
    }
    Heredoc::from_line(line)
}

pub(super) fn parse(line: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Parsed, Problem> {
    let command = Command::split(line, escape);
    let flags = |known: &[Known]| Flags::parse(&command.flags, known);
    let rest = command.rest;
    let kind = match command.keyword.to_uppercase().as_str() {
        "FROM" => return from(rest, &flags(&[("platform", FlagKind::Text)])?).map(Parsed::From),
        "ADD" => Kind::Add(add(rest, heredocs, &command.flags)?),
        "COPY" => Kind::Copy(copy(rest, heredocs, &command.flags)?),
        "RUN" => Kind::Run(run(rest, heredocs, &command.flags)?),
        // Its flags were always dropped without a word; refusing them now
        // would break files that build.
        "ARG" => Kind::Arg(arg(rest, escape)?),
        "STOPSIGNAL" => Kind::StopSignal(single("STOPSIGNAL", rest)?),
        "ONBUILD" => {
            flags(&[])?;
            Kind::Onbuild(onbuild(line, rest, &heredocs, escape)?)
        }
        "HEALTHCHECK" => Kind::Healthcheck(healthcheck(rest, &command.flags)?),
        "CMD" => {
            flags(&[])?;
            Kind::Cmd(command_line(rest)?)
        }
        "ENTRYPOINT" => {
            flags(&[])?;
            Kind::Entrypoint(command_line(rest)?)
        }
        "ENV" => {
            flags(&[])?;
            Kind::Env(pairs("ENV", rest, escape)?)
        }
        "LABEL" => {
            flags(&[])?;
            Kind::Label(pairs("LABEL", rest, escape)?)
        }
        "EXPOSE" => {
            flags(&[])?;
            Kind::Expose(expose(rest)?)
        }
        "MAINTAINER" => {
            flags(&[])?;
            Kind::Maintainer(single("MAINTAINER", rest)?)
        }
        "USER" => {
            flags(&[])?;
            Kind::User(single("USER", rest)?)
        }
        "WORKDIR" => {
            flags(&[])?;
            Kind::Workdir(single("WORKDIR", rest)?)
        }
        "VOLUME" => {
            flags(&[])?;
            Kind::Volume(volume(rest)?)
        }
        "SHELL" => {
            flags(&[])?;
            Kind::Shell(shell(rest)?)
        }
        _ => {
            let shown: String = command.keyword.chars().take(80).collect();
            return Err(Problem::syntax(format!("unknown instruction: {shown}"))
                .suggest(command.keyword, KEYWORDS));
        }
    };
    Ok(Parsed::Other(kind))
}

fn at_least_one(instruction: &str) -> Problem {
    Problem::syntax(format!("{instruction} requires at least one argument"))
}

fn single(instruction: &str, rest: &str) -> Result<String, Problem> {
    if rest.is_empty() {
        return Err(Problem::syntax(format!(
            "{instruction} requires exactly one argument"
        )));
    }
    Ok(rest.to_owned())
}

fn from(rest: &str, flags: &Flags) -> Result<From, Problem> {
    let words = words::blank_separated(rest);
    let name = match words.as_slice() {
        [_] => None,
        [_, keyword, name] if keyword.eq_ignore_ascii_case("AS") => {
            let lower = name.to_lowercase();
            if !is_stage_name(&lower) {
                return Err(Problem::syntax(format!(
                    "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
                )));
            }
            Some(lower)
        }
        _ => {
            return Err(Problem::syntax(
                "FROM requires either one or three arguments",
            ));
        }
    };
    Ok(From {
        base: words[0].clone(),
        name,
        platform: flags.text("platform"),
    })
}

fn is_stage_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}

fn add(rest: &str, heredocs: Vec<Heredoc>, written: &[String]) -> Result<Copy, Problem> {
    let flags = Flags::parse(
        written,
        &[
            ("chown", FlagKind::Text),
            ("chmod", FlagKind::Text),
            ("link", FlagKind::Bool),
            ("keep-git-dir", FlagKind::Bool),
            ("checksum", FlagKind::Text),
            ("unpack", FlagKind::Bool),
            ("exclude", FlagKind::List),
        ],
    )?;
    Ok(Copy {
        checksum: flags.text("checksum"),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
        ..sources_and_destination("ADD", rest, heredocs, &flags)?
    })
}

fn copy(rest: &str, heredocs: Vec<Heredoc>, written: &[String]) -> Result<Copy, Problem> {
    let flags = Flags::parse(
        written,
        &[
            ("chown", FlagKind::Text),
            ("from", FlagKind::Text),
            ("chmod", FlagKind::Text),
            ("link", FlagKind::Bool),
            ("exclude", FlagKind::List),
            ("parents", FlagKind::Bool),
        ],
    )?;
    Ok(Copy {
        from: flags.text("from").filter(|from| !from.is_empty()),
        parents: flags.bool("parents").unwrap_or(false),
        ..sources_and_destination("COPY", rest, heredocs, &flags)?
    })
}

fn sources_and_destination(
    instruction: &str,
    rest: &str,
    heredocs: Vec<Heredoc>,
    flags: &Flags,
) -> Result<Copy, Problem> {
    let mut words = match words::json_array(rest)? {
        Some(words) => words,
        None => heredoc_words(words::blank_separated(rest)),
    };
    if words.len() < 2 {
        return Err(Problem::syntax(format!(
            "{instruction} requires at least two arguments, but only one was provided. Destination could not be determined"
        )));
    }
    let destination = words.pop().unwrap_or_default();
    if Heredoc::from_word(&destination).is_some() {
        return Err(Problem::syntax(format!(
            "{instruction} cannot accept a heredoc as a destination"
        )));
    }
    let mut sources = Vec::new();
    let mut contents = Vec::new();
    for word in words {
        match Heredoc::from_word(&word) {
            None => sources.push(word),
            Some(head) => {
                // Two documents of one name: the last body is both, as Docker has it.
                let body = heredocs.iter().rfind(|doc| doc.name == head.name);
                contents.push(Heredoc {
                    body: body.map(|doc| doc.body.clone()).unwrap_or_default(),
                    ..head
                });
            }
        }
    }
    Ok(Copy {
        sources,
        contents,
        destination,
        chown: flags.text("chown").filter(|chown| !chown.is_empty()),
        chmod: flags.text("chmod").filter(|chmod| !chmod.is_empty()),
        link: flags.bool("link").unwrap_or(false),
        exclude: flags.list("exclude"),
        ..Copy::default()
    })
}

/// `<< NAME` is one word.
fn heredoc_words(words: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        match joined.last_mut() {
            Some(last) if last.ends_with("<<") || last.ends_with("<<-") => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

fn command_line(rest: &str) -> Result<CommandLine, Problem> {
    Ok(match words::json_array(rest)? {
        Some(words) => CommandLine::Exec(words),
        None => CommandLine::Shell(rest.to_owned()),
    })
}

fn run(rest: &str, heredocs: Vec<Heredoc>, written: &[String]) -> Result<Run, Problem> {
    let flags = Flags::parse(
        written,
        &[
            ("mount", FlagKind::List),
            ("network", FlagKind::Text),
            ("security", FlagKind::Text),
            ("device", FlagKind::List),
        ],
    )?;
    let command = command_line(rest)?;
    let empty = match &command {
        CommandLine::Shell(text) => text.is_empty(),
        CommandLine::Exec(words) => words.is_empty(),
    };
    if empty {
        return Err(at_least_one("RUN"));
    }
    let mounts = flags.list("mount");
    let network = flags.text("network");
    if let Some(network) = &network {
        check_choice("--network", network, &["default", "none", "host"])?;
    }
    let security = flags.text("security");
    if let Some(security) = &security {
        check_choice("--security", security, &["sandbox", "insecure"])?;
    }
    Ok(Run {
        command,
        heredocs,
        mounts: mounts
            .iter()
            .map(|text| MountText::parse(text))
            .collect::<Result<_, _>>()?,
        network,
        security,
        devices: flags.list("device"),
    })
}

fn check_choice(flag: &str, value: &str, known: &[&'static str]) -> Result<(), Problem> {
    if known.contains(&value) {
        return Ok(());
    }
    let what = match flag {
        "--network" => "network mode",
        _ => "security",
    };
    Err(Problem::syntax(format!("invalid {what} {value:?}")).suggest(value, known.iter().copied()))
}

fn arg(rest: &str, escape: char) -> Result<Vec<ArgPair>, Problem> {
    let words = words::quoted_words(rest, escape);
    if words.is_empty() {
        return Err(at_least_one("ARG"));
    }
    let pairs = words.into_iter().map(|word| match word.split_once('=') {
        Some(("", _)) => Err(Problem::syntax("ARG names can not be blank")),
        Some((name, value)) => Ok(ArgPair {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        }),
        None => Ok(ArgPair {
            name: word,
            value: None,
        }),
    });
    pairs.collect()
}

fn pairs(instruction: &str, rest: &str, escape: char) -> Result<Vec<Pair>, Problem> {
    let words = words::quoted_words(rest, escape);
    let Some(first) = words.first() else {
        return Err(at_least_one(instruction));
    };
    let blank = || Problem::syntax(format!("{instruction} names can not be blank"));
    if !first.contains('=') {
        let Some((name, value)) = words::split_blank(rest) else {
            return Err(Problem::syntax(format!(
                "{instruction} must have two arguments"
            )));
        };
        return Ok(vec![Pair {
            name: name.to_owned(),
            value: value.to_owned(),
            legacy: true,
        }]);
    }
    let pairs = words.into_iter().map(|word| match word.split_once('=') {
        None => Err(Problem::syntax(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
        Some(("", _)) => Err(blank()),
        Some((name, value)) => Ok(Pair {
            name: name.to_owned(),
            value: value.to_owned(),
            legacy: false,
        }),
    });
    pairs.collect()
}

fn expose(rest: &str) -> Result<Vec<String>, Problem> {
    let mut ports = words::blank_separated(rest);
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    ports.sort();
    Ok(ports)
}

fn volume(rest: &str) -> Result<Vec<String>, Problem> {
    let volumes = match words::json_array(rest)? {
        Some(words) => words,
        None => words::blank_separated(rest),
    };
    if volumes.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    let trimmed: Vec<String> = volumes.iter().map(|v| v.trim().to_owned()).collect();
    if trimmed.iter().any(String::is_empty) {
        return Err(Problem::syntax(
            "VOLUME specified can not be an empty string",
        ));
    }
    Ok(trimmed)
}

fn shell(rest: &str) -> Result<Vec<String>, Problem> {
    match words::json_array(rest)? {
        Some(words) if words.is_empty() => Err(at_least_one("SHELL")),
        Some(words) => Ok(words),
        None if rest.is_empty() => Err(at_least_one("SHELL")),
        None => Err(Problem::syntax(
            "SHELL requires the arguments to be in JSON form",
        )),
    }
}

fn onbuild(line: &str, rest: &str, heredocs: &[Heredoc], escape: char) -> Result<String, Problem> {
    let trigger = Command::split(rest, escape).keyword.to_uppercase();
    match trigger.as_str() {
        "" => return Err(at_least_one("ONBUILD")),
        "ONBUILD" => {
            return Err(Problem::syntax(
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ));
        }
        "FROM" | "MAINTAINER" => {
            return Err(Problem::syntax(format!(
                "{trigger} isn't allowed as an ONBUILD trigger"
            )));
        }
        _ => {}
    }
    // Everything after the keyword: blanks inside are the trigger's own.
    let line = line.trim();
    let mut text = line["ONBUILD".len()..].trim_start().to_owned();
    for doc in heredocs {
        text.push('\n');
        text.push_str(&doc.body);
        text.push_str(&doc.name);
    }
    // A trigger that cannot be parsed would fail in whatever is built on this.
    parse(rest, heredocs.to_vec(), escape)?;
    Ok(text)
}

fn healthcheck(rest: &str, written: &[String]) -> Result<Healthcheck, Problem> {
    let (kind, command) = words::split_blank(rest).unwrap_or((rest, ""));
    match kind.to_uppercase().as_str() {
        "" => return Err(at_least_one("HEALTHCHECK")),
        "NONE" if command.is_empty() => {
            Flags::parse(written, &[])?;
            return Ok(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            });
        }
        "NONE" => {
            return Err(Problem::syntax("HEALTHCHECK NONE takes no arguments"));
        }
        "CMD" => {}
        _ => {
            return Err(Problem::syntax(format!(
                "Unknown type {:?} in HEALTHCHECK (try CMD)",
                kind.to_uppercase()
            )));
        }
    }
    let flags = Flags::parse(
        written,
        &[
            ("interval", FlagKind::Text),
            ("timeout", FlagKind::Text),
            ("start-period", FlagKind::Text),
            ("start-interval", FlagKind::Text),
            ("retries", FlagKind::Text),
        ],
    )?;
    let mut test = match command_line(command)? {
        CommandLine::Exec(words) => words,
        CommandLine::Shell(text) if text.is_empty() => Vec::new(),
        CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text],
    };
    if test.is_empty() {
        return Err(Problem::syntax("Missing command after HEALTHCHECK CMD"));
    }
    if words::json_array(command)?.is_some() {
        test.insert(0, "CMD".to_owned());
    }
    let interval = |name: &str| match flags.text(name).as_deref() {
        None | Some("") => Ok(0),
        Some(text) => duration::interval_ns(name, text),
    };
    Ok(Healthcheck {
        test,
        interval_ns: interval("interval")?,
        timeout_ns: interval("timeout")?,
        start_period_ns: interval("start-period")?,
        start_interval_ns: interval("start-interval")?,
        retries: retries(flags.text("retries"))?,
    })
}

fn retries(text: Option<String>) -> Result<u32, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let number: i32 = text
        .parse()
        .map_err(|_| Problem::syntax(format!("invalid value for --retries: {text:?}")))?;
    u32::try_from(number)
        .map_err(|_| Problem::syntax(format!("--retries cannot be negative ({number})")))
}
