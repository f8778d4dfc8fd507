//! Named and anonymous volumes: directories `volumes/<name>/_data`.
//!
//! Owns these directories; the rows say which exist. A directory without a
//! row is what a crash left of a creation and is taken over by the next; an
//! anonymous volume has no next, so its directory is swept. A removal first
//! moves the directory to a name that no volume can have, so that a crash never
//! leaves old content under a name that is free again; a row without its
//! directory is what a crash left of a removal, and an empty volume. Rows of
//! anonymous volumes come and go with their container's, in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use engine_api::{MountPoint, Volume, VolumeUsage};
use runtime::root::{CopyOptions, Root};

use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::{Db, VolumeRemoval, VolumeRow};
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::id::random_hex;
use crate::names;

/// Begins the name of a removed volume's directory; volumes' names begin with
/// a letter or digit.
const TRASH_PREFIX: &str = ".removed-";
/// Random bytes in an anonymous volume's name, which has two digits for each.
const NAME_BYTES: usize = 32;

/// Deletes what earlier removals left, and anonymous volumes that are not
/// `known`. What resists stays until the next start: no volume depends on it.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn sweep(volumes: &Path, known: &[VolumeRow]) -> std::io::Result<()> {
    let known: BTreeSet<&str> = known.iter().map(|row| row.name.as_str()).collect();
    for entry in std::fs::read_dir(volumes)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let left =
            name.starts_with(TRASH_PREFIX) || (is_made_up(&name) && !known.contains(name.as_str()));
        if left && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "delete a removed volume");
        }
    }
    Ok(())
}

/// Whether a name looks like an anonymous volume's.
fn is_made_up(name: &str) -> bool {
    name.len() == 2 * NAME_BYTES && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where the content of a volume is.
pub(crate) fn data_dir(core: &Core, name: &str) -> PathBuf {
    core.config
        .data_dir
        .join("volumes")
        .join(name)
        .join("_data")
}

/// An anonymous volume that is not recorded yet, and its empty directory.
///
/// # Errors
/// Of the file system.
pub(crate) fn make_anonymous(core: &Core, labels: BTreeMap<String, String>) -> Result<VolumeRow> {
    let row = new_row(random_hex(NAME_BYTES), labels, true);
    std::fs::create_dir_all(data_dir(core, &row.name))
        .map_err(|error| EngineError::internal("create the volume's directory", error))?;
    Ok(row)
}

/// Takes back what [`make_anonymous`] made.
pub(crate) fn discard(core: &Core, row: &VolumeRow) {
    let dir = core.config.data_dir.join("volumes").join(&row.name);
    if let Err(error) = std::fs::remove_dir_all(&dir) {
        tracing::warn!(volume.name = row.name, %error, "take back a volume");
    }
}

fn new_row(name: String, labels: BTreeMap<String, String>, anonymous: bool) -> VolumeRow {
    VolumeRow {
        name,
        created_at: clock::rfc3339(clock::now()),
        labels,
        anonymous,
    }
}

/// A volume's event.
pub(crate) fn emit(core: &Core, action: &str, name: &str) {
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    core.events.emit("volume", action, name, attributes);
}

/// Makes a volume, or finds the one of that name. An empty name makes one with
/// a name of its own.
///
/// # Errors
/// 400 for a name that is none.
pub(crate) async fn ensure(
    core: &Core,
    name: &str,
    labels: BTreeMap<String, String>,
) -> Result<VolumeRow> {
    let row = match name {
        "" => new_row(random_hex(NAME_BYTES), labels, true),
        name => new_row(name.to_owned(), labels, false),
    };
    if !names::is_valid(&row.name) {
        return Err(EngineError::bad(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, \
             only \"{}\" are allowed. If you intended to pass a host directory, use absolute path",
            names::NAME_RULE
        )));
    }
    let dir = data_dir(core, &row.name);
    let make = || {
        std::fs::create_dir_all(&dir)
            .map_err(|error| EngineError::internal("create the volume's directory", error))
    };
    make()?;
    if core.db.insert_volume(&row).await? {
        // A removal that ended just before may have moved the directory away.
        make()?;
        emit(core, "create", &row.name);
        return Ok(row);
    }
    let existing = core.db.volume(&row.name).await?;
    Ok(existing.unwrap_or(row))
}

/// Fills an empty volume with what the image has at `target`, and gives it
/// that directory's owner and mode. Blocking.
///
/// Paths of the image are resolved inside its own root.
pub(crate) fn copy_up(
    image_root: &Root,
    target: &Path,
    volume: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let empty = std::fs::read_dir(volume)?.next().is_none();
    if !empty {
        return Ok(());
    }
    let source = match image_root.metadata(target) {
        Ok(source) => source,
        Err(error) if error.is_absent() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if source.kind != runtime::root::FileKind::Directory {
        return Ok(());
    }
    let into = Root::open(volume)?;
    into.copy_from(Path::new("."), image_root, target, &CopyOptions::default())?;
    let dir = rustix::fs::open(
        volume,
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    std::os::unix::fs::fchown(&dir, Some(source.uid), Some(source.gid))?;
    rustix::fs::fchmod(&dir, rustix::fs::Mode::from_raw_mode(source.mode))?;
    Ok(())
}

/// Volumes that pass the filters.
pub(crate) async fn list(core: &Core, filters: &Filters) -> Result<Vec<Volume>> {
    let dangling = filters.boolean("dangling")?;
    let used = used(core).await?;
    let mut found = Vec::new();
    for row in core.db.volumes().await? {
        let fits = filters.any("name", |pattern| Filters::name_matches(pattern, &row.name))
            && filters.any("driver", |driver| driver == "local")
            && filters.labels(&row.labels)
            && dangling.is_none_or(|wanted| wanted != used.contains(&row.name));
        if fits {
            found.push(describe(core, &row));
        }
    }
    Ok(found)
}

/// # Errors
/// 404.
pub(crate) async fn inspect(core: &Core, name: &str) -> Result<Volume> {
    let row = core
        .db
        .volume(name)
        .await?
        .ok_or_else(|| no_such_volume(name))?;
    Ok(describe(core, &row))
}

/// Removes a volume that no container uses.
///
/// # Errors
/// 404, and 409 naming the containers that use it.
pub(crate) async fn remove(core: &Core, name: &str, force: bool) -> Result<()> {
    if delete(core, name).await? || force {
        Ok(())
    } else {
        Err(no_such_volume(name))
    }
}

/// Removes unused volumes that pass the filters: anonymous ones, or all of them.
///
/// Returns the names and the bytes given back.
pub(crate) async fn prune(core: &Core, filters: &Filters, all: bool) -> Result<(Vec<String>, u64)> {
    let used = used(core).await?;
    let (mut names, mut bytes) = (Vec::new(), 0);
    for row in core.db.volumes().await? {
        if used.contains(&row.name) || !(all || row.anonymous) || !filters.labels(&row.labels) {
            continue;
        }
        let dir = data_dir(core, &row.name);
        let size = blocking(move || Ok::<_, std::io::Error>(disk_usage(&dir))).await?;
        match delete(core, &row.name).await {
            Ok(true) => {}
            // Removed, or taken into use, since the list was read.
            Ok(false) | Err(EngineError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
        bytes += size;
        names.push(row.name);
    }
    Ok((names, bytes))
}

/// Deletes a container's row and, with `volumes`, its anonymous volumes. One
/// that another container uses as well stays.
///
/// # Errors
/// Of the database; nothing is changed then.
pub(crate) async fn delete_with_container(
    core: &Core,
    id: &str,
    mounts: &[MountPoint],
    volumes: bool,
) -> Result<()> {
    let used = mounts.iter().filter(|mount| mount.kind == "volume");
    let mut names: Vec<String> = used.map(|mount| mount.name.clone()).collect();
    names.retain(|name| volumes && is_made_up(name));
    names.sort();
    names.dedup();
    let mut held = Vec::with_capacity(names.len());
    for name in &names {
        held.push(core.volumes.board(name).await);
    }
    let deleted = core.db.delete_container(id, &names).await?;
    let dir = core.config.data_dir.join("volumes");
    let removed = deleted.clone();
    let removing = blocking(move || {
        for name in &removed {
            let trash = dir.join(format!("{TRASH_PREFIX}{}", random_hex(8)));
            match std::fs::rename(dir.join(name), &trash) {
                Ok(()) => std::fs::remove_dir_all(trash)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    // Their rows are gone: what stays on disk is swept at the next start.
    if let Err(error) = removing.await {
        tracing::warn!(container.id = id, %error, "delete anonymous volumes");
    }
    drop(held);
    for name in &deleted {
        emit(core, "destroy", name);
    }
    Ok(())
}

/// Size and number of users of each volume.
pub(crate) async fn with_usage(core: &Core) -> Result<Vec<Volume>> {
    let uses = core.db.volume_uses().await?;
    let mut volumes = Vec::new();
    for row in core.db.volumes().await? {
        let dir = data_dir(core, &row.name);
        let size = blocking(move || Ok::<_, std::io::Error>(disk_usage(&dir))).await?;
        let count = uses.iter().filter(|one| one.volume == row.name).count();
        volumes.push(Volume {
            usage_data: Some(VolumeUsage {
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ref_count: i64::try_from(count).unwrap_or(i64::MAX),
            }),
            ..describe(core, &row)
        });
    }
    Ok(volumes)
}

async fn used(core: &Core) -> Result<BTreeSet<String>> {
    let uses = core.db.volume_uses().await?;
    Ok(uses.into_iter().map(|one| one.volume).collect())
}

/// Deletes a volume that no container uses; `false` when there is none.
async fn delete(core: &Core, name: &str) -> Result<bool> {
    let (db, volumes) = (core.db.clone(), core.config.data_dir.join("volumes"));
    let owned = name.to_owned();
    let held = core.volumes.board(name).await;
    // Goes on when the client leaves: directory and row belong together.
    let taken = tokio::spawn(async move {
        let _held = held;
        take_out(&db, &volumes, &owned).await
    });
    let taken = taken
        .await
        .map_err(|error| EngineError::internal("remove the volume", error))??;
    let Some(trash) = taken else {
        return Ok(false);
    };
    blocking(move || match std::fs::remove_dir_all(trash) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
    .await?;
    emit(core, "destroy", name);
    Ok(true)
}

/// Takes the row out and moves the directory to the trash, whose path comes
/// back; `None` when there is no such volume.
async fn take_out(db: &Db, volumes: &Path, name: &str) -> Result<Option<PathBuf>> {
    let pending = match db.remove_volume(name).await? {
        VolumeRemoval::Absent => return Ok(None),
        VolumeRemoval::Used(users) => {
            return Err(EngineError::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        VolumeRemoval::Pending(pending) => pending,
    };
    let dir = volumes.join(name);
    let trash = volumes.join(format!("{TRASH_PREFIX}{}", random_hex(8)));
    match std::fs::rename(&dir, &trash) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(EngineError::internal("move the volume away", error));
        }
        _ => {}
    }
    if let Err(error) = pending.commit().await {
        if let Err(error) = std::fs::rename(&trash, &dir) {
            tracing::warn!(volume.name = name, %error, "move a volume back");
        }
        return Err(error.into());
    }
    Ok(Some(trash))
}

fn describe(core: &Core, row: &VolumeRow) -> Volume {
    let mut labels = row.labels.clone();
    if row.anonymous {
        labels.insert("com.docker.volume.anonymous".to_owned(), String::new());
    }
    Volume {
        created_at: row.created_at.clone(),
        driver: "local".to_owned(),
        labels: Some(labels),
        mountpoint: data_dir(core, &row.name).to_string_lossy().into_owned(),
        name: row.name.clone(),
        options: Some(BTreeMap::new()),
        scope: "local".to_owned(),
        usage_data: None,
    }
}

fn no_such_volume(name: &str) -> EngineError {
    EngineError::NotFound(format!("get {name}: no such volume"))
}

/// Bytes that a tree takes on disk; what cannot be read counts nothing.
/// Links are not followed. Blocking.
pub(crate) fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let mut total = 0;
    for entry in entries.flatten() {
        if let Ok(metadata) = entry.metadata() {
            total += metadata.blocks() * 512;
            if metadata.is_dir() {
                total += disk_usage(&entry.path());
            }
        }
    }
    total
}

#[cfg(test)]
#[path = "volume/tests.rs"]
mod tests;
