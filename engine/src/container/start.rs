//! Starting a container: network, name files, spec, process.
//!
//! Each phase is timed and logged at debug. Whatever fails, what was taken
//! before is given back by guards, also when the start is given up half-way.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_api::{EndpointSettings, HostConfig, PortBinding, PortMap};
use runtime::bridge::{Attachment, Bridge, NetError};
use runtime::launcher::LaunchError;
use runtime::monitor::Monitor;
use runtime::ports::PortMapping;
use runtime::spec::{Device, DeviceKind, Namespace, Rootfs};
use tokio::sync::oneshot;

use super::files::NameFiles;
use super::mounts::{self, PlannedMount, PlannedSource};
use super::ports::{self, PortPlan};
use super::run::Run;
use super::spec::{self, Net, SpecInput};
use super::{Container, View};
use crate::blocking::blocking;
use crate::core::Core;
use crate::db::NetworkRow;
use crate::error::{EngineError, Result, chain};
use crate::network;

/// Docker's exit codes for a container that never ran.
const NOT_STARTED: i32 = 128;

/// A started container.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) network: NetworkRow,
    pub(crate) run: Run,
}

/// Why a start failed, and the exit code that stands for it.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) exit_code: i32,
    pub(crate) error: EngineError,
}

impl StartError {
    pub(crate) fn late(patience: Duration) -> Self {
        Self {
            exit_code: NOT_STARTED,
            error: EngineError::Internal(format!(
                "the container did not start within {} s",
                patience.as_secs()
            )),
        }
    }
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> Self {
        Self {
            exit_code: NOT_STARTED,
            error,
        }
    }
}

impl From<LaunchError> for StartError {
    fn from(error: LaunchError) -> Self {
        let text = format!("failed to create task for container: {}", chain(&error));
        let exit_code = error.exit_code();
        let error = match error {
            LaunchError::NotFound(_)
            | LaunchError::PermissionDenied(_)
            | LaunchError::Refused(_) => EngineError::BadRequest(text),
            _ => EngineError::Internal(text),
        };
        Self { exit_code, error }
    }
}

/// Starts the process and hands a connection to each client in `waiting`.
pub(crate) async fn start(
    core: &Core,
    container: &Container,
    view: &View,
    waiting: &mut Vec<oneshot::Sender<Monitor>>,
) -> std::result::Result<Started, StartError> {
    let mut phases = Phases::begin();
    let host = Arc::clone(&view.host_config);
    let (net, ipc, pid) = namespaces(core, &host)?;
    let (planned, volumes) = planned_mounts(core, container, &host)?;
    let port_plan = ports::plan(&container.config, &host)?;
    let mut lease = match net {
        Net::Bridge => Some(Lease::take(core, &view.name, &port_plan).await?),
        Net::None | Net::Host | Net::Join(_) => None,
    };
    phases.end("network");

    let layers = core.host.layers.clone();
    let key = container.id.to_string();
    let snapshot = blocking(move || layers.get(&key)).await?;
    let rootfs = Rootfs {
        lower: snapshot.lower.clone(),
        upper: snapshot.upper.clone(),
        work: snapshot.work.clone(),
        // It goes when the container ends: no sync would be of use, and the
        // unmount would wait for one.
        volatile: host.auto_remove,
    };
    let mounts: Vec<(PlannedMount, PathBuf)> = planned.into_iter().zip(volumes).collect();
    let spec = spec::build(SpecInput {
        id: container.id.as_str(),
        state_dir: &container.dir,
        rootfs,
        config: &container.config,
        host: &host,
        mounts: &mounts,
        devices: devices(&host)?,
        net,
        ipc,
        pid,
        host_name: &core.config.host_name,
        cgroup_parent: &core.config.cgroup_parent,
        log_max_bytes: core.config.log_max_bytes,
        log_max_files: core.config.log_max_files,
    })?;
    NameFiles {
        hostname: &spec.hostname,
        domainname: &spec.domainname,
        address: lease.as_ref().map(|lease| lease.address),
        gateway: lease.as_ref().map(|lease| lease.gateway),
        host: &host,
        host_network: net == Net::Host,
    }
    .write(&container.dir)
    .map_err(|error| EngineError::internal("write the container's hosts file", error))?;
    phases.end("spec");

    let netns = lease.as_mut().and_then(|lease| lease.netns.take());
    let monitor = core.host.launcher.create(&spec, netns).await?;
    phases.end("create");
    for client in waiting.drain(..) {
        if !client.is_closed() {
            let connection = Monitor::connect(&container.dir).await?;
            let _ = client.send(connection);
        }
    }
    // The exit is all that the actor needs of this connection.
    let muted = monitor.writer().mute().await;
    muted.map_err(|error| EngineError::internal("reach the container's monitor", error))?;
    if let Some(lease) = &lease {
        // An engine that dies from here on must find the running container's
        // place on the bridge, or it would sweep it away.
        let row = view.state.to_row();
        core.db
            .update_container(
                container.id.as_str(),
                &row,
                &lease.row,
                view.restart_count,
                view.stopped,
            )
            .await
            .map_err(|error| EngineError::internal("save the container's network", error))?;
    }
    phases.end("save");
    monitor.start().await?;
    phases.end("start");
    for warning in monitor.warnings() {
        tracing::warn!(container.id = %container.id, "{warning}");
    }
    phases.log(container);
    Ok(Started {
        pid: monitor.pid(),
        network: lease.map(Lease::keep).unwrap_or_default(),
        run: Run::watch(monitor),
    })
}

/// Where network, ipc and pid namespaces come from.
///
/// # Errors
/// When another container's is wanted that does not run, or the mode is unknown.
pub(crate) fn namespaces(core: &Core, host: &HostConfig) -> Result<(Net, Namespace, Namespace)> {
    let joined = |name: &str, what: &str| -> Result<u32> {
        let other = core.containers.find(name)?;
        match other.view().state.pid() {
            0 => Err(EngineError::Conflict(format!(
                "cannot join {what} of a non running container: {}",
                other.id
            ))),
            pid => Ok(pid),
        }
    };
    let net = match network::mode(core, &host.network_mode)? {
        network::Mode::Bridge => Net::Bridge,
        network::Mode::None => Net::None,
        network::Mode::Host => Net::Host,
        network::Mode::Container(name) => Net::Join(joined(&name, "network namespace")?),
    };
    let one = |mode: &str, what: &str, flag: &str| -> Result<Namespace> {
        match mode {
            "" | "private" | "shareable" => Ok(Namespace::Private),
            "host" => Ok(Namespace::Host),
            _ => match mode.strip_prefix("container:") {
                Some(name) => joined(name, what).map(Namespace::Join),
                None => Err(EngineError::bad(format!(
                    "--{flag}: invalid {what} mode: {mode}"
                ))),
            },
        }
    };
    let ipc = one(&host.ipc_mode, "IPC", "ipc")?;
    let pid = one(&host.pid_mode, "PID", "pid")?;
    Ok((net, ipc, pid))
}

/// The mounts and the host path of each, in the same order.
fn planned_mounts(
    core: &Core,
    container: &Container,
    host: &HostConfig,
) -> Result<(Vec<PlannedMount>, Vec<PathBuf>)> {
    let planned = mounts::plan(&container.config, host)?;
    let mut paths = Vec::with_capacity(planned.len());
    for mount in &planned {
        paths.push(match &mount.source {
            PlannedSource::Bind { path, create, .. } => {
                if *create && !path.exists() {
                    std::fs::create_dir_all(path).map_err(|error| {
                        EngineError::internal(
                            &format!(
                                "error while creating mount source path '{}'",
                                path.display()
                            ),
                            error,
                        )
                    })?;
                }
                path.clone()
            }
            PlannedSource::Volume { .. } => {
                // Anonymous volumes got their names when the container was made.
                let known = container
                    .mounts
                    .iter()
                    .find(|m| m.destination == mount.target);
                let name = known.map(|m| m.name.as_str()).unwrap_or_default();
                crate::volume::data_dir(core, name)
            }
            PlannedSource::Tmpfs { .. } => PathBuf::new(),
        });
    }
    Ok((planned, paths))
}

/// `--device`: the nodes as they are on the host now.
pub(crate) fn devices(host: &HostConfig) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for device in host.devices.iter().flatten() {
        let stat = rustix::fs::stat(&device.path_on_host).map_err(|_| {
            EngineError::bad(format!(
                "error gathering device information while adding custom device \"{}\": no such file or directory",
                device.path_on_host
            ))
        })?;
        let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::CharacterDevice => DeviceKind::Char,
            rustix::fs::FileType::BlockDevice => DeviceKind::Block,
            _ => {
                return Err(EngineError::bad(format!(
                    "error gathering device information while adding custom device \"{}\": not a device node",
                    device.path_on_host
                )));
            }
        };
        let path = match device.path_in_container.as_str() {
            "" => device.path_on_host.clone(),
            path => path.to_owned(),
        };
        let access = match device.cgroup_permissions.as_str() {
            "" => "rwm".to_owned(),
            access => access.to_owned(),
        };
        devices.push(Device {
            path,
            kind,
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            access,
        });
    }
    Ok(devices)
}

/// A place on the bridge with published ports; given back unless kept.
struct Lease {
    bridge: Arc<Bridge>,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    netns: Option<std::os::fd::OwnedFd>,
    row: NetworkRow,
    kept: bool,
}

impl Lease {
    async fn take(core: &Core, name: &str, plan: &PortPlan) -> Result<Self> {
        let bridge = core.host.bridge.clone().ok_or_else(|| {
            EngineError::Unavailable(
                "this engine has no bridge network: use --network host or none".to_owned(),
            )
        })?;
        let plan = plan.clone();
        let name = name.to_owned();
        let work = move || -> Result<Self> {
            let attachment = bridge
                .attach(None)
                .map_err(|error| EngineError::Internal(chain(&error)))?;
            let mut lease = Self {
                address: attachment.address,
                gateway: attachment.gateway,
                row: NetworkRow::default(),
                kept: false,
                netns: None,
                bridge,
            };
            let resolved = publish(&lease.bridge, lease.address, &plan).map_err(|error| {
                EngineError::Internal(format!(
                    "driver failed programming external connectivity on endpoint {name}: {}",
                    chain(&error)
                ))
            })?;
            lease.row = network_row(&attachment, &plan, &resolved);
            lease.netns = Some(attachment.netns);
            Ok(lease)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| EngineError::internal("attach to the bridge", error))?
    }

    fn keep(mut self) -> NetworkRow {
        self.kept = true;
        std::mem::take(&mut self.row)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (bridge, address) = (Arc::clone(&self.bridge), self.address);
        // Netlink calls block, and this may run on an async thread.
        std::thread::spawn(move || {
            if let Err(error) = bridge.detach(address) {
                tracing::warn!(%address, error = chain(&error), "detach from the bridge");
            }
        });
    }
}

/// Publishes all ports; of a range, the first that is free for all.
fn publish(
    bridge: &Bridge,
    address: Ipv4Addr,
    plan: &PortPlan,
) -> std::result::Result<Vec<PortMapping>, NetError> {
    let widest = plan
        .published
        .iter()
        .map(|p| p.host_ports.1 - p.host_ports.0)
        .max();
    let Some(widest) = widest else {
        return Ok(Vec::new());
    };
    let mut offset = 0;
    loop {
        let wanted: Vec<PortMapping> = plan
            .published
            .iter()
            .map(|p| PortMapping {
                host_ip: p.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                host_port: (p.host_ports.0 + offset).min(p.host_ports.1),
                container_port: p.port.number,
                protocol: p.port.protocol.into(),
            })
            .collect();
        match bridge.publish(address, &wanted) {
            Err(error) if error.is_port_in_use() && offset < widest => offset += 1,
            result => return result,
        }
    }
}

fn network_row(attachment: &Attachment, plan: &PortPlan, resolved: &[PortMapping]) -> NetworkRow {
    let mut ports: PortMap = plan
        .exposed
        .iter()
        .map(|port| (port.to_string(), None))
        .collect();
    for mapping in resolved {
        let port = ports::Port {
            number: mapping.container_port,
            protocol: mapping.protocol.into(),
        };
        ports
            .entry(port.to_string())
            .or_default()
            .get_or_insert_with(Vec::new)
            .push(PortBinding {
                host_ip: mapping.host_ip.to_string(),
                host_port: mapping.host_port.to_string(),
            });
    }
    NetworkRow {
        veth_host: attachment.veth_host.clone(),
        endpoint: EndpointSettings {
            mac_address: attachment.mac.to_string(),
            network_id: network::bridge_id(),
            endpoint_id: crate::id::random_hex(32),
            gateway: attachment.gateway.to_string(),
            ip_address: attachment.address.to_string(),
            ip_prefix_len: attachment.prefix_len,
            ..Default::default()
        },
        ports,
    }
}

/// Gives the container's place on the bridge back, if it has one.
pub(crate) async fn release_network(core: &Core, row: &NetworkRow) {
    let Some((bridge, address)) = core
        .host
        .bridge
        .clone()
        .zip(row.endpoint.ip_address.parse::<Ipv4Addr>().ok())
    else {
        return;
    };
    if let Err(error) = blocking(move || bridge.detach(address)).await {
        tracing::warn!(%address, %error, "detach from the bridge");
    }
}

/// Removes the container's cgroup; a process left in it is killed.
pub(crate) async fn release_cgroup(container: &Container) {
    let path = container.cgroup.clone();
    if let Err(error) = blocking(move || runtime::cgroup::remove(&path)).await {
        tracing::warn!(container.id = %container.id, %error, "remove the cgroup");
    }
}

/// Kills what a start that was given up may have left. The cgroup stays for
/// the monitor to remove: one that is still setting up must not lose it, and
/// ends by itself when nobody is left to start it.
pub(crate) async fn kill_late(container: &Container) {
    let path = container.cgroup.clone();
    if let Err(error) = blocking(move || runtime::cgroup::kill_all(&path)).await {
        tracing::warn!(container.id = %container.id, %error, "kill a container that started late");
    }
}

/// Durations of the phases of a start.
struct Phases {
    begin: Instant,
    last: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Phases {
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            begin: now,
            last: now,
            done: Vec::with_capacity(4),
        }
    }

    fn end(&mut self, phase: &'static str) {
        let now = Instant::now();
        self.done.push((phase, now - self.last));
        self.last = now;
    }

    fn log(&self, container: &Container) {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        for (phase, duration) in &self.done {
            tracing::debug!(container.id = %container.id, phase, duration_ms = ms(duration), "start phase");
        }
        tracing::debug!(container.id = %container.id, duration_ms = ms(&self.begin.elapsed()), "container started");
    }
}
