//! Shows the progress lines of pull and push.
//!
//! On a terminal each layer keeps its line and is redrawn in place; elsewhere
//! each change of a layer's status is one plain line, without bars.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use engine_api::Progress;

use crate::{client::JsonLines, error::CliError, terminal, units::human_size};

/// Where and how progress is shown.
#[derive(Debug)]
pub struct Display<W> {
    out: W,
    /// Columns of the terminal; `None`: plain lines.
    columns: Option<usize>,
    /// Line of each id below the first one drawn.
    lines: HashMap<String, usize>,
}

/// Reads the whole stream, shows it on `out`.
///
/// # Errors
/// The failure that the engine reports in-band, or a broken stream.
pub async fn show<W: Write>(
    mut lines: JsonLines,
    out: W,
    on_terminal: bool,
    mut aux: impl FnMut(&serde_json::Value),
) -> Result<(), CliError> {
    let columns = on_terminal.then(terminal::width);
    let mut display = Display::new(out, columns);
    while let Some(event) = lines.next::<Progress>().await? {
        if let Some(value) = &event.aux {
            aux(value);
        }
        failure(&event)?;
        display
            .draw(&event)
            .map_err(|error| CliError::io("cannot write the progress", error))?;
    }
    Ok(())
}

/// Reads the whole stream and shows nothing.
///
/// # Errors
/// As [`show`].
pub async fn drain(mut lines: JsonLines) -> Result<(), CliError> {
    while let Some(event) = lines.next::<Progress>().await? {
        failure(&event)?;
    }
    Ok(())
}

fn failure(event: &Progress) -> Result<(), CliError> {
    let message = match &event.error_detail {
        Some(detail) if !detail.message.is_empty() => &detail.message,
        _ => &event.error,
    };
    if message.is_empty() {
        return Ok(());
    }
    Err(CliError::Engine {
        status: 500,
        message: message.clone(),
    })
}

impl<W: Write> Display<W> {
    pub fn new(out: W, columns: Option<usize>) -> Self {
        Self {
            out,
            columns,
            lines: HashMap::new(),
        }
    }

    /// # Errors
    /// Those of the output.
    pub fn draw(&mut self, event: &Progress) -> io::Result<()> {
        if !event.stream.is_empty() {
            self.out.write_all(event.stream.as_bytes())?;
            return self.out.flush();
        }
        if event.status.is_empty() {
            return Ok(());
        }
        let Some(columns) = self.columns else {
            // Bars are for eyes; a log wants each change once.
            if bar(event, 80).is_none() {
                self.out.write_all(text(event).as_bytes())?;
                self.out.write_all(b"\n")?;
            }
            return self.out.flush();
        };
        let mut text = text(event);
        if let Some(bar) = bar(event, columns) {
            text.push(' ');
            text.push_str(&bar);
        }
        let text: String = text.chars().take(columns).collect();
        if event.id.is_empty() || (event.progress_detail.is_none() && event.progress.is_empty()) {
            // Not tied to a layer that moves: it ends the block above.
            if event.id.is_empty() {
                self.lines.clear();
                writeln!(self.out, "{text}")?;
                return self.out.flush();
            }
        }
        let count = self.lines.len();
        match self.lines.get(&event.id) {
            Some(line) => {
                let up = count - line;
                write!(self.out, "\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")?;
            }
            None => {
                self.lines.insert(event.id.clone(), count);
                writeln!(self.out, "{text}")?;
            }
        }
        self.out.flush()
    }
}

fn text(event: &Progress) -> String {
    // Control characters would let a registry write to the terminal.
    let clean = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
    if event.id.is_empty() {
        clean(&event.status)
    } else {
        format!("{}: {}", clean(&event.id), clean(&event.status))
    }
}

/// `[=====>     ]  3.1MB/10MB`; `None` when nothing moves.
fn bar(event: &Progress, columns: usize) -> Option<String> {
    let detail = event.progress_detail.as_ref()?;
    if detail.current == 0 && detail.total == 0 {
        return None;
    }
    let size = |bytes: u64| human_size(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
    if detail.total == 0 || detail.current > detail.total {
        return Some(format!("{:>8}", size(detail.current)));
    }
    let numbers = format!("{:>8}/{}", size(detail.current), size(detail.total));
    if columns <= 110 {
        return Some(numbers);
    }
    let share = f64::from(u32::try_from(detail.current * 50 / detail.total).unwrap_or(50));
    let done = (share as usize).min(50);
    let arrow = if done < 50 { ">" } else { "=" };
    Some(format!(
        "[{}{arrow}{}] {numbers}",
        "=".repeat(done),
        " ".repeat(50 - done)
    ))
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
