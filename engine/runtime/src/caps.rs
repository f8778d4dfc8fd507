//! Linux capabilities by name and as a set (capabilities(7)).
//!
//! Pure. The set that a process may use is applied in `init`; inheritable and
//! ambient sets are always empty there, so a set is one `u64`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names without `CAP_`, indexed by the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The 14 that Docker leaves to a container.
const DOCKER_DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities; bit n is capability n.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Capabilities(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid capability {0:?}: see capabilities(7) for the names, or use ALL")]
pub struct UnknownCapability(String);

impl Capabilities {
    pub fn none() -> Self {
        Capabilities(0)
    }

    pub fn all() -> Self {
        Capabilities((1 << NAMES.len()) - 1)
    }

    pub fn docker_default() -> Self {
        DOCKER_DEFAULT
            .iter()
            .filter_map(|name| number(name))
            .fold(Self::none(), Self::with)
    }

    pub fn from_bits(bits: u64) -> Self {
        Capabilities(bits & Self::all().0)
    }

    pub fn bits(self) -> u64 {
        self.0
    }

    /// Parses names with or without `CAP_`, in any case; `ALL` is every one.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownCapability> {
        names.iter().try_fold(Self::none(), |set, name| {
            Ok(set.union(parse_one(name.as_ref())?))
        })
    }

    /// Applies `--cap-add` and `--cap-drop` as Docker does: `ALL` in one list
    /// is the ground that the other list then changes.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn adjust<S: AsRef<str>>(self, add: &[S], drop: &[S]) -> Result<Self, UnknownCapability> {
        let (added, dropped) = (Self::parse(add)?, Self::parse(drop)?);
        let has_all = |names: &[S]| names.iter().any(|n| n.as_ref().eq_ignore_ascii_case("all"));
        Ok(if has_all(drop) && !has_all(add) {
            added
        } else {
            self.union(added).minus(dropped)
        })
    }

    /// Whether the capability of this name (with or without `CAP_`) is in.
    pub fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|n| self.0 & (1 << n) != 0)
    }

    pub fn union(self, other: Self) -> Self {
        Capabilities(self.0 | other.0)
    }

    pub fn minus(self, other: Self) -> Self {
        Capabilities(self.0 & !other.0)
    }

    pub fn intersection(self, other: Self) -> Self {
        Capabilities(self.0 & other.0)
    }

    /// Names with `CAP_`, in the kernel's order.
    pub fn names(self) -> impl Iterator<Item = String> {
        (0..NAMES.len())
            .filter(move |n| self.0 & (1 << n) != 0)
            .map(|n| format!("CAP_{}", NAMES[n]))
    }

    fn with(self, number: u32) -> Self {
        Capabilities(self.0 | (1 << number))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn parse_one(name: &str) -> Result<Capabilities, UnknownCapability> {
    if name.eq_ignore_ascii_case("all") {
        return Ok(Capabilities::all());
    }
    let number = number(name).ok_or_else(|| UnknownCapability(name.chars().take(64).collect()))?;
    Ok(Capabilities::none().with(number))
}

fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let index = NAMES.iter().position(|&n| n == short)?;
    u32::try_from(index).ok()
}

#[cfg(test)]
#[path = "caps/tests.rs"]
mod tests;
