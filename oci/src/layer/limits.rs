//! How much an archive from a stranger may ask for.

/// Bounds on one layer archive. [`Limits::default`] suits images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest uncompressed : compressed ratio once `ratio_from_bytes` came out.
    pub ratio_max: u64,
    /// Uncompressed bytes that may come out at any ratio: files of zeros are
    /// honest, and gzip packs them 1000:1. What is written is bounded by the
    /// free space of the disk, so this bounds only the time that is wasted.
    pub ratio_from_bytes: u64,
    /// Base-2 logarithm of the largest zstd window, which the decoder allocates.
    pub zstd_window_log_max: u32,
    /// Largest PAX or GNU long-name record in bytes; it is held in memory.
    pub record_bytes_max: u64,
    /// Entries of an archive, each an inode on disk.
    pub entries_max: u64,
    /// Components of a path.
    pub depth_max: usize,
    /// Bytes of a path or link target (`PATH_MAX` less its NUL).
    pub path_bytes_max: usize,
    /// Bytes of one component (`NAME_MAX` of Linux file systems).
    pub name_bytes_max: usize,
    /// Bytes of one extended attribute's value (`XATTR_SIZE_MAX`).
    pub xattr_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ratio_max: 200,
            // Room for the empty disk of a virtual machine or a preallocated
            // database; half a minute to decompress and hash.
            ratio_from_bytes: 16 << 30,
            zstd_window_log_max: 27,
            record_bytes_max: 1 << 20,
            entries_max: 5_000_000,
            depth_max: 255,
            path_bytes_max: 4095,
            name_bytes_max: 255,
            xattr_bytes_max: 65_536,
        }
    }
}
