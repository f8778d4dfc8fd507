//! What layers on top of each other show.

use super::*;

#[test]
fn layers_stack_and_whiteouts_delete() {
    let f = fixture();
    let base = f.layer(
        &[
            dir("", 0o755),
            dir("etc", 0o750),
            file("etc/a", b"a"),
            file("etc/b", b"b"),
            dir("opt", 0o755),
            file("opt/old", b"old"),
            dir("gone", 0o755),
            file("gone/old", b"old"),
        ],
        &[],
    );
    let top = f.layer(
        &[
            dir("etc", 0o750),
            file("etc/.wh.a", b""),
            file("etc/b", b"new"),
            dir("opt", 0o755),
            file("opt/.wh..wh..opq", b""),
            file("opt/new", b"new"),
            file(".wh.gone", b""),
            file("gone/new", b"new"),
        ],
        std::slice::from_ref(&base),
    );
    let root = f.see(&[base, top]);
    assert_eq!(read(&root, "etc/a"), None);
    assert_eq!(read(&root, "etc/b").unwrap(), b"new");
    assert_eq!(read(&root, "opt/old"), None);
    assert_eq!(read(&root, "opt/new").unwrap(), b"new");
    assert_eq!(read(&root, "gone/old"), None);
    assert_eq!(read(&root, "gone/new").unwrap(), b"new");
    assert_eq!(f.leftovers(), 0);
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let f = fixture();
    let base = f.layer(&[file("low", b"low")], &[]);
    let top = f.layer(&[file(".wh..wh..opq", b""), file("mid", b"mid")], &[]);
    let upper = f.layer(&[file("up", b"up")], &[]);
    let layers = [base, top.clone(), upper];
    for root in [
        f.see(&layers),
        Root::from_fd(
            f.store
                .prepare("s", &layers)
                .unwrap()
                .mount_detached()
                .unwrap(),
        ),
    ] {
        assert_eq!(read(&root, "low"), None);
        assert!(read(&root, "mid").is_some() && read(&root, "up").is_some());
    }
    let mut archive = Vec::new();
    f.store
        .export(&top, Compression::None, &mut archive)
        .unwrap();
    let mut tar = oci::layer::TarReader::new(archive.as_slice(), Limits::default());
    let names = std::iter::from_fn(|| tar.next_entry().unwrap());
    assert!(
        names
            .into_iter()
            .any(|e| e.path == Path::new(".wh..wh..opq"))
    );
}

#[test]
fn what_a_layer_leaves_out_comes_from_below_in_any_order() {
    let base = [
        dir("", 0o711),
        dir("tmp", 0o1777),
        file("tmp/target", b"below"),
    ];
    let top = [
        file("tmp/new", b"new"),
        link("linked", "tmp/target"),
        link("again", "linked"),
    ];
    let name = |members: &[Member]| LayerName::from(&pack(members, Compression::GZIP).diff_id);
    let order = [name(&base), name(&top)];
    for base_first in [true, false] {
        let f = fixture();
        if base_first {
            f.layer(&base, &[]);
            f.layer(&top, &order[..1]);
        } else {
            f.layer(&top, &order[..1]);
            f.layer(&base, &[]);
        }
        let snapshot = f.store.prepare("c", &order).unwrap();
        let root = Root::from_fd(snapshot.mount_detached().unwrap());
        let metadata = root.metadata(Path::new("tmp")).unwrap();
        assert_eq!(metadata.mode, 0o1777, "base first: {base_first}");
        assert_eq!(root.metadata(Path::new("/")).unwrap().mode, 0o711);
        assert_eq!(read(&root, "linked").unwrap(), b"below");
        assert_eq!(read(&root, "again").unwrap(), b"below");
        assert_eq!(f.leftovers(), 0);
    }
}

/// What a layer takes from those below must not follow it to other images.
#[test]
fn a_layer_takes_from_each_stack_apart() {
    let shared = [
        file("etc/x", b"x"),
        dir("usr", 0o750),
        file("usr/lib/y", b"y"),
        link("linked", "etc/target"),
    ];
    let [loose, strict] = [0o777, 0o711].map(|mode| {
        let content: &[u8] = if mode == 0o777 { b"evil" } else { b"honest" };
        [
            dir("etc", mode),
            file("etc/target", content),
            dir("usr", 0o777),
            dir("usr/lib", mode),
            dir("linked", mode),
        ]
    });
    for loose_first in [true, false] {
        for layer_first in [true, false] {
            let mut f = fixture();
            let mut first = true;
            let bases = if loose_first {
                [(&loose, 0o777, "evil"), (&strict, 0o711, "honest")]
            } else {
                [(&strict, 0o711, "honest"), (&loose, 0o777, "evil")]
            };
            let mut stacks = Vec::new();
            for (base, mode, content) in bases {
                let name = LayerName::from(&pack(base, Compression::GZIP).diff_id);
                if layer_first && first {
                    f.layer(&shared, std::slice::from_ref(&name));
                }
                f.layer(base, &[]);
                let shared = f.layer(&shared, std::slice::from_ref(&name));
                let stack = [name, shared];
                let snapshot = f.store.prepare(content, &stack).unwrap();
                drop(snapshot.mount_detached().unwrap());
                stacks.push((stack, mode, content));
                first = false;
            }
            for reopened in [false, true] {
                if reopened {
                    f.reopen();
                }
                for (stack, mode, content) in &stacks {
                    let snapshot = f.store.get(content).unwrap();
                    for root in [
                        f.see(stack),
                        Root::from_fd(snapshot.mount_detached().unwrap()),
                    ] {
                        let mode_of = |path: &str| root.metadata(Path::new(path)).unwrap().mode;
                        assert_eq!(mode_of("etc"), *mode, "loose first: {loose_first}");
                        assert_eq!(mode_of("usr/lib"), *mode);
                        assert_eq!(mode_of("usr"), 0o750, "the archive describes it");
                        assert_eq!(read(&root, "linked").unwrap(), content.as_bytes());
                        assert_eq!(read(&root, "etc/x").unwrap(), b"x");
                        assert_eq!(read(&root, "usr/lib/y").unwrap(), b"y");
                    }
                }
            }
            let shared = &stacks[0].0[1];
            let own = Root::open(&f.store.inner.layer_dir(shared).join(FILES)).unwrap();
            let neutral = own.metadata(Path::new("etc")).unwrap();
            assert_eq!((neutral.mode, neutral.uid, neutral.gid), (0o755, 0, 0));
            assert!(!own.exists(Path::new("linked")));
        }
    }
}

#[test]
fn completions_on_layers_that_are_gone_are_swept() {
    let mut f = fixture();
    let base = f.layer(&[dir("etc", 0o711)], &[]);
    let top = f.layer(&[file("etc/x", b"x")], &[]);
    let stack = [base.clone(), top.clone()];
    drop(f.see(&stack));
    let completion = f.store.inner.completion_dir(&top, &stack[..1]);
    f.reopen();
    assert!(completion.exists());
    f.store.remove_layer(&base).unwrap();
    f.reopen();
    assert!(!completion.exists());
    assert!(f.store.contains(&top));
    assert_eq!(f.leftovers(), 0);
}

#[test]
fn a_link_to_nothing_is_refused() {
    let f = fixture();
    let packed = pack(&[link("l", "nowhere")], Compression::GZIP);
    let error = f.unpack(&packed, &[]).unwrap_err();
    assert!(matches!(error, UnpackError::LinkTarget { .. }), "{error}");
    assert!(f.store.list_layers().unwrap().is_empty());
    assert_eq!(f.leftovers(), 0);
}

#[test]
fn a_layer_without_a_root_entry_shows_the_root_of_those_below() {
    let f = fixture();
    let base = f.layer(&[dir("", 0o711), file("a", b"a")], &[]);
    let top = f.layer(&[file("b", b"b")], std::slice::from_ref(&base));
    let both = [base, top.clone()];
    let root = |key: &str, layers: &[LayerName]| {
        let snapshot = f.store.prepare(key, layers).unwrap();
        let mount = Root::from_fd(snapshot.mount_detached().unwrap());
        mount.metadata(Path::new("/")).unwrap().mode
    };
    assert_eq!(root("both", &both), 0o711);
    assert_eq!(root("alone", &[top]), 0o755);
}
