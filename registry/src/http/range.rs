//! `Range` of downloads (RFC 9110 section 14) and `Content-Range` of uploads
//! (distribution-spec: `<first>-<last>`, without unit and total).

use std::ops::Range;

/// What part of a blob a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// No byte of it exists: 416.
    Outside,
}

/// Reads a `Range` value for content of `size` bytes. Forms that are not
/// understood, and several ranges at once, are ignored as the RFC allows.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((unit, list)) = header.and_then(|header| header.split_once('=')) else {
        return Wanted::Whole;
    };
    let list = list.trim();
    let Some((first, last)) = list.split_once('-').filter(|_| !list.contains(',')) else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    match (number(first), number(last)) {
        (Ok(None), Ok(Some(0))) => Wanted::Outside,
        (Ok(None), Ok(Some(tail))) if size > 0 => Wanted::Part(size.saturating_sub(tail)..size),
        (Ok(None), Ok(Some(_))) => Wanted::Outside,
        (Ok(Some(first)), Ok(last)) => {
            // A last byte before the first may be ignored or rejected; rejecting tells.
            if first >= size || last.is_some_and(|last| last < first) {
                Wanted::Outside
            } else {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                Wanted::Part(first..end)
            }
        }
        _ => Wanted::Whole,
    }
}

/// Reads the `Content-Range` of an upload: first and last byte.
pub(super) fn content_range(header: &str) -> Option<(u64, u64)> {
    let text = header.strip_prefix("bytes ").unwrap_or(header);
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first).ok()??, number(last).ok()??);
    // The length, last - first + 1, must be countable.
    (first <= last && last < u64::MAX).then_some((first, last))
}

/// Digits only, so no sign or space slips through; `None` when there are none.
fn number(text: &str) -> Result<Option<u64>, ()> {
    match text {
        "" => Ok(None),
        text if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map(Some).map_err(drop),
        _ => Err(()),
    }
}

#[cfg(test)]
#[path = "range/tests.rs"]
mod tests;
