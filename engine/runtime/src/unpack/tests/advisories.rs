//! One test for each row of archive advisories that this code must not repeat.
//! A6, readers that disagree, is in `oci::layer::reader::tests`; A11, bombs, is
//! in the integration test `bombs`: memory is measured there.

use super::*;

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
