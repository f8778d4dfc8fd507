//! The terminal that the person sits at.

use std::io::{self, IsTerminal as _};

use rustix::termios::{self, OptionalActions, Termios};

/// Columns assumed where nobody knows.
const WIDTH_DEFAULT: u16 = 80;

/// Standard input in raw mode; its drop restores what was.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches standard input to raw mode, so that every key goes to the
    /// container.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Flush, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        let _ = termios::tcsetattr(stdin, OptionalActions::Drain, &self.before);
    }
}

/// Standard input with the echo switched off, for passwords.
#[derive(Debug)]
pub struct NoEcho {
    before: Termios,
}

impl NoEcho {
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(termios::LocalModes::ECHO);
        termios::tcsetattr(stdin, OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        let _ = termios::tcsetattr(stdin, OptionalActions::Flush, &self.before);
    }
}

/// Rows and columns of the terminal on standard output, else standard input.
pub fn size() -> Option<(u16, u16)> {
    let known = |size: termios::Winsize| {
        (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
    };
    termios::tcgetwinsize(rustix::stdio::stdout())
        .ok()
        .and_then(known)
        .or_else(|| {
            termios::tcgetwinsize(rustix::stdio::stdin())
                .ok()
                .and_then(known)
        })
}

/// Columns of the terminal.
pub fn width() -> usize {
    usize::from(size().map_or(WIDTH_DEFAULT, |(_, columns)| columns))
}

pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}
