//! The container's /dev: a tmpfs filled before it is mounted, so that nothing
//! in the image has a say in what its nodes are.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mounts;
use crate::launcher::{Failure, FailureKind};
use crate::root::Root;
use crate::spec::{ContainerSpec, Device, DeviceKind};

/// Docker's default.
const SIZE: &str = "65536k";

const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Mount points inside, made here because the tmpfs may become read-only.
const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];

/// Depth to which a privileged container gets the host's device directories.
const HOST_DEPTH_MAX: u32 = 4;

/// Makes the file system, detached.
pub(super) fn filesystem(spec: &ContainerSpec) -> Result<OwnedFd, Failure> {
    let failed = |e: Errno| Failure::setup("make the container's /dev", e);
    let options = [("mode", "755".to_owned()), ("size", SIZE.to_owned())];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = mounts::filesystem("tmpfs", &options, attributes).map_err(failed)?;
    for name in DIRECTORIES {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).map_err(failed)?;
    }
    for (name, major, minor) in NODES {
        let node = (FileType::CharacterDevice, makedev(major, minor));
        make_node(&dev, name, node, 0o666).map_err(failed)?;
    }
    if spec.process.tty {
        // A place for the terminal; bound over once that exists.
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        let flags = flags | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(&dev, "console", flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    }
    let root = Root::from_fd(
        dev.try_clone()
            .map_err(|e| Failure::setup("make /dev", e))?,
    );
    if spec.privileged {
        copy_host(&root, Path::new("/dev"), Path::new(""), 0);
    }
    for device in &spec.devices {
        put_device(&root, device)?;
    }
    Ok(dev)
}

fn put_device(root: &Root, device: &Device) -> Result<(), Failure> {
    let failed = |e: String| {
        Failure::new(
            FailureKind::Setup,
            format!("make device {}: {e}", device.path),
        )
    };
    let kind = match device.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
    };
    let path = device.path.strip_prefix("/dev/").unwrap_or(&device.path);
    let (parent, name) = root
        .parent_of(Path::new(path), true)
        .map_err(|e| failed(e.to_string()))?;
    let number = makedev(device.major, device.minor);
    let made = make_node(&parent, &name, (kind, number), device.mode).and_then(|()| {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(
            &parent,
            &name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    });
    made.map_err(|e| failed(e.to_string()))
}

/// An existing node of that name is replaced: the spec's devices come last.
fn make_node(
    dir: &OwnedFd,
    name: impl rustix::path::Arg + Copy,
    (kind, number): (FileType, u64),
    mode: u32,
) -> Result<(), Errno> {
    let make = || mknodat(dir, name, kind, Mode::from_raw_mode(mode), number);
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            make()?;
        }
        made => made?,
    }
    // mknod applied the umask.
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// All device nodes of the host, for a privileged container. What vanishes
/// meanwhile or cannot be read is left out.
fn copy_host(root: &Root, from: &Path, to: &Path, depth: u32) {
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else {
            continue;
        };
        let target = to.join(&name);
        let kind = metadata.file_type();
        let own = depth == 0
            && (DIRECTORIES.iter().any(|d| name == *d)
                || LINKS.iter().any(|(link, _)| name == *link)
                || name == "console");
        if own {
            continue;
        }
        if kind.is_dir() && depth < HOST_DEPTH_MAX {
            copy_host(root, &entry.path(), &target, depth + 1);
        } else if kind.is_char_device() || kind.is_block_device() {
            let node_kind = if kind.is_char_device() {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            if let Ok((parent, name)) = root.parent_of(&target, true) {
                let mode = metadata.mode() & 0o777;
                let _ = make_node(
                    &parent,
                    name.as_os_str(),
                    (node_kind, metadata.rdev()),
                    mode,
                );
            }
        }
    }
}
