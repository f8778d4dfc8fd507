//! The actor that owns one container's state.
//!
//! It takes commands, the end of the process and the restart timer, one at a
//! time, and is the only one to change [`View`]. Nothing here waits long: a
//! start has a deadline, and everything of several steps lives in the handle.
//! What the process holds (network, monitor connection) lives in [`Run`] while
//! it is up. A crash of the daemon drops the actor; `restore` makes it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_api::HostConfig;
use runtime::monitor::{ExitStatus, Monitor, MonitorWriter};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::run::{Run, ended, exit_record};
use super::spec::limits;
use super::state::{Change, Exit, State};
use super::{Container, View, attachments, restart, signal, start, update};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::NetworkRow;
use crate::error::{EngineError, Result};

/// Commands that may wait for one container.
const COMMANDS_MAX: usize = 64;
/// A start that takes longer is given up, so that no container blocks its actor.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// As many as the kernel lets the whole host have: PID_MAX_LIMIT.
const PIDS_UNLIMITED: u64 = 4 * 1024 * 1024;

type Reply<T> = oneshot::Sender<Result<T>>;

/// What the handle asks of the actor.
#[derive(Debug)]
pub(crate) enum Command {
    Start {
        reply: Reply<()>,
    },
    Signal {
        number: i32,
        reply: Reply<()>,
    },
    /// The user wants it down: no policy restarts it.
    MarkStopped {
        reply: Reply<()>,
    },
    Pause {
        reply: Reply<()>,
    },
    Unpause {
        reply: Reply<()>,
    },
    Rename {
        name: String,
        reply: Reply<()>,
    },
    Update {
        wanted: Box<HostConfig>,
        reply: Reply<Vec<String>>,
    },
    Attach {
        reply: Reply<oneshot::Receiver<Monitor>>,
    },
    Writer {
        reply: Reply<MonitorWriter>,
    },
    Remove {
        volumes: bool,
        reply: Reply<()>,
    },
}

/// The handle's ends and the actor's ends of the channels between them.
pub(crate) fn channels(
    view: View,
) -> (
    watch::Sender<View>,
    watch::Receiver<View>,
    mpsc::Sender<Command>,
    mpsc::Receiver<Command>,
) {
    let (view_in, view_out) = watch::channel(view);
    let (commands_in, commands_out) = mpsc::channel(COMMANDS_MAX);
    (view_in, view_out, commands_in, commands_out)
}

/// The actor.
pub(crate) struct Actor {
    core: Arc<Core>,
    container: Arc<Container>,
    view: watch::Sender<View>,
    commands: mpsc::Receiver<Command>,
    run: Option<Run>,
    /// Clients that attached before the start.
    waiting: Vec<oneshot::Sender<Monitor>>,
    restart_at: Option<Instant>,
    restart_pause: Option<Duration>,
}

/// What the actor does next.
enum Action {
    Command(Command),
    Exited(Option<ExitStatus>),
    RestartDue,
    Shutdown,
}

impl Actor {
    pub(crate) fn new(
        core: Arc<Core>,
        container: Arc<Container>,
        view: watch::Sender<View>,
        commands: mpsc::Receiver<Command>,
        run: Option<Run>,
    ) -> Self {
        Self {
            core,
            container,
            view,
            commands,
            run,
            waiting: Vec::new(),
            restart_at: None,
            restart_pause: None,
        }
    }

    /// Runs until the container is removed or the daemon ends.
    pub(crate) async fn run(mut self, start: bool) {
        if start && let Err(error) = self.start().await {
            tracing::warn!(container.id = %self.container.id, %error, "start by restart policy");
        }
        let shutdown = self.core.shutdown.clone();
        loop {
            let action = tokio::select! {
                biased;
                () = shutdown.cancelled() => Action::Shutdown,
                exit = ended(&mut self.run) => Action::Exited(exit),
                () = due(self.restart_at) => Action::RestartDue,
                command = self.commands.recv() => match command {
                    Some(command) => Action::Command(command),
                    None => Action::Shutdown,
                },
            };
            let gone = match action {
                Action::Shutdown => true,
                Action::Exited(status) => self.exited(status).await,
                Action::RestartDue => {
                    self.restart_at = None;
                    self.restart().await;
                    false
                }
                Action::Command(command) => self.command(command).await,
            };
            if gone {
                return;
            }
        }
    }

    /// Carries out a command; `true` when the container is gone after it.
    /// Clients may have left: a reply that nobody hears is no error.
    async fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Start { reply } => {
                let result = self.user_start().await;
                let failed = result.is_err();
                let gone = failed && self.remove_if_failed(&result).await;
                let _ = reply.send(result);
                return gone;
            }
            Command::Signal { number, reply } => drop(reply.send(self.signal(number).await)),
            Command::MarkStopped { reply } => drop(reply.send(self.mark_stopped().await)),
            Command::Pause { reply } => drop(reply.send(self.pause().await)),
            Command::Unpause { reply } => drop(reply.send(self.unpause().await)),
            Command::Rename { name, reply } => drop(reply.send(self.rename(name).await)),
            Command::Update { wanted, reply } => drop(reply.send(self.update(*wanted).await)),
            Command::Attach { reply } => drop(reply.send(self.attach().await)),
            Command::Writer { reply } => {
                let writer = self.run.as_ref().map(|run| run.writer.clone());
                drop(reply.send(writer.ok_or_else(|| self.not_running())));
            }
            Command::Remove { volumes, reply } => {
                let result = self.remove(volumes).await;
                let gone = result.is_ok();
                let _ = reply.send(result);
                return gone;
            }
        }
        false
    }

    async fn user_start(&mut self) -> Result<()> {
        match &self.view.borrow().state {
            State::Running { .. } => return Err(EngineError::NotModified),
            State::Paused { .. } => {
                return Err(EngineError::Conflict(
                    "cannot start a paused container, try unpause instead".to_owned(),
                ));
            }
            State::Removing { .. } | State::Dead { .. } => {
                return Err(EngineError::Conflict(
                    "container is marked for removal and cannot be started".to_owned(),
                ));
            }
            State::Created { .. } | State::Exited { .. } | State::Restarting { .. } => {}
        }
        self.restart_at = None;
        self.restart_pause = None;
        self.view.send_modify(|view| view.restart_count = 0);
        self.start().await
    }

    /// Starts the process and records how it went.
    async fn start(&mut self) -> Result<()> {
        let view = self.view.borrow().clone();
        let mut mounting = None;
        let starting = async {
            // Until the state says that the container itself has the mount.
            mounting = Some(Arc::clone(&self.container.mounting).lock_owned().await);
            start::start(&self.core, &self.container, &view, &mut self.waiting).await
        };
        let result = match tokio::time::timeout(START_PATIENCE, starting).await {
            Ok(result) => result,
            Err(_) => {
                // A monitor that already has the order would still carry it out.
                start::kill_late(&self.container).await;
                Err(start::StartError::late(START_PATIENCE))
            }
        };
        match result {
            Ok(started) => {
                let at = clock::now();
                let pid = started.pid;
                self.run = Some(started.run);
                self.view.send_modify(|view| {
                    view.network = started.network;
                    view.stopped = false;
                });
                self.change(Change::Started { pid, at });
                drop(mounting);
                self.save().await;
                attachments::emit(&self.core, &self.container, true);
                self.emit("start", &[]);
                Ok(())
            }
            Err(failure) => {
                self.waiting.clear();
                let exit = Exit {
                    code: failure.exit_code,
                    oom_killed: false,
                    error: failure.error.to_string(),
                    started_at: None,
                    finished_at: Some(clock::now()),
                };
                self.view.send_modify(|view| {
                    view.last_exit = Some(exit.clone());
                    view.network = NetworkRow::default();
                });
                self.change(Change::StartFailed(exit));
                self.save().await;
                Err(failure.error)
            }
        }
    }

    /// `--rm` also holds for a container whose start failed.
    async fn remove_if_failed(&mut self, result: &Result<()>) -> bool {
        let auto_remove = self.view.borrow().host_config.auto_remove;
        let ran = matches!(
            result,
            Err(EngineError::NotModified | EngineError::Conflict(_))
        );
        auto_remove && !ran && self.auto_remove().await
    }

    async fn restart(&mut self) {
        self.view.send_modify(|view| view.restart_count += 1);
        if let Err(error) = self.start().await {
            tracing::warn!(container.id = %self.container.id, %error, "restart failed");
            // Try again by the policy, as if it had run and failed.
            let view = self.view.borrow().clone();
            let code = view.last_exit.as_ref().map_or(125, |exit| exit.code);
            if restart::wanted(
                &view.host_config.restart_policy,
                code,
                view.stopped,
                view.restart_count,
            ) {
                self.schedule(Duration::ZERO);
            }
        }
    }

    fn schedule(&mut self, ran: Duration) {
        let pause = restart::pause(self.restart_pause, ran);
        self.restart_pause = Some(pause);
        self.restart_at = Some(Instant::now() + pause);
    }

    /// The process ended; `true` when the container is gone with it.
    async fn exited(&mut self, status: Option<ExitStatus>) -> bool {
        self.run = None;
        // The monitor was killed: what it left on disk, if anything, still counts.
        let status = status.or_else(|| ExitStatus::read(&self.container.dir).ok().flatten());
        let view = self.view.borrow().clone();
        start::release_network(&self.core, &view.network).await;
        start::release_cgroup(&self.container).await;
        let exit = exit_record(status, view.state.started_at());
        let ran = exit
            .started_at
            .zip(exit.finished_at)
            .and_then(|(from, to)| (to - from).try_into().ok())
            .unwrap_or(Duration::ZERO);
        let again = restart::wanted(
            &view.host_config.restart_policy,
            exit.code,
            view.stopped,
            view.restart_count,
        );
        self.emit("die", &[("exitCode", exit.code.to_string())]);
        if exit.oom_killed {
            self.emit("oom", &[]);
        }
        attachments::emit(&self.core, &self.container, false);
        let code = exit.code;
        self.view.send_modify(|view| {
            view.network = NetworkRow::default();
            view.last_exit = Some(exit.clone());
            let change = if again {
                Change::ExitedToRestart(exit)
            } else {
                Change::Exited(exit)
            };
            match view.state.after(change) {
                Ok(state) => view.state = state,
                Err(error) => tracing::error!(%error, "exit of a container that was not up"),
            }
            view.exits += 1;
        });
        if again {
            self.schedule(ran);
        }
        self.save().await;
        tracing::debug!(container.id = %self.container.id, code, again, "container ended");
        view.host_config.auto_remove && self.auto_remove().await
    }

    /// What `--rm` asks for; `true` when the container is gone.
    async fn auto_remove(&mut self) -> bool {
        let removed = self.remove(true).await;
        if let Err(error) = &removed {
            tracing::warn!(container.id = %self.container.id, %error, "remove after --rm");
        }
        removed.is_ok()
    }

    async fn signal(&mut self, number: i32) -> Result<()> {
        let Some(run) = &self.run else {
            return Err(self.not_running());
        };
        run.writer
            .signal(number)
            .await
            .map_err(|error| EngineError::internal("send the signal", error))?;
        self.emit("kill", &[("signal", number.to_string())]);
        // A frozen process dies only once it is thawed.
        if matches!(self.view.borrow().state, State::Paused { .. }) && number == signal::SIGKILL {
            let path = self.container.cgroup.clone();
            blocking(move || runtime::cgroup::thaw(&path)).await?;
        }
        Ok(())
    }

    async fn mark_stopped(&mut self) -> Result<()> {
        self.view.send_modify(|view| view.stopped = true);
        self.restart_at = None;
        if matches!(self.view.borrow().state, State::Restarting { .. }) {
            self.change(Change::RestartCancelled);
        }
        self.save().await;
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        let next = match &self.view.borrow().state {
            State::Paused { .. } => {
                return Err(EngineError::Conflict(format!(
                    "container {} is already paused",
                    self.container.id
                )));
            }
            state => state.after(Change::Paused),
        };
        let next = next.map_err(|_| self.not_running())?;
        let path = self.container.cgroup.clone();
        blocking(move || runtime::cgroup::freeze(&path)).await?;
        self.view.send_modify(|view| view.state = next);
        self.save().await;
        self.emit("pause", &[]);
        Ok(())
    }

    async fn unpause(&mut self) -> Result<()> {
        let next = self.view.borrow().state.after(Change::Resumed);
        let next = next.map_err(|_| {
            EngineError::Conflict(format!("container {} is not paused", self.container.id))
        })?;
        let path = self.container.cgroup.clone();
        blocking(move || runtime::cgroup::thaw(&path)).await?;
        self.view.send_modify(|view| view.state = next);
        self.save().await;
        self.emit("unpause", &[]);
        Ok(())
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        let id = &self.container.id;
        let old = self.view.borrow().name.clone();
        if old == name {
            return Err(EngineError::bad(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.core.containers.reserve(&name, id)?;
        if let Err(error) = self.core.db.rename_container(id.as_str(), &name).await {
            self.core.containers.release(&name);
            return Err(error.into());
        }
        self.core.containers.release(&old);
        self.view.send_modify(|view| view.name = name);
        self.emit("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    async fn update(&mut self, wanted: HostConfig) -> Result<Vec<String>> {
        let now = Arc::clone(&self.view.borrow().host_config);
        let host_config = update::apply(&self.container.config, &now, wanted)?;
        let mut warnings = Vec::new();
        if self.run.is_some() && host_config != *now {
            let mut limits = limits(&host_config)?;
            // What was limited before must be written to be lifted.
            if host_config.pids_limit.is_some() {
                limits.pids_max.get_or_insert(PIDS_UNLIMITED);
            }
            let path = self.container.cgroup.clone();
            warnings = blocking(move || runtime::cgroup::update(&path, &limits)).await?;
        }
        self.core
            .db
            .update_host_config(self.container.id.as_str(), &host_config)
            .await?;
        self.view
            .send_modify(|view| view.host_config = Arc::new(host_config));
        self.emit("update", &[]);
        Ok(warnings)
    }

    async fn attach(&mut self) -> Result<oneshot::Receiver<Monitor>> {
        let (sender, receiver) = oneshot::channel();
        if self.run.is_some() {
            let monitor = Monitor::connect(&self.container.dir)
                .await
                .map_err(|error| EngineError::internal("attach", error))?;
            let _ = sender.send(monitor);
        } else {
            self.waiting.retain(|waiting| !waiting.is_closed());
            self.waiting.push(sender);
        }
        Ok(receiver)
    }

    /// Removes everything of the container. On failure it stays, dead, and can
    /// be removed again.
    async fn remove(&mut self, volumes: bool) -> Result<()> {
        let began = Change::RemovalBegan { volumes };
        let next = self.view.borrow().state.after(began);
        let next = next.map_err(|error| EngineError::Conflict(error.to_string()))?;
        self.view.send_modify(|view| view.state = next);
        // What is removed from here on, a later engine must not take for whole.
        self.save().await;
        if let Err(error) = self.clean_up(volumes).await {
            let reason = error.to_string();
            self.change(Change::RemovalFailed(reason));
            self.save().await;
            return Err(error);
        }
        let name = self.view.borrow().name.clone();
        self.core.containers.remove(&self.container.id, &name);
        self.emit("destroy", &[]);
        self.view.send_modify(|view| view.removed = true);
        Ok(())
    }

    async fn clean_up(&self, volumes: bool) -> Result<()> {
        let id = self.container.id.to_string();
        let layers = self.core.host.layers.clone();
        let dir = self.container.dir.clone();
        start::release_cgroup(&self.container).await;
        blocking(move || {
            layers.remove(&id)?;
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok::<_, Box<dyn std::error::Error + Send + Sync>>(()),
            }
        })
        .await?;
        let (id, mounts) = (self.container.id.as_str(), &self.container.mounts);
        crate::volume::delete_with_container(&self.core, id, mounts, volumes).await?;
        crate::image::orphans::sweep_after_container(&self.core).await;
        Ok(())
    }

    /// Applies a change that is known to be legal here.
    fn change(&self, change: Change) {
        let next = self.view.borrow().state.after(change);
        match next {
            Ok(state) => self.view.send_modify(|view| view.state = state),
            Err(error) => tracing::error!(container.id = %self.container.id, %error, "state"),
        }
    }

    /// Writes the state down. A failure is logged: the monitors know the truth.
    async fn save(&self) {
        let view = self.view.borrow().clone();
        let saved = self
            .core
            .db
            .update_container(
                self.container.id.as_str(),
                &view.state.to_row(),
                &view.network,
                view.restart_count,
                view.stopped,
            )
            .await;
        if let Err(error) = saved {
            tracing::error!(container.id = %self.container.id, %error, "save the container's state");
        }
    }

    fn emit(&self, action: &str, more: &[(&str, String)]) {
        let name = self.view.borrow().name.clone();
        emit(&self.core, &self.container, &name, action, more);
    }

    fn not_running(&self) -> EngineError {
        EngineError::Conflict(format!("container {} is not running", self.container.id))
    }
}

/// An event about a container, with what every such event carries.
pub(crate) fn emit(
    core: &Core,
    container: &Container,
    name: &str,
    action: &str,
    more: &[(&str, String)],
) {
    let mut attributes: BTreeMap<String, String> = container.config.labels.clone();
    attributes.insert("image".to_owned(), container.config.image.clone());
    attributes.insert("name".to_owned(), name.to_owned());
    for (key, value) in more {
        attributes.insert((*key).to_owned(), value.clone());
    }
    core.events
        .emit("container", action, container.id.as_str(), attributes);
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
