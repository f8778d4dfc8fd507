//! Identifiers: 32 random bytes in lower-case hex, as Docker's.

use std::fmt;

/// Characters of an id that people see.
pub(crate) const SHORT_LEN: usize = 12;

/// Random bytes from the kernel, in hex.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0_u8; bytes];
    let mut filled = 0;
    while filled < raw.len() {
        match rustix::rand::getrandom(&mut raw[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("getrandom(2) cannot fail on a booted kernel: {error}"),
        }
    }
    hex::encode(raw)
}

/// The id of a container.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ContainerId(String);

impl ContainerId {
    pub(crate) fn random() -> Self {
        loop {
            let id = random_hex(32);
            // An all-digit short id would be taken for a number by some shells and by YAML.
            if id[..SHORT_LEN].bytes().any(|b| !b.is_ascii_digit()) {
                return Self(id);
            }
        }
    }

    /// Reads an id back from the database or a directory name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fine = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        fine.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn short(&self) -> &str {
        &self.0[..SHORT_LEN]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
