//! `/volumes`.

use engine_api::{VolumeCreateRequest, VolumeList, VolumePruneReport, since};
use http::StatusCode;

use super::answer::{self, Answer};
use super::request::Request;
use super::route::unsupported;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::volume;

pub(super) async fn list(core: &Core, request: &Request) -> Result<Answer> {
    let keys = ["dangling", "driver", "label", "label!", "name"];
    let filters = Filters::parse(request.query.get("filters"), &keys)?;
    let volumes = volume::list(core, &filters).await?;
    answer::ok(&VolumeList {
        volumes,
        warnings: None,
    })
}

pub(super) async fn create(core: &Core, request: Request) -> Result<Answer> {
    let (wanted, _) = request.json_or_default::<VolumeCreateRequest>().await?;
    if !matches!(wanted.driver.as_str(), "" | "local") {
        return Err(EngineError::NotFound(format!(
            "error looking up volume plugin {0}: plugin \"{0}\" not found",
            wanted.driver
        )));
    }
    if !wanted.driver_opts.is_empty() {
        return Err(unsupported("docker volume create --opt"));
    }
    if wanted.cluster_volume_spec.is_some() {
        return Err(unsupported("cluster volumes"));
    }
    let row = volume::ensure(core, &wanted.name, wanted.labels).await?;
    answer::json(
        StatusCode::CREATED,
        &volume::inspect(core, &row.name).await?,
    )
}

pub(super) async fn inspect(core: &Core, name: &str) -> Result<Answer> {
    answer::ok(&volume::inspect(core, name).await?)
}

pub(super) async fn remove(core: &Core, name: &str, request: &Request) -> Result<Answer> {
    volume::remove(core, name, request.query.flag("force")).await?;
    answer::no_content()
}

pub(super) async fn prune(core: &Core, request: &Request) -> Result<Answer> {
    let filters = Filters::parse(request.query.get("filters"), &["all", "label", "label!"])?;
    // Clients before 1.42 expect named volumes to go as well.
    let all = filters
        .boolean("all")?
        .unwrap_or(request.version() < since::PRUNE_ANONYMOUS);
    let (names, space_reclaimed) = volume::prune(core, &filters, all).await?;
    answer::ok(&VolumePruneReport {
        volumes_deleted: Some(names),
        space_reclaimed,
    })
}
