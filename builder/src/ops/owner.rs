//! Owners by name, looked up in the passwd and group files of a root file
//! system: plain files of bounded size, whatever the image made of them.

use std::path::Path;

use runtime::root::{PathError, Root};

/// Largest passwd or group file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Why a name has no number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    #[error("cannot look up {name:?}")]
    File {
        name: String,
        #[source]
        source: PathError,
    },
}

/// The user's number and that of the user's own group.
pub(crate) fn user(root: &Root, name: &str) -> Result<(u32, u32), OwnerError> {
    let line = find(root, "etc/passwd", name)?;
    let numbers = line.and_then(|fields| {
        let uid = fields.get(2)?.parse().ok()?;
        Some((uid, fields.get(3)?.parse().ok()?))
    });
    numbers.ok_or_else(|| OwnerError::NoUser(name.to_owned()))
}

/// The group's number.
pub(crate) fn group(root: &Root, name: &str) -> Result<u32, OwnerError> {
    let line = find(root, "etc/group", name)?;
    line.and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| OwnerError::NoGroup(name.to_owned()))
}

/// The fields of the first line whose first field is `name`.
fn find(root: &Root, file: &str, name: &str) -> Result<Option<Vec<String>>, OwnerError> {
    let data = match root.read_regular(Path::new(file), FILE_BYTES_MAX) {
        Ok(data) => data,
        Err(error) if error.is_absent() => return Ok(None),
        Err(source) => {
            return Err(OwnerError::File {
                name: name.to_owned(),
                source,
            });
        }
    };
    let text = String::from_utf8_lossy(&data);
    let mut lines = text.lines().map(|line| line.split(':'));
    let found = lines.find(|fields| fields.clone().next() == Some(name));
    Ok(found.map(|fields| fields.map(str::to_owned).collect()))
}

#[cfg(test)]
#[path = "owner/tests.rs"]
mod tests;
