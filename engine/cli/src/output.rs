//! Standard output and standard error.
//!
//! Data goes to stdout in one piece, messages to stderr. A reader that went
//! away ends the command quietly instead of with a panic.

use std::io::{self, IsTerminal as _, Write as _};

use crate::error::CliError;

/// Prints data.
///
/// # Errors
/// When stdout is closed or full.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::io("cannot write to standard output", error))
}

/// Prints one line of data.
///
/// # Errors
/// As [`print`].
pub fn line(text: impl AsRef<str>) -> Result<(), CliError> {
    print(format!("{}\n", text.as_ref()))
}

/// Prints a message for the person; a closed stderr is not worth failing for.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks on the terminal; anything but y or yes is no, and so is a closed input.
pub fn confirm(question: &str) -> Result<bool, CliError> {
    print(format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CliError::io("cannot read the answer", error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
