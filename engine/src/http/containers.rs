//! `/containers`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine_api::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, ContainerPruneReport,
    ContainerUpdateResponse, ContainerWaitResponse, ExecCreateRequest, ExecCreateResponse,
    HostConfig, WaitError,
};
use http::StatusCode;
use runtime::root::Root;
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::request::Request;
use super::route::unsupported;
use super::{archive, hijack, logs, stats, top};
use crate::clock;
use crate::container::actor::emit;
use crate::container::changes as diff;
use crate::container::commit::{self as committing, Commit};
use crate::container::list::{self, ListQuery};
use crate::container::state::State;
use crate::container::{Container, WaitFor, create as creating, exec, inspect, signal};
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::image::store::as_tag;
use crate::scratch::Scratch;

pub(super) async fn list(core: &Core, request: &Request) -> Result<Answer> {
    let query = &request.query;
    let wanted = ListQuery::parse(
        query.flag("all"),
        query.number("limit")?,
        query.get("filters"),
    )?;
    let mut found = list::list(core, &wanted).await?;
    if query.flag("size") {
        for summary in &mut found {
            let (rw, root) = sizes(core, &summary.id).await?;
            summary.size_rw = Some(rw);
            summary.size_root_fs = Some(root);
        }
    }
    answer::ok(&found)
}

pub(super) async fn create(core: &Arc<Core>, request: Request) -> Result<Answer> {
    let name = request.query.text("name").map(str::to_owned);
    let platform = request.query.text("platform").map(str::to_owned);
    let (wanted, _) = request.json::<ContainerCreateRequest>().await?;
    if let Some(platform) = platform {
        check_platform(core, &wanted.config.image, &platform).await?;
    }
    // On its own: a client that leaves must not leave half a container.
    let owned = Arc::clone(core);
    let work = async move { creating::create(&owned, name.as_deref(), wanted).await };
    let created = finish(core.tasks.spawn(work)).await?;
    let answer = ContainerCreateResponse {
        id: created.id.to_string(),
        warnings: created.warnings,
    };
    answer::json(StatusCode::CREATED, &answer)
}

async fn check_platform(core: &Core, image: &str, platform: &str) -> Result<()> {
    let wanted = oci::Platform::parse(platform)
        .ok_or_else(|| EngineError::bad(format!("\"{platform}\" is an invalid platform")))?;
    let found = core.images.get(core, image).await?;
    let has = oci::Platform {
        os: found.config.os.clone(),
        variant: found.config.variant.clone(),
        ..oci::Platform::linux(&found.config.architecture)
    };
    if has.matches(&wanted) {
        Ok(())
    } else {
        // Clients answer this by pulling the other platform.
        Err(EngineError::NotFound(format!(
            "image with reference {image} was found but does not provide the specified platform ({platform})"
        )))
    }
}

pub(super) async fn remove(core: &Core, id: &str, request: &Request) -> Result<Answer> {
    let query = &request.query;
    if query.flag("link") {
        return Err(unsupported("docker rm --link"));
    }
    let container = core.containers.find(id)?;
    container
        .remove(query.flag("force"), query.flag("v"))
        .await?;
    answer::no_content()
}

pub(super) async fn prune(core: &Arc<Core>, request: &Request) -> Result<Answer> {
    let filters = Filters::parse(request.query.get("filters"), &["label", "label!", "until"])?;
    let until = match filters.values("until").next() {
        None => None,
        Some(text) => Some(
            clock::parse_moment(text, clock::now())
                .ok_or_else(|| EngineError::bad(format!("invalid filter 'until={text}'")))?,
        ),
    };
    let mut report = ContainerPruneReport::default();
    for container in core.containers.all() {
        let view = container.view();
        let fits = !view.state.counts_as_running()
            && until.is_none_or(|until| container.created_at < until)
            && filters.labels(&container.config.labels);
        if !fits {
            continue;
        }
        let (rw, _) = sizes(core, container.id.as_str()).await?;
        // One that was started or removed meanwhile is simply not pruned.
        if container.remove(false, false).await.is_ok() {
            report.space_reclaimed += u64::try_from(rw).unwrap_or(0);
            report
                .containers_deleted
                .get_or_insert_with(Vec::new)
                .push(container.id.to_string());
        }
    }
    answer::ok(&report)
}

/// `/containers/{id}/{action}`.
pub(super) async fn one(
    core: &Arc<Core>,
    method: &str,
    id: &str,
    action: &str,
    request: Request,
) -> Result<Answer> {
    let container = core.containers.find(id)?;
    match (method, action) {
        ("GET", "json") => inspect_one(core, &container, &request).await,
        ("GET", "logs") => logs::logs(core, &container, &request),
        ("GET", "top") => top::top(&container, &request).await,
        ("GET", "stats") => stats::stats(core, container, &request),
        ("GET", "changes") => changes(core, &container).await,
        ("GET", "export") => archive::export(core, container).await,
        ("GET" | "HEAD", "archive") => archive::get(core, container, &request).await,
        ("PUT", "archive") => archive::put(core, container, request).await,
        ("GET", "checkpoints") | ("POST", "checkpoints") => Err(unsupported("docker checkpoint")),
        ("POST", "start") => start(&container).await,
        ("POST", "stop") => stop(core, container, &request).await,
        ("POST", "restart") => restart(core, container, &request).await,
        ("POST", "kill") => kill(&container, &request).await,
        ("POST", "pause") => {
            container.pause().await?;
            answer::no_content()
        }
        ("POST", "unpause") => {
            container.unpause().await?;
            answer::no_content()
        }
        ("POST", "rename") => rename(&container, &request).await,
        ("POST", "update") => update(&container, request).await,
        ("POST", "resize") => {
            let (columns, rows) = super::exec::size(&request)?;
            container.resize(columns, rows).await?;
            Ok(answer::empty(StatusCode::OK))
        }
        ("POST", "attach") => attach(core, container, request).await,
        ("POST", "wait") => wait(core, &container, &request),
        ("POST", "exec") => {
            let (wanted, _) = request.json::<ExecCreateRequest>().await?;
            let exec = exec::create(core, container, wanted)?;
            let id = exec.id.clone();
            answer::json(StatusCode::CREATED, &ExecCreateResponse { id })
        }
        _ => Err(EngineError::NotFound("page not found".to_owned())),
    }
}

async fn inspect_one(core: &Core, container: &Container, request: &Request) -> Result<Answer> {
    let mut found = inspect::inspect(core, container);
    if request.query.flag("size") {
        let (rw, root) = sizes(core, container.id.as_str()).await?;
        found.size_rw = Some(rw);
        found.size_root_fs = Some(root);
    }
    answer::ok(&found)
}

/// Bytes written by the container, and of its whole root.
pub(super) async fn sizes(core: &Core, id: &str) -> Result<(i64, i64)> {
    let container = core.containers.find(id)?;
    let layers = core.host.layers.clone();
    let key = id.to_owned();
    let rw = crate::blocking::blocking(move || layers.usage(&key)).await?;
    let rw = i64::try_from(rw).unwrap_or(i64::MAX);
    let image = core.db.image(&container.image_id).await?;
    Ok((rw, rw + image.map_or(0, |image| image.size_bytes)))
}

async fn start(container: &Container) -> Result<Answer> {
    container.start().await?;
    answer::no_content()
}

/// The grace of a stop: absent is the container's own, negative waits for ever.
fn grace(request: &Request) -> Result<Option<Option<Duration>>> {
    let seconds = request.query.number::<i64>("t")?;
    Ok(seconds.map(|seconds| u64::try_from(seconds).ok().map(Duration::from_secs)))
}

/// Runs on its own, so that a client that leaves does not stop the stop.
async fn stop(core: &Arc<Core>, container: Arc<Container>, request: &Request) -> Result<Answer> {
    let grace = grace(request)?;
    let signal_text = request.query.text("signal").map(str::to_owned);
    if let Some(text) = &signal_text {
        signal::parse(text)?;
    }
    let core = Arc::clone(core);
    let tasks = core.tasks.clone();
    let stop = async move {
        container.stop(grace, signal_text.as_deref()).await?;
        emit(&core, &container, &container.view().name, "stop", &[]);
        Ok(())
    };
    finish(tasks.spawn(stop)).await?;
    answer::no_content()
}

async fn restart(core: &Arc<Core>, container: Arc<Container>, request: &Request) -> Result<Answer> {
    let grace = grace(request)?;
    let signal_text = request.query.text("signal").map(str::to_owned);
    let core = Arc::clone(core);
    let tasks = core.tasks.clone();
    let restart = async move {
        match container.stop(grace, signal_text.as_deref()).await {
            Ok(()) | Err(EngineError::NotModified) => container.start().await?,
            Err(error) => return Err(error),
        }
        emit(&core, &container, &container.view().name, "restart", &[]);
        Ok(())
    };
    finish(tasks.spawn(restart)).await?;
    answer::no_content()
}

async fn finish<T>(work: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    work.await
        .map_err(|error| EngineError::internal("background work", error))?
}

async fn kill(container: &Container, request: &Request) -> Result<Answer> {
    let number = match request.query.text("signal") {
        Some(text) => signal::parse(text)?,
        None => signal::SIGKILL,
    };
    container.kill(number).await?;
    answer::no_content()
}

async fn rename(container: &Container, request: &Request) -> Result<Answer> {
    let name = request
        .query
        .text("name")
        .ok_or_else(|| EngineError::bad("Neither old nor new names may be empty"))?;
    container
        .rename(crate::names::container_name(name)?)
        .await?;
    answer::no_content()
}

pub(super) async fn commit(core: &Arc<Core>, request: Request) -> Result<Answer> {
    let query = &request.query;
    if query.all("changes").iter().any(|text| !text.is_empty()) {
        return Err(unsupported("docker commit --change"));
    }
    let container = core
        .containers
        .find(query.text("container").unwrap_or_default())?;
    let reference = query
        .text("repo")
        .map(|name| as_tag(super::images::reference(name, query.text("tag"))?))
        .transpose()?;
    let mut wanted = Commit {
        reference,
        comment: query.get("comment").unwrap_or_default().to_owned(),
        author: query.get("author").unwrap_or_default().to_owned(),
        pause: query.flag_or("pause", true),
        config: None,
    };
    wanted.config = request
        .json_or_default::<Option<ContainerConfig>>()
        .await?
        .0;
    // On its own: a client that leaves must not leave the container frozen.
    let owned = Arc::clone(core);
    let work = async move { committing::commit(&owned, &container, wanted).await };
    let id = finish(core.tasks.spawn(work)).await?;
    answer::json(StatusCode::CREATED, &serde_json::json!({"Id": id}))
}

async fn changes(core: &Core, container: &Arc<Container>) -> Result<Answer> {
    // The image may be gone, but the container stands on its layers.
    let (layers, container) = (core.host.layers.clone(), Arc::clone(container));
    let config = core.config.clone();
    let found = crate::blocking::blocking(move || {
        let snapshot = layers.get(container.id.as_str())?;
        let upper = Root::open(&snapshot.upper)?;
        let nothing = Scratch::new(&config)?;
        let lower = match &layers.parents(container.id.as_str())?[..] {
            [] => Root::open(nothing.path())?,
            parents => layers.view(parents)?,
        };
        let targets = container.mounts.iter();
        let targets = targets.map(|mount| PathBuf::from(&mount.destination));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(diff::changes(&upper, &lower, targets)?)
    });
    answer::ok(&found.await?)
}

async fn update(container: &Container, request: Request) -> Result<Answer> {
    let (wanted, _) = request.json::<HostConfig>().await?;
    let warnings = container.update(wanted).await?;
    answer::ok(&ContainerUpdateResponse {
        warnings: Some(warnings),
    })
}

async fn attach(core: &Arc<Core>, container: Arc<Container>, request: Request) -> Result<Answer> {
    let query = &request.query;
    let config = &container.config;
    let keys = hijack::detach_keys(query.get("detachKeys"))?;
    let streams = hijack::Streams {
        stdin: query.flag("stdin") && config.open_stdin,
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        tty: config.tty,
        close_stdin: config.stdin_once,
        detach_keys: if config.tty { keys } else { Vec::new() },
    };
    let (replay, live) = (query.flag("logs"), query.flag("stream"));
    let version = request.version();
    let tty = config.tty;
    if matches!(container.view().state, State::Paused { .. }) {
        return Err(EngineError::Conflict(format!(
            "container {id} is paused, unpause the container before attach",
            id = container.id
        )));
    }
    let core = Arc::clone(core);
    // Registered before the answer is sent: the client starts the container right after it.
    let connection = if live {
        let connection = container.attach().await?;
        // Here, so that it is told before the start that the client waits with.
        let name = container.view().name;
        emit(&core, &container, &name, "attach", &[]);
        Some(connection)
    } else {
        None
    };
    let work = move |mut client: hijack::Client| async move {
        if replay
            && logs::replay(&container, &streams, &mut client)
                .await
                .is_err()
        {
            return;
        }
        let Some(connection) = connection else {
            return client.close().await;
        };
        let monitor = tokio::select! {
            monitor = connection => monitor,
            () = core.closing.cancelled() => return client.close().await,
        };
        // The container was removed, or could not be started.
        let Ok(monitor) = monitor else {
            return client.close().await;
        };
        let (reader, writer) = monitor.split();
        client.run(&streams, reader, writer, |_| ()).await;
    };
    hijack::take_over(request.into_upgrade(), version, tty, work)
}

fn wait(core: &Core, container: &Arc<Container>, request: &Request) -> Result<Answer> {
    let condition = match request.query.text("condition") {
        None | Some("not-running") => WaitFor::NotRunning,
        Some("next-exit") => WaitFor::NextExit,
        Some("removed") => WaitFor::Removed,
        Some(other) => return Err(EngineError::bad(format!("invalid condition: \"{other}\""))),
    };
    // Counted before the answer's head goes out: the client starts the
    // container once it has it.
    let from = container.view().exits;
    let container = Arc::clone(container);
    let closing = core.closing.clone();
    let (sender, lines) = mpsc::channel(1);
    tokio::spawn(async move {
        let exit = tokio::select! {
            exit = container.wait(condition, from) => exit,
            () = sender.closed() => return,
            () = closing.cancelled() => return,
        };
        let dead = match container.view().state {
            State::Dead { reason, .. } => Some(WaitError { message: reason }),
            _ => None,
        };
        let answer = ContainerWaitResponse {
            // A start that failed is told to whoever asked for the start.
            error: dead.or_else(|| {
                (exit.started_at.is_some() && !exit.error.is_empty()).then(|| WaitError {
                    message: exit.error.clone(),
                })
            }),
            status_code: i64::from(exit.code),
        };
        let _ = sender.send(answer).await;
    });
    Ok(answer::lines(lines))
}
