//! Signals by name and number. Pure.

use crate::error::{EngineError, Result};

pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;

/// Signals by which processes are told something: reload, rotate the log,
/// resize, go on.
const MESSAGES: [i32; 5] = [1, 10, 12, 18, 28];

/// Highest real-time signal.
const SIGNAL_MAX: i32 = 64;

/// signal(7) for x86-64 and aarch64, which agree.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Reads `SIGTERM`, `TERM`, `15`, `RTMIN+3`.
///
/// # Errors
/// 400 with Docker's text.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || EngineError::bad(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return (1..=SIGNAL_MAX)
            .contains(&number)
            .then_some(number)
            .ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).map_err(|_| invalid());
    }
    let offset = |digits: &str| digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    let number = match name {
        "IOT" => Some(6),
        "POLL" => Some(29),
        "CLD" => Some(17),
        "RTMIN" => Some(34),
        "RTMAX" => Some(SIGNAL_MAX),
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(digits), _) => offset(digits).map(|n| 34 + n),
            (_, Some(digits)) => offset(digits).map(|n| SIGNAL_MAX - n),
            _ => None,
        },
    };
    number.ok_or_else(invalid)
}

/// Whether a signal is sent to tell a process something, not to end it.
pub(crate) fn is_message(number: i32) -> bool {
    MESSAGES.contains(&number) || number > NAMES.len() as i32
}

#[cfg(test)]
#[path = "signal/tests.rs"]
mod tests;
