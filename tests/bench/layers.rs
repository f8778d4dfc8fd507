//! Unpack and export of one layer, next to what the same bytes cost gunzip and
//! tar where they are installed.
//!
//! `cargo bench -p runtime --bench layers -- [DIRECTORY [MIB]]` takes the layer's
//! content from DIRECTORY (default `/usr/lib`), MIB mebibytes of it (default 512),
//! and works in a temporary directory. Prints wall and processor time, and
//! megabytes of uncompressed archive per second of each.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use oci::layer::{
    Compression, Decoder, Entry, EntryKind, LayerWriter, Limits, TarReader, TarWriter,
};
use runtime::{
    root::{FileKind, Root},
    snapshot::{LayerName, LayerStore},
};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let source = PathBuf::from(arguments.next().unwrap_or_else(|| "/usr/lib".to_owned()));
    let mebibytes: u64 = arguments.next().map_or(512, |text| text.parse().unwrap());
    let work = tempfile::tempdir().unwrap();
    let archive = work.path().join("layer.tar.gz");

    let written = time("pack, gzip", || {
        let file = File::create(&archive).unwrap();
        let mut tar = TarWriter::new(LayerWriter::new(file, Compression::GZIP).unwrap());
        let mut left = mebibytes << 20;
        add(
            &Root::open(&source).unwrap(),
            Path::new(""),
            &mut tar,
            &mut left,
        );
        let (_, written) = tar.finish().unwrap().finish().unwrap();
        (written, written.uncompressed_bytes)
    });
    println!(
        "{} MB of {} MB uncompressed",
        written.size_bytes / 1_000_000,
        written.uncompressed_bytes / 1_000_000
    );
    let bytes = written.uncompressed_bytes;
    let open = || File::open(&archive).unwrap();

    time("decompress", || {
        let mut decoder = Decoder::new(open(), None, Limits::default()).unwrap();
        (io::copy(&mut decoder, &mut io::sink()).unwrap(), bytes)
    });
    time("decompress and parse", || {
        let decoder = Decoder::new(open(), None, Limits::default()).unwrap();
        let mut tar = TarReader::new(decoder, Limits::default());
        let mut entries = 0;
        while tar.next_entry().unwrap().is_some() {
            entries += 1;
        }
        println!("{entries} entries");
        ((), bytes)
    });
    let store = LayerStore::open(&work.path().join("layers")).unwrap();
    time("unpack: decompress, hash, extract, sync", || {
        let media_type = Compression::GZIP.media_type();
        store
            .unpack(&written.diff_id, &[], open(), &media_type)
            .unwrap();
        ((), bytes)
    });
    let name = LayerName::from(&written.diff_id);
    for (what, compression) in [
        ("export, plain", Compression::None),
        ("export, gzip", Compression::GZIP),
        ("export, gzip 1", Compression::Gzip { level: 1 }),
        ("export, gzip 2", Compression::Gzip { level: 2 }),
        ("export, gzip 3", Compression::Gzip { level: 3 }),
        ("export, gzip 6", Compression::Gzip { level: 6 }),
        ("export, zstd", Compression::ZSTD),
    ] {
        let exported = time(what, || {
            (store.export(&name, compression, io::sink()).unwrap(), bytes)
        });
        println!("{:>45} MB out", exported.size_bytes / 1_000_000);
    }
    snapshots(&store, &name);
    peer(
        "gunzip -c",
        Command::new("gunzip").arg("-c").arg(&archive),
        bytes,
    );
    let target = work.path().join("peer");
    std::fs::create_dir(&target).unwrap();
    peer(
        "tar -xzf, sync",
        Command::new("sh")
            .arg("-c")
            .arg("tar -xzf \"$0\" -C \"$1\" && sync -f \"$1\"")
            .arg(&archive)
            .arg(&target),
        bytes,
    );
}

/// What each container costs: a snapshot, its mount, and both gone again.
fn snapshots(store: &LayerStore, layer: &LayerName) {
    const ROUNDS: u32 = 200;
    for volatile in [false, true] {
        let mut spent = [Duration::ZERO; 3];
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut snapshot = store.prepare("bench", std::slice::from_ref(layer)).unwrap();
            snapshot.volatile = volatile;
            let prepared = Instant::now();
            let mount = Root::from_fd(snapshot.mount_detached().unwrap());
            mount.write(Path::new("written"), b"x", 0o644).unwrap();
            drop(mount);
            let mounted = Instant::now();
            store.remove("bench").unwrap();
            let times = [prepared - start, mounted - prepared, mounted.elapsed()];
            for (total, time) in spent.iter_mut().zip(times) {
                *total += time;
            }
        }
        let kind = if volatile { "volatile" } else { "synced" };
        for (what, total) in ["prepare", "mount, write, unmount", "remove"]
            .iter()
            .zip(spent)
        {
            let average = (total / ROUNDS).as_secs_f64() * 1e6;
            println!("{kind} snapshot: {what:30} {average:7.0} us");
        }
    }
}

fn time<T>(what: &str, run: impl FnOnce() -> (T, u64)) -> T {
    let (start, used) = (Instant::now(), cpu(false));
    let (value, bytes) = run();
    report(what, bytes, start.elapsed(), cpu(false) - used);
    value
}

fn report(what: &str, bytes: u64, wall: Duration, cpu: Duration) {
    let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    println!(
        "{what:40} {:7.0} ms {:5.0} MB/s   {:7.0} ms CPU {:5.0} MB/s",
        wall.as_secs_f64() * 1e3,
        rate(wall),
        cpu.as_secs_f64() * 1e3,
        rate(cpu)
    );
}

fn peer(what: &str, command: &mut Command, bytes: u64) {
    let (start, used) = (Instant::now(), cpu(true));
    match command.stdout(std::process::Stdio::null()).status() {
        Ok(status) if status.success() => {
            report(what, bytes, start.elapsed(), cpu(true) - used);
        }
        result => println!("{what:40} not available: {result:?}"),
    }
}

/// Processor time of this process, or of the children it waited for.
fn cpu(of_children: bool) -> Duration {
    let name = if of_children { 15 } else { 13 };
    // proc_pid_stat(5): utime and stime are fields 14 and 15, cutime and cstime
    // 16 and 17, in ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = after_name
        .split(' ')
        .skip(name - 2)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum::<u64>();
    Duration::from_millis(ticks * 10)
}

/// Adds files and directories until `left` is used up.
fn add<W: Write>(root: &Root, path: &Path, tar: &mut TarWriter<W>, left: &mut u64) {
    for entry in root.read_dir(path).unwrap() {
        let path = path.join(&entry.name);
        match entry.kind {
            FileKind::Directory => {
                let directory = Entry::new(&path, EntryKind::Directory, 0o755);
                tar.append(&directory, &mut io::empty()).unwrap();
                add(root, &path, tar, left);
            }
            FileKind::Regular => {
                let file = root.open_regular(&path).unwrap();
                let size_bytes = file.metadata().unwrap().len();
                if size_bytes > *left {
                    return;
                }
                *left -= size_bytes;
                let member = Entry {
                    size_bytes,
                    ..Entry::new(&path, EntryKind::Regular, 0o644)
                };
                tar.append(&member, &mut file.take(size_bytes)).unwrap();
            }
            _ => {}
        }
    }
}
