//! RUN: a process in its own sandbox, on a snapshot of what came before.
//!
//! A sandbox is a container of the shared launcher: private namespaces, its
//! own cgroup, Docker's capabilities and system call filter, and a place on
//! the bridge or no network at all. Everything it is made of (state directory,
//! cgroup, network, snapshot) is given back when the process has ended, also
//! after a failure or a cancel; what a crash of this process leaves is removed
//! at the next start.

mod mounts;
mod sandbox;
mod stubs;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use runtime::{
    bridge::Bridge,
    launcher::{LaunchError, Launcher},
    monitor::{ExitStatus, Monitor, MonitorEvent},
    spec::{
        CgroupSpec, ContainerSpec, Limits, Mount, NetMode, ProcessSpec, Resource, Rlimit, Rootfs,
    },
};

use self::{sandbox::Sandbox, stubs::Stubs};
use super::{
    cache_mount::CacheMounts,
    layers::{Layers, Pinned, Scratch, blocking, new_name},
    resolv,
};
use crate::solver::{Executed, Job, OpError, StepUpdate, op};

/// Host name of a sandbox whose build chose none; BuildKit's, since scripts
/// see it.
const HOSTNAME: &str = "buildkitsandbox";

/// What sandboxes are made with. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sandboxes {
    pub(crate) layers: Layers,
    pub(crate) launcher: Launcher,
    pub(crate) bridge: Option<Arc<Bridge>>,
    pub(crate) caches: CacheMounts,
    /// Holds the state directory of each sandbox.
    pub(crate) run_dir: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) limits: Limits,
}

/// An input of an exec, ready to be mounted.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Layers(Vec<String>),
    /// A directory of the host that only this build's steps see.
    Directory(PathBuf),
}

impl Sandboxes {
    /// Runs a step.
    ///
    /// # Cancellation
    /// When the job's token fires, every process of the sandbox is killed and
    /// this returns [`OpError::Cancelled`] once all is given back.
    pub(crate) async fn run(
        &self,
        job: &Job,
        exec: &op::Exec,
        inputs: &[Input],
    ) -> Result<Executed, OpError> {
        let mut sandbox = Sandbox::new(self)?;
        let result = self.step(&mut sandbox, job, exec, inputs).await;
        sandbox.close(self).await;
        result?.keep().await
    }

    /// Runs the process; gives what it wrote, not yet kept.
    async fn step(
        &self,
        sandbox: &mut Sandbox,
        job: &Job,
        exec: &op::Exec,
        inputs: &[Input],
    ) -> Result<Written, OpError> {
        let below = match exec.root.input {
            None => Vec::new(),
            Some(at) => match &inputs[at] {
                Input::Layers(layers) => layers.clone(),
                Input::Directory(_) => {
                    return Err(OpError::User(
                        "a process cannot run on the build context".to_owned(),
                    ));
                }
            },
        };
        // Before the pin: both may wait long, and mounts take pins of their own,
        // which would queue behind whoever waits for ours.
        let mounted = mounts::resolve(self, sandbox, exec, inputs, &job.cancel).await?;
        let address = sandbox.connect(self, exec.network).await?;
        let pinned = self.layers.pin(&below).await?;
        let (scratch, pinned) = self.prepare(pinned).await?;
        let (spec, netns) = self.spec(sandbox, exec, &scratch, mounted, address)?;
        let targets: Vec<String> = spec.mounts.iter().map(|m| m.target.clone()).collect();
        let layers = self.layers.clone();
        let (stubs, pinned) =
            blocking(move || (Stubs::find(&layers, &pinned, &targets), pinned)).await;
        let stubs = stubs?;
        if job.cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let monitor = self.launcher.create(&spec, netns).await.map_err(launch)?;
        // Mounted: from here on names may change.
        drop(pinned);
        for warning in monitor.warnings() {
            tracing::debug!(sandbox = spec.id, warning, "sandbox set up with a warning");
        }
        let status = self.follow(monitor, &spec, job).await?;
        check(status, exec)?;
        Ok(Written {
            output: exec.root.output,
            below,
            scratch,
            stubs,
        })
    }

    async fn prepare(&self, pinned: Pinned) -> Result<(Scratch, Pinned), OpError> {
        let store = self.layers.store().clone();
        let (scratch, pinned) = blocking(move || (Scratch::prepare(&store, &pinned), pinned)).await;
        let scratch = scratch.map_err(|error| OpError::host("prepare a snapshot", &error))?;
        Ok((scratch, pinned))
    }

    /// Everything about the sandbox in one plain value.
    fn spec(
        &self,
        sandbox: &mut Sandbox,
        exec: &op::Exec,
        root: &Scratch,
        mounted: Vec<Mount>,
        address: Option<IpAddr>,
    ) -> Result<(ContainerSpec, Option<std::os::fd::OwnedFd>), OpError> {
        let mut process = ProcessSpec::new(exec.args.clone());
        process.env = environment(exec);
        process.cwd.clone_from(&exec.cwd);
        process.user.clone_from(&exec.user);
        process.rlimits = rlimits(exec)?;
        let rootfs = Rootfs {
            lower: root.snapshot.lower.clone(),
            upper: root.snapshot.upper.clone(),
            work: root.snapshot.work.clone(),
            volatile: root.snapshot.volatile,
        };
        let mut spec = ContainerSpec::new(&sandbox.id, sandbox.state_dir.clone(), rootfs, process);
        spec.read_only_rootfs = exec.root.readonly;
        spec.hostname = match exec.hostname.as_str() {
            "" => HOSTNAME.to_owned(),
            name => name.to_owned(),
        };
        spec.cgroup = CgroupSpec {
            path: sandbox.cgroup.clone(),
            limits: self.limits.clone(),
        };
        let netns = sandbox.take_netns();
        spec.namespaces.net = match netns {
            Some(_) => NetMode::Fd,
            None => NetMode::Private,
        };
        let files = sandbox
            .write_files(&spec.hostname, address, &exec.extra_hosts)
            .map_err(|error| OpError::host("write the files of a sandbox", &error))?;
        spec.mounts.extend(files);
        spec.mounts.extend(mounted);
        Ok((spec, netns))
    }

    /// Lets the process run, hands its output on, and waits for its end.
    async fn follow(
        &self,
        monitor: Monitor,
        spec: &ContainerSpec,
        job: &Job,
    ) -> Result<ExitStatus, OpError> {
        monitor.start().await.map_err(launch)?;
        let (mut events, _input) = monitor.split();
        let mut killed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = job.cancel.cancelled(), if !killed => {
                    killed = true;
                    let cgroup = spec.cgroup.path.clone();
                    let done = blocking(move || runtime::cgroup::kill_all(&cgroup)).await;
                    if let Err(error) = done {
                        tracing::warn!(sandbox = spec.id, %error, "cannot kill a cancelled step");
                    }
                    continue;
                }
            };
            let (stderr, data) = match event {
                Some(MonitorEvent::Stdout(data)) => (false, data),
                Some(MonitorEvent::Stderr(data)) => (true, data),
                Some(MonitorEvent::Exited(_)) | None if killed => return Err(OpError::Cancelled),
                Some(MonitorEvent::Exited(status)) => return Ok(status),
                None => {
                    return Err(OpError::Host {
                        doing: "run the process".to_owned(),
                        reason: "its monitor was killed".to_owned(),
                    });
                }
            };
            if !killed {
                job.progress.tell(StepUpdate::Output { stderr, data }).await;
            }
        }
    }
}

/// The root file system that a step wrote.
#[derive(Debug)]
struct Written {
    output: Option<usize>,
    below: Vec<String>,
    scratch: Scratch,
    stubs: Stubs,
}

impl Written {
    /// Makes a layer of it, when it is an output.
    async fn keep(self) -> Result<Executed, OpError> {
        let Self {
            output,
            mut below,
            scratch,
            stubs,
        } = self;
        if output.is_none() {
            blocking(move || drop(scratch)).await;
            return Ok(Executed {
                outputs: Vec::new(),
                created: Vec::new(),
            });
        }
        let name = new_name();
        let layer = name.clone();
        blocking(move || {
            let upper = scratch
                .upper()
                .map_err(|error| OpError::host("open a snapshot", &error))?;
            stubs.remove(&upper);
            scratch.commit(&layer)
        })
        .await?;
        below.push(name.clone());
        Ok(Executed {
            outputs: vec![below],
            created: vec![name],
        })
    }
}

/// A set-up that failed: the image or the Dockerfile is to blame, or the host.
fn launch(error: LaunchError) -> OpError {
    match error {
        LaunchError::NotFound(text)
        | LaunchError::PermissionDenied(text)
        | LaunchError::Refused(text) => OpError::User(text),
        error => OpError::host("start the process", &error),
    }
}

fn check(status: ExitStatus, exec: &op::Exec) -> Result<(), OpError> {
    let process = exec.args.join(" ");
    if exec.valid_exit_codes.contains(&status.code) {
        return Ok(());
    }
    match status.oom_killed {
        true => Err(OpError::OutOfMemory { process }),
        false => Err(OpError::Exit {
            process,
            code: status.code,
        }),
    }
}

/// The declared variables and the proxies, nothing of the host's. A declared
/// variable beats a proxy of the same name.
fn environment(exec: &op::Exec) -> Vec<String> {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let mut known: BTreeMap<String, ()> = exec.env.iter().map(|e| (name(e), ())).collect();
    let mut all = exec.env.clone();
    let path = runtime::spec::DEFAULT_PATH.to_owned();
    for entry in exec.proxy_env.iter().chain([&path]) {
        if known.insert(name(entry), ()).is_none() {
            all.push(entry.clone());
        }
    }
    all
}

fn rlimits(exec: &op::Exec) -> Result<Vec<Rlimit>, OpError> {
    exec.rlimits
        .iter()
        .map(|limit| {
            let text = serde_json::Value::String(limit.name.clone());
            let resource: Resource = serde_json::from_value(text)
                .map_err(|_| OpError::User(format!("{:?} is not a resource limit", limit.name)))?;
            Ok(Rlimit {
                resource,
                soft: limit.soft,
                hard: limit.hard,
            })
        })
        .collect()
}

/// Ends everything in a cgroup that an earlier process left, and removes it;
/// blocks.
pub(crate) fn end(cgroup: &str) {
    let _absent = runtime::cgroup::kill_all(cgroup);
    sandbox::remove_cgroup(cgroup);
}
