//! Removing images and their names, and pruning what nobody uses.

use std::sync::Arc;

use engine_api::ImageDelete;
use oci::Reference;

use super::orphans;
use super::store::{Image, canonical, event};
use crate::clock;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;

/// `docker rmi`: takes a name away, and the image with its last name.
///
/// # Errors
/// 404, and 409 with Docker's texts while containers or other names need it.
pub(crate) async fn remove(core: &Arc<Core>, name: &str, force: bool) -> Result<Vec<ImageDelete>> {
    let image = core.images.get(core, name).await?;
    let by_reference = name
        .parse::<Reference>()
        .ok()
        .map(|reference| canonical(&reference).to_string())
        .filter(|text| image.row.tags.contains(text) || image.row.digests.contains(text));
    let mut done = Vec::new();
    if let Some(reference) = by_reference {
        let others = image
            .row
            .tags
            .iter()
            .filter(|tag| **tag != reference)
            .count();
        if others > 0 {
            untag(core, &image, &reference, &mut done).await?;
            return Ok(done);
        }
        check_containers(core, &image, force, Some(&reference))?;
    } else {
        if image.row.tags.len() > 1 && !force {
            return Err(EngineError::Conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                short(&image.id)
            )));
        }
        check_containers(core, &image, force, None)?;
    }
    for reference in image.row.tags.iter().chain(&image.row.digests) {
        untag(core, &image, reference, &mut done).await?;
    }
    // A container that runs keeps its image, without a name; one that does not
    // keeps no more than the layers.
    if !users(core, &image).iter().any(|(_, up)| *up) {
        delete(core, &image, &mut done).await?;
    }
    Ok(done)
}

/// Removes images without a name, or with `all` every image that no container
/// uses. Returns what went and the bytes given back.
pub(crate) async fn prune(
    core: &Arc<Core>,
    filters: &Filters,
    all: bool,
) -> Result<(Vec<ImageDelete>, u64)> {
    let until = filters
        .values("until")
        .next()
        .map(|text| {
            clock::parse_moment(text, clock::now())
                .ok_or_else(|| EngineError::bad(format!("invalid filter 'until={text}'")))
        })
        .transpose()?;
    let before = core.db.layers_size().await?;
    let mut done = Vec::new();
    for image in core.images.all(core).await? {
        let created = clock::parse_rfc3339(&image.row.created_at);
        let old = until.is_none_or(|until| created.is_some_and(|at| at < until));
        let wanted = all || image.row.tags.is_empty();
        if !wanted || !old || !filters.labels(&image.config.config.labels) {
            continue;
        }
        if users(core, &image).is_empty() {
            for reference in image.row.tags.iter().chain(&image.row.digests) {
                untag(core, &image, reference, &mut done).await?;
            }
            delete(core, &image, &mut done).await?;
        }
    }
    orphans::sweep(core, None).await?;
    let freed = before - core.db.layers_size().await?;
    Ok((done, u64::try_from(freed).unwrap_or(0)))
}

/// Containers of the image: short id and whether it is up.
fn users(core: &Core, image: &Image) -> Vec<(String, bool)> {
    core.containers
        .all()
        .iter()
        .filter(|container| container.image_id == image.id)
        .map(|container| {
            let up = container.view().state.counts_as_running();
            (container.id.short().to_owned(), up)
        })
        .collect()
}

fn check_containers(
    core: &Core,
    image: &Image,
    force: bool,
    reference: Option<&str>,
) -> Result<()> {
    let users = users(core, image);
    let running = users.iter().find(|(_, up)| *up);
    let id = short(&image.id);
    if let Some((container, _)) = running
        && (reference.is_none() || !force)
    {
        let text = match reference {
            None => format!(
                "conflict: unable to delete {id} (cannot be forced) - image is being used by running container {container}"
            ),
            Some(reference) => in_use(reference, container, id),
        };
        return Err(EngineError::Conflict(text));
    }
    if let Some((container, _)) = users.first()
        && !force
    {
        let text = match reference {
            None => format!(
                "conflict: unable to delete {id} (must be forced) - image is being used by stopped container {container}"
            ),
            Some(reference) => in_use(reference, container, id),
        };
        return Err(EngineError::Conflict(text));
    }
    Ok(())
}

fn in_use(reference: &str, container: &str, id: &str) -> String {
    let familiar = reference
        .parse::<Reference>()
        .map_or_else(|_| reference.to_owned(), |reference| reference.familiar());
    format!(
        "conflict: unable to remove repository reference \"{familiar}\" (must force) - \
         container {container} is using its referenced image {id}"
    )
}

async fn untag(
    core: &Core,
    image: &Image,
    reference: &str,
    done: &mut Vec<ImageDelete>,
) -> Result<()> {
    core.db.untag_image(reference).await?;
    let familiar = reference
        .parse::<Reference>()
        .map_or_else(|_| reference.to_owned(), |reference| reference.familiar());
    event(core, "untag", &image.id, &familiar);
    done.push(ImageDelete {
        untagged: familiar,
        ..Default::default()
    });
    Ok(())
}

/// Deletes rows, then the layers that nobody holds any more.
async fn delete(core: &Arc<Core>, image: &Image, done: &mut Vec<ImageDelete>) -> Result<()> {
    let orphans = core.images.forget(core, &image.id).await?;
    event(core, "delete", &image.id, &image.id);
    let deleted = |deleted: String| ImageDelete {
        deleted,
        ..Default::default()
    };
    done.push(deleted(image.id.clone()));
    for orphan in orphans {
        if orphans::remove(core, &orphan).await? {
            done.push(deleted(orphan));
        }
    }
    Ok(())
}

/// The first twelve digits of an image id.
pub(crate) fn short(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..crate::id::SHORT_LEN).unwrap_or(bare)
}
