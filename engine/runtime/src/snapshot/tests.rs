use std::{
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
};

use oci::layer::{Entry, EntryKind, LayerWriter, Mtime, TarWriter};

use super::*;

#[path = "tests/full_disk.rs"]
mod full_disk;
#[path = "tests/stack.rs"]
mod stack;

type Member = (Entry, &'static [u8]);

pub(crate) struct Packed {
    pub(crate) diff_id: Digest,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn pack(members: &[Member], compression: Compression) -> Packed {
    let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), compression).unwrap());
    for (entry, content) in members {
        tar.append(entry, &mut &content[..]).unwrap();
    }
    let (bytes, written) = tar.finish().unwrap().finish().unwrap();
    Packed {
        diff_id: written.diff_id,
        bytes,
    }
}

fn dir(path: &str, mode: u32) -> Member {
    (Entry::new(path, EntryKind::Directory, mode), b"")
}

fn file(path: &str, content: &'static [u8]) -> Member {
    let entry = Entry {
        size_bytes: content.len() as u64,
        mtime: Mtime {
            sec: 1_000_000,
            nsec: 0,
        },
        ..Entry::new(path, EntryKind::Regular, 0o644)
    };
    (entry, content)
}

fn link(path: &str, target: &str) -> Member {
    (
        Entry::new(path, EntryKind::HardLink(target.into()), 0o644),
        b"",
    )
}

struct Fixture {
    dir: tempfile::TempDir,
    store: LayerStore,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(&dir.path().join("layers")).unwrap();
    Fixture { dir, store }
}

impl Fixture {
    fn reopen(&mut self) {
        self.store = LayerStore::open(&self.dir.path().join("layers")).unwrap();
    }

    fn layer(&self, members: &[Member], parents: &[LayerName]) -> LayerName {
        let packed = pack(members, Compression::GZIP);
        self.unpack(&packed, parents).unwrap();
        LayerName::from(&packed.diff_id)
    }

    fn unpack(&self, packed: &Packed, parents: &[LayerName]) -> Result<Unpacked, UnpackError> {
        let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
        self.store.unpack(
            &packed.diff_id,
            parents,
            packed.bytes.as_slice(),
            &media_type,
        )
    }

    /// What a container on these layers sees.
    fn see(&self, layers: &[LayerName]) -> Root {
        self.store.view(layers).unwrap()
    }

    fn leftovers(&self) -> usize {
        fs::read_dir(self.dir.path().join("layers/tmp"))
            .unwrap()
            .count()
    }
}

fn read(root: &Root, path: &str) -> Option<Vec<u8>> {
    root.read_regular(Path::new(path), 1 << 20).ok()
}

#[test]
fn a_wrong_diff_id_leaves_nothing() {
    let f = fixture();
    let good = pack(&[file("a", b"a")], Compression::GZIP);
    let other = pack(&[file("a", b"b")], Compression::GZIP);
    let wrong = Packed {
        diff_id: good.diff_id,
        bytes: other.bytes,
    };
    let error = f.unpack(&wrong, &[]).unwrap_err();
    assert!(
        matches!(error, UnpackError::DiffIdMismatch { .. }),
        "{error}"
    );
    assert!(!f.store.contains(&LayerName::from(&good.diff_id)));
    assert_eq!(f.leftovers(), 0);
    f.unpack(&good, &[]).unwrap();
}

#[test]
fn every_packing_unpacks_to_the_same_layer() {
    let members = [dir("", 0o755), file("a", b"content")];
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let f = fixture();
        let packed = pack(&members, compression);
        let unpacked = f
            .store
            .unpack(
                &packed.diff_id,
                &[],
                packed.bytes.as_slice(),
                &compression.media_type(),
            )
            .unwrap();
        assert_eq!(unpacked.size_bytes, 7);
        let root = f.see(&[LayerName::from(&packed.diff_id)]);
        assert_eq!(read(&root, "a").unwrap(), b"content");
    }
}

#[test]
fn concurrent_unpacks_of_one_layer_do_the_work_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Counting<'a>(&'a [u8], &'a AtomicUsize, bool);
    impl Read for Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if !std::mem::replace(&mut self.2, true) {
                self.1.fetch_add(1, Ordering::SeqCst);
            }
            self.0.read(buffer)
        }
    }
    let f = fixture();
    let packed = pack(&[file("a", b"content")], Compression::GZIP);
    let streams = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
                let stream = Counting(&packed.bytes, &streams, false);
                f.store
                    .unpack(&packed.diff_id, &[], stream, &media_type)
                    .unwrap();
            });
        }
    });
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[test]
fn snapshots_are_written_committed_and_exported() {
    let f = fixture();
    let base = f.layer(
        &[
            dir("", 0o755),
            dir("d", 0o755),
            file("d/keep", b"keep"),
            file("d/drop", b"drop"),
        ],
        &[],
    );
    let snapshot = f
        .store
        .prepare("step", std::slice::from_ref(&base))
        .unwrap();
    let mount = Root::from_fd(snapshot.mount_detached().unwrap());
    mount.remove_all(Path::new("d/drop")).unwrap();
    mount.write(Path::new("d/new"), b"new", 0o600).unwrap();
    rustix::fs::linkat(
        &mount,
        "d/new",
        &mount,
        "d/also",
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    drop(mount);
    let built = LayerName::parse("build-1").unwrap();
    f.store.commit("step", &built).unwrap();
    assert!(matches!(
        f.store.get("step"),
        Err(SnapshotError::NotFound(_))
    ));

    let mut bytes = Vec::new();
    let exported = f
        .store
        .export(&built, Compression::GZIP, &mut bytes)
        .unwrap();
    assert_eq!(Digest::sha256(&bytes), exported.digest);
    assert_eq!(bytes.len() as u64, exported.size_bytes);
    let again = f
        .store
        .export(&built, Compression::GZIP, io::sink())
        .unwrap();
    assert_eq!(again, exported, "the same bytes every time");

    // Another store that pulls it sees the same.
    let other = fixture();
    other.layer(
        &[
            dir("", 0o755),
            dir("d", 0o755),
            file("d/keep", b"keep"),
            file("d/drop", b"drop"),
        ],
        &[],
    );
    let packed = Packed {
        diff_id: exported.diff_id,
        bytes,
    };
    other.unpack(&packed, std::slice::from_ref(&base)).unwrap();
    let root = other.see(&[base, LayerName::from(&exported.diff_id)]);
    assert_eq!(read(&root, "d/keep").unwrap(), b"keep");
    assert_eq!(read(&root, "d/drop"), None);
    assert_eq!(read(&root, "d/new").unwrap(), b"new");
    let ino = |path| root.metadata(Path::new(path)).unwrap().inode;
    assert_eq!(ino("d/new"), ino("d/also"));
    assert_eq!(f.leftovers(), 0);
}

#[test]
fn build_layers_get_their_diff_id_and_snapshots_follow() {
    let mut f = fixture();
    f.store.prepare("a", &[]).unwrap();
    let (built, named) = (
        LayerName::parse("build-1").unwrap(),
        LayerName::from(&Digest::sha256(b"x")),
    );
    f.store.commit("a", &built).unwrap();
    f.store.prepare("b", std::slice::from_ref(&built)).unwrap();
    f.store.rename_layer(&built, &named).unwrap();
    assert!(!f.store.contains(&built) && f.store.contains(&named));
    f.store.get("b").unwrap().mount_detached().unwrap();
    f.reopen();
    f.store.get("b").unwrap().mount_detached().unwrap();
    let error = f.store.remove_layer(&named).unwrap_err();
    assert!(matches!(error, SnapshotError::LayerInUse { .. }), "{error}");
    f.store.remove("b").unwrap();
    f.store.remove_layer(&named).unwrap();
    f.store.remove_layer(&named).unwrap();
    assert!(f.store.list_layers().unwrap().is_empty());
}

#[test]
fn a_crash_of_the_machine_drops_only_unsynced_layers() {
    let mut f = fixture();
    let pulled = f.layer(&[file("a", b"a")], &[]);
    for name in ["build-1", "build-2"] {
        f.store.prepare("s", &[]).unwrap();
        f.store
            .commit("s", &LayerName::parse(name).unwrap())
            .unwrap();
        if name == "build-1" {
            f.store.sync().unwrap();
        }
    }
    // As if the machine had booted since.
    let record = f.dir.path().join("layers/layers/build-2/record.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(&f.store.inner.boot, "another")).unwrap();
    f.reopen();
    let names: Vec<String> = f
        .store
        .list_layers()
        .unwrap()
        .iter()
        .map(LayerName::to_string)
        .collect();
    assert_eq!(names, ["build-1".to_owned(), pulled.to_string()]);
}

#[test]
fn half_made_entries_are_swept() {
    let mut f = fixture();
    let layers = f.dir.path().join("layers");
    fs::create_dir_all(layers.join("tmp/x/fs/deep")).unwrap();
    fs::create_dir_all(layers.join("layers/sha256@00/fs")).unwrap();
    f.store.prepare("s", &[]).unwrap();
    fs::remove_dir(layers.join("snapshots/s/fs")).unwrap();
    f.reopen();
    assert_eq!(f.leftovers(), 0);
    assert!(f.store.list_layers().unwrap().is_empty());
    assert!(f.store.list().unwrap().is_empty());
}

#[test]
fn names_cannot_be_paths() {
    let f = fixture();
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-x",
        "a\0b",
        "a b",
        &"x".repeat(161),
    ] {
        assert!(LayerName::parse(name).is_err(), "{name:?}");
        let error = f.store.prepare(name, &[]).unwrap_err();
        assert!(
            matches!(error, SnapshotError::BadName(_)),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn nobody_else_can_look_into_the_store() {
    let f = fixture();
    f.layer(&[file("a", b"a")], &[]);
    f.store.prepare("s", &[]).unwrap();
    let mode = |path: &str| fs::metadata(f.dir.path().join(path)).unwrap().mode() & 0o777;
    for path in [
        "layers",
        "layers/layers",
        "layers/snapshots",
        "layers/snapshots/s",
    ] {
        assert_eq!(mode(path), 0o700, "{path}");
    }
    assert_eq!(mode("layers/snapshots/s/fs"), 0o755);
}

#[test]
fn images_without_layers_have_a_root() {
    let f = fixture();
    let snapshot = f.store.prepare("scratch", &[]).unwrap();
    let root = Root::from_fd(snapshot.mount_detached().unwrap());
    root.write(Path::new("a"), b"a", 0o644).unwrap();
    assert_eq!(root.metadata(Path::new("/")).unwrap().mode, 0o755);
    let view = Root::from_fd(snapshot.mount_detached_read_only().unwrap());
    assert_eq!(read(&view, "a").unwrap(), b"a");
    assert!(view.write(Path::new("b"), b"b", 0o644).is_err());
    assert_eq!(f.store.usage("scratch").unwrap(), 1);
}

#[test]
fn devices_and_whiteouts_are_told_apart() {
    let f = fixture();
    let device = (
        Entry::new("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
        &b""[..],
    );
    let layer = f.layer(&[device], &[]);
    let path = f.store.inner.layer_dir(&layer).join("fs/null");
    let metadata = fs::symlink_metadata(path).unwrap();
    assert!(metadata.file_type().is_char_device());
    assert_eq!(metadata.mode() & 0o7777, 0o666);
}

#[test]
fn a_kept_layer_stays_until_it_is_released() {
    let fixture = fixture();
    let name = LayerName::parse("build-1").unwrap();
    fixture.store.keep([name.clone()]);
    fixture.store.prepare("a", &[]).unwrap();
    fixture.store.commit("a", &name).unwrap();
    let error = fixture.store.remove_layer(&name).unwrap_err();
    assert!(matches!(error, SnapshotError::LayerKept(_)), "{error}");
    assert!(fixture.store.contains(&name));
    fixture.store.release(std::slice::from_ref(&name));
    fixture.store.remove_layer(&name).unwrap();
    assert!(!fixture.store.contains(&name));
}

#[test]
fn a_layer_that_is_read_cannot_be_removed() {
    let f = fixture();
    let base = f.layer(&[file("a", b"base")], &[]);
    let top = f.layer(&[file("b", b"top")], &[]);
    let stack = [base.clone(), top];
    let refused = |layer: &LayerName| match f.store.remove_layer(layer) {
        Err(SnapshotError::LayerPinned(pinned)) => pinned == *layer,
        removed => panic!("{removed:?}"),
    };
    let view = f.see(&stack);
    let other = f.see(&stack[..1]);
    assert!(stack.iter().all(refused));
    let clone = view.try_clone().unwrap();
    drop(view);
    assert!(refused(&base), "a clone reads on");
    assert_eq!(read(&clone, "a").unwrap(), b"base");
    drop(clone);
    f.store.remove_layer(&stack[1]).unwrap();
    assert!(refused(&base), "another view holds it");
    drop(other);
    f.store.remove_layer(&base).unwrap();
    assert!(!f.store.contains(&base));
}

#[test]
fn a_pin_follows_a_renamed_layer() {
    let f = fixture();
    let [built, named] = ["build-1", "build-2"].map(|n| LayerName::parse(n).unwrap());
    let pin = f.store.pin(std::slice::from_ref(&built));
    f.store.prepare("a", &[]).unwrap();
    f.store.commit("a", &built).unwrap();
    f.store.rename_layer(&built, &named).unwrap();
    let error = f.store.remove_layer(&named).unwrap_err();
    assert!(matches!(error, SnapshotError::LayerPinned(_)), "{error}");
    drop(pin);
    f.store.remove_layer(&named).unwrap();
    assert!(!f.store.contains(&named));
}
