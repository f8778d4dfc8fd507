//! Columns of text.
//!
//! The widths are those of Docker's tables (at least ten, three spaces
//! between), because scripts cut them by position.

const WIDTH_MIN: usize = 10;
const PADDING: usize = 3;

/// Lays out rows whose cells are separated by tabs, one row per line.
pub fn align(rows: &[String]) -> String {
    align_from(rows, WIDTH_MIN)
}

/// The same with columns of at least `width_min` characters.
pub fn align_from(rows: &[String], width_min: usize) -> String {
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        // The last cell of a row belongs to no column: it is not padded.
        for (at, cell) in row.iter().take(row.len().saturating_sub(1)).enumerate() {
            let width = (cell.chars().count() + PADDING).max(width_min);
            match widths.get_mut(at) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                let fill = widths[at].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', fill));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
