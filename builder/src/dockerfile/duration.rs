//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

use super::error::Problem;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// The shortest interval that a health check may have.
const INTERVAL_NS_MIN: i64 = 1_000_000;

/// An interval of HEALTHCHECK: nothing, or at least a millisecond.
pub(super) fn interval_ns(name: &str, text: &str) -> Result<i64, Problem> {
    let ns = parse_ns(text)
        .ok_or_else(|| Problem::syntax(format!("time: invalid duration {text:?}")))?;
    if ns != 0 && ns < INTERVAL_NS_MIN {
        return Err(Problem::syntax(format!(
            "Interval {name:?} cannot be less than 1ms"
        )));
    }
    Ok(ns)
}

fn parse_ns(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, after) = rest.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number * scale;
        rest = after;
    }
    // Past this a signed 64-bit count of nanoseconds overflows.
    (total < 9.2e18).then(|| (sign * total).round() as i64)
}
