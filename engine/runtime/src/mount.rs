//! Overlay mounts that are attached nowhere.
//!
//! A mount made here lives as long as its descriptor: a crash leaves nothing in
//! any mount table. Layers are named by descriptor, because the strings that
//! fsconfig(2) takes end at 255 bytes and colons in them split.

use std::{
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    },
};

/// Why an overlay could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("open layer directory {}", .path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
    /// `kernel` is the kernel's own explanation, empty when it gave none.
    #[error("mount an overlay of {layers} layers: {step}{kernel}")]
    Overlay {
        step: &'static str,
        layers: usize,
        kernel: String,
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
}

impl Overlay<'_> {
    /// Mounts it detached and returns the mount's root.
    pub fn mount_detached(&self) -> Result<OwnedFd, MountError> {
        let lower = self
            .lower
            .iter()
            .map(|path| open_dir(path))
            .collect::<Result<Vec<_>, _>>()?;
        let failed = |step| {
            move |errno: Errno| MountError::Overlay {
                step,
                layers: self.lower.len(),
                kernel: String::new(),
                source: errno.into(),
            }
        };
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open"))?;
        let explain = |error: MountError| explained(error, &context);
        set_lower(&context, &lower)
            .map_err(failed("set the layers"))
            .map_err(explain)?;
        if let Some((upper, work)) = self.upper {
            let (upper, work) = (open_dir(upper)?, open_dir(work)?);
            set(&context, "upperdir", &name(&upper))
                .and_then(|()| set(&context, "workdir", &name(&work)))
                .map_err(failed("set the upper directory"))
                .map_err(explain)?;
        }
        set_complete_uppers(&context)
            .map_err(failed("set options"))
            .map_err(explain)?;
        if self.read_only {
            fsconfig_set_flag(&context, "ro").map_err(failed("set options"))?;
        }
        fsconfig_create(&context)
            .map_err(failed("create"))
            .map_err(explain)?;
        let attributes = if self.read_only {
            MountAttrFlags::MOUNT_ATTR_RDONLY
        } else {
            MountAttrFlags::empty()
        };
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("mount"))
    }
}

/// An upper directory must be a layer on its own: no renamed directory that
/// points into lower ones, no file with its data left below. Some
/// distributions' kernels turn these on by default.
fn set_complete_uppers(context: &OwnedFd) -> Result<(), Errno> {
    for option in ["redirect_dir", "metacopy", "index"] {
        set(context, option, "off")?;
    }
    Ok(())
}

fn set_lower(context: &OwnedFd, lower: &[OwnedFd]) -> Result<(), Errno> {
    for (at, fd) in lower.iter().enumerate() {
        match set(context, "lowerdir+", &name(fd)) {
            // Linux before 6.7 has one string for all, which holds 13 descriptors.
            Err(Errno::INVAL) if at == 0 => {
                let all: Vec<String> = lower.iter().map(name).collect();
                return set(context, "lowerdir", &all.join(":"));
            }
            result => result?,
        }
    }
    Ok(())
}

fn set(context: &OwnedFd, key: &str, value: &str) -> Result<(), Errno> {
    fsconfig_set_string(context.as_fd(), key, value)
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

/// Adds what the kernel wrote to the context's log, one message a read
/// (kernel documentation, filesystems/mount_api.rst).
fn explained(mut error: MountError, context: &OwnedFd) -> MountError {
    if let MountError::Overlay { kernel, .. } = &mut error {
        let mut message = [0u8; 512];
        while let Ok(length) = rustix::io::read(context, &mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            kernel.push_str(": ");
            kernel.push_str(text.trim_start_matches("e ").trim());
        }
    }
    error
}

#[cfg(test)]
#[path = "mount/tests.rs"]
mod tests;
