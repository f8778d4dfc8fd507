//! Layer archives: tar read with suspicion and written the same way every
//! time, with compression and both digests in one pass.
//!
//! Everything here is pure and sync over `Read` and `Write`; it knows no paths
//! of the host. Names come out of [`TarReader`] relative and without `.` or
//! `..`, but whoever creates them must still resolve links inside a root.
//!
//! Where readers in the wild disagree about what an archive holds, this one
//! refuses it with a [`LayerError`] that names the place: two programs that see
//! different files in one digest are how CVE-2025-62518 smuggled entries.

mod compress;
mod decompress;
mod entry;
mod error;
mod gzip;
mod header;
mod limits;
mod pax;
mod reader;
mod writer;

pub use compress::{Compression, LayerWriter, Written};
pub use decompress::{Decoder, Packing};
pub use entry::{Entry, EntryKind, Mtime};
pub use error::LayerError;
pub use limits::Limits;
pub use reader::TarReader;
pub use writer::TarWriter;

/// Tar moves in blocks of this many bytes (POSIX pax, "ustar Interchange Format").
const BLOCK_BYTES: usize = 512;
