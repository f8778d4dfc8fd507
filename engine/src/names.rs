//! Names of containers and volumes: which are allowed, and made-up ones.

use crate::error::{EngineError, Result};

/// What Docker allows: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) const NAME_RULE: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Longest name, in bytes: it becomes a directory (volumes) and a host name.
const NAME_BYTES_MAX: usize = 255;

pub(crate) fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes.len() <= NAME_BYTES_MAX
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Checks a container's name; a leading slash is dropped, as clients send it back.
pub(crate) fn container_name(name: &str) -> Result<String> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_valid(bare) {
        Ok(bare.to_owned())
    } else {
        Err(EngineError::bad(format!(
            "Invalid container name ({name}), only {NAME_RULE} are allowed"
        )))
    }
}

const LEFT: [&str; 48] = [
    "able", "amber", "brisk", "bright", "calm", "candid", "clever", "crisp", "daring", "deft",
    "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "grand", "hardy",
    "honest", "humble", "keen", "kind", "late", "light", "lively", "lucid", "merry", "mild",
    "neat", "noble", "patient", "plain", "proud", "quick", "quiet", "ready", "sage", "sharp",
    "smooth", "steady", "sunny", "swift", "tidy", "trusty", "warm", "wise",
];

/// Seafarers, shipbuilders and makers of charts.
const RIGHT: [&str; 48] = [
    "amundsen",
    "anson",
    "baffin",
    "barents",
    "bass",
    "baudin",
    "bering",
    "bligh",
    "bougainville",
    "bowditch",
    "brunel",
    "cabot",
    "cabral",
    "cartier",
    "cavendish",
    "chapman",
    "cook",
    "dampier",
    "davis",
    "dias",
    "drake",
    "elcano",
    "erikson",
    "flinders",
    "franklin",
    "frobisher",
    "gama",
    "halley",
    "harrison",
    "hawkins",
    "hudson",
    "jansz",
    "kotzebue",
    "laperouse",
    "magellan",
    "maury",
    "mercator",
    "nansen",
    "ortelius",
    "parry",
    "polo",
    "raleigh",
    "ross",
    "shackleton",
    "tasman",
    "torres",
    "vancouver",
    "zheng",
];

/// A made-up name; `attempt` adds a number once the plain ones collide.
pub(crate) fn made_up(attempt: usize) -> String {
    let random = crate::id::random_hex(4);
    let number = u32::from_str_radix(&random, 16).expect("eight hex digits fit 32 bits") as usize;
    let left = LEFT[number % LEFT.len()];
    let right = RIGHT[number / LEFT.len() % RIGHT.len()];
    if attempt < 6 {
        format!("{left}_{right}")
    } else {
        format!("{left}_{right}{}", number % 10_000)
    }
}

#[cfg(test)]
#[path = "names/tests.rs"]
mod tests;
