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
fn a1_links_in_a_layer_lead_nowhere_outside() {
    let arena = Arena::new();
    let canary = arena.outside().join("canary");
    let inner = canary.to_str().unwrap().trim_start_matches('/');
    arena.attack(&[symlink_to("a", "/"), file(&format!("a/{inner}"), "evil")]);
    arena.attack(&[symlink_to("b", arena.up()), file("b/canary", "evil")]);
    arena.attack(&[symlink_to("c", arena.outside()), file("c/canary", "evil")]);
    arena.attack(&[symlink_to("d", &canary), file("d", "evil")]);
    arena.attack(&[
        symlink_to("e", arena.outside()),
        hard_link("f", "e/canary"),
        file("f", "evil"),
    ]);
    arena.attack(&[
        symlink_to("g", &canary),
        hard_link("h", "g"),
        file("h", "evil"),
    ]);
    // In the root itself the first one landed inside.
    assert_eq!(
        fs::read_to_string(arena.rootfs().join(inner)).unwrap(),
        "evil"
    );

    // Two layers: the link below, the file above.
    let base = arena
        .unpack(&[symlink_to("l", arena.outside())], &[])
        .unwrap();
    let parents = [base.clone()];
    let top = arena.unpack(&[file("l/canary", "evil")], &parents).unwrap();
    let root = arena.view(&[base, top]);
    assert_eq!(read(&root, "l/canary").unwrap(), "evil");
    arena.check();
}

#[test]
fn a2_a_hard_link_has_no_mode_of_its_own() {
    let arena = Arena::new();
    let canary = arena.outside().join("canary");
    let members = [symlink_to("s", &canary), hard_link("h", "s")];
    arena.extract(&members).unwrap();
    let layer = arena.unpack(&members, &[]).unwrap();
    let root = arena.view(&[layer]);
    let inode = |path| root.symlink_metadata(Path::new(path)).unwrap().inode;
    assert_eq!(inode("s"), inode("h"));
    // Nor does it change the file it names.
    let members = [file("f", "x"), hard_link("h", "f")];
    let root = arena.view(&[arena.unpack(&members, &[]).unwrap()]);
    assert_eq!(root.metadata(Path::new("f")).unwrap().mode, 0o644);
}

#[test]
fn a3_a_directory_entry_over_a_link_changes_no_host_mode() {
    let arena = Arena::new();
    symlink(arena.outside(), arena.rootfs().join("d")).unwrap();
    symlink(arena.up(), arena.rootfs().join("u")).unwrap();
    arena
        .extract(&[dir("d", 0o777), dir("u", 0o777), dir("u/victims", 0o777)])
        .unwrap();
    assert!(
        fs::symlink_metadata(arena.rootfs().join("d"))
            .unwrap()
            .is_dir()
    );
}

#[test]
fn a4_no_order_of_hops_leads_outside() {
    let members = |arena: &Arena| {
        vec![
            symlink_to("x", "y"),
            symlink_to("y", "z"),
            symlink_to("z", arena.outside()),
            hard_link("h", "x/canary"),
            file("x/canary", "evil"),
        ]
    };
    let mut orders = Vec::new();
    permutations(&mut vec![0, 1, 2, 3, 4], 0, &mut orders);
    assert_eq!(orders.len(), 120);
    let arena = Arena::new();
    let root = Root::open(&arena.rootfs()).unwrap();
    for order in orders {
        let all = members(&arena);
        let members: Vec<Member> = order.iter().map(|at| all[*at].clone()).collect();
        arena.attack(&members);
        root.clear_dir(Path::new("")).unwrap();
    }
}

fn permutations(order: &mut Vec<usize>, at: usize, found: &mut Vec<Vec<usize>>) {
    if at == order.len() {
        found.push(order.clone());
    }
    for other in at..order.len() {
        order.swap(at, other);
        permutations(order, at + 1, found);
        order.swap(at, other);
    }
}

#[test]
fn a4_what_a_fix_must_not_break() {
    let arena = Arena::new();
    let device = EntryKind::CharDevice { major: 1, minor: 5 };
    let members = [
        dir("bin", 0o755),
        file("bin/real", "real"),
        // Absolute targets mean the root of the image.
        hard_link("bin/linked", "/bin/real"),
        member("zero", device, 0o640),
        dir("run", 0o755),
        dir("var", 0o755),
        symlink_to("var/run", "/run"),
        file("var/run/pid", "1"),
    ];
    let root = arena.view(&[arena.unpack(&members, &[]).unwrap()]);
    assert_eq!(read(&root, "bin/linked").unwrap(), "real");
    assert_eq!(root.metadata(Path::new("zero")).unwrap().mode, 0o640);
    assert_eq!(read(&root, "run/pid").unwrap(), "1");
    let link = root.read_link(Path::new("var/run")).unwrap();
    assert_eq!(link, Path::new("/run"));
}

#[test]
fn a5_a_directory_replaces_a_link_to_one() {
    let arena = Arena::new();
    let members = [symlink_to("d", arena.outside()), dir("d", 0o777)];
    arena.extract(&members).unwrap();
    let root = arena.view(&[arena.unpack(&members, &[]).unwrap()]);
    let metadata = root.symlink_metadata(Path::new("d")).unwrap();
    assert_eq!((metadata.kind, metadata.mode), (FileKind::Directory, 0o777));
}

// A6, readers that disagree, is in oci::layer::reader::tests.

#[test]
fn a7_hard_link_targets_stay_in_the_layer() {
    let arena = Arena::new();
    arena.refused(&[hard_link("h", "../../canary")], "`..`");
    let up = arena.up().join("canary");
    arena.refused(&[hard_link("h", up)], "`..`");
    let absolute = arena.outside().join("canary");
    arena.refused(&[hard_link("h", &absolute)], "hard link target");
    assert!(arena.extract(&[hard_link("h", &absolute)]).is_err());
    arena.refused(&[dir("d", 0o755), hard_link("h", "d")], "hard link target");
}

#[test]
fn a8_the_root_and_whiteouts_cannot_be_turned_outside() {
    let arena = Arena::new();
    arena.refused(
        &[symlink_to(".", arena.outside())],
        "only a directory can be the root",
    );
    arena.refused(&[file("./", "x")], "content");
    let through = [
        symlink_to("lnk", arena.outside().join("victims")),
        file("lnk/.wh.victim", ""),
    ];
    // The target is made inside first, so that only the link stands in the way.
    let victims = arena.outside().join("victims");
    let inside = dir(victims.to_str().unwrap().trim_start_matches('/'), 0o755);
    arena.refused(&through, "symbolic link");
    arena.refused(&[&[inside][..], &through[..]].concat(), "symbolic link");
    for name in [
        ".wh...",
        ".wh..",
        ".wh.",
        "d/.wh..",
        ".wh..wh.x",
        ".wh..wh..opq.x",
    ] {
        arena.refused(&[file(name, "")], "whiteout");
    }
    arena.refused(&[dir(".wh..wh..opq", 0o755)], "whiteout");
    arena.refused(&[file(".wh.x/y", "")], "whiteout");
    arena.refused(&[file(".wh.x", "content")], "empty regular file");
    arena.refused(&[symlink_to(".wh.x", "y")], "empty regular file");
    // To `cp` they are names like any other.
    arena.extract(&[file(".wh.x", "content")]).unwrap();
    // What aufs left in ancient images means nothing.
    let name = arena
        .unpack(&[dir(".wh..wh.plnk", 0o700), file(".wh..wh.aufs", "")], &[])
        .unwrap();
    assert!(
        arena
            .view(&[name])
            .read_dir(Path::new(""))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a9_swapping_directories_meanwhile_changes_nothing_outside() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    const SWAPS_MIN: usize = 10_000;
    const ROUNDS_MIN: usize = 200;
    let arena = Arena::new();
    let root = arena.rootfs();
    fs::create_dir_all(root.join("d/victims")).unwrap();
    symlink(arena.outside(), root.join("l")).unwrap();
    let (one, two) = (root.join("d"), root.join("l"));
    let (swaps, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let members = [
        dir("d", 0o777),
        file("d/canary", "evil"),
        dir("d/victims", 0o777),
        file("d/victims/victim", "evil"),
        symlink_to("d/s", "canary"),
        hard_link("d/h", "d/canary"),
        member("d/fifo", EntryKind::Fifo, 0o777),
    ];
    let archive = pack(&members).packed;
    let mut rounds = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // Fails while the extraction has replaced one of them.
                if renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let handle = Root::open(&root).unwrap();
        while rounds < ROUNDS_MIN || swaps.load(Ordering::SeqCst) < SWAPS_MIN {
            let _ = extract(&handle, archive.as_slice(), &Options::default());
            rounds += 1;
            // The archive's directory replaces the link; plant another.
            if !one.is_symlink() && !two.is_symlink() {
                let _ = handle.remove_all(Path::new("l"));
                let _ = symlink(arena.outside(), &two);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    arena.check();
}

#[test]
fn a10_a_cut_layer_fails_and_the_next_pull_works() {
    let arena = Arena::new();
    let noise: String = (0..40_000u32)
        .map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)))
        .collect();
    let layer = pack(&[file("a", &noise), file("b", &noise)]);
    let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
    let unpack = |stream: &[u8]| arena.store.unpack(&layer.diff_id, &[], stream, &media_type);
    for percent in [0, 1, 30, 60, 90, 99] {
        let cut = layer.packed.len() * percent / 100;
        let error = unpack(&layer.packed[..cut]).unwrap_err();
        assert!(
            matches!(error, UnpackError::Archive(LayerError::Truncated(_))),
            "{percent}: {error}"
        );
    }
    unpack(&layer.packed).unwrap();
}

// A11, bombs, is in the integration test `bombs`: memory is measured there.

#[test]
fn a12_devices_and_attributes_are_what_they_may_be() {
    let arena = Arena::new();
    let disk = member("disk", EntryKind::BlockDevice { major: 8, minor: 0 }, 0o660);
    let error = arena.extract(std::slice::from_ref(&disk)).unwrap_err();
    assert!(matches!(error, UnpackError::DeviceRefused(_)), "{error}");
    // An image may hold devices; whether a container may open them is for its
    // cgroup to say.
    arena.unpack(&[disk], &[]).unwrap();
    let nothing = member("gone", EntryKind::CharDevice { major: 0, minor: 0 }, 0);
    arena.refused(&[nothing], "character device 0:0");

    let base = arena
        .unpack(&[dir("d", 0o755), file("d/below", "below")], &[])
        .unwrap();
    // cap_net_raw+ep (capabilities(7), VFS_CAP_REVISION_2).
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut ping = with_xattr(file("ping", "x"), "security.capability", capability);
    ping = with_xattr(ping, "user.note", b"kept");
    ping = with_xattr(ping, "trusted.overlay.metacopy", b"");
    ping = with_xattr(ping, "security.selinux", b"system_u:object_r:etc_t:s0");
    ping.0.mode = 0o4755;
    ping.0.uid = 12;
    let mut opaque = with_xattr(dir("d", 0o755), "trusted.overlay.opaque", b"y");
    opaque = with_xattr(opaque, "user.overlay.opaque", b"y");
    opaque = with_xattr(opaque, "trusted.overlay.redirect", b"/etc");
    let parents = [base.clone()];
    let top = arena.unpack(&[ping, opaque], &parents).unwrap();
    let root = arena.view(&[base, top]);
    assert_eq!(read(&root, "d/below").unwrap(), "below", "not opaque");
    assert!(root.attributes(Path::new("d")).unwrap().is_empty());
    let names: Vec<_> = root
        .attributes(Path::new("ping"))
        .unwrap()
        .into_iter()
        .map(|(name, _)| String::from_utf8(name).unwrap())
        .collect();
    assert_eq!(names, ["security.capability", "user.note"]);
    let metadata = root.metadata(Path::new("ping")).unwrap();
    assert_eq!(
        (metadata.mode, metadata.uid),
        (0o4755, 12),
        "chown clears setuid, chmod comes last"
    );
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
