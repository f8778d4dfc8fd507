use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;

/// Text-like bytes that repeat now and then.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut data = Vec::with_capacity(length);
    while data.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = format!("{:x} ", (state >> 24) * 7);
        data.extend_from_slice(word.as_bytes());
    }
    data.truncate(length);
    data
}

fn gzip(data: &[u8], workers: usize, piece: usize) -> Vec<u8> {
    let mut writer = GzipWriter::new(Vec::new(), 4, workers).unwrap();
    for piece in data.chunks(piece.max(1)) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn any_length_comes_back_from_one_member() {
    for length in [
        0,
        1,
        BLOCK_BYTES - 1,
        BLOCK_BYTES,
        BLOCK_BYTES + 1,
        3 * BLOCK_BYTES,
        5_000_000,
    ] {
        let data = content(length);
        let packed = gzip(&data, 2, 100_000);
        let mut unpacked = Vec::new();
        // Not the multi-member decoder: a reader that knows only one suffices.
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked == data, "{length}");
    }
}

#[test]
fn the_bytes_depend_on_the_content_alone() {
    let data = content(4_500_000);
    let alone = gzip(&data, 0, data.len());
    for workers in [1, 2, 3, 8] {
        assert!(gzip(&data, workers, 7919) == alone, "{workers}");
    }
}

#[test]
fn the_bytes_are_pinned() {
    // A new version of the compressor may change them; then digests of equal
    // layers change once, and that belongs in the release notes.
    let digest = crate::Digest::sha256(&gzip(&content(2_500_000), 0, 1 << 16));
    assert_eq!(
        digest.hex(),
        "91c09481907a042966483485b2f17bb083cc4d2b5c84acf4573fa41fd6921ff1"
    );
}

#[test]
fn gunzip_reads_it() {
    use std::process::{Command, Stdio};
    let data = content(2_100_000);
    let mut gunzip = Command::new("gunzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gunzip.stdin.take().unwrap();
    let packed = gzip(&data, 2, 1 << 20);
    let feed = std::thread::spawn(move || stdin.write_all(&packed));
    let output = gunzip.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == data);
}

#[test]
fn a_full_disk_ends_the_writer() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(data.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = GzipWriter::new(Full(1000), 4, 2).unwrap();
    let error = writer.write_all(&content(20_000_000)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
