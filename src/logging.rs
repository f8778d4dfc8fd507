//! Logs: one stream on standard error for the whole tree.

use std::io::{self, Write as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{self, Config, LogFormat};

/// Standard error that takes what it is given. Behind it may be a file on a
/// full disk or a pipe without a reader: the line is lost then, and the server
/// goes on. (The subscriber would report the failed write with `eprintln!`,
/// which panics for the same reason.)
#[derive(Clone, Copy, Debug)]
struct Lossy;

impl io::Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the failure that ends the program, on a line of its own.
pub fn last_words(error: &anyhow::Error) {
    let _ = writeln!(Lossy, "carrack: {error:#}");
}

/// Installs the subscriber of this process. A filter that does not parse is
/// replaced by `info`, with a warning.
pub fn install(config: &Config) {
    let (filter, warning) = match EnvFilter::try_new(&config.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    };
    let builder = fmt().with_env_filter(filter).with_writer(|| Lossy);
    let installed = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => {
            let colour = rustix::termios::isatty(io::stderr()) && config::wants_colour();
            builder.with_ansi(colour).try_init()
        }
    };
    if let (Some(warning), Ok(())) = (warning, installed) {
        tracing::warn!(
            "log filter {:?} does not parse ({warning}): using info",
            config.log
        );
    }
}
