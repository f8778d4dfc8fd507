//! Shows a build while it runs.
//!
//! One record of the steps drives every mode: `plain` lines for logs and CI,
//! the redrawn view of a terminal, raw events, or nothing. Progress goes to
//! standard error; standard output is for results.

mod plain;
mod record;
mod tty;

use std::{io::Write, time::Duration};

use builder_proto::api::{BuildFailure, BuildState, Event};

use crate::{error::CliError, output};
use plain::Plain;
use record::Record;
use tty::Tty;

/// Least time between two redraws.
pub(super) const REDRAW_PAUSE: Duration = Duration::from_millis(100);
/// Lines of a failed step's log that the summary repeats.
const SUMMARY_LINES: usize = 10;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// The view of a terminal where there is one, plain lines elsewhere
    Auto,
    /// Redrawn in place
    Tty,
    /// One line after another
    Plain,
    /// Nothing but the result
    Quiet,
    /// Events as JSON, one per line
    Rawjson,
}

/// How a display looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) color: bool,
    /// Log lines shown below each running step of a terminal.
    pub(super) log_lines: usize,
}

enum Display {
    Plain(Plain),
    Tty(Tty),
    Raw,
    Quiet,
}

/// The record of a build and the display that shows it.
pub(super) struct Progress {
    record: Record,
    display: Display,
    out: Box<dyn Write + Send>,
    failure: Option<BuildFailure>,
    pub(super) digest: Option<String>,
}

impl Progress {
    /// Shows on standard error.
    pub(super) fn new(mode: Mode, look: Look) -> Self {
        let terminal = output::stderr_is_terminal();
        let display = match mode {
            Mode::Auto if terminal => Display::Tty(Tty::new(look)),
            Mode::Tty => Display::Tty(Tty::new(look)),
            Mode::Auto | Mode::Plain => Display::Plain(Plain::default()),
            Mode::Rawjson => Display::Raw,
            Mode::Quiet => Display::Quiet,
        };
        Self::to(display, Box::new(std::io::stderr()))
    }

    fn to(display: Display, out: Box<dyn Write + Send>) -> Self {
        Self {
            record: Record::default(),
            display,
            out,
            failure: None,
            digest: None,
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), CliError> {
        self.record.apply(event);
        if let Event::State { digest, error, .. } = event {
            self.digest = digest.clone().or(self.digest.take());
            self.failure = error.clone().or(self.failure.take());
        }
        let shown = match &mut self.display {
            Display::Plain(plain) => plain.event(&mut self.out, &self.record, event),
            Display::Tty(tty) => tty.event(&mut self.out, &self.record, event),
            Display::Raw => {
                let line = serde_json::to_string(event).unwrap_or_default();
                writeln!(self.out, "{line}")
            }
            Display::Quiet => Ok(()),
        };
        shown.map_err(write_failed)
    }

    /// Lets clocks run on: called every [`REDRAW_PAUSE`].
    pub(super) fn tick(&mut self) -> Result<(), CliError> {
        match &mut self.display {
            Display::Tty(tty) => tty.tick(&mut self.out, &self.record).map_err(write_failed),
            _ => Ok(()),
        }
    }

    /// A message for the person, between what is drawn.
    pub(super) fn message(&mut self, text: &str) -> Result<(), CliError> {
        match &mut self.display {
            Display::Tty(tty) => tty.message(&mut self.out, &self.record, text),
            Display::Plain(_) => writeln!(self.out, "{text}"),
            Display::Raw | Display::Quiet => Ok(()),
        }
        .map_err(write_failed)
    }

    /// What a failed build leaves the person with: the step, the end of its
    /// log, the lines of the Dockerfile, and the error itself last.
    pub(super) fn summary(&mut self, id: &str) -> Result<(), CliError> {
        let mut text = String::new();
        let failed = self.record.failed();
        if let Some(step) = failed.filter(|step| !step.tail(1).is_empty()) {
            text.push_str(&format!("------\n > {}:\n", step.name));
            for line in step.tail(SUMMARY_LINES) {
                text.push_str(line);
                text.push('\n');
            }
            text.push_str("------\n");
        }
        let failure = self.failure.take().unwrap_or_else(|| BuildFailure {
            message: "the build failed".to_owned(),
            ..BuildFailure::default()
        });
        if let Some(excerpt) = &failure.excerpt {
            text.push_str(excerpt);
            if !excerpt.ends_with('\n') {
                text.push('\n');
            }
        }
        let place = match (&failure.file, failure.line, &failure.instruction) {
            (Some(file), Some(line), Some(instruction)) => {
                format!("{file}:{line}: {instruction}: ")
            }
            (Some(file), Some(line), None) => format!("{file}:{line}: "),
            _ => String::new(),
        };
        text.push_str(&format!(
            "ERROR: failed to build: {place}{}\n",
            failure.message
        ));
        text.push_str(&format!("The whole log: carrack builds logs {id}\n"));
        self.out.write_all(text.as_bytes()).map_err(write_failed)
    }
}

fn write_failed(error: std::io::Error) -> CliError {
    CliError::io("cannot write the progress", error)
}

/// The word for a state that people read.
pub(super) fn state_name(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued => "queued",
        BuildState::Running => "running",
        BuildState::Succeeded => "succeeded",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "cancelled",
    }
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
