//! What the two arguments of `cp` mean, and where a copy ends up.

use std::path::{Path, PathBuf};

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Container and path in it.
    Container(&'a str, &'a str),
    Local(&'a str),
}

/// Reads an argument: `name:path` unless it starts like a path of ours.
pub(super) fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !text.starts_with(['/', '.']) => {
            Place::Container(name, path)
        }
        _ => Place::Local(text),
    }
}

/// The directory to unpack into, and another name for the copy, if any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) directory: PathBuf,
    pub(super) name: Option<String>,
}

/// Decides where a copy of `source` goes (docker-cp(1), "DESCRIPTION").
/// `existing` tells whether the destination exists, and is a directory.
pub(super) fn target(
    destination: &str,
    existing: Option<bool>,
    source: &str,
    source_is_directory: bool,
) -> Result<Target, String> {
    let directory_wanted =
        destination.ends_with('/') || destination.ends_with("/.") || destination == ".";
    let bare = destination.trim_end_matches('/');
    let bare = if bare.is_empty() { "/" } else { bare };
    let as_directory = || Target {
        directory: PathBuf::from(bare),
        name: None,
    };
    let as_name = || {
        let path = Path::new(bare);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| format!("{destination} has no name"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Target {
            directory: parent.to_owned(),
            name: Some(name.to_owned()),
        })
    };
    match existing {
        Some(true) => Ok(as_directory()),
        Some(false) if source_is_directory => Err(format!(
            "cannot copy directory {source} onto the file {destination}"
        )),
        Some(false) if directory_wanted => Err(format!("{destination} is not a directory")),
        Some(false) => as_name(),
        None if source_is_directory => {
            if is_contents(source) {
                // The caller makes the directory; the contents go into it.
                return Ok(as_directory());
            }
            as_name()
        }
        None if directory_wanted => Err(format!("no such directory: {destination}")),
        None => as_name(),
    }
}

/// Whether a source means the contents of a directory: `dir/.`
pub(super) fn is_contents(source: &str) -> bool {
    source == "." || source.ends_with("/.")
}

/// The name of a source's top entry in its archive.
pub(super) fn archive_name(source: &str) -> String {
    if is_contents(source) {
        return ".".to_owned();
    }
    match Path::new(source).file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        // The root, or a path that ends in `..`: its contents.
        None => ".".to_owned(),
    }
}

/// Where a link of a container leads: its target, from the link's directory.
pub(super) fn link_target(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let parent = Path::new(link).parent().unwrap_or(Path::new("/"));
    parent.join(target).to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
