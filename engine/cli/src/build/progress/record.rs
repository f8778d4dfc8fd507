//! What is known about a build's steps.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use builder_proto::api::{BuildState, Event, StepStatus};

/// Log lines kept per step, for the view and the summary.
const LINES_MAX: usize = 200;
/// Longest log line kept, in bytes; a line without end is cut into such pieces.
const LINE_BYTES_MAX: usize = 16 << 10;

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// From 1, in the order in which steps appeared.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) status: StepStatus,
    pub(super) started: Instant,
    /// Once it ended.
    pub(super) duration: Option<Duration>,
    pub(super) error: Option<String>,
    /// Ended lines.
    lines: VecDeque<String>,
    /// The beginning of a line.
    partial: String,
    /// Bytes moved, by what is moved.
    pub(super) moved: Vec<Moved>,
}

#[derive(Debug)]
pub(super) struct Moved {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) current: u64,
    pub(super) total: u64,
}

impl Step {
    fn new(number: usize) -> Self {
        Self {
            number,
            name: String::new(),
            status: StepStatus::Started,
            started: Instant::now(),
            duration: None,
            error: None,
            lines: VecDeque::new(),
            partial: String::new(),
            moved: Vec::new(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.duration.unwrap_or_else(|| self.started.elapsed())
    }

    /// The last lines of the log, the unfinished one included.
    pub(super) fn tail(&self, count: usize) -> Vec<&str> {
        let partial = (!self.partial.is_empty()).then_some(self.partial.as_str());
        let lines: Vec<&str> = self
            .lines
            .iter()
            .map(String::as_str)
            .chain(partial)
            .collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }

    /// Takes output; gives the lines that it ends.
    pub(super) fn log(&mut self, data: &str) -> Vec<String> {
        let mut ended = Vec::new();
        for piece in data.split_inclusive('\n') {
            let line = piece.strip_suffix('\n');
            self.partial.push_str(line.unwrap_or(piece));
            if line.is_some() || self.partial.len() > LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.partial);
                // What a progress bar drew over itself is of no use in a log.
                let line = line.trim_end_matches('\r');
                let line = line.rsplit('\r').next().unwrap_or_default().to_owned();
                if self.lines.len() == LINES_MAX {
                    self.lines.pop_front();
                }
                self.lines.push_back(line.clone());
                ended.push(line);
            }
        }
        ended
    }

    /// The unfinished line, when the step ends.
    fn flush(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.partial);
        (!line.is_empty()).then(|| {
            self.lines.push_back(line.clone());
            line
        })
    }
}

/// All steps, in the order in which they appeared.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) steps: Vec<Step>,
    by_id: HashMap<u32, usize>,
    pub(super) state: BuildState,
    pub(super) started: Instant,
    /// Log lines that the last event ended, with the step that they belong to.
    pub(super) ended_lines: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            by_id: HashMap::new(),
            state: BuildState::Queued,
            started: Instant::now(),
            ended_lines: Vec::new(),
        }
    }
}

impl Record {
    pub(super) fn apply(&mut self, event: &Event) {
        self.ended_lines.clear();
        match event {
            Event::State { state, .. } => self.state = *state,
            Event::Step {
                step,
                name,
                status,
                duration_ms,
                error,
            } => {
                let step = self.step_mut(*step);
                name.clone_into(&mut step.name);
                step.status = *status;
                step.error.clone_from(error);
                if *status != StepStatus::Started {
                    step.duration = Some(Duration::from_millis(*duration_ms));
                    let rest = step.flush();
                    self.ended_lines.extend(rest);
                }
            }
            Event::Log { step, data, .. } => {
                let lines = self.step_mut(*step).log(data);
                self.ended_lines = lines;
            }
            Event::Progress {
                step,
                id,
                status,
                current,
                total,
            } => {
                let moved = Moved {
                    id: id.clone(),
                    status: status.clone(),
                    current: *current,
                    total: *total,
                };
                let known = &mut self.step_mut(*step).moved;
                match known.iter_mut().find(|old| old.id == *id) {
                    Some(old) => *old = moved,
                    None => known.push(moved),
                }
            }
            Event::Warning { .. } => {}
        }
    }

    pub(super) fn step(&self, id: u32) -> Option<&Step> {
        self.by_id.get(&id).map(|at| &self.steps[*at])
    }

    /// The step that made the build fail.
    pub(super) fn failed(&self) -> Option<&Step> {
        self.steps
            .iter()
            .find(|step| step.status == StepStatus::Failed)
    }

    /// Ended steps, and all.
    pub(super) fn counts(&self) -> (usize, usize) {
        let ended = self.steps.iter().filter(|step| step.duration.is_some());
        (ended.count(), self.steps.len())
    }

    fn step_mut(&mut self, id: u32) -> &mut Step {
        let at = *self.by_id.entry(id).or_insert_with(|| {
            self.steps.push(Step::new(self.steps.len() + 1));
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }
}
