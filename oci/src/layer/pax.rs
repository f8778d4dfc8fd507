//! PAX extended headers: the records and what they override.
//!
//! Source: POSIX.1-2017 pax, "pax Extended Header"; `SCHILY.xattr.` from
//! star(5). A record that does not parse refuses the archive: a reader that
//! skipped it would see other names and sizes than one that did not.

use super::{Limits, Mtime};

/// Values of one extended header. `None` leaves the header's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i128>,
    pub(super) uid: Option<i128>,
    pub(super) gid: Option<i128>,
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Some `GNU.sparse.` record was there.
    pub(super) sparse: bool,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

impl Pax {
    pub(super) fn parse(mut data: &[u8], limits: &Limits) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data)?;
            pax.set(key, value, limits)?;
            data = rest;
        }
        // The last record of a name wins; the sort is stable.
        pax.xattrs.reverse();
        pax.xattrs.sort_by(|a, b| a.0.cmp(&b.0));
        pax.xattrs.dedup_by(|later, kept| later.0 == kept.0);
        Ok(pax)
    }

    /// An empty value means "as if there were no record" (POSIX).
    fn set(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), &'static str> {
        if let Some(name) = key.strip_prefix(XATTR) {
            return self.set_xattr(name, value, limits);
        }
        if key.starts_with(SPARSE) {
            self.sparse = true;
            return Ok(());
        }
        let given = !value.is_empty();
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = given.then(|| decimal(value)).transpose()?,
            b"uid" => self.uid = given.then(|| decimal(value)).transpose()?,
            b"gid" => self.gid = given.then(|| decimal(value)).transpose()?,
            b"mtime" => self.mtime = given.then(|| time(value)).transpose()?,
            // Names of owners, other times, comments, vendor keys: nothing of
            // them is in an image.
            _ => {}
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        name: &[u8],
        value: &[u8],
        limits: &Limits,
    ) -> Result<(), &'static str> {
        // XATTR_NAME_MAX of Linux.
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err("the name of an extended attribute is empty, too long or has a NUL");
        }
        if value.len() > limits.xattr_bytes_max {
            return Err("an extended attribute is larger than 64 KiB");
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    /// Whether a global header would rename, resize or relink every entry
    /// that follows: some readers obey that, some do not.
    pub(super) fn changes_identity(&self) -> bool {
        self.path.is_some()
            || self.link.is_some()
            || self.size.is_some()
            || self.sparse
            || !self.xattrs.is_empty()
    }

    /// These records over those of an earlier global header.
    pub(super) fn over(self, global: &Self) -> Self {
        Self {
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            mtime: self.mtime.or(global.mtime),
            ..self
        }
    }
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// `"%d %s=%s\n"`, the length counting itself. Returns key, value and the rest.
fn record(data: &[u8]) -> Result<Record<'_>, &'static str> {
    let space = data
        .iter()
        // More digits than any record of ours has.
        .take(20)
        .position(|b| *b == b' ')
        .ok_or("a record has no length")?;
    let length = usize::try_from(decimal(&data[..space])?)
        .ok()
        .filter(|length| *length > space + 1 && *length <= data.len())
        .ok_or("the length of a record does not fit")?;
    let (record, rest) = data.split_at(length);
    let body = record[space + 1..]
        .strip_suffix(b"\n")
        .ok_or("a record does not end in a newline")?;
    let equals = body
        .iter()
        .position(|b| *b == b'=')
        .filter(|at| *at > 0)
        .ok_or("a record has no key")?;
    Ok((&body[..equals], &body[equals + 1..], rest))
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if value.contains(&0) {
        return Err("a path holds a NUL");
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// Digits with an optional minus; no plus, no spaces, at most 20 digits.
fn decimal(value: &[u8]) -> Result<i128, &'static str> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return Err("a number is malformed");
    }
    let value = digits
        .iter()
        .fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Ok(if negative { -value } else { value })
}

/// Seconds with an optional fraction, truncated to nanoseconds.
fn time(value: &[u8]) -> Result<Mtime, &'static str> {
    let dot = value.iter().position(|b| *b == b'.');
    let (whole, fraction) = match dot {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a time is malformed");
    }
    let sec = i64::try_from(decimal(whole)?).map_err(|_| "a time is out of range")?;
    let nsec = (0..9).fold(0, |nsec, at| {
        nsec * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'))
    });
    if whole.starts_with(b"-") && nsec > 0 {
        // -1.25 is 0.75 s after second -2.
        let sec = sec.checked_sub(1).ok_or("a time is out of range")?;
        return Ok(Mtime {
            sec,
            nsec: 1_000_000_000 - nsec,
        });
    }
    Ok(Mtime { sec, nsec })
}
