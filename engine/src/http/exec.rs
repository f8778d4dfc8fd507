//! `/exec`.

use std::sync::Arc;

use engine_api::ExecStartRequest;
use http::StatusCode;
use runtime::monitor::{Monitor, MonitorEvent};

use super::answer::{self, Answer};
use super::hijack;
use super::request::Request;
use crate::container::exec::{Claim, Exec};
use crate::core::Core;
use crate::error::{EngineError, Result};

pub(super) async fn start(core: &Arc<Core>, id: &str, request: Request) -> Result<Answer> {
    let exec = core.execs.find(id)?;
    let version = request.version();
    let (wanted, upgrade) = request.json_or_default::<ExecStartRequest>().await?;
    let claim = exec.claim()?;
    if wanted.detach {
        let monitor = claim.start(core, wanted.console_size).await?;
        let core = Arc::clone(core);
        core.clone()
            .tasks
            .spawn(async move { drain(&core, &exec, monitor).await });
        return Ok(answer::empty(StatusCode::OK));
    }
    let tty = exec.request.tty;
    let core = Arc::clone(core);
    let work = move |client| async move { attached(&core, &exec, claim, wanted, client).await };
    hijack::take_over(upgrade, version, tty, work)
}

/// Starts the process with the client on its streams.
async fn attached(
    core: &Arc<Core>,
    exec: &Arc<Exec>,
    claim: Claim,
    wanted: ExecStartRequest,
    client: hijack::Client,
) {
    let request = &exec.request;
    let keys = hijack::detach_keys(Some(request.detach_keys.as_str())).unwrap_or_default();
    let streams = hijack::Streams {
        stdin: request.attach_stdin,
        stdout: request.attach_stdout,
        stderr: request.attach_stderr,
        tty: request.tty,
        close_stdin: true,
        detach_keys: if request.tty { keys } else { Vec::new() },
    };
    let monitor = match claim.start(core, wanted.console_size).await {
        Ok(monitor) => monitor,
        Err(error) => {
            client.fail(&streams, &error).await;
            return;
        }
    };
    let (reader, writer) = monitor.split();
    let ended = client.run(&streams, reader, writer.clone(), |status| {
        exec.ended(core, status.map_or(255, |status| status.code));
    });
    if let Some(mut reader) = ended.await {
        // The client left; the process goes on without it.
        let _ = writer.mute().await;
        loop {
            match reader.next().await {
                Some(MonitorEvent::Exited(status)) => return exec.ended(core, status.code),
                Some(_) => {}
                None => return exec.ended(core, 255),
            }
        }
    }
}

/// Waits for the end of a detached exec.
async fn drain(core: &Arc<Core>, exec: &Exec, monitor: Monitor) {
    let (mut reader, writer) = monitor.split();
    let _ = writer.mute().await;
    while let Some(event) = reader.next().await {
        if let MonitorEvent::Exited(status) = event {
            return exec.ended(core, status.code);
        }
    }
    exec.ended(core, 255);
}

pub(super) async fn resize(core: &Core, id: &str, request: &Request) -> Result<Answer> {
    let exec = core.execs.find(id)?;
    let (columns, rows) = size(request)?;
    exec.resize(columns, rows).await?;
    Ok(answer::empty(StatusCode::CREATED))
}

pub(super) fn inspect(core: &Core, id: &str) -> Result<Answer> {
    answer::ok(&core.execs.find(id)?.inspect())
}

/// `h` and `w` of a resize: columns, rows.
pub(super) fn size(request: &Request) -> Result<(u16, u16)> {
    let side = |key: &str| -> Result<u16> {
        request
            .query
            .number::<u16>(key)?
            .ok_or_else(|| EngineError::bad(format!("invalid resize: {key} is missing")))
    };
    Ok((side("w")?, side("h")?))
}
