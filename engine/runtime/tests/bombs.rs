//! Row A11 of the security reference: archives that unpack to far more than
//! they are. Alone in its process, because it looks at the process's memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{self, Cursor, Read},
};

use oci::{
    Digest, MediaType,
    layer::{Compression, Entry, EntryKind, LayerWriter, Limits, TarWriter, Written},
};
use runtime::{
    root::Root,
    snapshot::LayerStore,
    unpack::{Options, extract},
};

/// What any of them may take.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Peak memory of this process (proc_pid_status(5), VmHWM).
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[track_caller]
fn refused(store: &LayerStore, stream: impl Read + Send, part: &str) {
    let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
    let error = store
        .unpack(&Digest::sha256(b""), &[], stream, &media_type)
        .unwrap_err()
        .to_string();
    assert!(error.contains(part), "{part:?} is not in: {error}");
    assert!(store.list_layers().unwrap().is_empty());
    let peak = peak_bytes();
    assert!(peak < MEMORY_BYTES_MAX, "{part}: {} MiB", peak >> 20);
}

fn file(path: &str, size_bytes: u64) -> Entry {
    Entry {
        size_bytes,
        ..Entry::new(path, EntryKind::Regular, 0o644)
    }
}

fn empty_files(paths: impl Iterator<Item = String>) -> Vec<u8> {
    let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), Compression::GZIP).unwrap());
    for path in paths {
        tar.append(&file(&path, 0), &mut io::empty()).unwrap();
    }
    tar.finish().unwrap().finish().unwrap().0
}

#[test]
fn a11_bombs_are_refused_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path()).unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    zeros(&root);
    more_than_the_disk(&store);
    zstd_window(&store);
    entries(&root);
    records(&store);
    depth(&store);
}

/// Images hold empty disks and preallocated files, a thousand times smaller
/// when packed.
#[test]
fn an_honest_layer_of_zeros_is_unpacked() {
    const SIZE_BYTES: u64 = 128 << 20;
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path()).unwrap();
    let (layer, written) = packed_zeros(SIZE_BYTES, Compression::GZIP);
    assert!((layer.len() as u64) < SIZE_BYTES / 900);
    let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
    let unpacked = store.unpack(&written.diff_id, &[], layer.as_slice(), &media_type);
    assert_eq!(unpacked.unwrap().size_bytes, SIZE_BYTES);
}

/// Zeros beyond the ratio. The real limit is the same code with a larger number.
fn zeros(root: &Root) {
    let options = Options {
        limits: Limits {
            ratio_from_bytes: 64 << 20,
            ..Limits::default()
        },
        ..Options::default()
    };
    for compression in [Compression::Gzip { level: 9 }, Compression::ZSTD] {
        let (bomb, _) = packed_zeros(96 << 20, compression);
        assert!(bomb.len() < 1 << 20);
        let error = extract(root, bomb.as_slice(), &options).unwrap_err();
        assert!(error.to_string().contains("decompression bomb"), "{error}");
        assert!(peak_bytes() < MEMORY_BYTES_MAX);
    }
}

fn packed_zeros(size_bytes: u64, compression: Compression) -> (Vec<u8>, Written) {
    let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), compression).unwrap());
    let mut content = io::repeat(0).take(size_bytes);
    tar.append(&file("zeros", size_bytes), &mut content)
        .unwrap();
    tar.finish().unwrap().finish().unwrap()
}

/// An exbibyte by its header: no disk has it, so none of it is written.
fn more_than_the_disk(store: &LayerStore) {
    let mut out = LayerWriter::new(Vec::new(), Compression::GZIP).unwrap();
    let endless = io::repeat(0).take(96 << 20);
    let cut = TarWriter::new(&mut out).append(&file("zeros", 1 << 60), &mut { endless });
    assert!(cut.is_err());
    let (bomb, _) = out.finish().unwrap();
    refused(store, bomb.as_slice(), "no space left");
}

/// Two gigabytes of window in ten bytes (RFC 8878, 3.1.1).
fn zstd_window(store: &LayerStore) {
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0, 0, b'x'];
    refused(store, &frame[..], "zstd stream is corrupt");
}

/// One header without end. The real limit is the same code with a larger number.
fn entries(root: &Root) {
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&file("same", 0), &mut io::empty()).unwrap();
    let header = tar.finish().unwrap()[..512].to_vec();
    let options = Options {
        limits: Limits {
            entries_max: 10_000,
            ..Limits::default()
        },
        ..Options::default()
    };
    let error = extract(root, Cycle(header, 0), &options).unwrap_err();
    assert!(
        error.to_string().contains("limit of 10000 entries"),
        "{error}"
    );
    assert!(peak_bytes() < MEMORY_BYTES_MAX);
}

/// A gigabyte in one extended header, then the attributes of ten thousand
/// times 64 KiB.
fn records(store: &LayerStore) {
    for size in [1u64 << 30, 640 << 20] {
        let stream = extended_header(size).chain(io::repeat(b'1'));
        refused(store, stream, "limit of 1048576 bytes");
    }
}

fn extended_header(size: u64) -> Cursor<Vec<u8>> {
    let mut block = vec![0u8; 512];
    block[..3].copy_from_slice(b"pax");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = b'x';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Cursor::new(block)
}

fn depth(store: &LayerStore) {
    for (depth, part) in [(10_000, "too long"), (300, "too many components")] {
        let bomb = empty_files(std::iter::once("d/".repeat(depth) + "f"));
        refused(store, bomb.as_slice(), part);
    }
    // Far more names of directories without entries than the archive has bytes.
    let long = ("d".repeat(250) + "/").repeat(16);
    let bomb = empty_files((0..400).map(|n| format!("{n}/{long}f")));
    refused(store, bomb.as_slice(), "leaves out more than");
}

struct Cycle(Vec<u8>, usize);

impl Read for Cycle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *buffer {
            *byte = self.0[self.1];
            self.1 = (self.1 + 1) % self.0.len();
        }
        Ok(buffer.len())
    }
}
