//! On a small file system of its own.

use std::process::Command;

use oci::layer::LayerError;

use super::*;
use crate::root::PathError;

struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(mebibytes: u64, inodes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0", "-N", &inodes.to_string()])
            .arg(&image));
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let disk = Self { dir };
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(disk.path()));
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.path()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn noise(bytes: usize) -> &'static [u8] {
    let mut state = 7u32;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(bytes)
    .collect();
    data.leak()
}

fn unpack(store: &LayerStore, packed: &Packed) -> Result<Unpacked, UnpackError> {
    let media_type = MediaType::from(MediaType::OCI_LAYER_GZIP);
    store.unpack(&packed.diff_id, &[], packed.bytes.as_slice(), &media_type)
}

#[test]
fn a_layer_that_does_not_fit_leaves_nothing() {
    let names: Vec<String> = (0..600).map(|n| format!("file{n}")).collect();
    let many: Vec<Member> = names.iter().map(|name| file(name, b"x")).collect();
    let large = [file("large", noise(24 << 20))];
    for (disk, members) in [
        (Disk::new(16, 4096), &large[..]),
        (Disk::new(16, 128), &many[..]),
    ] {
        let store = LayerStore::open(&disk.path().join("layers")).unwrap();
        let packed = pack(members, Compression::GZIP);
        let error = unpack(&store, &packed).unwrap_err();
        assert!(
            matches!(error, UnpackError::Path(PathError::NoSpace(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("no space left"), "{error}");
        assert!(!store.contains(&LayerName::from(&packed.diff_id)));
        let left = fs::read_dir(disk.path().join("layers/tmp")).unwrap();
        assert_eq!(left.count(), 0, "the space is given back");
        let small = pack(&[file("small", b"small")], Compression::GZIP);
        unpack(&store, &small).unwrap();
    }
}

#[test]
fn an_export_that_does_not_fit_fails_by_name() {
    let disk = Disk::new(8, 128);
    let f = fixture();
    let layer = f.layer(&[file("large", noise(12 << 20))], &[]);
    let out = fs::File::create(disk.path().join("out")).unwrap();
    let error = f.store.export(&layer, Compression::GZIP, out).unwrap_err();
    match error {
        SnapshotError::Diff(diff::DiffError::Archive(LayerError::Sink(source)))
        | SnapshotError::Archive(LayerError::Sink(source)) => {
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        }
        error => panic!("{error:?}"),
    }
}
