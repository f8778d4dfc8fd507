//! Names of layers and keys of snapshots, which become directory names.

use std::fmt;

use oci::Digest;

use super::SnapshotError;

/// The name of a committed layer: a diff_id, or a name its builder chose until
/// it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerName(String);

impl LayerName {
    /// # Errors
    /// [`SnapshotError::BadName`].
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is a digest: such a layer can be fetched or was
    /// exported, and is kept over a crash of the machine.
    pub fn is_diff_id(&self) -> bool {
        self.0.parse::<Digest>().is_ok()
    }

    /// Colons would split options of overlayfs.
    pub(super) fn dir_name(&self) -> String {
        self.0.replace(':', "@")
    }

    pub(super) fn from_dir_name(name: &str) -> Option<Self> {
        Self::parse(&name.replace('@', ":")).ok()
    }
}

impl From<&Digest> for LayerName {
    fn from(diff_id: &Digest) -> Self {
        Self(diff_id.to_string())
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name: a sha512 diff_id fits.
const NAME_BYTES_MAX: usize = 160;

pub(super) fn check(name: &str) -> Result<(), SnapshotError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let starts_well = name
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric);
    if starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(SnapshotError::BadName(name.chars().take(200).collect()))
    }
}
