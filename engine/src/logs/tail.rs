//! Finding where the last N records begin, from the end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes read at once from the end.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Positions the files so that reading them oldest first yields the last
/// `records` records. `files` is newest first; those not needed are dropped.
pub(super) fn seek(files: &mut Vec<File>, records: u64) -> io::Result<()> {
    let mut left = records;
    let mut kept = 0;
    for file in files.iter_mut() {
        kept += 1;
        let size = file.metadata()?.len();
        let (at, found) = from_end(file, size, left)?;
        file.seek(SeekFrom::Start(at))?;
        left -= found;
        if left == 0 {
            break;
        }
    }
    files.truncate(kept);
    Ok(())
}

/// Where the last `records` lines begin and how many were found. An
/// unfinished last line counts with the one after it, once written.
fn from_end(file: &mut File, size: u64, records: u64) -> io::Result<(u64, u64)> {
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)];
    // The end of the last whole line; what follows is not a record yet.
    let mut ends = 0_u64;
    let mut at = size;
    while at > 0 {
        let count = at.min(BLOCK_BYTES);
        at -= count;
        file.seek(SeekFrom::Start(at))?;
        let bytes = &mut block[..usize::try_from(count).unwrap_or(0)];
        file.read_exact(bytes)?;
        for (offset, byte) in bytes.iter().enumerate().rev() {
            if *byte == b'\n' {
                if ends == records {
                    return Ok((at + offset as u64 + 1, records));
                }
                ends += 1;
            }
        }
    }
    Ok((0, ends.min(records)))
}
