//! Packs a file or directory of ours.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Entry, Kind, writer::Writer};

/// Packs `source` under the name `name`; with `.`, its contents alone.
/// Symbolic links inside stay links; sockets, FIFOs and devices are left out.
/// Owners are sent as they are.
///
/// # Errors
/// What cannot be read, by name, or an output that fails.
pub fn pack(source: &Path, name: &OsStr, out: impl io::Write) -> io::Result<()> {
    let mut writer = Writer::new(out);
    let mut packer = Packer {
        linked: HashMap::new(),
    };
    packer.add(source, Path::new(name), &mut writer)?;
    writer.finish().map(|_| ())
}

struct Packer {
    /// Device and inode of files with several names, and the first one.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Packer {
    fn add<W: io::Write>(
        &mut self,
        source: &Path,
        name: &Path,
        writer: &mut Writer<W>,
    ) -> io::Result<()> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", source.display()))
        };
        let metadata = fs::symlink_metadata(source).map_err(named)?;
        let file_type = metadata.file_type();
        let kind = if file_type.is_dir() {
            Kind::Directory
        } else if file_type.is_symlink() {
            Kind::Symlink(fs::read_link(source).map_err(named)?)
        } else if file_type.is_file() {
            self.file_kind(&metadata, name)
        } else {
            return Ok(());
        };
        let entry = Entry {
            path: name.to_owned(),
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            size_bytes: if kind == Kind::File {
                metadata.len()
            } else {
                0
            },
            kind,
        };
        if entry.kind == Kind::File {
            let file = fs::File::open(source).map_err(named)?;
            return writer.append(&entry, file);
        }
        writer.append(&entry, io::empty())?;
        if entry.kind == Kind::Directory {
            let mut names = fs::read_dir(source)
                .and_then(|dir| {
                    dir.map(|item| item.map(|i| i.file_name()))
                        .collect::<io::Result<Vec<_>>>()
                })
                .map_err(named)?;
            names.sort();
            for child in names {
                self.add(&source.join(&child), &name.join(&child), writer)?;
            }
        }
        Ok(())
    }

    fn file_kind(&mut self, metadata: &fs::Metadata, name: &Path) -> Kind {
        if metadata.nlink() < 2 {
            return Kind::File;
        }
        let key = (metadata.dev(), metadata.ino());
        match self.linked.get(&key) {
            Some(first) => Kind::Hardlink(first.clone()),
            None => {
                self.linked.insert(key, name.to_owned());
                Kind::File
            }
        }
    }
}
