//! The key sequence that leaves a container without stopping it.

/// What people know: `ctrl-p,ctrl-q`.
pub const DEFAULT_DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// Reads `ctrl-p,ctrl-q`, `a,b`, `ctrl-@`, `DEL` into bytes.
///
/// # Errors
/// A text that says what is accepted.
pub fn parse_keys(text: &str) -> Result<Vec<u8>, String> {
    let bad = |key: &str| {
        format!(
            "invalid detach keys {text:?}: {key:?} is not a key: write single characters and ctrl-<a-z, @, [, \\, ], ^ or _> separated by commas"
        )
    };
    text.split(',')
        .map(|key| {
            let bytes = key.as_bytes();
            match key.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
                Some([b'@']) => Ok(0),
                Some([sign @ b'['..=b'_']) => Ok(sign - b'[' + 27),
                Some(_) => Err(bad(key)),
                None if key == "DEL" => Ok(127),
                None if bytes.len() == 1 => Ok(bytes[0]),
                None => Err(bad(key)),
            }
        })
        .collect()
}

/// Watches typed bytes for the sequence. Bytes that may begin it are held
/// back until the next one decides.
#[derive(Debug)]
pub struct DetachFilter {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input amounts to.
#[derive(Debug, PartialEq, Eq)]
pub struct Filtered {
    /// What goes on to the container.
    pub pass: Vec<u8>,
    /// The sequence was completed; input behind it is dropped.
    pub detached: bool,
}

impl DetachFilter {
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    pub fn push(&mut self, input: &[u8]) -> Filtered {
        let mut pass = Vec::with_capacity(input.len());
        for byte in input {
            while self.matched > 0 && self.keys[self.matched] != *byte {
                // The longest shorter beginning that the held bytes still are.
                let held = &self.keys[..self.matched];
                let keep = (0..self.matched)
                    .rev()
                    .find(|len| held.ends_with(&self.keys[..*len]))
                    .unwrap_or(0);
                pass.extend_from_slice(&held[..self.matched - keep]);
                self.matched = keep;
            }
            match self.keys.get(self.matched) {
                Some(key) if key == byte => self.matched += 1,
                _ => pass.push(*byte),
            }
            if !self.keys.is_empty() && self.matched == self.keys.len() {
                return Filtered {
                    pass,
                    detached: true,
                };
            }
        }
        Filtered {
            pass,
            detached: false,
        }
    }
}

#[cfg(test)]
#[path = "detach/tests.rs"]
mod tests;
