//! System call numbers by name and architecture.

use std::collections::HashMap;
use std::sync::OnceLock;

/// An architecture whose calls a filter can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    X86,
    Aarch64,
}

impl Arch {
    /// Value of `seccomp_data.arch` (linux/audit.h).
    pub(super) fn audit_value(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Go's name, which profiles use in `includes` and `excludes`.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X86 => "x86",
            Arch::Aarch64 => "arm64",
        }
    }

    /// The architectures whose programs run on a machine of this one. 32-bit
    /// ARM programs on aarch64 have no table and are refused.
    pub(super) fn family(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 => &[Arch::X86_64, Arch::X86],
            Arch::X86 => &[Arch::X86],
            Arch::Aarch64 => &[Arch::Aarch64],
        }
    }

    /// The number of a call, `None` where this architecture has no such call.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        table().get(name).and_then(|row| row[self as usize])
    }
}

/// Whether any architecture has a call of this name.
#[cfg(test)]
pub(super) fn is_known(name: &str) -> bool {
    table().contains_key(name)
}

fn table() -> &'static HashMap<&'static str, [Option<u32>; 3]> {
    static TABLE: OnceLock<HashMap<&'static str, [Option<u32>; 3]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("syscalls.tbl")
            .lines()
            .filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let mut fields = line.split(' ');
                let name = fields.next()?;
                let mut number = || fields.next().and_then(|n| n.parse().ok());
                Some((name, [number(), number(), number()]))
            })
            .collect()
    })
}
