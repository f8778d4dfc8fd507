//! What must be in place before a child starts: the lock, directories with
//! their owners, and the listening sockets.
//!
//! The supervisor binds every socket, so a child that crashes takes none of
//! them along: clients wait in the backlog until its successor serves.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::TcpListener,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};

use crate::config::{Config, Role};

/// The front's user when `front-user` names nobody: outside the ranges that
/// Debian and Fedora give to people, services and containers.
const FALLBACK_UID: u32 = 64646;

/// An exclusive hold on a data directory, for as long as it lives.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// # Errors
    /// When another instance holds the directory; the text names its pid.
    pub fn take(config: &Config) -> Result<Self> {
        let path = config.run_dir().join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).unwrap_or_default();
            bail!(
                "data directory {} is in use by another carrack (pid {}): stop that one, or give this one a --data-dir of its own",
                config.data_dir.display(),
                holder.trim()
            );
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .context("write the lock file")?;
        write!(file, "{}", std::process::id()).context("write the lock file")?;
        Ok(Self { _file: file })
    }
}

/// Holds on the registry's storage and database, which may lie outside the data
/// directory. Two registries on one of them would destroy each other's images:
/// each removes the objects that its own database does not name.
#[derive(Debug)]
pub struct RegistryLocks {
    _files: Vec<File>,
}

impl RegistryLocks {
    /// # Errors
    /// When another instance holds one of them; the text names the setting.
    pub fn take(config: &Config) -> Result<Self> {
        let mut files = Vec::new();
        if !config.has(Role::Registry) {
            return Ok(Self { _files: files });
        }
        let storage = config.storage_dir();
        let dir = File::open(&storage).with_context(|| format!("open {}", storage.display()))?;
        files.push(hold(dir, "storage", &config.storage)?);
        if let Some(path) = config.database_file() {
            let mut lock = path.into_os_string();
            lock.push(".lock");
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&lock)
                .with_context(|| format!("open {}", lock.display()))?;
            files.push(hold(file, "database-url", &config.database_url)?);
        }
        Ok(Self { _files: files })
    }
}

fn hold(file: File, name: &str, value: &str) -> Result<File> {
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "{name} {value} is in use by another carrack: stop that one, or give this one a --{name} of its own"
        );
    }
    Ok(file)
}

/// Makes the data directory with `run/` in it; needed before the lock.
///
/// The data directory can be crossed but not listed, so that the front reaches
/// its part and nobody else reads anything (CVE-2021-41091).
pub fn run_dir(config: &Config) -> Result<()> {
    let dirs = [
        (config.data_dir.as_path(), 0o711),
        (config.run_dir().as_path(), 0o711),
    ]
    .map(|(dir, mode)| (dir.to_path_buf(), mode));
    for (dir, mode) in dirs {
        make_dir(&dir, mode).with_context(|| {
            format!(
                "make {}: choose a directory this user may write with --data-dir",
                dir.display()
            )
        })?;
    }
    Ok(())
}

/// Makes each role's directory, owned by the user of the process that uses it.
pub fn role_dirs(config: &Config, front: Option<(u32, u32)>) -> Result<()> {
    if config.has(Role::Registry) {
        own_dir(&config.data_dir.join("registry"), front, true)?;
        reach(&config.data_dir, "data-dir", front)?;
        own_dir(&config.storage_dir(), front, false)?;
        reach(&config.storage_dir(), "storage", front)?;
        if let Some(dir) = config.database_dir() {
            own_dir(&dir, front, false)?;
            reach(&dir, "database-url", front)?;
        }
    }
    for name in ["engine", "builder", "layers"] {
        if config.has(Role::Engine) || config.has(Role::Builder) {
            let dir = config.data_dir.join(name);
            make_dir(&dir, 0o700).with_context(|| format!("make {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Whether the directory was made now.
fn make_dir(dir: &Path, mode: u32) -> io::Result<bool> {
    if let Some(parent) = dir.parent()
        && !parent.exists()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    // The umask may have taken bits away.
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
    if let Some(parent) = dir.parent() {
        // What is acknowledged inside must be found again.
        File::open(parent)?.sync_all()?;
    }
    Ok(true)
}

/// Makes a directory of the front's. One that exists is given to it when it is
/// `ours`, or empty; a directory with other people's files is never touched.
fn own_dir(dir: &Path, front: Option<(u32, u32)>, ours: bool) -> Result<()> {
    let shown = dir.display();
    let made = make_dir(dir, 0o700).with_context(|| format!("make {shown}"))?;
    let Some((uid, gid)) = front else {
        return Ok(());
    };
    let owner = fs::metadata(dir)
        .with_context(|| format!("read the metadata of {shown}"))?
        .uid();
    if owner == uid {
        return Ok(());
    }
    let is_empty = fs::read_dir(dir)
        .with_context(|| format!("list {shown}"))?
        .next()
        .is_none();
    if !(made || is_empty || (ours && owner == 0)) {
        bail!(
            "{shown} belongs to user {owner} and is not empty: if it is Carrack's, run `chown -R {uid}:{gid} {shown}`; else choose another directory"
        );
    }
    chown_tree(dir, uid, gid).with_context(|| format!("chown {shown}"))
}

/// Gives a tree of ours to the front, after a start with another user.
fn chown_tree(dir: &Path, uid: u32, gid: u32) -> io::Result<()> {
    chown(dir, Some(uid), Some(gid))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            chown_tree(&entry.path(), uid, gid)?;
        } else if kind.is_file() {
            chown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// A front that cannot cross to its own directory would fail with a bare
/// `permission denied`; say which directory is in the way, and which setting
/// leads there.
fn reach(dir: &Path, setting: &str, front: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = front else {
        return Ok(());
    };
    for ancestor in dir.ancestors() {
        let metadata = fs::metadata(ancestor)
            .with_context(|| format!("read the metadata of {}", ancestor.display()))?;
        let mode = metadata.mode();
        let crossable = match () {
            () if metadata.uid() == uid => mode & 0o100 != 0,
            () if metadata.gid() == gid => mode & 0o010 != 0,
            () => mode & 0o001 != 0,
        };
        if !crossable {
            bail!(
                "the network-facing process (uid {uid}) cannot cross {}: chmod o+x it, or choose another --{setting}",
                ancestor.display()
            );
        }
    }
    Ok(())
}

/// Uid and gid of the front.
///
/// # Errors
/// When the setting names root.
pub fn front_user(config: &Config) -> Result<(u32, u32)> {
    let name = config.front_user.as_str();
    let ids = match name.parse::<u32>() {
        Ok(number) => (number, number),
        Err(_) => fs::read_to_string("/etc/passwd")
            .unwrap_or_default()
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == name).then_some(())?;
                Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
            })
            .unwrap_or((FALLBACK_UID, FALLBACK_UID)),
    };
    if ids.0 == 0 || ids.1 == 0 {
        bail!("front-user {name:?} is root: the network-facing process must not be");
    }
    Ok(ids)
}

/// Gid of the first of the wanted groups that exists; root's when none does.
fn socket_gid(config: &Config) -> u32 {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let gid_of = |name: &String| {
        groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            fields.nth(1)?.parse().ok()
        })
    };
    config.socket_group.iter().find_map(gid_of).unwrap_or(0)
}

/// Binds the front's TCP socket.
pub fn bind_tcp(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "{} is in use: stop what listens there, or choose another --listen",
            config.listen
        ),
        _ => anyhow!("listen on {}: {error}", config.listen),
    })
}

/// Binds the engine process's sockets: engine, builder, and the builder's
/// second one for the front, which is not in the sockets' group.
pub fn bind_unix(config: &Config, front_gid: u32) -> Result<Vec<UnixListener>> {
    let group = socket_gid(config);
    let front_builder = config.front_builder_socket();
    [
        (config.engine_socket.as_path(), group),
        (config.builder_socket.as_path(), group),
        (front_builder.as_path(), front_gid),
    ]
    .into_iter()
    .map(|(path, gid)| bind_one(path, gid))
    .collect()
}

fn bind_one(path: &Path, gid: u32) -> Result<UnixListener> {
    let shown = path.display();
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755).with_context(|| format!("make {}", parent.display()))?;
    }
    if UnixStream::connect(path).is_ok() {
        bail!("socket {shown} is in use by another process: stop it, or choose another path");
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("replace the stale socket {shown}"));
        }
        _ => {}
    }
    // Nobody gets in between bind and chmod, whatever umask we were started with.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = bound.with_context(|| format!("listen on {shown}"))?;
    chown(path, None, Some(gid)).with_context(|| format!("chgrp {shown}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("chmod {shown}"))?;
    Ok(listener)
}
