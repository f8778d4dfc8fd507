//! `docker images`.

use engine_api::ImageSummary;
use oci::Reference;

use super::inspect::unix;
use super::store::Image;
use crate::clock;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::{Filters, glob};

const KEYS: &[&str] = &[
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

/// # Errors
/// 400 for a filter that does not exist, 404 for an image that a filter names.
pub(crate) async fn list(
    core: &Core,
    filters: Option<&str>,
    named: Option<&str>,
) -> Result<Vec<ImageSummary>> {
    let filters = Filters::parse(filters, KEYS)?;
    let dangling = filters.boolean("dangling")?;
    let before = bound(core, &filters, "before").await?;
    let since = bound(core, &filters, "since").await?;
    let until = filters
        .values("until")
        .next()
        .map(|text| {
            clock::parse_moment(text, clock::now())
                .map(time::OffsetDateTime::unix_timestamp)
                .ok_or_else(|| EngineError::bad(format!("invalid filter 'until={text}'")))
        })
        .transpose()?;
    let mut summaries = Vec::new();
    for image in core.images.all(core).await? {
        let created = unix(image.config.created.as_deref());
        let bare = image.row.tags.is_empty();
        let fits = dangling.is_none_or(|wanted| wanted == bare)
            && before.is_none_or(|at| created < at)
            && since.is_none_or(|at| created > at)
            && until.is_none_or(|at| created < at)
            && filters.labels(&image.config.config.labels)
            && filters.any("reference", |pattern| has_reference(&image, pattern))
            && named.is_none_or(|pattern| has_reference(&image, pattern));
        if fits {
            let mut found = summary(core, &image, created);
            // Of an image with several names, only those that were asked for.
            if filters.has("reference") {
                let asked =
                    |name: &String| filters.any("reference", |pattern| names(name, pattern));
                found.repo_tags.retain(asked);
                found.repo_digests.retain(asked);
            }
            summaries.push(found);
        }
    }
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
    Ok(summaries)
}

async fn bound(core: &Core, filters: &Filters, key: &str) -> Result<Option<i64>> {
    match filters.values(key).next() {
        None => Ok(None),
        Some(name) => {
            let image = core.images.get(core, name).await?;
            Ok(Some(unix(image.config.created.as_deref())))
        }
    }
}

/// `busybox`, `busybox:1*`, `host:5000/team/*`.
fn has_reference(image: &Image, pattern: &str) -> bool {
    let all = image.row.tags.iter().chain(&image.row.digests);
    all.into_iter().any(|name| names(name, pattern))
}

fn names(text: &str, pattern: &str) -> bool {
    text.parse::<Reference>().is_ok_and(|reference| {
        glob(pattern, &reference.familiar())
            || glob(pattern, &reference.familiar_name())
            // `library/busybox` also means `busybox`.
            || glob(pattern, reference.repository().as_str())
    })
}

pub(crate) fn summary(core: &Core, image: &Image, created: i64) -> ImageSummary {
    let users = core
        .containers
        .all()
        .iter()
        .filter(|container| container.image_id == image.id)
        .count();
    ImageSummary {
        containers: i64::try_from(users).unwrap_or(i64::MAX),
        created,
        id: image.id.clone(),
        labels: Some(image.config.config.labels.clone()).filter(|labels| !labels.is_empty()),
        parent_id: String::new(),
        repo_digests: image.familiar_digests(),
        repo_tags: image.familiar_tags(),
        shared_size: -1,
        size: image.row.size_bytes,
        virtual_size: None,
    }
}
