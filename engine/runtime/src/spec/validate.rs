//! Checks on values that strangers choose, made before any process exists.

use std::path::{Component, Path};

use super::{ContainerSpec, Namespace, NetMode, ProcessSpec, SpecError};

/// Bytes of arguments and environment that execve(2) takes for sure; a quarter
/// of the usual 8 MiB stack is the kernel's own limit.
const ARGS_BYTES_MAX: usize = 2 << 20;

/// Linux's limit for host and domain names (`__NEW_UTS_LEN`).
const UTS_NAME_MAX: usize = 64;

impl ContainerSpec {
    /// Refuses values that would be misread further down.
    ///
    /// # Errors
    /// [`SpecError`] names the field and what is wrong with it.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.process.validate()?;
        for (field, value) in [
            ("hostname", &self.hostname),
            ("domainname", &self.domainname),
        ] {
            if value.len() > UTS_NAME_MAX || value.contains(['\0', '\n']) {
                return Err(invalid(
                    field,
                    value,
                    "must be at most 64 bytes on one line",
                ));
            }
        }
        if !is_plain_relative(&self.cgroup.path) {
            return Err(invalid(
                "cgroup path",
                &self.cgroup.path,
                "must be relative, without empty or `..` parts",
            ));
        }
        for mount in &self.mounts {
            if !mount.target.starts_with('/') || mount.target.contains('\0') {
                return Err(invalid("mount target", &mount.target, "must be absolute"));
            }
        }
        for device in &self.devices {
            if !device.path.starts_with("/dev/") || device.path.contains("/../") {
                return Err(invalid("device", &device.path, "must be below /dev"));
            }
            if device.access.is_empty() || device.access.chars().any(|c| !"rwm".contains(c)) {
                return Err(invalid(
                    "device access",
                    &device.access,
                    "must be of r, w and m",
                ));
            }
        }
        self.validate_sysctls()
    }

    fn validate_sysctls(&self) -> Result<(), SpecError> {
        let names = self.namespaces;
        let private_net = matches!(names.net, NetMode::Private | NetMode::Fd);
        let private_ipc = names.ipc == Namespace::Private;
        for (name, value) in &self.sysctls {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || !name.chars().all(plain) || name.split('.').any(str::is_empty) {
                return Err(invalid("sysctl", name, "is not a dotted name"));
            }
            let owned = match name.as_str() {
                n if n.starts_with("net.") => private_net,
                n if n.starts_with("fs.mqueue.") => private_ipc,
                "kernel.msgmax"
                | "kernel.msgmnb"
                | "kernel.msgmni"
                | "kernel.sem"
                | "kernel.shmall"
                | "kernel.shmmax"
                | "kernel.shmmni"
                | "kernel.shm_rmid_forced" => private_ipc,
                _ => false,
            };
            if !owned {
                return Err(SpecError::SysctlNotNamespaced(name.clone()));
            }
            // One value for one file: separators that other tools read as
            // "and the next setting" are refused outright.
            let allowed = |c: char| c.is_ascii_alphanumeric() || " \t._,:-".contains(c);
            if !value.chars().all(allowed) {
                return Err(invalid(
                    "sysctl value",
                    value,
                    "contains a refused character",
                ));
            }
        }
        Ok(())
    }
}

impl ProcessSpec {
    /// Refuses what execve(2) could not carry.
    ///
    /// # Errors
    /// [`SpecError`] names the field and what is wrong with it.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.args.first().is_none_or(String::is_empty) {
            return Err(invalid("args", "", "no command specified"));
        }
        let all = || self.args.iter().chain(&self.env);
        if let Some(bad) = all().find(|s| s.contains('\0')) {
            return Err(invalid("process", bad, "contains a NUL byte"));
        }
        if all().map(|s| s.len() + 9).sum::<usize>() > ARGS_BYTES_MAX {
            return Err(invalid(
                "process",
                &self.args[0],
                "has more than 2 MiB of arguments",
            ));
        }
        if let Some(bad) = self
            .env
            .iter()
            .find(|e| !e.contains('=') || e.starts_with('='))
        {
            return Err(invalid("env", bad, "is not NAME=value"));
        }
        if !self.cwd.starts_with('/') || self.cwd.contains('\0') {
            return Err(invalid("cwd", &self.cwd, "must be an absolute path"));
        }
        if self
            .oom_score_adj
            .is_some_and(|n| !(-1000..=1000).contains(&n))
        {
            return Err(invalid(
                "oom_score_adj",
                "",
                "must be between -1000 and 1000",
            ));
        }
        Ok(())
    }
}

fn invalid(field: &'static str, value: &str, problem: &'static str) -> SpecError {
    SpecError::Invalid {
        field,
        value: value.chars().take(128).collect(),
        problem,
    }
}

fn is_plain_relative(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\0', '\n'])
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
}
