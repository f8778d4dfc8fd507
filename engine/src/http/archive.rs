//! `/containers/{id}/archive` and `/containers/{id}/export`.

use std::sync::Arc;

use base64::Engine as _;
use http::StatusCode;
use http::header::HeaderValue;

use super::answer::{self, Answer};
use super::pipe;
use super::request::Request;
use crate::archive::{Access, Place, place};
use crate::container::Container;
use crate::core::Core;
use crate::error::{EngineError, Result};

fn path(request: &Request) -> Result<String> {
    let path = request.query.text("path");
    path.map(str::to_owned)
        .ok_or_else(|| EngineError::bad("bad parameter: path cannot be empty"))
}

/// HEAD says what a path is, GET sends it as a tar after the same words.
pub(super) async fn get(
    core: &Arc<Core>,
    container: Arc<Container>,
    request: &Request,
) -> Result<Answer> {
    let asked = path(request)?;
    let only_head = request.method == http::Method::HEAD;
    let found = {
        let (core, container, asked) = (Arc::clone(core), Arc::clone(&container), asked.clone());
        run(move || {
            let place = place(&core, &container, &asked, Access::Read)?;
            let stat = place.stat(&asked, &container.view().name)?;
            Ok((place, stat))
        })
        .await?
    };
    let (place, stat) = found;
    let json = serde_json::to_vec(&stat)
        .map_err(|error| EngineError::internal("write the path's description", error))?;
    let header = base64::prelude::BASE64_STANDARD.encode(json);
    let mut answer = if only_head {
        answer::empty(StatusCode::OK)
    } else {
        packed(place, asked)
    };
    if let Ok(value) = HeaderValue::from_str(&header) {
        answer
            .headers_mut()
            .insert("x-docker-container-path-stat", value);
    }
    Ok(answer)
}

/// The whole root as one tar.
pub(super) async fn export(core: &Arc<Core>, container: Arc<Container>) -> Result<Answer> {
    let core = Arc::clone(core);
    let place = run(move || place(&core, &container, "/", Access::Read)).await?;
    Ok(packed(place, "/".to_owned()))
}

fn packed(place: Place, asked: String) -> Answer {
    answer::archive(pipe::written(move |out| Ok(place.pack(&asked, out)?)))
}

pub(super) async fn put(
    core: &Arc<Core>,
    container: Arc<Container>,
    request: Request,
) -> Result<Answer> {
    let asked = path(&request)?;
    let keep_kinds = request.query.flag("noOverwriteDirNonDir");
    let (feed, archive) = pipe::reader(request.into_body());
    let core = Arc::clone(core);
    let work = tokio::task::spawn_blocking(move || {
        let place = place(&core, &container, &asked, Access::Write)?;
        place.unpack(&asked, &container.view().name, archive, keep_kinds)
    });
    let (done, ()) = tokio::join!(work, feed);
    done.map_err(|error| EngineError::internal("unpack the archive", error))??;
    Ok(answer::empty(StatusCode::OK))
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::internal("read the container's files", error))?
}
