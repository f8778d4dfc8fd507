//! Time in the two forms that the API speaks: RFC 3339 with nanoseconds, and
//! Unix seconds with an optional fraction.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What Go prints for a time that was never set; clients test for it.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// RFC 3339 in UTC with as many fractional digits as are needed.
pub(crate) fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| NEVER.to_owned())
}

pub(crate) fn rfc3339_or_never(at: Option<OffsetDateTime>) -> String {
    at.map_or_else(|| NEVER.to_owned(), rfc3339)
}

/// RFC 3339 with exactly nine fractional digits: what log lines carry.
pub(crate) fn rfc3339_nanos(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.nanosecond()
    )
}

pub(crate) fn parse_rfc3339(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Reads what `since`, `until` and their filters carry: RFC 3339, Unix seconds
/// with a fraction, or a Go duration that is counted back from `now`.
pub(crate) fn parse_moment(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    if let Some(at) = parse_unix(text) {
        return Some(at);
    }
    if let Some(back) = parse_duration(text) {
        return now.checked_sub(back);
    }
    parse_rfc3339(text)
}

fn parse_unix(text: &str) -> Option<OffsetDateTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = format!("{fraction:0<9}").chars().take(9).collect();
    let nanos: i64 = digits.parse().ok()?;
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()?
        .checked_add(time::Duration::nanoseconds(nanos))
}

/// Go's `time.ParseDuration`: `1h30m`, `1.5s`, `300ms`.
pub(crate) fn parse_duration(text: &str) -> Option<time::Duration> {
    let mut rest = text;
    let mut total = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_len = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let number: f64 = rest[..number_len].parse().ok()?;
        rest = &rest[number_len..];
        let unit_len = rest
            .char_indices()
            .find(|(_, c)| c.is_ascii_digit() || *c == '.')
            .map_or(rest.len(), |(at, _)| at);
        let unit = match &rest[..unit_len] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[unit_len..];
    }
    // A century of seconds keeps the arithmetic far from overflow.
    (total < 3.2e9).then(|| time::Duration::seconds_f64(total))
}

/// `Up 3 minutes` without the `Up`: a duration as the docker CLI words it.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Half hours round up, as in Go's units package.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
#[path = "clock/tests.rs"]
mod tests;
