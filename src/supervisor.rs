//! The supervisor: the root of the process tree of `carrack serve`.
//!
//! It binds the sockets, starts the front and the engine process, restarts
//! whichever ends, and drains both on SIGTERM. It speaks to no network and
//! parses nothing that a stranger wrote. A child that crashes does not disturb
//! the other: the sockets stay open here, containers hang on their monitors.

pub mod channel;
pub mod prepare;

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::{
    signal::unix::{Signal as UnixSignal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::config::{self, Config};
use channel::{FromChild, Start, ToChild};

const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// Longest line that a child may send, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Messages of children that wait to be read; a child that says more waits.
const SAID_MAX: usize = 16;
/// What a child gets after `shutdown-timeout` to take its things from the host.
const CLEANUP_TIME: Duration = Duration::from_secs(10);
/// How long a killed child is waited for. One that hangs in the kernel, on a
/// disk that does not answer, cannot die.
const DEATH_TIME: Duration = Duration::from_secs(5);
/// A child that served this long is forgiven its earlier crashes.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Front,
    Engine,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Engine => "engine",
        }
    }
}

/// glibc's malloc (mallopt(3)) gives buffers of a quarter MiB back to the kernel when
/// they are freed and has each new one faulted in again, page by page: 75,000 faults
/// and a third of the CPU time for a GiB that is pushed. So many bytes are kept
/// instead, which bounds what an idle registry holds.
const FRONT_MEMORY: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "16777216"),
    ("MALLOC_TRIM_THRESHOLD_", "16777216"),
];

/// What a child is started with, again at each restart.
#[derive(Debug)]
pub struct ChildPlan {
    pub part: Part,
    pub become_user: Option<(u32, u32)>,
    pub sockets: Vec<OwnedFd>,
}

/// Where a child stands.
#[derive(Debug)]
enum State {
    Starting {
        pid: Pid,
        since: Instant,
        channel: UnixStream,
    },
    Serving {
        pid: Pid,
        since: Instant,
        channel: UnixStream,
    },
    /// Killed because it did not come to serve; its end is yet to be seen.
    Dying { pid: Pid },
    /// Ended; due to be started again.
    Waiting { until: tokio::time::Instant },
}

#[derive(Debug)]
struct Child {
    plan: ChildPlan,
    state: State,
    delay: Duration,
}

impl Child {
    fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Starting { pid, .. } | State::Serving { pid, .. } | State::Dying { pid } => {
                Some(*pid)
            }
            State::Waiting { .. } => None,
        }
    }

    /// When this child is to be looked at, if nothing happens before.
    fn due(&self, start_timeout: Duration) -> Option<tokio::time::Instant> {
        match &self.state {
            State::Starting { since, .. } => Some((*since + start_timeout).into()),
            State::Waiting { until } => Some(*until),
            State::Serving { .. } | State::Dying { .. } => None,
        }
    }

    fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }
}

/// Something the supervisor reacts to.
#[derive(Debug)]
enum Action {
    Said {
        pid: Pid,
        message: FromChild,
    },
    ChildrenEnded,
    /// A child is to be started again, or should serve by now.
    Due,
    Stop,
}

/// What the caller is told while the tree lives.
#[derive(Debug)]
pub enum Notice {
    AdminPassword(String),
    /// Every part serves, for the first time.
    Ready,
    /// Told to stop: requests get their time to finish.
    Stopping,
}

/// The tree: its children and what they say.
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    children: Vec<Child>,
    said: mpsc::Sender<(Pid, FromChild)>,
    /// What the front knows of the engine process.
    front_heard: Option<bool>,
}

/// Runs the tree until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// When a child cannot start at all; the other is stopped first.
pub async fn run(
    config: Config,
    plans: Vec<ChildPlan>,
    mut notice: impl FnMut(Notice),
) -> Result<()> {
    // Monitors of containers whose launcher died come to us, not to init.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("become the reaper of the tree")?;
    let mut ended = signal(SignalKind::child()).context("watch for children")?;
    let mut stops = vec![
        signal(SignalKind::terminate()).context("watch for SIGTERM")?,
        signal(SignalKind::interrupt()).context("watch for SIGINT")?,
    ];
    if !hangup_is_ignored() {
        // The terminal that the server was started in is gone.
        stops.push(signal(SignalKind::hangup()).context("watch for SIGHUP")?);
    }
    let (said, mut heard) = mpsc::channel(SAID_MAX);
    let mut supervisor = Supervisor {
        config,
        children: Vec::new(),
        said,
        front_heard: None,
    };
    for plan in plans {
        let state = supervisor.spawn(&plan)?;
        supervisor.children.push(Child {
            plan,
            state,
            delay: RESTART_DELAY_MIN,
        });
    }
    let mut announced = false;
    loop {
        let due = supervisor.next_due();
        let action = tokio::select! {
            Some((pid, message)) = heard.recv() => Action::Said { pid, message },
            _ = ended.recv() => Action::ChildrenEnded,
            () = sleep_until(due) => Action::Due,
            () = asked_to_stop(&mut stops) => Action::Stop,
        };
        let outcome = match action {
            Action::Said {
                message: FromChild::AdminPassword(password),
                ..
            } => {
                notice(Notice::AdminPassword(password));
                Ok(())
            }
            Action::Said {
                message: FromChild::Failed(reason),
                ..
            } if !announced => Err(anyhow!(reason)),
            Action::Said {
                message: FromChild::Failed(reason),
                ..
            } => {
                tracing::error!(reason, "a part could not start");
                Ok(())
            }
            Action::Said {
                pid,
                message: FromChild::Ready,
            } => {
                supervisor.now_serving(pid);
                Ok(())
            }
            Action::Said {
                message: FromChild::Heard(serves),
                ..
            } => {
                supervisor.front_heard = Some(serves);
                Ok(())
            }
            // Somebody stopped this child alone; its end is seen.
            Action::Said {
                message: FromChild::Drained,
                ..
            } => Ok(()),
            Action::ChildrenEnded => supervisor.reap(announced),
            Action::Due => {
                supervisor.restart_due();
                supervisor.kill_stuck(announced)
            }
            Action::Stop => break,
        };
        if let Err(error) = outcome {
            supervisor
                .stop(&mut heard, &mut ended, &mut stops, &mut notice)
                .await;
            tell_passwords(heard, &mut notice).await;
            return Err(error);
        }
        if !announced && supervisor.is_ready() {
            announced = true;
            notice(Notice::Ready);
        }
    }
    notice(Notice::Stopping);
    tracing::info!(
        "stopping: requests get {:?} to finish",
        supervisor.config.shutdown_timeout
    );
    supervisor
        .stop(&mut heard, &mut ended, &mut stops, &mut notice)
        .await;
    tell_passwords(heard, &mut notice).await;
    Ok(())
}

/// A password that was stored must be told, also when the tree ends at once:
/// the next start will not make another. Ends with the children's channels.
async fn tell_passwords(
    mut heard: mpsc::Receiver<(Pid, FromChild)>,
    notice: &mut impl FnMut(Notice),
) {
    // A child that cannot be killed keeps its channel open.
    let deadline = tokio::time::Instant::now() + DEATH_TIME;
    while let Ok(Some((_, message))) = tokio::time::timeout_at(deadline, heard.recv()).await {
        if let FromChild::AdminPassword(password) = message {
            notice(Notice::AdminPassword(password));
        }
    }
}

fn how_it_ended(status: WaitStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

/// Whether SIGHUP was ignored when we started, as under nohup(1): then it
/// stays so (proc_pid_status(5), `SigIgn`: bit 0 is signal 1).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

/// A signal that asks the tree to stop.
async fn asked_to_stop(stops: &mut [UnixSignal]) {
    let mut asked: FuturesUnordered<_> = stops.iter_mut().map(UnixSignal::recv).collect();
    asked.next().await;
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Supervisor {
    fn spawn(&self, plan: &ChildPlan) -> Result<State> {
        let (ours, theirs) = UnixStream::pair().context("make a channel")?;
        let mut command = Command::new("/proc/self/exe");
        for variable in config::SUPERVISOR_VARIABLES {
            command.env_remove(variable);
        }
        if plan.part == Part::Front {
            command.envs(FRONT_MEMORY);
        }
        let child = command
            .arg0("carrack")
            .args(["internal", plan.part.name()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0)
            .spawn()
            .with_context(|| format!("start the {} process", plan.part.name()))?;
        let pid = Pid::from_child(&child);
        let start = Start {
            config: self.config.clone(),
            become_user: plan.become_user,
        };
        let sockets: Vec<_> = plan.sockets.iter().map(AsFd::as_fd).collect();
        // A child that died already is seen by `reap`.
        if let Err(error) = channel::send_start(&ours, &start, &sockets) {
            tracing::warn!("{error:#}");
        }
        let reading = ours.try_clone().context("clone a channel")?;
        reading
            .set_nonblocking(true)
            .context("set a channel non-blocking")?;
        let reading = tokio::net::UnixStream::from_std(reading).context("watch a channel")?;
        let said = self.said.clone();
        tokio::spawn(async move {
            // The front is the part that a stranger may have taken over.
            let codec = LinesCodec::new_with_max_length(LINE_BYTES_MAX);
            let mut lines = FramedRead::new(reading, codec);
            while let Some(Ok(line)) = lines.next().await {
                if let Ok(message) = serde_json::from_str(&line) {
                    let _ = said.send((pid, message)).await;
                }
            }
        });
        Ok(State::Starting {
            pid,
            since: Instant::now(),
            channel: ours,
        })
    }

    fn now_serving(&mut self, pid: Pid) {
        for child in self
            .children
            .iter_mut()
            .filter(|child| child.pid() == Some(pid))
        {
            let waiting = State::Waiting {
                until: tokio::time::Instant::now(),
            };
            child.state = match std::mem::replace(&mut child.state, waiting) {
                State::Starting {
                    pid,
                    since,
                    channel,
                } => {
                    tracing::info!(
                        part = child.plan.part.name(),
                        pid = pid.as_raw_nonzero().get(),
                        duration_ms = since.elapsed().as_millis() as u64,
                        "serving"
                    );
                    State::Serving {
                        pid,
                        since,
                        channel,
                    }
                }
                other => other,
            };
        }
        self.tell_front(self.engine_serves());
    }

    /// Every part serves, and the front says so.
    fn is_ready(&self) -> bool {
        self.front_heard == Some(true) && self.children.iter().all(Child::is_serving)
    }

    fn engine_serves(&self) -> bool {
        let mut children = self.children.iter();
        let engine = children.find(|child| child.plan.part == Part::Engine);
        engine.is_none_or(Child::is_serving)
    }

    /// Tells the front whether the engine process serves.
    fn tell_front(&self, ready: bool) {
        for child in self
            .children
            .iter()
            .filter(|child| child.plan.part == Part::Front)
        {
            if let State::Serving { channel, .. } = &child.state {
                let mut channel = channel;
                // A front that cannot hear is about to be reaped.
                let _ = channel::write_line(&mut channel, &ToChild::EngineReady(ready));
            }
        }
    }

    /// Collects every ended child, ours or adopted.
    fn reap(&mut self, announced: bool) -> Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(child) = self
                .children
                .iter_mut()
                .find(|child| child.pid() == Some(pid))
            else {
                continue;
            };
            let lived = match &child.state {
                State::Starting { since, .. } | State::Serving { since, .. } => since.elapsed(),
                State::Dying { .. } | State::Waiting { .. } => Duration::ZERO,
            };
            // Its pid may belong to another process from now on.
            child.state = State::Waiting {
                until: tokio::time::Instant::now(),
            };
            if !announced {
                bail!(
                    "the {} process ended at its start ({}): its own message is above",
                    child.plan.part.name(),
                    how_it_ended(status)
                );
            }
            child.delay = match lived {
                lived if lived >= STEADY_AFTER => RESTART_DELAY_MIN,
                _ => (child.delay * 2).min(RESTART_DELAY_MAX),
            };
            tracing::error!(
                part = child.plan.part.name(),
                pid = pid.as_raw_nonzero().get(),
                "ended unexpectedly ({}): starting it again in {:?}",
                how_it_ended(status),
                child.delay
            );
            child.state = State::Waiting {
                until: tokio::time::Instant::now() + child.delay,
            };
            self.tell_front(self.engine_serves());
        }
        Ok(())
    }

    fn next_due(&self) -> Option<tokio::time::Instant> {
        let due = |child: &Child| child.due(self.config.start_timeout);
        self.children.iter().filter_map(due).min()
    }

    /// Kills every child that has had its time to come to serve. It is started
    /// again after its end, unless the tree has not served yet.
    fn kill_stuck(&mut self, announced: bool) -> Result<()> {
        let timeout = self.config.start_timeout;
        for child in &mut self.children {
            let State::Starting { pid, since, .. } = child.state else {
                continue;
            };
            if since.elapsed() < timeout {
                continue;
            }
            let part = child.plan.part.name();
            let reason = format!(
                "the {part} process does not serve {timeout:?} after its start: the last lines of its log tell how far it came; \
                 look whether the disks and network file systems that it uses answer, or give it more time with --start-timeout"
            );
            // It may have ended in the meantime.
            let _ = kill_process(pid, Signal::KILL);
            child.state = State::Dying { pid };
            if !announced {
                bail!(reason);
            }
            tracing::error!(part, pid = pid.as_raw_nonzero().get(), "{reason}");
        }
        Ok(())
    }

    /// Starts again whatever is due; what cannot be started now is due later.
    fn restart_due(&mut self) {
        let now = tokio::time::Instant::now();
        for index in 0..self.children.len() {
            if !matches!(self.children[index].state, State::Waiting { until } if until <= now) {
                continue;
            }
            let spawned = self.spawn(&self.children[index].plan);
            let child = &mut self.children[index];
            child.state = spawned.unwrap_or_else(|error| {
                tracing::error!(part = child.plan.part.name(), "{error:#}");
                State::Waiting {
                    until: now + RESTART_DELAY_MAX,
                }
            });
        }
    }

    /// Lets the children end: first the engine process, while the front still
    /// takes what its builds push; then the front. Whoever is left after the
    /// deadline or a second signal gets SIGKILL.
    async fn stop(
        mut self,
        heard: &mut mpsc::Receiver<(Pid, FromChild)>,
        ended: &mut UnixSignal,
        stops: &mut [UnixSignal],
        notice: &mut impl FnMut(Notice),
    ) {
        let begin = tokio::time::Instant::now();
        let timeout = self.config.shutdown_timeout;
        let in_order = async {
            self.signal(Part::Engine, Signal::TERM);
            // Whoever balances load sends new requests elsewhere.
            self.tell_front(false);
            // Builds that take longer are put back into their queue.
            let latest = begin + timeout / 2;
            self.wait_for_engine(heard, ended, latest, notice).await;
            self.stop_front(timeout.saturating_sub(begin.elapsed()));
            let deadline = begin + timeout + CLEANUP_TIME;
            self.wait_for_all(ended, deadline).await;
        };
        tokio::select! {
            () = in_order => {}
            () = asked_to_stop(stops) => {}
        }
        if self.children.is_empty() {
            return;
        }
        tracing::warn!("some parts did not stop in time: killing them");
        for part in [Part::Engine, Part::Front] {
            self.signal(part, Signal::KILL);
        }
        self.wait_for_all(ended, tokio::time::Instant::now() + DEATH_TIME)
            .await;
        for child in &self.children {
            let part = child.plan.part.name();
            tracing::error!(part, pid = ?child.pid(), "hangs in the kernel and cannot be killed: its disk does not answer");
        }
    }

    /// Waits until nothing in the engine process needs the front any more.
    async fn wait_for_engine(
        &mut self,
        heard: &mut mpsc::Receiver<(Pid, FromChild)>,
        ended: &mut UnixSignal,
        latest: tokio::time::Instant,
        notice: &mut impl FnMut(Notice),
    ) {
        loop {
            self.collect_ended();
            let engine = |child: &Child| child.plan.part == Part::Engine;
            if !self.children.iter().any(engine) {
                return;
            }
            tokio::select! {
                Some((_, message)) = heard.recv() => match message {
                    FromChild::AdminPassword(password) => notice(Notice::AdminPassword(password)),
                    FromChild::Drained => return,
                    FromChild::Ready | FromChild::Heard(_) | FromChild::Failed(_) => {}
                },
                _ = ended.recv() => {}
                () = tokio::time::sleep_until(latest) => return,
            }
        }
    }

    fn stop_front(&self, within: Duration) {
        let fronts = self.children.iter();
        for child in fronts.filter(|child| child.plan.part == Part::Front) {
            let told = match &child.state {
                State::Serving { channel, .. } => {
                    let mut channel = channel;
                    channel::write_line(&mut channel, &ToChild::Stop { within }).is_ok()
                }
                _ => false,
            };
            if !told {
                self.signal(Part::Front, Signal::TERM);
            }
        }
    }

    fn collect_ended(&mut self) {
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            self.children.retain(|child| child.pid() != Some(pid));
        }
        self.children.retain(|child| child.pid().is_some());
    }

    /// Collects ended children until none is left or `deadline` has come.
    async fn wait_for_all(&mut self, ended: &mut UnixSignal, deadline: tokio::time::Instant) {
        loop {
            self.collect_ended();
            if self.children.is_empty() {
                return;
            }
            tokio::select! {
                _ = ended.recv() => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }

    fn signal(&self, part: Part, signal: Signal) {
        let children = self.children.iter();
        let of_part = children.filter(|child| child.plan.part == part);
        for pid in of_part.filter_map(Child::pid) {
            // It may have ended in the meantime.
            let _ = kill_process(pid, signal);
        }
    }
}
