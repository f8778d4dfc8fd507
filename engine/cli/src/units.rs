//! Sizes, durations and instants as Docker's commands write and read them.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Decimal size with `digits` significant digits: `1.24MB`.
pub fn human_size(bytes: i64, digits: usize) -> String {
    scaled(
        bytes,
        1000.0,
        digits,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB"],
    )
}

/// Binary size with four significant digits: `15.62GiB`.
pub fn binary_size(bytes: i64) -> String {
    scaled(
        bytes,
        1024.0,
        4,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
    )
}

fn scaled(bytes: i64, base: f64, digits: usize, names: &[&str]) -> String {
    let mut size = bytes as f64;
    let mut at = 0;
    while size.abs() >= base && at + 1 < names.len() {
        size /= base;
        at += 1;
    }
    format!("{}{}", significant(size, digits), names[at])
}

/// C's `%.Ng`, which is how these sizes have always been rounded.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let power: i32 = scientific
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or(0);
    let digits = i32::try_from(digits).unwrap_or(4);
    if power >= digits {
        // Larger than the digits: C would write an exponent.
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let mantissa = trim_zeros(mantissa);
        return format!("{mantissa}e+{power:02}");
    }
    let decimals = usize::try_from(digits - 1 - power).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}"))
}

fn trim_zeros(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// `512`, `64k`, `1.5g`, `2GiB`: bytes, in powers of 1024.
///
/// # Errors
/// A text that says what is accepted.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let bad = || {
        format!(
            "invalid size: '{text}': write a number of bytes, or one with b, k, m, g or t behind it"
        )
    };
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit, "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let bytes = number * 1024_f64.powi(power);
    if !bytes.is_finite() || bytes >= i64::MAX as f64 {
        return Err(bad());
    }
    Ok(bytes as i64)
}

/// A decimal number of CPUs in units of 10⁻⁹: `1.5` is 1_500_000_000.
///
/// # Errors
/// A text that says what is accepted.
pub fn parse_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("invalid number of CPUs: '{text}': write it as 1.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 9 {
        return Err(bad());
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| bad())?
    };
    let part: i64 = format!("{part:0<9}").parse().map_err(|_| bad())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(part))
        .ok_or_else(bad)
}

/// A Go duration: `1h30m`, `300ms`, `1.5s`, `0`.
///
/// # Errors
/// A text that says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("invalid duration: '{text}': write it as 1h30m, 90s or 500ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        rest = &rest[end..];
        nanos += number * unit;
    }
    if nanos >= i64::MAX as f64 {
        return Err(bad());
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// How long ago, in the rough words of `ps`: `About an hour`.
pub fn human_duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let minutes = seconds / 60;
    let hours = (elapsed.as_secs_f64() / 3600.0 + 0.5) as u64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `2 hours ago` for seconds since the epoch; a dash for none.
pub fn ago(unix_s: i64, now: OffsetDateTime) -> String {
    if unix_s <= 0 {
        return "N/A".to_owned();
    }
    let elapsed = now.unix_timestamp().saturating_sub(unix_s).max(0);
    format!(
        "{} ago",
        human_duration(Duration::from_secs(elapsed.unsigned_abs()))
    )
}

/// An RFC 3339 instant as seconds since the epoch; 0 when it is none.
pub fn unix_of_rfc3339(text: &str) -> i64 {
    OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp)
}

/// `2026-11-25 02:04:05 +0000 UTC`, as Go prints a time.
pub fn go_time(unix_s: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(unix_s) else {
        return "N/A".to_owned();
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// What `--since` and `--until` accept, as the `seconds.nanoseconds` that the
/// engine wants: an instant, seconds since the epoch, or a duration before now.
///
/// # Errors
/// A text that says what is accepted.
pub fn parse_instant(text: &str, now: OffsetDateTime) -> Result<String, String> {
    if let Ok(before) = parse_duration(text) {
        return Ok(stamp(now - before));
    }
    let number = text
        .strip_prefix('-')
        .unwrap_or(text)
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.');
    if number && text.bytes().any(|b| b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    // Every shorter form is completed to RFC 3339; without a zone it is UTC.
    let mut full = text.replacen(' ', "T", 1);
    match full.len() {
        10 => full.push_str("T00:00:00"),
        13 => full.push_str(":00:00"),
        16 => full.push_str(":00"),
        _ => {}
    }
    let zoned = full
        .get(19..)
        .is_some_and(|tail| tail.contains(['Z', '+', '-']));
    if !zoned {
        full.push('Z');
    }
    OffsetDateTime::parse(&full, &Rfc3339)
        .map(stamp)
        .map_err(|_| {
            format!(
                "invalid time: '{text}': write 2026-01-31T15:04:05Z, seconds since 1970, or 10m for ten minutes ago"
            )
        })
}

fn stamp(at: OffsetDateTime) -> String {
    format!("{}.{:09}", at.unix_timestamp(), at.nanosecond())
}

#[cfg(test)]
#[path = "units/tests.rs"]
mod tests;
