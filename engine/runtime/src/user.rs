//! Who a process runs as: Docker's `user[:group]` looked up in the passwd and
//! group files of an image.
//!
//! Pure: callers read the files, bounded and only if regular (see
//! `Root::read_regular`). The files are hostile input: malformed lines are
//! skipped, and a string of digits is always a number, never a name.

/// Largest file that is looked at.
pub const FILE_BYTES_MAX: u64 = 10 << 20;

/// Linux takes ids up to 2^32 - 2; runc stops here, and so do images.
const ID_MAX: u32 = i32::MAX as u32;

/// A process's ids, all numeric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one first: without it, a file that
    /// denies the primary group would be open after setgid (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// `/` when the user has no passwd entry.
    pub home: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoSuchUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoSuchGroup(String),
    #[error("user or group id {0:?} is not a number from 0 to 2147483647")]
    OutOfRange(String),
    #[error(
        "user {0:?} is a number, but the image's passwd file uses it as a name of another user"
    )]
    Ambiguous(String),
}

/// Resolves `spec` (`user`, `user:group`, names or numbers; empty is root) and
/// further groups.
///
/// # Errors
/// [`UserError`], with texts that Docker's clients know.
pub fn resolve(
    spec: &str,
    additional_groups: &[String],
    passwd: &[u8],
    group: &[u8],
) -> Result<Identity, UserError> {
    let (user, group_name) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = parse_id(user)?;
    let entry = passwd_entries(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    if let Some(uid) = number
        && passwd_entries(passwd).any(|entry| entry.name == user && entry.uid != uid)
    {
        return Err(UserError::Ambiguous(shown(user)));
    }
    let uid = number.or(entry.as_ref().map(|e| e.uid));
    let uid = uid.ok_or_else(|| UserError::NoSuchUser(shown(user)))?;
    let gid = match group_name {
        Some(name) => group_id(name, group)?,
        None => entry.as_ref().map_or(0, |e| e.gid),
    };

    let mut groups = vec![gid];
    // An explicit group replaces the memberships of the user.
    if let (None, Some(entry)) = (group_name, &entry) {
        let member = |g: &GroupEntry<'_>| g.members.split(',').any(|m| m == entry.name);
        groups.extend(group_entries(group).filter(member).map(|g| g.gid));
    }
    for name in additional_groups {
        groups.push(group_id(name, group)?);
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let home = entry
        .map(|e| e.home)
        .filter(|home| !home.is_empty())
        .unwrap_or("/");
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

fn group_id(name: &str, group: &[u8]) -> Result<u32, UserError> {
    if let Some(gid) = parse_id(name)? {
        return Ok(gid);
    }
    let entry = group_entries(group).find(|entry| entry.name == name);
    entry
        .map(|e| e.gid)
        .ok_or_else(|| UserError::NoSuchGroup(shown(name)))
}

/// `None` for a name. What looks like a number must be one: it never falls
/// back to a name, and never wraps to another id (CVE-2024-40635).
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= ID_MAX && digits.len() == text.len() => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(shown(text))),
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(file: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or("");
        Some(PasswdEntry {
            name,
            uid,
            gid,
            home,
        })
        .filter(|e| !e.name.is_empty() && e.uid <= ID_MAX && e.gid <= ID_MAX)
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_entries(file: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        let members = fields.next().unwrap_or("");
        Some(GroupEntry { name, gid, members }).filter(|e| !e.name.is_empty() && e.gid <= ID_MAX)
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    let lines = file
        .split(|&b| b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
#[path = "user/tests.rs"]
mod tests;
