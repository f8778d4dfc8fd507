//! What is mounted into a container, read from the four ways to ask for it:
//! `-v`, `--mount`, `--tmpfs`, and the image's VOLUME. Pure.

use std::path::{Component, Path, PathBuf};

use engine_api::{ContainerConfig, HostConfig, Mount, TmpfsOptions};
use runtime::spec::Propagation;

use crate::error::{EngineError, Result};
use crate::names;

/// One planned mount; `target` is absolute and free of `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMount {
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// The options as the user wrote them, for inspect.
    pub(crate) mode: String,
    pub(crate) source: PlannedSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlannedSource {
    Bind {
        path: PathBuf,
        /// `-v` makes a missing directory, `--mount` does not.
        create: bool,
        recursive: bool,
        propagation: Propagation,
    },
    Volume {
        /// Empty for an anonymous one.
        name: String,
        /// An empty volume receives what the image has at the target.
        copy: bool,
        labels: std::collections::BTreeMap<String, String>,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: u32,
        exec: bool,
    },
}

/// Every mount of a container, parents before what is below them.
///
/// # Errors
/// A mount that cannot be read or honoured, or two at one target.
pub(crate) fn plan(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<PlannedMount>> {
    let mut mounts: Vec<PlannedMount> = Vec::new();
    for bind in host.binds.iter().flatten() {
        add(&mut mounts, parse_bind(bind)?)?;
    }
    for mount in &host.mounts {
        add(&mut mounts, read_mount(mount)?)?;
    }
    for (target, options) in &host.tmpfs {
        add(&mut mounts, parse_tmpfs(target, options)?)?;
    }
    for path in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        let target = clean_target(path)?;
        // Anything the user put there takes the place of the image's volume.
        if mounts.iter().all(|mount| mount.target != target) {
            mounts.push(PlannedMount {
                target,
                read_only: false,
                mode: String::new(),
                source: PlannedSource::Volume {
                    name: String::new(),
                    copy: true,
                    labels: Default::default(),
                },
            });
        }
    }
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(mounts)
}

fn add(mounts: &mut Vec<PlannedMount>, mount: PlannedMount) -> Result<()> {
    if mounts.iter().any(|other| other.target == mount.target) {
        return Err(EngineError::bad(format!(
            "Duplicate mount point: {}",
            mount.target
        )));
    }
    mounts.push(mount);
    Ok(())
}

/// The target as Docker cleans it: lexically, since the container's own root
/// resolves what is left by descriptor.
fn clean_target(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(EngineError::bad(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                return Err(EngineError::bad(format!(
                    "invalid mount path: '{path}' must not contain '..'"
                )));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(EngineError::bad(
            "invalid specification: destination can't be '/'",
        ));
    }
    Ok(clean.to_string_lossy().into_owned())
}

/// `source:target[:options]`, or `target` alone for an anonymous volume.
fn parse_bind(text: &str) -> Result<PlannedMount> {
    let invalid = || EngineError::bad(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(invalid()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid());
    }
    let target = clean_target(target)?;
    let mut read_only = false;
    let mut copy = true;
    let mut propagation = Propagation::Private;
    let mut recursive = true;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // Labels of SELinux and hints for other operating systems: nothing to do here.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "default" => {}
            "nocopy" => copy = false,
            "copy" => copy = true,
            other => (propagation, recursive) = parse_propagation(other).ok_or_else(invalid)?,
        }
    }
    let source = if source.starts_with('/') {
        PlannedSource::Bind {
            path: PathBuf::from(source),
            create: true,
            recursive,
            propagation,
        }
    } else {
        volume(source, copy, Default::default())?
    };
    Ok(PlannedMount {
        target,
        read_only,
        mode: options.to_owned(),
        source,
    })
}

fn parse_propagation(text: &str) -> Option<(Propagation, bool)> {
    Some(match text {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        _ => return None,
    })
}

fn volume(
    name: &str,
    copy: bool,
    labels: std::collections::BTreeMap<String, String>,
) -> Result<PlannedSource> {
    if !name.is_empty() && !names::is_valid(name) {
        return Err(EngineError::bad(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, \
             only \"{}\" are allowed. If you intended to pass a host directory, use absolute path",
            names::NAME_RULE
        )));
    }
    Ok(PlannedSource::Volume {
        name: name.to_owned(),
        copy,
        labels,
    })
}

/// One `--mount`.
fn read_mount(mount: &Mount) -> Result<PlannedMount> {
    let invalid = |why: String| {
        EngineError::bad(format!(
            "invalid mount config for type \"{}\": {why}",
            mount.kind
        ))
    };
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty".to_owned()));
    }
    let source = match mount.kind.as_str() {
        "bind" => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            if !mount.source.starts_with('/') {
                return Err(invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            if options.read_only_force_recursive && options.non_recursive {
                return Err(invalid(
                    "ReadOnlyForceRecursive needs a recursive bind".to_owned(),
                ));
            }
            let propagation = options.propagation.as_str();
            let (propagation, _) = match propagation {
                "" => (Propagation::Private, true),
                text => parse_propagation(text)
                    .ok_or_else(|| invalid(format!("invalid propagation mode: {text}")))?,
            };
            PlannedSource::Bind {
                path: PathBuf::from(&mount.source),
                create: options.create_mountpoint,
                recursive: !options.non_recursive,
                propagation,
            }
        }
        "volume" => {
            let options = mount.volume_options.clone().unwrap_or_default();
            if !options.subpath.is_empty() {
                return Err(unsupported("--mount volume-subpath"));
            }
            if let Some(driver) = &options.driver_config
                && (!matches!(driver.name.as_str(), "" | "local") || !driver.options.is_empty())
            {
                return Err(unsupported("--mount volume-driver and volume-opt"));
            }
            volume(&mount.source, !options.no_copy, options.labels)?
        }
        "tmpfs" => {
            if !mount.source.is_empty() {
                return Err(invalid("field Source must not be specified".to_owned()));
            }
            read_tmpfs(
                mount
                    .tmpfs_options
                    .as_ref()
                    .unwrap_or(&TmpfsOptions::default()),
            )?
        }
        "image" | "npipe" | "cluster" => {
            return Err(unsupported(&format!("--mount type={}", mount.kind)));
        }
        other => {
            return Err(EngineError::bad(format!(
                "invalid mount config: mount type unknown: \"{other}\""
            )));
        }
    };
    Ok(PlannedMount {
        target: clean_target(&mount.target)?,
        read_only: mount.read_only,
        mode: String::new(),
        source,
    })
}

fn read_tmpfs(options: &TmpfsOptions) -> Result<PlannedSource> {
    let mut exec = false;
    for option in options.options.iter().flatten() {
        match option.first().map(String::as_str) {
            Some("exec") => exec = true,
            Some("noexec") | None => {}
            Some(other) => return Err(unsupported(&format!("--mount tmpfs option {other}"))),
        }
    }
    Ok(PlannedSource::Tmpfs {
        size_bytes: u64::try_from(options.size_bytes)
            .ok()
            .filter(|size| *size > 0),
        mode: if options.mode == 0 {
            0o1777
        } else {
            options.mode
        },
        exec,
    })
}

/// `--tmpfs target:options`.
fn parse_tmpfs(target: &str, options: &str) -> Result<PlannedMount> {
    let invalid = |option: &str| EngineError::bad(format!("invalid tmpfs option \"{option}\""));
    let (mut size_bytes, mut mode, mut exec, mut read_only) = (None, 0o1777, false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) => {
                size_bytes = Some(parse_size(size).ok_or_else(|| invalid(option))?)
            }
            Some(("mode", bits)) => {
                mode = u32::from_str_radix(bits, 8)
                    .ok()
                    .filter(|m| *m <= 0o7777)
                    .ok_or_else(|| invalid(option))?;
            }
            None => match option {
                "exec" => exec = true,
                "ro" => read_only = true,
                // The flags that every tmpfs here has.
                "noexec" | "rw" | "nosuid" | "nodev" => {}
                _ => return Err(invalid(option)),
            },
            Some(_) => return Err(invalid(option)),
        }
    }
    Ok(PlannedMount {
        target: clean_target(target)?,
        read_only,
        mode: options.to_owned(),
        source: PlannedSource::Tmpfs {
            size_bytes,
            mode,
            exec,
        },
    })
}

/// `64k`, `10m`, `1g` or bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn unsupported(what: &str) -> EngineError {
    EngineError::NotImplemented(format!("{what} is not supported by Carrack yet"))
}

#[cfg(test)]
#[path = "mounts/tests.rs"]
mod tests;
