//! `-v`, `--mount` and `--tmpfs`.

use engine_api::{BindOptions, DriverConfig, Mount, TmpfsOptions, VolumeOptions};

use super::{boolean, csv};
use crate::{config, units::parse_bytes};

/// What one `-v` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// `/data`: a volume without a name.
    Anonymous(String),
    /// `source:/data[:options]`, as the engine's `Binds` has it.
    Bind(String),
}

/// Reads one `-v`. A source that starts with a dot is a path from here.
///
/// # Errors
/// A text that names what is wrong.
pub fn volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<_> = text.split(':').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(format!(
            "invalid volume specification: '{text}': write source:/path[:options] or /path"
        ));
    }
    match parts.as_slice() {
        [target] => {
            if !target.starts_with('/') {
                return Err(format!(
                    "invalid volume specification: '{text}': the path in the container is not absolute"
                ));
            }
            Ok(Volume::Anonymous((*target).to_owned()))
        }
        [source, rest @ ..] => {
            if !rest[0].starts_with('/') {
                return Err(format!(
                    "invalid volume specification: '{text}': the path in the container is not absolute"
                ));
            }
            Ok(Volume::Bind(format!(
                "{}:{}",
                from_here(source)?,
                rest.join(":")
            )))
        }
        [] => Err("a volume is empty".to_owned()),
    }
}

/// Completes a path that starts with a dot; all else stays as it is.
fn from_here(source: &str) -> Result<String, String> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let here = config::current_dir().map_err(|error| error.to_string())?;
    let mut path = here;
    for part in std::path::Path::new(source).components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| format!("the path of '{source}' is not UTF-8"))
}

/// Reads one `--tmpfs`: `/run[:options]`.
///
/// # Errors
/// A text that names what is wrong.
pub fn tmpfs(text: &str) -> Result<(String, String), String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    if !path.starts_with('/') {
        return Err(format!("invalid tmpfs '{text}': the path is not absolute"));
    }
    Ok((path.to_owned(), options.to_owned()))
}

/// Reads one `--mount`: `type=bind,source=/a,target=/b,readonly`.
///
/// # Errors
/// A text that names the key that is wrong.
pub fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount {
        kind: "volume".to_owned(),
        ..Mount::default()
    };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut driver = DriverConfig::default();
    let mut tmpfs = TmpfsOptions::default();
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None => (field.to_ascii_lowercase(), ""),
        };
        match (key.as_str(), field.contains('=')) {
            ("readonly" | "ro", _) => mount.read_only = boolean(&key, value)?,
            ("volume-nocopy", _) => volume.no_copy = boolean(&key, value)?,
            ("bind-nonrecursive", _) => bind.non_recursive = boolean(&key, value)?,
            (_, false) => {
                return Err(format!(
                    "invalid field '{field}' must be a key=value pair in the mount '{text}'"
                ));
            }
            ("type", _) => mount.kind = value.to_ascii_lowercase(),
            ("source" | "src", _) => mount.source = from_here(value)?,
            ("target" | "dst" | "destination", _) => mount.target = value.to_owned(),
            ("consistency", _) => mount.consistency = value.to_ascii_lowercase(),
            ("bind-propagation", _) => bind.propagation = value.to_ascii_lowercase(),
            ("bind-recursive", _) => match value {
                "enabled" => {}
                "disabled" => bind.non_recursive = true,
                "writable" => bind.read_only_non_recursive = true,
                "readonly" => bind.read_only_force_recursive = true,
                _ => {
                    return Err(format!(
                        "invalid value for bind-recursive: '{value}': write enabled, disabled, writable or readonly"
                    ));
                }
            },
            ("volume-subpath", _) => volume.subpath = value.to_owned(),
            ("volume-driver", _) => driver.name = value.to_owned(),
            ("volume-label", _) => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                volume.labels.insert(key.to_owned(), value.to_owned());
            }
            ("volume-opt", _) => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                driver.options.insert(key.to_owned(), value.to_owned());
            }
            ("tmpfs-size", _) => tmpfs.size_bytes = parse_bytes(value)?,
            ("tmpfs-mode", _) => {
                tmpfs.mode = u32::from_str_radix(value, 8).map_err(|_| {
                    format!("invalid value for tmpfs-mode: '{value}': write octal digits")
                })?;
            }
            _ => {
                return Err(format!(
                    "unexpected key '{key}' in '{field}' of the mount '{text}'"
                ));
            }
        }
    }
    if driver != DriverConfig::default() {
        volume.driver_config = Some(driver);
    }
    let (has_bind, has_volume, has_tmpfs) = (
        bind != BindOptions::default(),
        volume != VolumeOptions::default(),
        tmpfs != TmpfsOptions::default(),
    );
    let kind = mount.kind.as_str();
    for (option, belongs, given) in [
        ("bind", kind == "bind", has_bind),
        ("volume", kind == "volume", has_volume),
        ("tmpfs", kind == "tmpfs", has_tmpfs),
    ] {
        if given && !belongs {
            return Err(format!(
                "cannot mix '{option}-*' options with mount type '{kind}'"
            ));
        }
    }
    mount.bind_options = has_bind.then_some(bind);
    mount.volume_options = has_volume.then_some(volume);
    mount.tmpfs_options = has_tmpfs.then_some(tmpfs);
    match kind {
        "bind" | "volume" | "tmpfs" | "image" | "npipe" | "cluster" => {}
        "" => return Err("type is required".to_owned()),
        other => {
            return Err(format!(
                "unknown mount type '{other}': write bind, volume or tmpfs"
            ));
        }
    }
    if mount.target.is_empty() {
        return Err(format!("target is required in the mount '{text}'"));
    }
    if kind == "bind" && mount.source.is_empty() {
        return Err(format!("source is required in the mount '{text}'"));
    }
    Ok(mount)
}
