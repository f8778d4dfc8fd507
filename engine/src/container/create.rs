//! Creating a container: everything is checked and prepared, nothing runs.
//!
//! Order: directory, snapshot, volumes, rows. A crash in between leaves a
//! directory without a row, which `restore` removes with its snapshot, and
//! directories of anonymous volumes, which the engine sweeps as it opens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_api::{ContainerCreateRequest, HostConfig, MountPoint};
use runtime::root::Root;
use runtime::snapshot::LayerName;
use runtime::spec::{Propagation, Rootfs};
use tokio::sync::OwnedMutexGuard;

use super::actor::{Actor, channels, emit};
use super::mounts::{PlannedMount, PlannedSource};
use super::spec::SpecInput;
use super::state::State;
use super::{Container, View, files, merge, mounts, ports, refusal, spec, start};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::{ContainerRow, NetworkRow, VolumeRow};
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::image::store::Image;
use crate::{names, network, volume};

/// Docker's default size of /dev/shm.
const SHM_BYTES: i64 = 64 << 20;
/// Docker's mark of a container, in its root; every program that asks looks there.
const MARK: &str = ".dockerenv";
/// Made-up names tried before one is a collision for the user to see.
const NAME_ATTEMPTS: usize = 16;

/// A new container's id and what the user should know.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: ContainerId,
    pub(crate) warnings: Vec<String>,
}

/// # Errors
/// 404 for an image or network that does not exist, 409 for a name that is
/// taken, 400 and 501 for what cannot be honoured.
pub(crate) async fn create(
    core: &Arc<Core>,
    name: Option<&str>,
    request: ContainerCreateRequest,
) -> Result<Created> {
    let name = name.map(names::container_name).transpose()?;
    if request.config.image.is_empty() {
        return Err(EngineError::bad("no image specified"));
    }
    let image = core.images.get(core, &request.config.image).await?;
    let mut host = request.host_config.unwrap_or_default();
    refusal::check(&request.config, &host, request.networking_config.as_ref())?;
    files::check(&host)?;
    let mut warnings = Vec::new();
    if image.config.config.healthcheck.is_some() && request.config.healthcheck.is_none() {
        warnings.push(
            "the image's HEALTHCHECK is not run: health checks are not supported by Carrack yet"
                .to_owned(),
        );
    }
    let config = merge::merge(request.config, &image.config.config)?;
    defaults(&mut host);
    let port_plan = ports::plan(&config, &host)?;
    if !port_plan.published.is_empty()
        && matches!(
            network::mode(core, &host.network_mode),
            Ok(mode) if mode != network::Mode::Bridge
        )
    {
        warnings.push("Published ports are discarded when not using the bridge network".to_owned());
        host.port_bindings.clear();
        host.publish_all_ports = false;
    }
    let planned = mounts::plan(&config, &host)?;
    check_sources(&planned)?;

    let id = ContainerId::random();
    let dir = core.config.data_dir.join("containers").join(id.as_str());
    check_spec(core, &id, &dir, &config, &host, &planned)?;
    let name = reserve(core, name, &id)?;
    let _volumes = hold_volumes(core, &planned).await;
    let made = make(core, &id, &dir, &image, &planned).await;
    let (mounts, anonymous) = match made {
        Ok(made) => made,
        Err(error) => {
            undo(core, &id, &dir, &name).await;
            return Err(error);
        }
    };
    let row = ContainerRow {
        id: id.to_string(),
        name: name.clone(),
        created_at: clock::rfc3339(clock::now()),
        image_id: image.id.clone(),
        config,
        host_config: host,
        mounts,
        network: NetworkRow::default(),
        state: State::Created { failure: None }.to_row(),
        restart_count: 0,
        stopped: false,
    };
    if let Err(error) = core.db.insert_container(&row, &anonymous.rows).await {
        undo(core, &id, &dir, &name).await;
        return Err(error.into());
    }
    for volume in anonymous.keep() {
        volume::emit(core, "create", &volume.name);
    }
    let container = spawn(core, &id, dir, row);
    emit(core, &container, &name, "create", &[]);
    Ok(Created { id, warnings })
}

/// Makes handle and actor, and puts the container into the table.
fn spawn(core: &Arc<Core>, id: &ContainerId, dir: PathBuf, row: ContainerRow) -> Arc<Container> {
    let view = View {
        name: row.name.clone(),
        state: State::Created { failure: None },
        host_config: Arc::new(row.host_config.clone()),
        network: NetworkRow::default(),
        restart_count: 0,
        stopped: false,
        exits: 0,
        last_exit: None,
        removed: false,
    };
    let (view_in, view, commands, commands_out) = channels(view);
    let container = Arc::new(Container {
        id: id.clone(),
        created_at: clock::parse_rfc3339(&row.created_at).unwrap_or_else(clock::now),
        image_id: row.image_id,
        cgroup: cgroup_path(core, &row.host_config, id),
        config: row.config,
        mounts: row.mounts,
        mounting: Arc::default(),
        dir,
        view,
        commands,
    });
    core.containers.insert(Arc::clone(&container));
    let actor = Actor::new(
        Arc::clone(core),
        Arc::clone(&container),
        view_in,
        commands_out,
        None,
    );
    core.tasks.spawn(actor.run(false));
    container
}

/// The same path that the spec names.
pub(crate) fn cgroup_path(core: &Core, host: &HostConfig, id: &ContainerId) -> String {
    let parent = match host.cgroup_parent.trim_matches('/') {
        "" => core.config.cgroup_parent.as_str(),
        own => own,
    };
    format!("{parent}/{id}")
}

/// What Docker fills in, so that inspect shows what applies.
fn defaults(host: &mut HostConfig) {
    let fill = |text: &mut String, value: &str| {
        if text.is_empty() {
            value.clone_into(text);
        }
    };
    if host.network_mode == "default" {
        host.network_mode.clear();
    }
    fill(&mut host.network_mode, "bridge");
    fill(&mut host.restart_policy.name, "no");
    fill(&mut host.ipc_mode, "private");
    fill(&mut host.cgroupns_mode, "private");
    fill(&mut host.log_config.kind, "json-file");
    fill(&mut host.runtime, "carrack");
    if host.memory > 0 && host.memory_swap == 0 {
        // As much swap again as memory.
        host.memory_swap = host.memory.saturating_mul(2);
    }
    // What clients send for "not given".
    host.memory_swappiness = host.memory_swappiness.filter(|value| *value != -1);
    host.pids_limit = host.pids_limit.filter(|limit| *limit != 0);
    if host.shm_size == 0 {
        host.shm_size = SHM_BYTES;
    }
}

fn check_sources(planned: &[PlannedMount]) -> Result<()> {
    for mount in planned {
        if let PlannedSource::Bind {
            path,
            create: false,
            ..
        } = &mount.source
            && !path.exists()
        {
            return Err(EngineError::bad(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Builds the spec once without its snapshot, so that what cannot be honoured
/// fails at creation and not at the start.
fn check_spec(
    core: &Core,
    id: &ContainerId,
    dir: &Path,
    config: &engine_api::ContainerConfig,
    host: &HostConfig,
    planned: &[PlannedMount],
) -> Result<()> {
    let mounts: Vec<_> = planned
        .iter()
        .map(|mount| (mount.clone(), PathBuf::new()))
        .collect();
    // Only a private network owns sysctls; the pids of joined ones come later.
    // A network that does not exist fails at the start, as with Docker: clients
    // read a 404 here as an image to be pulled.
    let private = match network::mode(core, &host.network_mode) {
        Ok(network::Mode::Host | network::Mode::Container(_)) => false,
        Ok(network::Mode::Bridge | network::Mode::None) | Err(_) => true,
    };
    spec::build(SpecInput {
        id: id.as_str(),
        state_dir: dir,
        rootfs: Rootfs {
            lower: Vec::new(),
            upper: PathBuf::new(),
            work: PathBuf::new(),
            volatile: false,
        },
        config,
        host,
        mounts: &mounts,
        devices: start::devices(host)?,
        net: if private {
            spec::Net::Bridge
        } else {
            spec::Net::Host
        },
        ipc: runtime::spec::Namespace::Private,
        pid: runtime::spec::Namespace::Private,
        host_name: &core.config.host_name,
        cgroup_parent: &core.config.cgroup_parent,
        log_max_bytes: core.config.log_max_bytes,
        log_max_files: core.config.log_max_files,
    })
    .map(drop)
}

fn reserve(core: &Core, name: Option<String>, id: &ContainerId) -> Result<String> {
    if let Some(name) = name {
        core.containers.reserve(&name, id)?;
        return Ok(name);
    }
    for attempt in 0.. {
        let name = names::made_up(attempt);
        match core.containers.reserve(&name, id) {
            Ok(()) => return Ok(name),
            Err(error) if attempt == NAME_ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
    unreachable!("the loop above has no end")
}

/// Nobody removes or fills the named volumes meanwhile.
async fn hold_volumes(core: &Core, planned: &[PlannedMount]) -> Vec<OwnedMutexGuard<()>> {
    let mut names = BTreeSet::new();
    for mount in planned {
        if let PlannedSource::Volume { name, .. } = &mount.source
            && !name.is_empty()
        {
            names.insert(name.as_str());
        }
    }
    let mut held = Vec::with_capacity(names.len());
    // In the order of names, so that no two wait for each other.
    for name in names {
        held.push(core.volumes.board(name).await);
    }
    held
}

/// Anonymous volumes that no row names yet; removed unless kept.
struct Anonymous<'a> {
    core: &'a Core,
    rows: Vec<VolumeRow>,
}

impl Anonymous<'_> {
    fn keep(mut self) -> Vec<VolumeRow> {
        std::mem::take(&mut self.rows)
    }
}

impl Drop for Anonymous<'_> {
    fn drop(&mut self) {
        for row in &self.rows {
            volume::discard(self.core, row);
        }
    }
}

/// Directory, snapshot and volumes; the mounts with their volumes' names.
async fn make<'a>(
    core: &'a Core,
    id: &ContainerId,
    dir: &Path,
    image: &Image,
    planned: &[PlannedMount],
) -> Result<(Vec<MountPoint>, Anonymous<'a>)> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|error| EngineError::internal("create the container's directory", error))?;
    let layers = core.host.layers.clone();
    let parents: Vec<LayerName> = image.layer_names();
    let key = id.to_string();
    let snapshot = blocking(move || {
        let snapshot = layers.prepare(&key, &parents)?;
        mark(&snapshot.upper)?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(snapshot)
    })
    .await?;
    let mut points = Vec::with_capacity(planned.len());
    let mut copies: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut anonymous = Anonymous {
        core,
        rows: Vec::new(),
    };
    for mount in planned {
        let mut point = MountPoint {
            destination: mount.target.clone(),
            mode: mount.mode.clone(),
            rw: !mount.read_only,
            ..Default::default()
        };
        match &mount.source {
            PlannedSource::Bind {
                path, propagation, ..
            } => {
                point.kind = "bind".to_owned();
                point.source = path.to_string_lossy().into_owned();
                point.propagation = match propagation {
                    Propagation::Private => "rprivate",
                    Propagation::Slave => "rslave",
                    Propagation::Shared => "rshared",
                }
                .to_owned();
            }
            PlannedSource::Volume { name, copy, labels } => {
                point.name = if name.is_empty() {
                    let row = volume::make_anonymous(core, labels.clone())?;
                    let name = row.name.clone();
                    anonymous.rows.push(row);
                    name
                } else {
                    volume::ensure(core, name, labels.clone()).await?.name
                };
                let data = volume::data_dir(core, &point.name);
                point.kind = "volume".to_owned();
                point.source = data.to_string_lossy().into_owned();
                point.driver = "local".to_owned();
                if *copy {
                    copies.push((PathBuf::from(&mount.target), data));
                }
            }
            PlannedSource::Tmpfs { .. } => point.kind = "tmpfs".to_owned(),
        }
        points.push(point);
    }
    if !copies.is_empty() {
        blocking(move || {
            let root = Root::from_fd(snapshot.mount_detached()?);
            for (target, data) in &copies {
                volume::copy_up(&root, target, data)?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })
        .await?;
    }
    Ok((points, anonymous))
}

/// Puts the file there by which programs see that they run in a container.
fn mark(upper: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::File::create_new(upper.join(MARK))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}

/// Takes back what a failed creation made. Named volumes stay, as with Docker.
async fn undo(core: &Core, id: &ContainerId, dir: &Path, name: &str) {
    core.containers.release(name);
    let layers = core.host.layers.clone();
    let (key, dir) = (id.to_string(), dir.to_owned());
    let undone = blocking(move || {
        layers.remove(&key)?;
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok::<_, Box<dyn std::error::Error + Send + Sync>>(()),
        }
    })
    .await;
    if let Err(error) = undone {
        tracing::warn!(container.id = %id, %error, "take back a failed creation");
    }
}
