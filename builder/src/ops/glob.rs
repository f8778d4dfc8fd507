//! Wildcards of COPY: Go's `filepath.Match`, component by component, resolved
//! inside a root.

use std::{os::unix::ffi::OsStrExt, path::PathBuf};

use runtime::root::{PathError, Root};

/// Whether a path has characters that [`matches`] gives a meaning.
pub(crate) fn has_wildcards(path: &str) -> bool {
    path.contains(['*', '?', '[', '\\'])
}

/// A pattern that is not one: an unfinished class or escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPattern;

/// Whether `name` matches `pattern`: `*` and `?` do not match a slash, `[a-z]`
/// and `[^a-z]` are classes, a backslash takes the next character as it is.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    let (mut p, mut n) = (0, 0);
    // Where to go on when a later part does not match: one more byte to the star.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            None if n == name.len() => return Ok(true),
            None => None,
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(_) if n == name.len() => return Ok(false),
            Some(_) => one(&pattern[p..], &name[n..])?,
        };
        match (step, star) {
            (Some((used, eaten)), _) => {
                p += used;
                n += eaten;
            }
            (None, Some((after, at))) if at < name.len() && name[at] != b'/' => {
                star = Some((after, at + 1));
                p = after;
                n = at + 1;
            }
            (None, _) => return Ok(false),
        }
    }
}

/// Matches one element of a pattern with the start of a name; the lengths of
/// both.
fn one(pattern: &[u8], name: &[u8]) -> Result<Option<(usize, usize)>, BadPattern> {
    match pattern[0] {
        b'?' => Ok((name[0] != b'/').then(|| (1, char_len(name)))),
        b'[' => {
            let (used, hit) = class(pattern, name)?;
            Ok(hit.then(|| (used, char_len(name))))
        }
        b'\\' => {
            let literal = pattern.get(1).ok_or(BadPattern)?;
            Ok((*literal == name[0]).then_some((2, 1)))
        }
        literal => Ok((literal == name[0]).then_some((1, 1))),
    }
}

/// A class at the start of `pattern`: its length, and whether it has the first
/// character of `name`.
fn class(pattern: &[u8], name: &[u8]) -> Result<(usize, bool), BadPattern> {
    let text = std::str::from_utf8(pattern).map_err(|_| BadPattern)?;
    let wanted = String::from_utf8_lossy(&name[..char_len(name)]);
    let wanted = wanted.chars().next().unwrap_or('\u{fffd}');
    let mut cursor = Cursor { text, at: 1 };
    let negated = cursor.take('^');
    let mut hit = false;
    let mut ranges = 0;
    loop {
        if ranges > 0 && cursor.take(']') {
            return Ok((cursor.at, hit != negated && wanted != '/'));
        }
        let low = cursor.literal()?;
        let high = match cursor.take('-') {
            true => cursor.literal()?,
            false => low,
        };
        hit |= (low..=high).contains(&wanted);
        ranges += 1;
    }
}

/// A position inside a class.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<char, BadPattern> {
        let next = self.text[self.at..].chars().next().ok_or(BadPattern)?;
        self.at += next.len_utf8();
        Ok(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// A character that stands for itself.
    fn literal(&mut self) -> Result<char, BadPattern> {
        match self.next()? {
            '-' | ']' => Err(BadPattern),
            '\\' => self.next(),
            plain => Ok(plain),
        }
    }
}

/// Length in bytes of the first character.
fn char_len(name: &[u8]) -> usize {
    let length = match name[0] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    match name.get(..length) {
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => length,
        _ => 1,
    }
}

/// The paths inside `root` that match `pattern`, in order.
pub(crate) fn expand(root: &Root, pattern: &str) -> Result<Vec<PathBuf>, ExpandError> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.split('/').filter(|c| !c.is_empty() && *c != ".") {
        let mut next = Vec::new();
        for prefix in &found {
            if !has_wildcards(component) {
                let path = prefix.join(component);
                if root.symlink_metadata(&path).is_ok() {
                    next.push(path);
                }
                continue;
            }
            let entries = match root.read_dir(prefix) {
                Ok(entries) => entries,
                Err(error) if error.is_absent() => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let hit = matches(component.as_bytes(), entry.name.as_bytes())
                    .map_err(|BadPattern| ExpandError::Pattern(pattern.to_owned()))?;
                if hit {
                    next.push(prefix.join(&entry.name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// Why a pattern could not be expanded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExpandError {
    #[error("{0:?} is not a pattern: a class or an escape in it does not end")]
    Pattern(String),
    #[error(transparent)]
    Path(#[from] PathError),
}

#[cfg(test)]
#[path = "glob/tests.rs"]
mod tests;
