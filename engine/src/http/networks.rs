//! `/networks`.

use engine_api::NetworkPruneReport;

use super::answer::{self, Answer};
use super::request::Request;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::network;

const KEYS: &[&str] = &[
    "dangling", "driver", "id", "label", "label!", "name", "scope", "type",
];

pub(super) fn list(core: &Core, request: &Request) -> Result<Answer> {
    let filters = Filters::parse(request.query.get("filters"), KEYS)?;
    let dangling = filters.boolean("dangling")?;
    let fits = |network: &engine_api::Network| {
        filters.any("driver", |driver| driver == network.driver)
            && filters.any("id", |id| network.id.starts_with(id))
            && filters.any("name", |name| Filters::name_matches(name, &network.name))
            && filters.any("scope", |scope| scope == network.scope)
            && filters.any("type", |kind| kind == "builtin")
            && filters.labels(&network.labels)
            // The built-in networks are never dangling.
            && dangling != Some(true)
    };
    let found: Vec<_> = network::all(core).into_iter().filter(fits).collect();
    answer::ok(&found)
}

pub(super) fn inspect(core: &Core, name: &str) -> Result<Answer> {
    let network = network::find(core, name)?;
    answer::ok(&network::with_containers(core, network))
}

pub(super) fn remove(core: &Core, name: &str) -> Result<Answer> {
    let network = network::find(core, name)?;
    Err(EngineError::Forbidden(format!(
        "{} is a pre-defined network and cannot be removed",
        network.name
    )))
}

pub(super) fn prune() -> Result<Answer> {
    answer::ok(&NetworkPruneReport::default())
}
