//! Exec: further processes in a running container.
//!
//! An exec's state is memory only: it ends with its container, and after a
//! restart of the daemon the process goes on but can no longer be asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_api::{ExecCreateRequest, ExecInspect, ExecProcess};
use runtime::launcher::LaunchError;
use runtime::monitor::{Monitor, MonitorWriter};
use runtime::spec::{Capabilities, ProcessSpec, Seccomp};
use tokio::sync::watch;

use super::actor::emit;
use super::state::State;
use super::{Container, View};
use crate::core::Core;
use crate::error::{EngineError, Result, chain};
use crate::id::{ContainerId, random_hex};

/// Ended execs that can still be asked about, over all containers.
const ENDED_MAX: usize = 1024;

/// The life of an exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExecState {
    Created,
    /// One request is starting it; no other may.
    Starting,
    Running {
        pid: u32,
    },
    Ended {
        code: i32,
    },
}

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) container: Arc<Container>,
    pub(crate) request: ExecCreateRequest,
    state: watch::Sender<ExecState>,
    writer: Mutex<Option<MonitorWriter>>,
}

/// All execs, by id.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    table: Mutex<HashMap<String, Arc<Exec>>>,
}

impl Execs {
    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 404 with Docker's text.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let found = self.table().get(id).cloned();
        found.ok_or_else(|| EngineError::NotFound(format!("No such exec instance: {id}")))
    }

    /// Ids of the running execs of a container.
    pub(crate) fn of(&self, container: &ContainerId) -> Vec<String> {
        let table = self.table();
        let running = |exec: &&Arc<Exec>| {
            exec.container.id == *container
                && matches!(*exec.state.borrow(), ExecState::Running { .. })
        };
        table
            .values()
            .filter(running)
            .map(|exec| exec.id.clone())
            .collect()
    }

    fn insert(&self, exec: Arc<Exec>) {
        let mut table = self.table();
        if table.len() >= ENDED_MAX {
            // Whoever wanted these has long read them.
            table.retain(|_, exec| {
                matches!(
                    *exec.state.borrow(),
                    ExecState::Starting | ExecState::Running { .. }
                )
            });
        }
        table.insert(exec.id.clone(), exec);
    }
}

/// Registers an exec in a running container.
///
/// # Errors
/// 409 unless the container runs, 400 without a command.
pub(crate) fn create(
    core: &Core,
    container: Arc<Container>,
    request: ExecCreateRequest,
) -> Result<Arc<Exec>> {
    let view = container.view();
    match &view.state {
        State::Running { .. } => {}
        State::Paused { .. } => {
            return Err(EngineError::Conflict(format!(
                "container {} is paused, unpause the container before exec",
                view.name
            )));
        }
        _ => {
            return Err(EngineError::Conflict(format!(
                "container {} is not running",
                container.id
            )));
        }
    }
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(EngineError::bad("No exec command specified"));
    }
    let exec = Arc::new(Exec {
        id: random_hex(32),
        container,
        request,
        state: watch::Sender::new(ExecState::Created),
        writer: Mutex::new(None),
    });
    core.execs.insert(Arc::clone(&exec));
    let command = exec.request.cmd.join(" ");
    let more = [("execID", exec.id.clone())];
    emit(
        core,
        &exec.container,
        &view.name,
        &format!("exec_create: {command}"),
        &more,
    );
    Ok(exec)
}

impl Exec {
    /// Takes the right to start it, which only one caller gets.
    ///
    /// # Errors
    /// 409 when it was started before, or its container ended.
    pub(crate) fn claim(self: &Arc<Self>) -> Result<Claim> {
        if !self.container.view().state.is_up() {
            return Err(EngineError::Conflict(format!(
                "container {} is not running",
                self.container.id
            )));
        }
        match begin(&self.state) {
            Ok(()) => Ok(Claim {
                exec: Arc::clone(self),
                launched: false,
            }),
            Err(ExecState::Ended { .. }) => Err(EngineError::Conflict(format!(
                "exec {} has already run",
                self.id
            ))),
            Err(_) => Err(EngineError::Conflict(format!(
                "exec {} is already running",
                self.id
            ))),
        }
    }

    /// Starts the process; the connection carries its streams and its end.
    async fn start(&self, core: &Core, process: &ProcessSpec) -> Result<Monitor> {
        let launch = async {
            let monitor = core
                .host
                .launcher
                .exec(&self.container.dir, &self.id, process)
                .await?;
            monitor.start().await?;
            Ok::<_, LaunchError>(monitor)
        };
        match launch.await {
            Ok(monitor) => {
                self.state
                    .send_replace(ExecState::Running { pid: monitor.pid() });
                *self.writer() = Some(monitor.writer());
                let command = self.request.cmd.join(" ");
                let more = [("execID", self.id.clone())];
                emit(
                    core,
                    &self.container,
                    &self.container.view().name,
                    &format!("exec_start: {command}"),
                    &more,
                );
                Ok(monitor)
            }
            Err(error) => {
                let code = match error.exit_code() {
                    125 => 126,
                    code => code,
                };
                self.state.send_replace(ExecState::Ended { code });
                let text = format!("OCI runtime exec failed: {}", chain(&error));
                Err(match error {
                    LaunchError::NotFound(_)
                    | LaunchError::PermissionDenied(_)
                    | LaunchError::Refused(_) => EngineError::BadRequest(text),
                    LaunchError::NotRunning => EngineError::Conflict(format!(
                        "container {} is not running",
                        self.container.id
                    )),
                    _ => EngineError::Internal(text),
                })
            }
        }
    }

    /// Records the end; to be called before the client's stream is closed, as
    /// clients ask for the exit code right after it.
    pub(crate) fn ended(&self, core: &Core, code: i32) {
        self.state.send_replace(ExecState::Ended { code });
        *self.writer() = None;
        let name = self.container.view().name;
        let more = [("execID", self.id.clone()), ("exitCode", code.to_string())];
        emit(core, &self.container, &name, "exec_die", &more);
    }

    /// # Errors
    /// 409 unless it runs.
    pub(crate) async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let writer = self.writer().clone();
        let writer = writer
            .ok_or_else(|| EngineError::Conflict(format!("exec {} is not running", self.id)))?;
        writer
            .resize(columns, rows)
            .await
            .map_err(|error| EngineError::internal("resize the terminal", error))
    }

    pub(crate) fn inspect(&self) -> ExecInspect {
        let state = self.state.borrow().clone();
        let mut words = self.request.cmd.iter().cloned();
        ExecInspect {
            id: self.id.clone(),
            running: matches!(state, ExecState::Running { .. }),
            exit_code: match state {
                ExecState::Ended { code } => Some(code),
                _ => None,
            },
            process_config: ExecProcess {
                tty: self.request.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: self.request.privileged,
                user: self.request.user.clone(),
            },
            open_stdin: self.request.attach_stdin,
            open_stderr: self.request.attach_stderr,
            open_stdout: self.request.attach_stdout,
            can_remove: false,
            container_id: self.container.id.to_string(),
            detach_keys: String::new(),
            pid: match state {
                ExecState::Running { pid } => pid,
                _ => 0,
            },
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<MonitorWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to start an exec. Given back when it is dropped before it came to
/// launching; an exec whose launch was given up half-way has ended.
#[derive(Debug)]
pub(crate) struct Claim {
    exec: Arc<Exec>,
    launched: bool,
}

impl Claim {
    /// Starts the process; the connection carries its streams and its end.
    ///
    /// # Errors
    /// Docker's texts for programs that are not there (127) or not executable (126).
    pub(crate) async fn start(mut self, core: &Core, size: Option<[u32; 2]>) -> Result<Monitor> {
        let exec = Arc::clone(&self.exec);
        let view = exec.container.view();
        let process = process(&exec.container, &view, &exec.request, size)?;
        self.launched = true;
        exec.start(core, &process).await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        give_back(&self.exec.state, self.launched);
    }
}

/// Created becomes Starting in one step; any other state comes back.
fn begin(state: &watch::Sender<ExecState>) -> std::result::Result<(), ExecState> {
    let mut found = Ok(());
    state.send_if_modified(|state| match state {
        ExecState::Created => {
            *state = ExecState::Starting;
            true
        }
        other => {
            found = Err(other.clone());
            false
        }
    });
    found
}

/// Ends a Starting that came to nothing.
fn give_back(state: &watch::Sender<ExecState>, launched: bool) {
    state.send_if_modified(|state| {
        let starting = *state == ExecState::Starting;
        if starting {
            *state = if launched {
                ExecState::Ended { code: 126 }
            } else {
                ExecState::Created
            };
        }
        starting
    });
}

/// The process of an exec: the container's environment, user and confinement,
/// and what the request changes.
fn process(
    container: &Container,
    view: &View,
    request: &ExecCreateRequest,
    size: Option<[u32; 2]>,
) -> Result<ProcessSpec> {
    let host = &view.host_config;
    let hostname = if container.config.hostname.is_empty() {
        container.id.short()
    } else {
        &container.config.hostname
    };
    let mut config = container.config.clone();
    config.tty = request.tty;
    config.cmd = Some(request.cmd.clone());
    config.entrypoint = None;
    let mut env = config.env.take().unwrap_or_default();
    for entry in request.env.iter().flatten() {
        let name = entry.split('=').next().unwrap_or_default();
        env.retain(|old| old.split('=').next() != Some(name));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    config.env = Some(env);
    if !request.user.is_empty() {
        config.user.clone_from(&request.user);
    }
    if !request.working_dir.is_empty() {
        if !request.working_dir.starts_with('/') {
            return Err(EngineError::bad(format!(
                "OCI runtime exec failed: Cwd must be an absolute path: {}",
                request.working_dir
            )));
        }
        config.working_dir.clone_from(&request.working_dir);
    }
    let mut process = super::spec::process(&config, host, hostname)?;
    process.open_stdin = request.attach_stdin;
    let size = size.or(request.console_size);
    let side = |n: u32| u16::try_from(n).ok().filter(|n| *n > 0);
    process.tty_size = size
        .and_then(|[rows, columns]| side(columns).zip(side(rows)))
        .filter(|_| request.tty);
    process.capabilities = Capabilities::docker_default()
        .adjust(
            host.cap_add.as_deref().unwrap_or(&[]),
            host.cap_drop.as_deref().unwrap_or(&[]),
        )
        .map_err(|error| EngineError::bad(error.to_string()))?;
    process.rlimits = super::spec::rlimits(host.ulimits.as_deref().unwrap_or(&[]))?;
    if request.privileged || host.privileged {
        process.capabilities = Capabilities::all();
        if super::spec::seccomp_option(host)?.is_none() {
            process.seccomp = Seccomp::Unconfined;
        }
    }
    Ok(process)
}

#[cfg(test)]
#[path = "exec/tests.rs"]
mod tests;
