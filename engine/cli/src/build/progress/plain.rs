//! Progress as lines, each with the number of its step.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use builder_proto::api::{Event, StepStatus};

use super::record::{Record, Step};
use crate::units::human_size;

/// What was printed so far.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// The step that the last line was about.
    current: Option<usize>,
    /// Transfers whose end was told.
    told: HashSet<(usize, String)>,
}

impl Plain {
    pub(super) fn event(
        &mut self,
        out: &mut dyn Write,
        record: &Record,
        event: &Event,
    ) -> io::Result<()> {
        match event {
            Event::State { .. } => Ok(()),
            Event::Warning { message } => {
                self.current = None;
                writeln!(out, "\nWARN: {message}")
            }
            Event::Step { step, status, .. } => {
                let Some(step) = record.step(*step) else {
                    return Ok(());
                };
                self.turn_to(out, step)?;
                self.lines(out, record, step)?;
                self.status(out, step, *status)
            }
            Event::Log { step, .. } => match record.step(*step) {
                Some(step) if !record.ended_lines.is_empty() => {
                    self.turn_to(out, step)?;
                    self.lines(out, record, step)
                }
                _ => Ok(()),
            },
            Event::Progress {
                step,
                id,
                total,
                current,
                status,
            } => {
                let Some(step) = record.step(*step) else {
                    return Ok(());
                };
                // Only the end of each transfer: a log is no place for bars.
                if *total == 0 || current < total || !self.told.insert((step.number, id.clone())) {
                    return Ok(());
                }
                self.turn_to(out, step)?;
                let size = human_size(i64::try_from(*total).unwrap_or(i64::MAX), 4);
                writeln!(out, "#{} {status} {id} {size} done", step.number)
            }
        }
    }

    /// Says which step the next lines are about, when it is another.
    fn turn_to(&mut self, out: &mut dyn Write, step: &Step) -> io::Result<()> {
        if self.current == Some(step.number) {
            return Ok(());
        }
        if self.current.is_some() {
            writeln!(out)?;
        }
        self.current = Some(step.number);
        writeln!(out, "#{} {}", step.number, step.name)
    }

    fn lines(&self, out: &mut dyn Write, record: &Record, step: &Step) -> io::Result<()> {
        for line in &record.ended_lines {
            let seconds = step.elapsed().as_secs_f64();
            writeln!(out, "#{} {seconds:.3} {line}", step.number)?;
        }
        Ok(())
    }

    fn status(&mut self, out: &mut dyn Write, step: &Step, status: StepStatus) -> io::Result<()> {
        let number = step.number;
        match status {
            StepStatus::Started => return Ok(()),
            StepStatus::Done => {
                let seconds = step.elapsed().as_secs_f64();
                writeln!(out, "#{number} DONE {seconds:.1}s")?;
            }
            StepStatus::Cached => writeln!(out, "#{number} CACHED")?,
            StepStatus::Cancelled => writeln!(out, "#{number} CANCELED")?,
            StepStatus::Failed => {
                let error = step.error.as_deref().unwrap_or("failed");
                writeln!(out, "#{number} ERROR: {error}")?;
            }
        }
        Ok(())
    }
}
