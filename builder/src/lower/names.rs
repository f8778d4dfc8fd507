//! Paths, users, modes, signals and quoting, as Docker's builder reads and
//! writes them.

use builder_proto::pb::{ChownOpt, NamedUserOpt, UserOpt, user_opt};

use crate::dockerfile::Problem;

/// `path` made absolute against `directory` and cleaned of `.` and `..`, which
/// stop at the root. A trailing slash stays when `keep_slash` is set: it says
/// that the path is a directory.
pub(super) fn absolute(directory: &str, path: &str, keep_slash: bool) -> String {
    let joined = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{directory}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let is_directory = path.is_empty()
        || path == "."
        || path == ".."
        || path.ends_with('/')
        || path.ends_with("/.")
        || path.ends_with("/..");
    let slash = if keep_slash && is_directory && !parts.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", parts.join("/"))
}

/// `user[:group]` of `--chown` and USER; names are looked up in input 0.
pub(super) fn owner(text: &str) -> ChownOpt {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    ChownOpt {
        // A user that is left out is root.
        user: (!user.is_empty()).then(|| user_or_group(user)),
        // A group that is left out is the user's own.
        group: group.filter(|group| !group.is_empty()).map(user_or_group),
    }
}

fn user_or_group(text: &str) -> UserOpt {
    let id = match text {
        "root" => Some(0),
        text => text
            .parse::<i32>()
            .ok()
            .and_then(|id| u32::try_from(id).ok()),
    };
    let user = match id {
        Some(id) => user_opt::User::ById(id),
        None => user_opt::User::ByName(NamedUserOpt {
            name: text.to_owned(),
            input: 0,
        }),
    };
    UserOpt { user: Some(user) }
}

/// `--chmod`: bits, or a symbolic mode for the solver to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileMode {
    Bits(i32),
    Symbolic(String),
}

pub(super) fn file_mode(text: &str) -> Result<FileMode, Problem> {
    let bad = || {
        Problem::invalid(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    if text.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).map_err(|_| bad())?;
        if bits > 0o7777 {
            return Err(bad());
        }
        return Ok(FileMode::Bits(bits as i32));
    }
    let clause = |clause: &str| {
        let Some(at) = clause.find(['+', '-', '=']) else {
            return false;
        };
        let (who, what) = clause.split_at(at);
        who.bytes().all(|b| b"ugoa".contains(&b))
            && what
                .split(['+', '-', '='])
                .skip(1)
                .all(|perms| perms.bytes().all(|b| b"rwxXstugo".contains(&b)))
    };
    if text.split(',').all(clause) {
        Ok(FileMode::Symbolic(text.to_owned()))
    } else {
        Err(bad())
    }
}

/// Names without `SIG`; signal(7), Linux.
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// # Errors
/// When STOPSIGNAL's argument is neither a positive number nor a signal's name.
pub(super) fn check_signal(text: &str) -> Result<(), Problem> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = ["RTMIN", "RTMAX"].iter().any(|base| {
        name.strip_prefix(base).is_some_and(|offset| {
            let digits = offset.strip_prefix(if *base == "RTMIN" { '+' } else { '-' });
            offset.is_empty()
                || digits.is_some_and(|d| d.parse::<u8>().is_ok_and(|n| (1..=15).contains(&n)))
        })
    });
    let number = text.parse::<i64>().is_ok_and(|n| n > 0);
    if number || real_time || SIGNALS.contains(&name) {
        Ok(())
    } else {
        Err(Problem::invalid(format!("invalid signal: {text}")))
    }
}

/// A list as Go's `%q` prints it: `["a" "b"]`.
pub(super) fn go_quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| oci::quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `300ms`, `0s`.
pub(super) fn go_duration(ns: i64) -> String {
    let fraction = |value: i64, unit: i64, name: &str| {
        let whole = value / unit;
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        match rest {
            "" => format!("{whole}{name}"),
            rest => format!("{whole}.{rest}{name}"),
        }
    };
    match ns {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{ns}ns"),
        1_000..1_000_000 => return fraction(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => return fraction(ns, 1_000_000, "ms"),
        _ => {}
    }
    let minutes = ns / 60_000_000_000;
    let seconds = fraction(ns % 60_000_000_000, 1_000_000_000, "s");
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}
