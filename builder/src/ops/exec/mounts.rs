//! The mounts of an exec, from inputs to places on the host.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use runtime::{
    root::{CopyOptions, PathError, Root},
    spec::{Mount, MountKind, Propagation},
};

use tokio_util::sync::CancellationToken;

use super::{Input, Sandboxes, sandbox::Sandbox};
use crate::{
    ops::{
        cache_mount::CacheLease,
        layers::{Layers, blocking},
        select::relative,
    },
    solver::{
        OpError,
        op::{self, Sharing},
    },
};

/// Finds what each mount shows, in the order in which they are mounted.
pub(crate) async fn resolve(
    with: &Sandboxes,
    sandbox: &mut Sandbox,
    exec: &op::Exec,
    inputs: &[Input],
    cancel: &CancellationToken,
) -> Result<Vec<Mount>, OpError> {
    let caches = caches(with, sandbox, exec, inputs, cancel).await?;
    let mut mounts: Vec<&op::Mount> = exec.mounts.iter().collect();
    // A mount below another comes after it.
    mounts.sort_by_key(|mount| mount.dest.matches('/').count());
    let mut resolved = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let (kind, read_only) = match &mount.kind {
            op::MountKind::Tmpfs { size_bytes } => (
                MountKind::Tmpfs {
                    size_bytes: *size_bytes,
                    mode: 0o1777,
                    exec: true,
                },
                false,
            ),
            op::MountKind::Cache { id, readonly, .. } => (bind(caches[id].clone()), *readonly),
            op::MountKind::Bind {
                input,
                selector,
                readonly,
            } => {
                let input = input.map(|at| &inputs[at]);
                let place = show(with, sandbox, input, selector).await?;
                (bind(place), *readonly)
            }
        };
        resolved.push(Mount {
            target: mount.dest.clone(),
            kind,
            read_only,
        });
    }
    Ok(resolved)
}

fn bind(source: PathBuf) -> MountKind {
    MountKind::Bind {
        source,
        recursive: false,
        propagation: Propagation::Private,
    }
}

/// The directories of the caches that a step mounts, by id. Each is leased
/// once, in the order of their ids, so that no two steps wait for each other.
async fn caches(
    with: &Sandboxes,
    sandbox: &mut Sandbox,
    exec: &op::Exec,
    inputs: &[Input],
    cancel: &CancellationToken,
) -> Result<BTreeMap<String, PathBuf>, OpError> {
    let mut wanted = BTreeMap::new();
    for mount in &exec.mounts {
        if let op::MountKind::Cache {
            id,
            sharing,
            input,
            selector,
            ..
        } = &mount.kind
        {
            let input = input.map(|at| &inputs[at]);
            wanted
                .entry(id)
                .or_insert((*sharing, input, selector.as_str()));
        }
    }
    let mut found = BTreeMap::new();
    for (id, (sharing, input, selector)) in wanted {
        let lease = tokio::select! {
            lease = with.caches.lease(id, sharing) => lease,
            () = cancel.cancelled() => return Err(OpError::Cancelled),
        };
        let lease = lease.map_err(|error| OpError::host("open a cache mount", &error))?;
        let path = cache(with, sandbox, lease, sharing, input, selector).await?;
        found.insert(id.clone(), path);
    }
    Ok(found)
}

/// A cache directory, filled when it is new.
async fn cache(
    with: &Sandboxes,
    sandbox: &mut Sandbox,
    mut lease: CacheLease,
    sharing: Sharing,
    input: Option<&Input>,
    selector: &str,
) -> Result<PathBuf, OpError> {
    if lease.fresh {
        let source = match input {
            None => None,
            Some(Input::Directory(path)) => Some(open(path)?),
            Some(Input::Layers(names)) => Some(read(&with.layers, names).await?),
        };
        let selector = relative(selector);
        let target = lease.path.clone();
        if let Some(source) = source {
            blocking(move || fill(&target, &source, &selector)).await?;
        }
        lease
            .publish(sharing)
            .map_err(|error| OpError::host("make a cache mount", &error))?;
    }
    let path = lease.path.clone();
    sandbox.caches.push(lease);
    Ok(path)
}

/// Copies the first content of a cache, with owner and mode of its top.
fn fill(target: &Path, source: &Root, selector: &Path) -> Result<(), OpError> {
    let failed = |error: PathError| OpError::host("fill a cache mount", &error);
    let name = target.file_name().unwrap_or_default();
    let parent = target.parent().unwrap_or(target);
    std::fs::remove_dir(target).map_err(|error| OpError::host("fill a cache mount", &error))?;
    let root = Root::open(parent).map_err(failed)?;
    root.copy_from(Path::new(name), source, selector, &CopyOptions::default())
        .map(drop)
        .map_err(failed)
}

fn open(path: &Path) -> Result<Root, OpError> {
    Root::open(path).map_err(|error| OpError::host("open a directory", &error))
}

async fn read(layers: &Layers, names: &[String]) -> Result<Root, OpError> {
    let pinned = layers.pin(names).await?;
    let layers = layers.clone();
    blocking(move || layers.read(&pinned)).await
}

/// A file or directory of an input, as a copy in the sandbox's own directory:
/// cloned where the file system can, and whatever a step writes there is
/// thrown away with it.
async fn show(
    with: &Sandboxes,
    sandbox: &Sandbox,
    input: Option<&Input>,
    selector: &str,
) -> Result<PathBuf, OpError> {
    let place = sandbox
        .state_dir
        .join(format!("mount-{}", uuid::Uuid::new_v4().simple()));
    let source = match input {
        None => None,
        Some(Input::Directory(path)) => Some(open(path)?),
        Some(Input::Layers(names)) => Some(read(&with.layers, names).await?),
    };
    let selector = relative(selector);
    let at = place.clone();
    blocking(move || match source {
        None => std::fs::create_dir(&at)
            .map_err(|error| OpError::host("make an empty directory", &error)),
        Some(source) => {
            let name = at.file_name().unwrap_or_default();
            let parent = open(at.parent().unwrap_or(&at))?;
            let options = CopyOptions {
                follow: true,
                ..CopyOptions::default()
            };
            let copied = parent.copy_from(Path::new(name), &source, &selector, &options);
            copied.map(drop).map_err(|error| match error.is_absent() {
                true => OpError::User(format!("failed to mount {}: not found", selector.display())),
                false => OpError::host("copy the files of a mount", &error),
            })
        }
    })
    .await?;
    Ok(place)
}
