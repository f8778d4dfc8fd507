//! Images whose layers try to get out, through a whole server: pushed, pulled,
//! run, and built upon. Rows are those of table 1A of the path layer's own tests.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use oci::layer::{Compression, Entry, EntryKind, LayerWriter, TarWriter};

use crate::{
    build::{context, finish, submit},
    harness::{Carrack, Layer, busybox, output, push_image, run},
};

type Member = (Entry, Vec<u8>);

fn member(path: &str, kind: EntryKind, mode: u32) -> Member {
    (Entry::new(path, kind, mode), Vec::new())
}

fn file(path: impl AsRef<str>, content: &str) -> Member {
    let (mut entry, _) = member(path.as_ref(), EntryKind::Regular, 0o644);
    entry.size_bytes = content.len() as u64;
    (entry, content.into())
}

fn symlink(path: &str, target: impl AsRef<Path>) -> Member {
    member(path, EntryKind::Symlink(target.as_ref().into()), 0o777)
}

fn hard_link(path: &str, target: impl AsRef<Path>) -> Member {
    member(path, EntryKind::HardLink(target.as_ref().into()), 0o777)
}

fn pack(members: &[Member]) -> Layer {
    let writer = LayerWriter::new(Vec::new(), Compression::GZIP).unwrap();
    let mut tar = TarWriter::new(writer);
    for (entry, content) in members {
        tar.append(entry, &mut content.as_slice()).unwrap();
    }
    let (bytes, written) = tar.finish().unwrap().finish().unwrap();
    Layer::gzip(written.diff_id, bytes)
}

/// What may not change: a directory beside the server's own.
struct Outside {
    dir: PathBuf,
    before: BTreeMap<PathBuf, State>,
}

type State = (u32, u32, u32, i64, i64, Vec<u8>);

impl Outside {
    fn of(server: &Carrack) -> Self {
        let dir = server.site.dir.join("outside");
        fs::create_dir_all(dir.join("victims")).unwrap();
        for name in ["canary", "victims/victim"] {
            fs::write(dir.join(name), "canary").unwrap();
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(dir.join(name), mode).unwrap();
        }
        let before = states(&dir);
        Self { dir, before }
    }

    fn canary(&self) -> PathBuf {
        self.dir.join("canary")
    }

    /// From any root to the canary, if `..` led there.
    fn up(&self) -> PathBuf {
        let steps = "../".repeat(20);
        Path::new(&steps).join(self.canary().strip_prefix("/").unwrap())
    }

    #[track_caller]
    fn check(&self, row: &str) {
        assert_eq!(states(&self.dir), self.before, "{row}: a canary changed");
    }
}

fn states(dir: &Path) -> BTreeMap<PathBuf, State> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        let content = match m.is_file() {
            true => fs::read(&path).unwrap(),
            false => Vec::new(),
        };
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let state = (
            m.mode(),
            m.uid(),
            m.gid(),
            m.mtime(),
            m.mtime_nsec(),
            content,
        );
        found.insert(path, state);
    }
    found
}

/// Names of everything in the layer store.
fn stored(server: &Carrack) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let store = server.site.data_dir().join("layers");
    for entry in fs::read_dir(store).unwrap().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            let inner = fs::read_dir(entry.path()).unwrap().flatten();
            found.extend(inner.map(|inner| inner.path()));
        }
    }
    found.sort();
    found
}

fn build_from(server: &Carrack, image: &str, rest: &str) -> serde_json::Value {
    let dockerfile = format!("FROM {image}\n{rest}");
    let id = submit(server, "", context(&[("Dockerfile", &dockerfile)]));
    finish(server, &id)
}

#[test]
fn escapes_are_refused_by_pull_and_build_and_leave_nothing() {
    let server = Carrack::start();
    let outside = Outside::of(&server);
    let canary = outside.canary();
    let device = EntryKind::CharDevice { major: 0, minor: 0 };
    let busybox = busybox();
    // The base is there already, so that only the hostile layer is new.
    let base = push_image(&server, "base/busybox:1", std::slice::from_ref(&busybox));
    run(&mut server.docker(&["pull", "-q", &base]));
    let mut before = stored(&server);
    let cases = [
        ("A4", vec![file("../../canary", "evil")], ".."),
        ("A7 up", vec![hard_link("h", outside.up())], ".."),
        (
            "A7 absolute",
            vec![hard_link("h", &canary)],
            "hard link target",
        ),
        ("A8 root", vec![symlink(".", &outside.dir)], "root"),
        (
            "A8 whiteout behind a link",
            vec![
                symlink("l", outside.dir.join("victims")),
                file("l/.wh.victim", ""),
            ],
            "symbolic link",
        ),
        ("A8 whiteout of ..", vec![file(".wh...", "")], "whiteout"),
        ("A8 whiteout of .", vec![file("bin/.wh..", "")], "whiteout"),
        (
            "A8 opaque directory",
            vec![member(".wh..wh..opq", EntryKind::Directory, 0o755)],
            "whiteout",
        ),
        (
            "A12",
            vec![member("gone", device, 0o600)],
            "character device 0:0",
        ),
    ];
    for (number, (row, members, part)) in cases.into_iter().enumerate() {
        let name = format!("hostile/n{number}:1");
        let image = push_image(&server, &name, &[busybox.clone(), pack(&members)]);
        let pulled = output(&mut server.docker(&["pull", &image]));
        // What a layer takes from those below is looked for at the first use.
        let refused = match row {
            "A7 absolute" => {
                assert!(pulled.status.success(), "{row}: {pulled:?}");
                let used = output(&mut server.docker(&["run", "--rm", &image, "true"]));
                assert_eq!(used.status.code(), Some(125), "{row}: {used:?}");
                run(&mut server.docker(&["rmi", &image]));
                used
            }
            _ => {
                assert_eq!(pulled.status.code(), Some(1), "{row}: {pulled:?}");
                pulled
            }
        };
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(part), "{row}: {said}");
        let listed = run(&mut server.docker(&["images", "-q", &image]));
        assert_eq!(listed, "", "{row}");

        let built = build_from(&server, &image, "RUN true\n");
        assert_eq!(built["state"], "failed", "{row}: {built}");
        let error = &built["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part), "{row}: {error}");
        assert_eq!(error["file"], "Dockerfile", "{row}: {error}");
        outside.check(row);
        let after = stored(&server);
        match row {
            // The layer alone is harmless, and the builder may know it.
            "A7 absolute" => before = after,
            _ => assert_eq!(after, before, "{row}: left in the layer store"),
        }
    }
    // It still pulls and runs what is honest.
    assert_eq!(
        run(&mut server.docker(&["run", "--rm", &base, "echo", "well"])),
        "well"
    );
    server.expect_no_container();
}

#[test]
fn links_and_devices_in_an_image_lead_nowhere_outside() {
    let server = Carrack::start();
    let outside = Outside::of(&server);
    let inner = outside.canary();
    let inner = inner.to_str().unwrap().trim_start_matches('/').to_owned();
    let busybox = busybox();
    let disk = EntryKind::BlockDevice { major: 7, minor: 0 };
    let directory = |path: &str| member(path, EntryKind::Directory, 0o777);
    let one = |members: Vec<Member>| vec![members];
    let cases = [
        (
            "A1",
            one(vec![symlink("l", "/"), file(format!("l/{inner}"), "evil")]),
        ),
        (
            "A1 up",
            one(vec![symlink("l", outside.up()), file("l", "evil")]),
        ),
        (
            "A1 two layers",
            vec![
                vec![symlink("l", &outside.dir)],
                vec![file("l/canary", "evil")],
            ],
        ),
        (
            "A2",
            one(vec![symlink("l", outside.canary()), hard_link("h", "l")]),
        ),
        (
            "A4",
            one(vec![
                symlink("x", "y"),
                symlink("y", "l"),
                symlink("l", &outside.dir),
            ]),
        ),
        ("A5", one(vec![symlink("l", &outside.dir), directory("l")])),
        ("A12", one(vec![member("l", disk, 0o666)])),
    ];
    let attack = "for to in /l /l/canary /x/canary /h; do echo evil > $to; chmod 777 $to; \
                  rm -rf $to; done 2>/dev/null; true";
    for (number, (row, layers)) in cases.into_iter().enumerate() {
        let name = format!("sly/n{number}:1");
        let packed: Vec<Layer> = std::iter::once(busybox.clone())
            .chain(layers.iter().map(|members| pack(members)))
            .collect();
        let image = push_image(&server, &name, &packed);
        // What is harmless may be taken; what is taken is run.
        let pulled = output(&mut server.docker(&["pull", "-q", &image]));
        if pulled.status.success() {
            run(&mut server.docker(&["run", "--rm", &image, "sh", "-c", attack]));
        }
        outside.check(row);
        let rest = format!("RUN {attack}\nCOPY Dockerfile /l/canary\nWORKDIR /l/made\n");
        build_from(&server, &image, &rest);
        outside.check(row);
    }
    server.expect_no_container();
}
