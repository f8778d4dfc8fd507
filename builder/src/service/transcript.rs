//! A build's events as plain text, line by line as buildx prints them.

use std::{collections::HashMap, fmt::Write};

use builder_proto::api::{BuildState, Event, StepStatus};

/// Turns events into text piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    /// The unfinished line of each step; lines are printed whole, so that
    /// steps that run side by side do not mix within one.
    open: HashMap<u32, String>,
}

impl Transcript {
    /// The text of one event.
    pub(crate) fn render(&mut self, event: &Event) -> String {
        let mut text = String::new();
        match event {
            Event::Log { step, data, .. } => self.output(*step, data, &mut text),
            Event::Step {
                step,
                name,
                status,
                duration_ms,
                error,
            } => {
                self.end_line(*step, &mut text);
                let _ = match status {
                    StepStatus::Started => writeln!(text, "#{step} {name}"),
                    StepStatus::Cached => writeln!(text, "#{step} CACHED"),
                    StepStatus::Cancelled => writeln!(text, "#{step} CANCELED"),
                    StepStatus::Done => {
                        writeln!(text, "#{step} DONE {:.1}s", *duration_ms as f64 / 1000.0)
                    }
                    StepStatus::Failed => {
                        let error = error.as_deref().unwrap_or("failed");
                        writeln!(text, "#{step} ERROR: {error}")
                    }
                };
            }
            Event::Warning { message } => {
                let _ = writeln!(text, "WARNING: {message}");
            }
            Event::State { state, error, .. } => match (state, error) {
                (BuildState::Failed, Some(error)) => {
                    let _ = writeln!(text, "ERROR: {}", error.message);
                }
                (BuildState::Cancelled, _) => text.push_str("CANCELED\n"),
                _ => {}
            },
            Event::Progress { .. } => {}
        }
        text
    }

    fn output(&mut self, step: u32, data: &str, text: &mut String) {
        let open = self.open.entry(step).or_default();
        for piece in data.split_inclusive('\n') {
            open.push_str(piece);
            if piece.ends_with('\n') || open.len() > LINE_BYTES_MAX {
                let _ = writeln!(text, "#{step} {}", open.trim_end_matches('\n'));
                open.clear();
            }
        }
    }

    fn end_line(&mut self, step: u32, text: &mut String) {
        if let Some(line) = self.open.remove(&step)
            && !line.is_empty()
        {
            let _ = writeln!(text, "#{step} {line}");
        }
    }
}

/// An unfinished line longer than this, in bytes, is printed as it is.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
#[path = "transcript/tests.rs"]
mod tests;
