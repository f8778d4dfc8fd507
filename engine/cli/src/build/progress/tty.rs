//! Progress redrawn in place.
//!
//! Each drawing replaces the one before: the cursor goes up over its lines,
//! which never exceed the screen, so nothing of it stays in the scrollback.

use std::{
    io::{self, Write},
    time::Instant,
};

use builder_proto::api::{BuildState, Event, StepStatus};

use super::{
    Look, REDRAW_PAUSE,
    record::{Record, Step},
};
use crate::{terminal, units::human_size};

const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
/// Rows assumed where nobody knows.
const ROWS_DEFAULT: usize = 24;

#[derive(Debug)]
pub(super) struct Tty {
    look: Look,
    /// Lines of the last drawing.
    drawn: usize,
    drawn_at: Option<Instant>,
    /// Something changed since.
    stale: bool,
    /// Screen size for tests; asked for each time otherwise.
    size: Option<(usize, usize)>,
}

impl Tty {
    pub(super) fn new(look: Look) -> Self {
        Self {
            look,
            drawn: 0,
            drawn_at: None,
            stale: false,
            size: None,
        }
    }

    #[cfg(test)]
    pub(super) fn sized(look: Look, rows: usize, columns: usize) -> Self {
        Self {
            size: Some((rows, columns)),
            ..Self::new(look)
        }
    }

    pub(super) fn event(
        &mut self,
        out: &mut dyn Write,
        record: &Record,
        event: &Event,
    ) -> io::Result<()> {
        self.stale = true;
        match event {
            Event::Warning { message } => {
                let text = self.paint(YELLOW, &format!("WARN: {message}"));
                self.message(out, record, &text)
            }
            Event::State { state, .. } if state.is_ended() => self.draw(out, record),
            _ => self.redraw(out, record),
        }
    }

    pub(super) fn tick(&mut self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        // Clocks run on the screen as long as the build does.
        self.stale |= !record.state.is_ended();
        self.redraw(out, record)
    }

    /// Prints above the drawing, where it stays.
    pub(super) fn message(
        &mut self,
        out: &mut dyn Write,
        record: &Record,
        text: &str,
    ) -> io::Result<()> {
        self.erase(out)?;
        writeln!(out, "{text}")?;
        self.draw(out, record)
    }

    fn redraw(&mut self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        let due = self.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW_PAUSE);
        if due && self.stale {
            self.draw(out, record)?;
        }
        Ok(())
    }

    fn erase(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.drawn > 0 {
            write!(out, "\x1b[{}A\r\x1b[J", self.drawn)?;
        }
        self.drawn = 0;
        Ok(())
    }

    fn draw(&mut self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        let (rows, columns) = self.size.unwrap_or_else(|| {
            let (rows, columns) = terminal::size().map_or((0, 0), |(r, c)| (r.into(), c.into()));
            let rows = if rows == 0 { ROWS_DEFAULT } else { rows };
            (
                rows,
                if columns == 0 {
                    terminal::width()
                } else {
                    columns
                },
            )
        });
        let lines = self.lines(record, rows, columns);
        // In one write, so that the screen never shows half a drawing.
        let mut frame = Vec::new();
        self.erase(&mut frame)?;
        for line in &lines {
            writeln!(frame, "{line}")?;
        }
        self.drawn = lines.len();
        self.drawn_at = Some(Instant::now());
        self.stale = false;
        out.write_all(&frame)?;
        out.flush()
    }

    fn lines(&self, record: &Record, rows: usize, columns: usize) -> Vec<String> {
        let (ended, all) = record.counts();
        let finished = match record.state {
            BuildState::Succeeded => " FINISHED",
            BuildState::Cancelled => " CANCELED",
            BuildState::Queued => " queued",
            _ => "",
        };
        let seconds = record.started.elapsed().as_secs_f64();
        let head = format!("[+] Building {seconds:.1}s ({ended}/{all}){finished}");
        let mut lines = Vec::new();
        for step in &record.steps {
            lines.push(self.step(step, columns));
            let running = step.status == StepStatus::Started && !record.state.is_ended();
            if running {
                lines.extend(self.below(step, columns));
            }
        }
        // The newest lines are the ones that matter; the last row stays free
        // for the cursor.
        let room = rows.saturating_sub(2).max(1);
        let hidden = lines.len().saturating_sub(room);
        let mut shown = vec![cut(&head, columns)];
        shown.extend(lines.into_iter().skip(hidden));
        shown
    }

    fn step(&self, step: &Step, columns: usize) -> String {
        let (mark, color) = match step.status {
            StepStatus::Started => ("", ""),
            StepStatus::Done => ("", BLUE),
            StepStatus::Cached => ("CACHED ", BLUE),
            StepStatus::Cancelled => ("CANCELED ", YELLOW),
            StepStatus::Failed => ("ERROR ", RED),
        };
        let time = format!("{:.1}s", step.elapsed().as_secs_f64());
        let room = columns.saturating_sub(time.len() + 2);
        let text = cut(&format!(" => {mark}{}", one_line(&step.name)), room);
        let gap = columns.saturating_sub(text.chars().count() + time.len() + 1);
        self.paint(color, &format!("{text}{:gap$}{time}", ""))
    }

    /// Transfers and the end of the log of a running step.
    fn below(&self, step: &Step, columns: usize) -> Vec<String> {
        let size = |bytes: u64| human_size(i64::try_from(bytes).unwrap_or(i64::MAX), 3);
        let moved = step.moved.iter().map(|moved| {
            let amount = match moved.total {
                0 => size(moved.current),
                total => format!("{} / {}", size(moved.current), size(total)),
            };
            format!(" => => {} {} {amount}", moved.status, moved.id)
        });
        let log = step.tail(self.look.log_lines).into_iter();
        let log =
            log.map(|line| self.paint(DIM, &cut(&format!(" => => # {}", one_line(line)), columns)));
        moved.map(|line| cut(&line, columns)).chain(log).collect()
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if color.is_empty() || !self.look.color {
            return text.to_owned();
        }
        format!("{color}{text}{RESET}")
    }
}

/// Without what would move the cursor or change colours.
fn one_line(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            // An escape sequence ends with a letter.
            '\x1b' => {
                if chars.next_if_eq(&'[').is_some() {
                    for ch in chars.by_ref() {
                        if ch.is_ascii_alphabetic() {
                            break;
                        }
                    }
                }
            }
            '\t' => out.push_str("    "),
            ch if ch.is_control() => {}
            ch => out.push(ch),
        }
    }
    out
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(columns.saturating_sub(1)).collect();
    out.push('…');
    out
}
