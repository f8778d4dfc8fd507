//! Overlay mounts that are attached nowhere.
//!
//! A mount made here lives as long as its descriptor: a crash leaves nothing in
//! any mount table. Layers are named by descriptor, because the strings that
//! fsconfig(2) takes end at 255 bytes and colons in them split.

#![expect(unsafe_code, reason = "unshare(2) of a thread")]

use std::{
    ffi::CString,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        mount, mount_change, open_tree,
    },
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::root::{PathError, Root};

/// Why an overlay could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("open layer directory {}", .path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("prepare work directory {}", .path.display())]
    Work { path: PathBuf, source: PathError },
    /// The kernel writes its reasons to its log only (dmesg).
    #[error("mount an overlay of {layers} layers: {step}; the kernel's log may say why")]
    Overlay {
        step: &'static str,
        layers: usize,
        source: std::io::Error,
    },
}

/// An overlay to be mounted.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// Topmost first. Without an upper directory overlayfs wants two.
    pub lower: &'a [PathBuf],
    /// Upper and work directory, on one file system.
    pub upper: Option<(&'a Path, &'a Path)>,
    pub read_only: bool,
    /// Nothing written is synced, not even by fsync(2) inside or by the unmount,
    /// which else waits for the whole file system of the upper directory. For
    /// what a crash of the machine may take: build steps, containers that are
    /// removed when they end (kernel documentation, overlayfs.rst, "Volatile mount").
    pub volatile: bool,
}

impl Overlay<'_> {
    /// Mounts it detached and returns the mount's root.
    pub fn mount_detached(&self) -> Result<OwnedFd, MountError> {
        let context =
            fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(self.failed("open"))?;
        if takes_any_word(&context) {
            return self.mount_by_string();
        }
        let layers = self.open()?;
        for (at, fd) in layers.lower.iter().enumerate() {
            match set(&context, "lowerdir+", &name(fd)) {
                // Linux before 6.7.
                Err(Errno::INVAL) if at == 0 => return self.mount_by_string(),
                result => result.map_err(self.failed("set the layers"))?,
            }
        }
        self.configure(&context, &layers)?;
        let attributes = if self.read_only {
            MountAttrFlags::MOUNT_ATTR_RDONLY
        } else {
            MountAttrFlags::empty()
        };
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(self.failed("mount"))
    }

    fn configure(&self, context: &OwnedFd, layers: &Open) -> Result<(), MountError> {
        if let Some((upper, work)) = &layers.upper {
            set(context, "upperdir", &name(upper))
                .and_then(|()| set(context, "workdir", &name(work)))
                .map_err(self.failed("set the upper directory"))?;
        }
        for (option, value) in COMPLETE_UPPERS {
            set(context, option, value).map_err(self.failed("set options"))?;
        }
        if self.read_only {
            fsconfig_set_flag(context, "ro").map_err(self.failed("set options"))?;
        }
        if self.is_volatile() {
            fsconfig_set_flag(context, "volatile").map_err(self.failed("set options"))?;
        }
        fsconfig_create(context).map_err(self.failed("create"))
    }

    /// The way for kernels that take all layers in one string: fsconfig(2) ends
    /// strings at 255 bytes, mount(2) options at a page, which holds some two
    /// hundred descriptors. That call attaches the mount, so it is made in a
    /// mount namespace that ends with the thread, and a detached clone of it
    /// brought back.
    fn mount_by_string(&self) -> Result<OwnedFd, MountError> {
        std::thread::scope(|scope| {
            let mounting = scope.spawn(|| self.mount_in_private());
            mounting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs on a thread of its own, which it leaves in another mount namespace.
    fn mount_in_private(&self) -> Result<OwnedFd, MountError> {
        let failed = self.failed("mount by string");
        // SAFETY: unsharing the mount namespace and the file system attributes
        // changes how this thread alone resolves paths; descriptors stay
        // shared. The thread ends when this function returns.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.map_err(&failed)?;
        let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", propagation).map_err(&failed)?;
        // In here: overlayfs takes no directories of another mount namespace.
        let layers = self.open()?;
        let lower: Vec<String> = layers.lower.iter().map(name).collect();
        let mut options = format!("lowerdir={}", lower.join(":"));
        if let Some((upper, work)) = &layers.upper {
            options += &format!(",upperdir={},workdir={}", name(upper), name(work));
        }
        for (option, value) in COMPLETE_UPPERS {
            options += &format!(",{option}={value}");
        }
        if self.is_volatile() {
            options += ",volatile";
        }
        let options = CString::new(options).expect("made of digits and ASCII words");
        let flags = if self.read_only {
            MountFlags::RDONLY
        } else {
            MountFlags::empty()
        };
        // Any directory will do that exists everywhere.
        let target = "/proc";
        mount("overlay", target, "overlay", flags, options.as_c_str()).map_err(&failed)?;
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, target, clone).map_err(&failed)
    }

    fn is_volatile(&self) -> bool {
        self.volatile && self.upper.is_some()
    }

    fn open(&self) -> Result<Open, MountError> {
        let lower = self.lower.iter().map(|path| open_dir(path));
        Ok(Open {
            lower: lower.collect::<Result<_, _>>()?,
            upper: match self.upper {
                Some((upper, work)) => {
                    forget_volatile(work)?;
                    Some((open_dir(upper)?, open_dir(work)?))
                }
                None => None,
            },
        })
    }

    fn failed(&self, step: &'static str) -> impl Fn(Errno) -> MountError {
        let layers = self.lower.len();
        move |errno| MountError::Overlay {
            step,
            layers,
            source: errno.into(),
        }
    }
}

/// The directories of an overlay, open.
struct Open {
    lower: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
}

/// Overlayfs refuses an upper directory that was mounted volatile, in case the
/// machine crashed since. Who does so throws the directory away then.
fn forget_volatile(work: &Path) -> Result<(), MountError> {
    Root::open(work)
        .and_then(|work| work.remove_all(Path::new("work/incompat")))
        .map_err(|source| MountError::Work {
            path: work.to_owned(),
            source,
        })
}

/// An upper directory must be a layer on its own: no renamed directory that
/// points into lower ones, no file with its data left below. Some
/// distributions' kernels turn these on by default.
const COMPLETE_UPPERS: [(&str, &str); 3] = [
    ("redirect_dir", "off"),
    ("metacopy", "off"),
    ("index", "off"),
];

fn set(context: &OwnedFd, key: &str, value: &str) -> Result<(), Errno> {
    fsconfig_set_string(context.as_fd(), key, value)
}

/// Whether options are only collected now and looked at by the mount, all in
/// one string of the old kind: Linux before 6.5, which knows no `lowerdir+` but
/// does not say so.
fn takes_any_word(context: &OwnedFd) -> bool {
    set(context, "carrack", "1").is_ok()
}

fn name(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_dir(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| MountError::Open {
        path: path.to_owned(),
        source: errno.into(),
    })
}

#[cfg(test)]
#[path = "mount/tests.rs"]
mod tests;
