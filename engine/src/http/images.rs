//! `/images` and `/distribution`.

use std::sync::Arc;

use engine_api::{ImagePruneReport, since};
use http::StatusCode;
use oci::Reference;
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::pipe;
use super::request::Request;
use super::route::unsupported;
use crate::blocking::blocking;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::image::progress::Sink;
use crate::image::push::Push;
use crate::image::{archive, inspect as inspecting, list as listing, pull, remove as removing};

/// Progress lines that may wait for a slow client.
const LINES_MAX: usize = 64;

pub(super) async fn list(core: &Core, request: &Request) -> Result<Answer> {
    let query = &request.query;
    let mut images = listing::list(core, query.get("filters"), query.text("filter")).await?;
    if request.version() < since::NO_VIRTUAL_SIZE {
        for image in &mut images {
            image.virtual_size = Some(image.size);
        }
    }
    answer::ok(&images)
}

pub(super) async fn inspect(core: &Core, name: &str, request: &Request) -> Result<Answer> {
    let image = core.images.get(core, name).await?;
    let mut found = inspecting::inspect(&image);
    if request.version() < since::NO_VIRTUAL_SIZE {
        found.virtual_size = Some(found.size);
    }
    answer::ok(&found)
}

pub(super) async fn history(core: &Core, name: &str) -> Result<Answer> {
    let image = core.images.get(core, name).await?;
    answer::ok(&inspecting::history(core, &image).await?)
}

pub(super) async fn remove(core: &Arc<Core>, name: &str, request: &Request) -> Result<Answer> {
    let done = removing::remove(core, name, request.query.flag("force")).await?;
    answer::ok(&done)
}

pub(super) async fn prune(core: &Arc<Core>, request: &Request) -> Result<Answer> {
    let keys = ["dangling", "label", "label!", "until"];
    let filters = Filters::parse(request.query.get("filters"), &keys)?;
    let all = filters.boolean("dangling")? == Some(false);
    let (deleted, space_reclaimed) = removing::prune(core, &filters, all).await?;
    answer::ok(&ImagePruneReport {
        images_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
        space_reclaimed,
    })
}

/// `repo` and `tag` of a query as one reference; `tag` may be a digest.
pub(super) fn reference(name: &str, tag: Option<&str>) -> Result<Reference> {
    let text = match tag {
        None => name.to_owned(),
        Some(tag) if tag.contains(':') => format!("{name}@{tag}"),
        Some(tag) => format!("{name}:{tag}"),
    };
    text.parse()
        .map_err(|error: oci::ReferenceError| EngineError::bad(error.to_string()))
}

pub(super) async fn tag(core: &Core, name: &str, request: &Request) -> Result<Answer> {
    let query = &request.query;
    let repository = query
        .text("repo")
        .ok_or_else(|| EngineError::bad("repository name can not be empty"))?;
    let wanted = reference(repository, query.text("tag"))?;
    core.images.tag(core, name, &wanted).await?;
    Ok(answer::empty(StatusCode::CREATED))
}

/// Pull. The registry is asked before the 200, so that what it does not have
/// is a plain error; what fails later is told in-band.
pub(super) async fn create(core: &Arc<Core>, request: &Request) -> Result<Answer> {
    let query = &request.query;
    if query.text("fromSrc").is_some() {
        return Err(unsupported("docker import"));
    }
    let name = query
        .text("fromImage")
        .ok_or_else(|| EngineError::bad("fromImage or fromSrc is needed"))?;
    let wanted = reference(name, query.text("tag"))?;
    let credentials = pull::credentials(request.header("x-registry-auth"))?;
    let found = pull::find(core, wanted, query.text("platform"), credentials).await?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let core = Arc::clone(core);
    core.clone().tasks.spawn(async move {
        let sink = Sink::new(sender);
        if let Err(error) = pull::pull(&core, &found, &sink).await {
            sink.failed(&error.to_string()).await;
        }
    });
    Ok(answer::lines(lines))
}

pub(super) async fn push(core: &Arc<Core>, name: &str, request: &Request) -> Result<Answer> {
    let wanted = reference(name, request.query.text("tag"))?;
    let wanted = wanted.with_default_tag();
    let credentials = pull::credentials(request.header("x-registry-auth"))?;
    let image = core
        .images
        .get(core, &wanted.to_string())
        .await
        .map_err(|error| match error {
            EngineError::NotFound(_) => EngineError::NotFound(format!(
                "An image does not exist locally with the tag: {}",
                wanted.familiar_name()
            )),
            other => other,
        })?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let core = Arc::clone(core);
    core.clone().tasks.spawn(async move {
        let sink = Sink::new(sender);
        let push = Push {
            core: &core,
            reference: &wanted,
            image: &image,
            credentials: &credentials,
            sink: &sink,
        };
        if let Err(error) = push.run().await {
            sink.failed(&error.to_string()).await;
        }
    });
    Ok(answer::lines(lines))
}

/// What a registry has under a name, without pulling it.
pub(super) async fn distribution(core: &Core, name: &str, request: &Request) -> Result<Answer> {
    let wanted = reference(name, None)?.with_default_tag();
    let credentials = pull::credentials(request.header("x-registry-auth"))?;
    let descriptor = pull::describe(core, &wanted, &credentials).await?;
    answer::ok(&descriptor)
}

/// `docker save`: the named images as one tar.
pub(super) async fn save(core: &Arc<Core>, names: &[&str]) -> Result<Answer> {
    if names.is_empty() {
        return Err(EngineError::bad("no images to save were named"));
    }
    let mut images = Vec::with_capacity(names.len());
    for name in names {
        let image = core.images.get(core, name).await?;
        let by_name = name
            .parse::<Reference>()
            .ok()
            .map(Reference::with_default_tag);
        let tag = by_name.filter(|reference| image.row.tags.contains(&reference.to_string()));
        images.push((image, tag.map(|reference| reference.familiar())));
    }
    let prepared = {
        let core = Arc::clone(core);
        blocking(move || archive::save(&core, &images)).await?
    };
    Ok(answer::archive(pipe::written(move |out| {
        prepared.write(out)
    })))
}

/// `docker load`: every image of the archive in the body.
pub(super) async fn load(core: &Arc<Core>, request: Request) -> Result<Answer> {
    let (feed, archive) = pipe::reader(request.into_body());
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let core = Arc::clone(core);
    core.clone().tasks.spawn(async move {
        let (loaded, ()) = tokio::join!(archive::load(&core, archive, &sender), feed);
        if let Err(error) = loaded {
            Sink::new(sender).failed(&error.to_string()).await;
        }
    });
    Ok(answer::lines(lines))
}
