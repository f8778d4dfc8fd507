//! Table 1A of the security reference, one test a row, named after it; and
//! what must keep working.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use oci::{
    Digest, MediaType,
    layer::{Compression, LayerWriter, Mtime, TarWriter},
};

use super::*;

#[path = "tests/advisories.rs"]
mod advisories;
use crate::snapshot::{LayerName, LayerStore};

type Member = (Entry, Vec<u8>);

fn member(path: &str, kind: EntryKind, mode: u32) -> Member {
    let entry = Entry {
        mtime: Mtime {
            sec: 1_600_000_000,
            nsec: 0,
        },
        ..Entry::new(path, kind, mode)
    };
    (entry, Vec::new())
}

fn dir(path: &str, mode: u32) -> Member {
    member(path, EntryKind::Directory, mode)
}

fn file(path: &str, content: &str) -> Member {
    let (mut entry, _) = member(path, EntryKind::Regular, 0o644);
    entry.size_bytes = content.len() as u64;
    (entry, content.into())
}

fn symlink_to(path: &str, target: impl AsRef<Path>) -> Member {
    member(path, EntryKind::Symlink(target.as_ref().into()), 0o777)
}

fn hard_link(path: &str, target: impl AsRef<Path>) -> Member {
    member(path, EntryKind::HardLink(target.as_ref().into()), 0o777)
}

fn with_xattr((mut entry, content): Member, name: &str, value: &[u8]) -> Member {
    entry.xattrs.push((name.into(), value.into()));
    entry.xattrs.sort();
    (entry, content)
}

struct Layer {
    diff_id: Digest,
    packed: Vec<u8>,
}

fn pack(members: &[Member]) -> Layer {
    let writer = LayerWriter::new(Vec::new(), Compression::GZIP).unwrap();
    let mut tar = TarWriter::new(writer);
    for (entry, content) in members {
        tar.append(entry, &mut content.as_slice()).unwrap();
    }
    let (packed, written) = tar.finish().unwrap().finish().unwrap();
    Layer {
        diff_id: written.diff_id,
        packed,
    }
}

/// Everything about a file that an escape could change.
type State = (u32, u32, u32, (i64, i64), Vec<u8>);

fn states(dir: &Path) -> BTreeMap<PathBuf, State> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        let content = if m.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let state = (
            m.mode(),
            m.uid(),
            m.gid(),
            (m.mtime(), m.mtime_nsec()),
            content,
        );
        found.insert(path, state);
    }
    found
}

/// A root and a layer store next to a directory that nothing may touch.
struct Arena {
    dir: tempfile::TempDir,
    before: BTreeMap<PathBuf, State>,
    store: LayerStore,
}

impl Arena {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        for path in ["root", "outside", "outside/victims"] {
            fs::create_dir(dir.path().join(path)).unwrap();
        }
        for path in ["canary", "victims/victim"] {
            fs::write(outside.join(path), "canary").unwrap();
            fs::set_permissions(outside.join(path), fs::Permissions::from_mode(0o640)).unwrap();
        }
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
        let before = states(&outside);
        let store = LayerStore::open(&dir.path().join("layers")).unwrap();
        Self { dir, before, store }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// From the root to the canaries, if `..` led there.
    fn up(&self) -> PathBuf {
        "../../../../../../../../../../../.."
            .parse::<PathBuf>()
            .unwrap()
            .join(self.outside().strip_prefix("/").unwrap())
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Extracts into the root as `cp` and build contexts do.
    fn extract(&self, members: &[Member]) -> Result<Extracted, UnpackError> {
        let root = Root::open(&self.rootfs()).unwrap();
        let result = extract(&root, pack(members).packed.as_slice(), &Options::default());
        self.check();
        result
    }

    /// Unpacks as an image's layer.
    fn unpack(&self, members: &[Member], parents: &[LayerName]) -> Result<LayerName, UnpackError> {
        let layer = pack(members);
        let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
        let stream = layer.packed.as_slice();
        let result = self
            .store
            .unpack(&layer.diff_id, parents, stream, &media_type);
        self.check();
        let name = LayerName::from(&layer.diff_id);
        if result.is_err() {
            assert!(!self.store.contains(&name), "a refused layer is visible");
            let left = fs::read_dir(self.dir.path().join("layers/tmp")).unwrap();
            assert_eq!(left.count(), 0, "a refused layer left something");
        }
        result.map(|_| name)
    }

    /// What a container on these layers sees.
    fn view(&self, layers: &[LayerName]) -> Root {
        self.store.view(layers).unwrap()
    }

    /// Runs the archive every way there is; both may succeed or refuse, neither
    /// may touch the canaries.
    fn attack(&self, members: &[Member]) {
        let _ = self.extract(members);
        let layer = pack(members);
        let inside = self.dir.path().join("root-of-layer");
        fs::create_dir(&inside).unwrap();
        let root = Root::open(&inside).unwrap();
        let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
        let stream = layer.packed.as_slice();
        let unpacked = unpack_layer(
            &root,
            &layer.diff_id,
            stream,
            &media_type,
            Limits::default(),
        );
        if let Ok(mut layer) = unpacked {
            let _ = layer.pending.resolve_within(&root);
        }
        self.check();
        fs::remove_dir_all(&inside).unwrap();
    }

    #[track_caller]
    fn refused(&self, members: &[Member], part: &str) {
        let error = self.unpack(members, &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(states(&self.outside()), self.before, "a canary changed");
    }
}

fn read(root: &Root, path: &str) -> Option<String> {
    let data = root.read_regular(Path::new(path), 1 << 20).ok()?;
    Some(String::from_utf8(data).unwrap())
}

#[test]
fn attributes_of_all_kinds_are_kept() {
    let arena = Arena::new();
    let owned = |(entry, content): Member, uid| {
        (
            Entry {
                uid,
                gid: uid + 1,
                ..entry
            },
            content,
        )
    };
    let members = [
        owned(dir("", 0o711), 1),
        owned(dir("d", 0o1777), 2),
        owned(file("d/f", "content"), 3),
        owned(symlink_to("d/s", "nowhere"), 4),
        owned(member("d/p", EntryKind::Fifo, 0o600), 5),
        owned(dir("d/e", 0o2750), 6),
        file("d/e/late", ""),
        file("d/later", ""),
    ];
    let root = arena.view(&[arena.unpack(&members, &[]).unwrap()]);
    for (entry, _) in &members {
        let found = root.symlink_metadata(&entry.path).unwrap();
        assert_eq!(
            (found.uid, found.gid),
            (entry.uid, entry.gid),
            "{:?}",
            entry.path
        );
        assert_eq!(found.mtime, entry.mtime.sec, "time of {:?}", entry.path);
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            assert_eq!(found.mode, entry.mode, "{:?}", entry.path);
        }
    }
}

#[test]
fn later_entries_replace_earlier_ones_of_any_type() {
    let arena = Arena::new();
    let kinds = || {
        [
            dir("x", 0o755),
            file("x", "file"),
            symlink_to("x", "other"),
            hard_link("x", "other"),
            member("x", EntryKind::Fifo, 0o600),
        ]
    };
    for first in kinds() {
        for second in kinds() {
            let mut members = vec![file("other", "other"), first.clone()];
            if first.0.kind == EntryKind::Directory {
                members.push(file("x/inside", "inside"));
            }
            members.push(second.clone());
            let root = arena.view(&[arena.unpack(&members, &[]).unwrap()]);
            let found = root.symlink_metadata(Path::new("x")).unwrap();
            let expected = match second.0.kind {
                EntryKind::Directory => FileKind::Directory,
                EntryKind::Regular | EntryKind::HardLink(_) => FileKind::Regular,
                EntryKind::Symlink(_) => FileKind::Symlink,
                _ => FileKind::Fifo,
            };
            assert_eq!(found.kind, expected, "{first:?} then {second:?}");
            assert_eq!(read(&root, "other").unwrap(), "other");
        }
    }
}

#[test]
fn a_directory_made_anew_hides_what_was_below() {
    let base = [dir("d", 0o755), file("d/old", "old")];
    for members in [
        vec![file(".wh.d", ""), dir("d", 0o755), file("d/new", "new")],
        vec![file(".wh.d", ""), file("d/new", "new")],
        vec![dir("d", 0o755), file("d/new", "new"), file(".wh.d", "")],
        vec![
            file("d", "a file first"),
            dir("d", 0o755),
            file("d/new", "new"),
        ],
        vec![file("d/.wh..wh..opq", ""), file("d/new", "new")],
    ] {
        let arena = Arena::new();
        let base = arena.unpack(&base, &[]).unwrap();
        let top = arena.unpack(&members, std::slice::from_ref(&base)).unwrap();
        let root = arena.view(&[base, top]);
        assert_eq!(read(&root, "d/new").unwrap(), "new", "{members:?}");
        assert_eq!(read(&root, "d/old"), None, "{members:?}");
    }
}

#[test]
fn contexts_land_with_their_owner_and_merge() {
    let arena = Arena::new();
    fs::create_dir(arena.rootfs().join("kept")).unwrap();
    fs::write(arena.rootfs().join("kept/old"), "old").unwrap();
    let archive = pack(&[file("kept/new", "new"), dir("kept", 0o700)]).packed;
    let options = Options {
        owner: Some((7, 8)),
        ..Options::default()
    };
    let root = Root::open(&arena.rootfs()).unwrap();
    let extracted = extract(&root, archive.as_slice(), &options).unwrap();
    assert_eq!((extracted.entries, extracted.size_bytes), (2, 3));
    assert_eq!(read(&root, "kept/old").unwrap(), "old");
    let metadata = root.metadata(Path::new("kept/new")).unwrap();
    assert_eq!((metadata.uid, metadata.gid), (7, 8));
    assert_eq!(root.metadata(Path::new("kept")).unwrap().mode, 0o700);
}
