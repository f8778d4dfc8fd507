//! The mounts of a container, each made detached and then moved onto a target
//! that was resolved inside the root by descriptor.
//!
//! Kernel file systems go only onto paths without any symbolic link: an image
//! with `/proc` or `/dev` as a link is refused instead of being followed
//! (CVE-2019-19921, CVE-2026-41579). Between resolving and moving there is only
//! a descriptor, so nothing can be swapped (CVE-2021-30465).

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::dev;
use crate::cgroup::Cgroup;
use crate::launcher::{Failure, FailureKind};
use crate::root::Root;
use crate::spec::{ContainerSpec, Mount, MountKind, Propagation};
use crate::sys;

/// `f_type` of procfs (linux/magic.h).
const PROC_MAGIC: i64 = 0x9fa0;

/// Files that lxcfs and its like may cover; everything else below /proc must
/// stay the kernel's own.
const PROC_COVERABLE: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

const BASE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Descriptors that later steps need: handles of our own file systems, not of
/// whatever the image shows at their paths.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) proc: Option<OwnedFd>,
    pub(super) devpts: Option<OwnedFd>,
    pub(super) dev: Option<OwnedFd>,
}

/// A bind mount's source, cloned while the host's paths still resolve.
pub(super) type Source = Option<OwnedFd>;

/// Clones the source of every bind mount, in list order.
pub(super) fn clone_sources(mounts: &[Mount]) -> Result<Vec<Source>, Failure> {
    mounts
        .iter()
        .map(|mount| match &mount.kind {
            MountKind::Bind {
                source, recursive, ..
            } => {
                let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                flags.set(OpenTreeFlags::AT_RECURSIVE, *recursive);
                let cloned = open_tree(CWD, source, flags);
                let what = format_args!("bind source {}", source.display());
                cloned.map(Some).map_err(|e| Failure::setup(what, e))
            }
            _ => Ok(None),
        })
        .collect()
}

/// Makes all mounts of the container on `root`.
pub(super) fn mount_all(
    spec: &ContainerSpec,
    root: &Root,
    root_fd: &OwnedFd,
    sources: Vec<Source>,
    cgroup: &Cgroup,
) -> Result<Mounted, Failure> {
    let mut mounted = Mounted::default();
    for (mount, source) in spec.mounts.iter().zip(sources) {
        let failed = |e| Failure::setup(format_args!("mount {}", mount.target), e);
        let attributes = if mount.read_only {
            BASE | MountAttrFlags::MOUNT_ATTR_RDONLY
        } else {
            BASE
        };
        match &mount.kind {
            MountKind::Bind { propagation, .. } => {
                let source = source.expect("clone_sources opened every bind");
                put_bind(root, mount, &source, *propagation)?;
            }
            MountKind::Tmpfs {
                size_bytes,
                mode,
                exec,
            } => {
                let size = size_bytes.map(|n| ("size", n.to_string()));
                let mode = ("mode", format!("{mode:o}"));
                let options: Vec<_> = size.into_iter().chain([mode]).collect();
                let mut attributes = attributes;
                attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, !exec);
                let tmpfs = filesystem("tmpfs", &options, attributes).map_err(failed)?;
                // Where the image has a link instead of /dev/shm, refuse; a
                // user's own --tmpfs may go through links inside the root.
                let target = if Path::new(&mount.target).starts_with("/dev") {
                    fixed_target(root, root_fd, &mount.target)?
                } else {
                    make_dir(root, &mount.target)?
                };
                refuse_procfs(&target, mount)?;
                put(&tmpfs, &target, &mount.target)?;
            }
            MountKind::Proc => {
                let target = fixed_target(root, root_fd, &mount.target)?;
                let proc = filesystem("proc", &[], BASE).map_err(failed)?;
                put(&proc, &target, &mount.target)?;
                mounted.proc = Some(proc);
            }
            MountKind::Sysfs => {
                let target = fixed_target(root, root_fd, &mount.target)?;
                put(
                    &filesystem("sysfs", &[], attributes).map_err(failed)?,
                    &target,
                    "/sys",
                )?;
            }
            MountKind::Mqueue => {
                let target = fixed_target(root, root_fd, &mount.target)?;
                let mqueue = filesystem("mqueue", &[], attributes).map_err(failed)?;
                put(&mqueue, &target, &mount.target)?;
            }
            MountKind::Dev => {
                let target = fixed_target(root, root_fd, &mount.target)?;
                let dev = dev::filesystem(spec)?;
                put(&dev, &target, &mount.target)?;
                mounted.dev = Some(dev);
            }
            MountKind::Devpts => {
                let target = fixed_target(root, root_fd, &mount.target)?;
                let devpts = devpts().map_err(failed)?;
                put(&devpts, &target, &mount.target)?;
                mounted.devpts = Some(devpts);
            }
            MountKind::Cgroup => mount_cgroups(root, root_fd, mount, attributes, cgroup)?,
        }
    }
    Ok(mounted)
}

/// A new file system instance, mounted nowhere.
pub(super) fn filesystem(
    kind: &str,
    options: &[(&str, String)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, value.as_str())?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Moves a detached mount onto an open target.
pub(super) fn put(mount: &OwnedFd, target: &OwnedFd, name: impl Display) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
        .map_err(|e| Failure::setup(format_args!("mount {name}"), e))
}

/// Opens a path inside the root that must not lead through any link.
pub(super) fn open_no_links(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// The directory for a kernel file system, made if absent.
fn fixed_target(root: &Root, root_fd: &OwnedFd, path: &str) -> Result<OwnedFd, Failure> {
    let refused = || {
        let text = format!("mount target {path} in the image leads through a symbolic link");
        Failure::new(FailureKind::Refused, text)
    };
    match open_no_links(root_fd, path) {
        Err(Errno::NOENT) => {
            // make_dirs follows links, so what it made is looked up again.
            make_dir(root, path)?;
            open_no_links(root_fd, path).map_err(|e| match e {
                Errno::LOOP | Errno::NOENT => refused(),
                e => Failure::setup(format_args!("open mount target {path}"), e),
            })
        }
        Err(Errno::LOOP) => Err(refused()),
        opened => opened.map_err(|e| Failure::setup(format_args!("open mount target {path}"), e)),
    }
}

fn make_dir(root: &Root, path: &str) -> Result<OwnedFd, Failure> {
    root.make_dirs(Path::new(path), 0o755, None)
        .map_err(|e| Failure::new(FailureKind::Setup, format!("create mount target: {e}")))
}

fn put_bind(
    root: &Root,
    mount: &Mount,
    source: &OwnedFd,
    propagation: Propagation,
) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::setup(format_args!("mount {}", mount.target), e);
    let kind = rustix::fs::fstat(source)
        .map_err(|e| failed(e.into()))?
        .st_mode;
    let is_dir = FileType::from_raw_mode(kind) == FileType::Directory;
    let target = if is_dir {
        make_dir(root, &mount.target)?
    } else {
        make_file(root, &mount.target)?
    };
    refuse_procfs(&target, mount)?;

    let set = if mount.read_only {
        sys::mount::RDONLY
    } else {
        0
    };
    let propagation = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    sys::mount::set_attributes(source.as_fd(), true, set, propagation).map_err(failed)?;
    put(source, &target, &mount.target)
}

/// Opens a file inside the root as a mount target, making an empty one.
fn make_file(root: &Root, path: &str) -> Result<OwnedFd, Failure> {
    let failed = |e: &dyn Display| {
        Failure::new(
            FailureKind::Setup,
            format!("create mount target {path}: {e}"),
        )
    };
    if let Ok(existing) = root.open_path(Path::new(path)) {
        return Ok(existing);
    }
    let (parent, name) = root
        .parent_of(Path::new(path), true)
        .map_err(|e| failed(&e))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644))
        .map_err(|e| failed(&e))?;
    root.open_path(Path::new(path)).map_err(|e| failed(&e))
}

/// A link in the image must not turn a volume into a cover over /proc.
fn refuse_procfs(target: &OwnedFd, mount: &Mount) -> Result<(), Failure> {
    let magic = rustix::fs::fstatfs(target).map(|s| s.f_type);
    if magic == Ok(PROC_MAGIC) && !PROC_COVERABLE.contains(&mount.target.as_str()) {
        let text = format!("mount target {} is inside /proc", mount.target);
        return Err(Failure::new(FailureKind::Refused, text));
    }
    Ok(())
}

/// Pseudo-terminals of this container only; group 5 is `tty` everywhere.
fn devpts() -> Result<OwnedFd, Errno> {
    let context = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Old kernels share one instance unless told otherwise; new ones no
    // longer know the word.
    let _ = fsconfig_set_flag(context.as_fd(), "newinstance");
    for (key, value) in [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The container's own group as the root of each hierarchy it is in.
fn mount_cgroups(
    root: &Root,
    root_fd: &OwnedFd,
    mount: &Mount,
    attributes: MountAttrFlags,
    cgroup: &Cgroup,
) -> Result<(), Failure> {
    let failed = |e: Errno| Failure::setup(format_args!("mount {}", mount.target), e);
    let target = fixed_target(root, root_fd, &mount.target)?;
    let Some(controllers) = cgroup.v1_controllers() else {
        let hierarchy = filesystem("cgroup2", &[], attributes).map_err(failed)?;
        return put(&hierarchy, &target, &mount.target);
    };
    let mode = [("mode", "755".to_owned())];
    let writable = attributes - MountAttrFlags::MOUNT_ATTR_RDONLY;
    let holder = filesystem("tmpfs", &mode, writable).map_err(failed)?;
    put(&holder, &target, &mount.target)?;
    for controller in controllers {
        rustix::fs::mkdirat(&holder, controller, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let place = open_no_links(&holder, controller).map_err(failed)?;
        let context = fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
        fsconfig_set_flag(context.as_fd(), controller).map_err(failed)?;
        fsconfig_create(context.as_fd()).map_err(failed)?;
        let hierarchy = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        put(
            &hierarchy.map_err(failed)?,
            &place,
            format_args!("{}/{controller}", mount.target),
        )?;
    }
    if mount.read_only {
        sys::mount::set_attributes(holder.as_fd(), false, sys::mount::RDONLY, 0)
            .map_err(|e| Failure::setup(format_args!("mount {}", mount.target), e))?;
    }
    Ok(())
}

/// Clones the mount at an open path, for binding it elsewhere.
pub(super) fn clone_at(path: &OwnedFd, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(path, "", flags)
}

/// Writes a file of our own procfs instance, whatever covers it elsewhere.
pub(super) fn write_proc(proc: &OwnedFd, path: &str, value: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat2(proc, path, flags, Mode::empty(), resolve)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// Whether the open file is the null device, and not a link to something that
/// masking would expose (CVE-2025-31133).
pub(super) fn is_null_device(file: &OwnedFd) -> bool {
    rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3)
    })
}
