//! The build context: which files of a directory are sent, and how.
//!
//! The Dockerfile and the ignore file are always sent, because the service
//! needs them; it applies the same patterns before COPY sees the context.
//! Links are sent as links, owners are not sent, sockets and devices are left
//! out. Blocking: run it on a thread of its own.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use oci::ignore::{self, Ignore};

use crate::{
    archive::{Entry, Kind, Writer},
    error::CliError,
};

/// Where a Dockerfile from outside of the directory is put in the context.
const OUTSIDE_NAME: &str = ".carrack.Dockerfile";
/// An ignore file larger than this is not one.
const IGNORE_BYTES_MAX: u64 = 8 << 20;
/// A Dockerfile larger than the service reads.
const DOCKERFILE_BYTES_MAX: u64 = 8 << 20;

/// A directory ready to be sent.
#[derive(Debug)]
pub(super) struct Context {
    root: PathBuf,
    ignore: Ignore,
    /// Paths that no pattern leaves out.
    always: Vec<String>,
    /// Files that are not in the directory, by their name in the context.
    extra: Vec<(String, Vec<u8>)>,
    /// The Dockerfile's path in the context.
    pub(super) dockerfile: String,
}

/// What was not sent although nothing asked to leave it out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped(pub(super) Vec<PathBuf>);

impl Context {
    /// Finds the Dockerfile and the ignore file of `root`.
    ///
    /// `file` is the Dockerfile as given, absolute or relative to `current`;
    /// without it, `Dockerfile` or `dockerfile` in the directory.
    ///
    /// # Errors
    /// When one of the files cannot be read, or a pattern is malformed.
    pub(super) fn open(root: &Path, file: Option<&Path>, current: &Path) -> Result<Self, CliError> {
        let root = fs::canonicalize(current.join(root)).map_err(|error| {
            CliError::io(format!("cannot open context {}", root.display()), error)
        })?;
        if !root.is_dir() {
            return Err(CliError::usage(format!(
                "{} is not a directory: give the directory that COPY reads from",
                root.display()
            )));
        }
        let mut context = Self {
            root,
            ignore: Ignore::default(),
            always: Vec::new(),
            extra: Vec::new(),
            dockerfile: String::new(),
        };
        let found = context.find_dockerfile(file, current)?;
        context.read_ignore(&found)?;
        context.always.push(context.dockerfile.clone());
        Ok(context)
    }

    /// Puts a Dockerfile that was read from somewhere else into the context.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn with_dockerfile(
        root: &Path,
        text: Vec<u8>,
        current: &Path,
    ) -> Result<Self, CliError> {
        let root = fs::canonicalize(current.join(root)).map_err(|error| {
            CliError::io(format!("cannot open context {}", root.display()), error)
        })?;
        let mut context = Self {
            root,
            ignore: Ignore::default(),
            always: Vec::new(),
            extra: vec![(OUTSIDE_NAME.to_owned(), text)],
            dockerfile: OUTSIDE_NAME.to_owned(),
        };
        let none = context.root.join(OUTSIDE_NAME);
        context.read_ignore(&none)?;
        Ok(context)
    }

    /// Sets `dockerfile`; returns where it is on this machine.
    fn find_dockerfile(
        &mut self,
        file: Option<&Path>,
        current: &Path,
    ) -> Result<PathBuf, CliError> {
        let Some(file) = file else {
            for name in ["Dockerfile", "dockerfile"] {
                let path = self.root.join(name);
                if path.is_file() {
                    self.dockerfile = name.to_owned();
                    return Ok(path);
                }
            }
            return Err(CliError::usage(format!(
                "there is no Dockerfile in {}: write one, or name it with --file",
                self.root.display()
            )));
        };
        let path = fs::canonicalize(current.join(file)).map_err(|error| {
            CliError::io(format!("cannot open Dockerfile {}", file.display()), error)
        })?;
        match path.strip_prefix(&self.root).ok().and_then(Path::to_str) {
            Some(inside) => inside.clone_into(&mut self.dockerfile),
            None => {
                let text = read_bounded(&path, DOCKERFILE_BYTES_MAX)?;
                self.extra.push((OUTSIDE_NAME.to_owned(), text));
                OUTSIDE_NAME.clone_into(&mut self.dockerfile);
            }
        }
        Ok(path)
    }

    /// Reads the ignore file that belongs to the Dockerfile, else the general one.
    fn read_ignore(&mut self, dockerfile: &Path) -> Result<(), CliError> {
        let [own, general] = ignore::file_names(&self.dockerfile);
        let mut beside = dockerfile.as_os_str().to_owned();
        beside.push(ignore::IGNORE_FILE);
        let places = [
            (own, PathBuf::from(beside)),
            (general.clone(), self.root.join(general)),
        ];
        for (name, path) in places {
            if !path.is_file() {
                continue;
            }
            let bytes = read_bounded(&path, IGNORE_BYTES_MAX)?;
            let text = String::from_utf8_lossy(&bytes);
            self.ignore = Ignore::parse(&text)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
            if self.dockerfile != OUTSIDE_NAME {
                self.always.push(name);
                return Ok(());
            }
            self.hide_outside(bytes);
            return Ok(());
        }
        if self.dockerfile == OUTSIDE_NAME {
            self.hide_outside(Vec::new());
        }
        Ok(())
    }

    /// Gives a Dockerfile from outside an ignore file of its own, by which the
    /// service leaves both out of what COPY sees.
    fn hide_outside(&mut self, mut patterns: Vec<u8>) {
        let [own, _] = ignore::file_names(OUTSIDE_NAME);
        patterns.extend_from_slice(format!("\n{OUTSIDE_NAME}\n{own}\n").as_bytes());
        self.extra.push((own, patterns));
    }

    /// Writes the context as a tar archive, in the order of the names.
    ///
    /// # Errors
    /// When a file cannot be read or the output fails.
    pub(super) fn write(&self, out: impl Write) -> Result<Skipped, CliError> {
        let mut walk = Walk {
            context: self,
            tar: Writer::new(out),
            pending: Vec::new(),
            skipped: Skipped::default(),
        };
        for (name, content) in &self.extra {
            let entry = Entry {
                path: name.into(),
                kind: Kind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 0,
                size_bytes: content.len() as u64,
            };
            walk.tar
                .append(&entry, content.as_slice())
                .map_err(|error| CliError::io("cannot send the context", error))?;
        }
        walk.directory("")?;
        walk.tar
            .finish()
            .map_err(|error| CliError::io("cannot send the context", error))?;
        Ok(walk.skipped)
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    use io::Read as _;
    let failed = |error| CliError::io(format!("cannot read {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(CliError::usage(format!(
            "{} is larger than {bytes_max} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

struct Walk<'a, W> {
    context: &'a Context,
    tar: Writer<W>,
    /// Directories on the way here that are sent only if something in them is.
    pending: Vec<(String, fs::Metadata)>,
    skipped: Skipped,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, directory: &str) -> Result<(), CliError> {
        let root = self.context.root.join(directory);
        let failed = |error| CliError::io(format!("cannot read {}", root.display()), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&root).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let Some(name) = name.to_str() else {
                return Err(CliError::usage(format!(
                    "{} has a name that is not UTF-8: rename it or leave it out with {}",
                    root.join(name).display(),
                    ignore::IGNORE_FILE
                )));
            };
            let path = match directory {
                "" => name.to_owned(),
                directory => format!("{directory}/{name}"),
            };
            self.entry(path)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: String) -> Result<(), CliError> {
        let full = self.context.root.join(&path);
        let metadata = fs::symlink_metadata(&full)
            .map_err(|error| CliError::io(format!("cannot read {}", full.display()), error))?;
        let always = &self.context.always;
        let ignored = self.context.ignore.is_ignored(&path) && !always.contains(&path);
        if metadata.is_dir() {
            let below = format!("{path}/");
            let needed = always.iter().any(|name| name.starts_with(&below));
            if ignored && !needed && self.context.ignore.is_pruned(&path) {
                return Ok(());
            }
            if ignored {
                self.pending.push((path.clone(), metadata));
                self.directory(&path)?;
                // Still there: nothing in it was sent.
                self.pending.pop_if(|(pending, _)| *pending == path);
                return Ok(());
            }
            self.append(&path, &metadata, Kind::Directory)?;
            return self.directory(&path);
        }
        if ignored {
            return Ok(());
        }
        if metadata.is_symlink() {
            let target = fs::read_link(&full)
                .map_err(|error| CliError::io(format!("cannot read {}", full.display()), error))?;
            return self.append(&path, &metadata, Kind::Symlink(target));
        }
        let kind = metadata.file_type();
        if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
            self.skipped.0.push(full);
            return Ok(());
        }
        self.append(&path, &metadata, Kind::File)
    }

    fn append(&mut self, path: &str, metadata: &fs::Metadata, kind: Kind) -> Result<(), CliError> {
        for (pending, metadata) in std::mem::take(&mut self.pending) {
            self.one(&pending, &metadata, Kind::Directory)?;
        }
        self.one(path, metadata, kind)
    }

    fn one(&mut self, path: &str, metadata: &fs::Metadata, kind: Kind) -> Result<(), CliError> {
        let is_file = kind == Kind::File;
        let entry = Entry {
            path: path.into(),
            kind,
            mode: metadata.mode(),
            uid: 0,
            gid: 0,
            mtime: metadata.mtime(),
            size_bytes: if is_file { metadata.len() } else { 0 },
        };
        let full = self.context.root.join(path);
        let failed = |error| CliError::io(format!("cannot send {}", full.display()), error);
        if is_file {
            let file = File::open(&full).map_err(failed)?;
            return self.tar.append(&entry, file).map_err(failed);
        }
        self.tar.append(&entry, io::empty()).map_err(failed)
    }
}

#[cfg(test)]
#[path = "context/tests.rs"]
mod tests;
