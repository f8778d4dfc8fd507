//! Containers: what they are made of, their states, and the actor that owns each.
//!
//! [`Container`] is the handle that everyone holds: the immutable part of the
//! configuration, a view of the actor's state that never blocks, and the
//! actor's queue. Operations of several steps (stop, restart, forced removal)
//! are made of short commands here, so that a stop that waits ten seconds does
//! not keep a kill from reaching the actor.

pub(crate) mod actor;
mod attachments;
pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod mounts;
pub(crate) mod ports;
pub(crate) mod refusal;
pub(crate) mod restart;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod signal;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod update;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine_api::{ContainerConfig, HostConfig, MountPoint};
use runtime::monitor::{Monitor, MonitorWriter};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::db::NetworkRow;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use actor::Command;
use state::{Exit, State};

/// How long a SIGKILL may take before the answer is an error.
const KILL_PATIENCE: Duration = Duration::from_secs(15);
/// Docker's default between the stop signal and SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What everyone may see of a container at any moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) host_config: Arc<HostConfig>,
    pub(crate) network: NetworkRow,
    pub(crate) restart_count: i64,
    /// The user stopped it.
    pub(crate) stopped: bool,
    /// Ends seen so far: `wait` for the next one compares it.
    pub(crate) exits: u64,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) removed: bool,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    NotRunning,
    NextExit,
    Removed,
}

/// A handle on one container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) image_id: String,
    pub(crate) config: ContainerConfig,
    pub(crate) mounts: Vec<MountPoint>,
    /// `containers/<id>`: log, name files, monitor socket, exit status.
    pub(crate) dir: PathBuf,
    pub(crate) cgroup: String,
    /// Held by whoever mounts the snapshot for writing: overlayfs does not
    /// define what two such mounts do to each other.
    pub(crate) mounting: Arc<tokio::sync::Mutex<()>>,
    view: watch::Receiver<View>,
    commands: mpsc::Sender<Command>,
}

impl Container {
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Starts it.
    ///
    /// # Errors
    /// `NotModified` when it runs already, else why it could not be started.
    pub(crate) async fn start(&self) -> Result<()> {
        self.call(|reply| Command::Start { reply }).await
    }

    /// Sends a signal to the first process.
    pub(crate) async fn signal(&self, number: i32) -> Result<()> {
        self.call(|reply| Command::Signal { number, reply }).await
    }

    pub(crate) async fn pause(&self) -> Result<()> {
        self.call(|reply| Command::Pause { reply }).await
    }

    pub(crate) async fn unpause(&self) -> Result<()> {
        self.call(|reply| Command::Unpause { reply }).await
    }

    pub(crate) async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let writer = self.writer().await?;
        writer
            .resize(columns, rows)
            .await
            .map_err(|error| EngineError::internal("resize the terminal", error))
    }

    pub(crate) async fn rename(&self, name: String) -> Result<()> {
        self.call(|reply| Command::Rename { name, reply }).await
    }

    /// Changes limits and restart policy, of a running process as well; what
    /// the user should know.
    pub(crate) async fn update(&self, wanted: HostConfig) -> Result<Vec<String>> {
        let wanted = Box::new(wanted);
        self.call(|reply| Command::Update { wanted, reply }).await
    }

    /// A connection to its streams: at once when it runs, else as soon as it starts.
    pub(crate) async fn attach(&self) -> Result<oneshot::Receiver<Monitor>> {
        self.call(|reply| Command::Attach { reply }).await
    }

    async fn writer(&self) -> Result<MonitorWriter> {
        self.call(|reply| Command::Writer { reply }).await
    }

    /// `docker kill`: a signal that is sent to end it is also the end of what a
    /// restart policy would do.
    pub(crate) async fn kill(&self, number: i32) -> Result<()> {
        let state = self.view().state;
        if matches!(state, State::Restarting { .. }) {
            // Nothing runs that a signal could be sent to.
            return self.call(|reply| Command::MarkStopped { reply }).await;
        }
        if !state.is_up() {
            return Err(EngineError::Conflict(format!(
                "cannot kill container: {}: container {} is not running",
                self.view().name,
                self.id
            )));
        }
        if !signal::is_message(number) || number == self.stop_signal() {
            self.call(|reply| Command::MarkStopped { reply }).await?;
        }
        self.signal(number).await?;
        if number == signal::SIGKILL {
            self.wait_down(KILL_PATIENCE).await?;
        }
        Ok(())
    }

    fn stop_signal(&self) -> i32 {
        signal::parse(&self.config.stop_signal).unwrap_or(signal::SIGTERM)
    }

    /// Stops it: `signal` or the configured one, and SIGKILL after `timeout`
    /// (`None` is the container's own, else ten seconds).
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub(crate) async fn stop(
        &self,
        timeout: Option<Option<Duration>>,
        signal_text: Option<&str>,
    ) -> Result<()> {
        let number = match signal_text {
            Some(text) => signal::parse(text)?,
            None => self.stop_signal(),
        };
        let timeout = timeout.unwrap_or_else(|| match self.config.stop_timeout {
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
            None => Some(STOP_TIMEOUT),
        });
        if !self.view().state.counts_as_running() {
            return Err(EngineError::NotModified);
        }
        self.call(|reply| Command::MarkStopped { reply }).await?;
        // Gone between the check and the signal is what was asked for.
        let _ = self.signal(number).await;
        let ended = match timeout {
            Some(timeout) => self.wait_down(timeout).await,
            None => self.wait_down(Duration::MAX).await,
        };
        if ended.is_err() {
            let _ = self.signal(signal::SIGKILL).await;
            self.wait_down(KILL_PATIENCE).await?;
        }
        Ok(())
    }

    /// Waits until it neither runs nor is about to.
    async fn wait_down(&self, patience: Duration) -> Result<()> {
        let mut view = self.view.clone();
        let down = view.wait_for(|view| view.removed || !view.state.counts_as_running());
        match tokio::time::timeout(patience, down).await {
            Ok(_) => Ok(()),
            Err(_) => Err(EngineError::Internal(format!(
                "container {} did not end within {} s of its kill",
                self.id.short(),
                patience.as_secs()
            ))),
        }
    }

    /// Waits for a condition; the exit code then.
    pub(crate) async fn wait(&self, condition: WaitFor, from: u64) -> Exit {
        let mut view = self.view.clone();
        let met = view
            .wait_for(|view| match condition {
                _ if view.removed => true,
                WaitFor::NotRunning => !view.state.counts_as_running(),
                WaitFor::NextExit => view.exits > from,
                // Its removal failed, so it would be waited for in vain.
                WaitFor::Removed => matches!(view.state, State::Dead { .. }),
            })
            .await;
        let last = match met {
            Ok(view) => view.last_exit.clone(),
            // The actor is gone; the last view stays readable.
            Err(_) => self.view.borrow().last_exit.clone(),
        };
        last.unwrap_or(Exit {
            code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: None,
            finished_at: None,
        })
    }

    /// Removes it; with `force` it is killed first.
    pub(crate) async fn remove(&self, force: bool, volumes: bool) -> Result<()> {
        let view = self.view();
        if view.state.counts_as_running() {
            if !force {
                let state = view.state.status();
                return Err(EngineError::Conflict(format!(
                    "cannot remove container \"/{}\": container is {state}: \
                     stop the container before removing or force remove",
                    view.name
                )));
            }
            self.call(|reply| Command::MarkStopped { reply }).await?;
            let _ = self.signal(signal::SIGKILL).await;
            self.wait_down(KILL_PATIENCE).await?;
        }
        match self.call(|reply| Command::Remove { volumes, reply }).await {
            // Its own `--rm` was faster.
            Err(_) if self.view.borrow().removed => Ok(()),
            result => result,
        }
    }

    /// Sends a command and waits for its result.
    async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let gone = || EngineError::no_such_container(self.id.as_str());
        let (reply, result) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}
