//! `/version`, `/info`, `/_ping`, `/auth`, `/events`, `/system/df`.

use std::sync::Arc;

use axum::body::Body;
use engine_api::{
    ApiVersion, AuthConfig, AuthResponse, Component, DiskUsage, Event, IndexInfo, Info,
    PluginsInfo, RegistryConfig, RuntimeInfo, SwarmInfo, SystemVersion, VersionPlatform, since,
};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::request::Request;
use crate::clock;
use crate::container::list::{self as container_list, ListQuery};
use crate::container::state::State;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::filters::Filters;
use crate::{image, volume};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn ping() -> Result<Answer> {
    let mut answer = Response::new(Body::from("OK"));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(answer)
}

pub(super) fn version() -> Result<Answer> {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let arch = oci::Platform::host().architecture;
    let details = [
        ("ApiVersion", ApiVersion::MAX.to_string()),
        ("MinAPIVersion", ApiVersion::MIN.to_string()),
        ("Arch", arch.clone()),
        ("Os", "linux".to_owned()),
        ("KernelVersion", kernel.clone()),
        ("Experimental", "false".to_owned()),
    ];
    answer::ok(&SystemVersion {
        platform: VersionPlatform {
            name: "Carrack".to_owned(),
        },
        components: vec![Component {
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details: details.map(|(key, value)| (key.to_owned(), value)).into(),
        }],
        version: VERSION.to_owned(),
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: ApiVersion::MIN.to_string(),
        os: "linux".to_owned(),
        arch,
        kernel_version: kernel,
        ..Default::default()
    })
}

pub(super) async fn info(core: &Core) -> Result<Answer> {
    let mut info = host_info(core);
    for container in core.containers.all() {
        info.containers += 1;
        match container.view().state {
            State::Running { .. } | State::Restarting { .. } => info.containers_running += 1,
            State::Paused { .. } => info.containers_paused += 1,
            _ => info.containers_stopped += 1,
        }
    }
    info.images = core.db.images(None).await?.len() as u64;
    answer::ok(&info)
}

fn host_info(core: &Core) -> Info {
    let uname = rustix::system::uname();
    let words = |list: &[&str]| {
        list.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let cgroup_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Info {
        id: core.id.clone(),
        driver: "overlay2".to_owned(),
        driver_status: vec![["Backing Filesystem".to_owned(), "overlayfs".to_owned()]],
        plugins: PluginsInfo {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "none"]),
        },
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: true,
        fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        tasks: core.tasks.len() as u64,
        system_time: clock::rfc3339_nanos(clock::now()),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if cgroup_v2 { "2" } else { "1" }.to_owned(),
        events_listeners: core.events.listeners() as u64,
        kernel_version: uname.release().to_string_lossy().into_owned(),
        operating_system: operating_system(),
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(RegistryConfig {
            insecure_registry_cidrs: words(&["127.0.0.0/8", "::1/128"]),
            index_configs: [(
                "docker.io".to_owned(),
                IndexInfo {
                    name: "docker.io".to_owned(),
                    mirrors: core.config.mirror.clone().into_iter().collect(),
                    secure: true,
                    official: true,
                },
            )]
            .into(),
            mirrors: None,
        }),
        cpus: std::thread::available_parallelism().map_or(1, usize::from) as u64,
        mem_total: memory_total(),
        docker_root_dir: core.config.data_dir.to_string_lossy().into_owned(),
        name: core.config.host_name.clone(),
        server_version: VERSION.to_owned(),
        runtimes: [("carrack".to_owned(), RuntimeInfo::default())].into(),
        default_runtime: "carrack".to_owned(),
        swarm: SwarmInfo {
            local_node_state: "inactive".to_owned(),
            ..Default::default()
        },
        live_restore_enabled: true,
        security_options: words(&["name=seccomp,profile=builtin"]),
        ..Default::default()
    }
}

/// Bytes of memory of the host.
pub(super) fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}

/// `PRETTY_NAME` of os-release(5).
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"'))
        .to_owned()
}

/// Checks credentials against their registry.
pub(super) async fn auth(core: &Core, request: Request) -> Result<Answer> {
    let (auth, _) = request.json::<AuthConfig>().await?;
    let registry = auth
        .serveraddress
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let registry = match registry.as_str() {
        "" | "index.docker.io" => oci::DEFAULT_REGISTRY.to_owned(),
        _ => registry,
    };
    image::pull::login(core, &registry, &auth).await?;
    answer::ok(&AuthResponse {
        status: "Login Succeeded".to_owned(),
        identity_token: String::new(),
    })
}

/// Past events since a moment, then live ones until another.
pub(super) fn events(core: &Arc<Core>, request: &Request) -> Result<Answer> {
    let keys = [
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "label!",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ];
    let filters = Filters::parse(request.query.get("filters"), &keys)?;
    let moment = |key: &str| {
        request
            .query
            .text(key)
            .map(|text| {
                clock::parse_moment(text, clock::now())
                    .ok_or_else(|| EngineError::bad(format!("invalid value for \"{key}\": {text}")))
            })
            .transpose()
    };
    let (since, until) = (moment("since")?, moment("until")?);
    let (past, mut live) = core.events.subscribe();
    let closing = core.closing.clone();
    let (sender, lines) = mpsc::channel(64);
    tokio::spawn(async move {
        let nanos =
            |at: time::OffsetDateTime| i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        let fits = |event: &Event| {
            until.is_none_or(|until| event.time_nano <= nanos(until)) && matches(&filters, event)
        };
        if let Some(since) = since {
            for event in past {
                if event.time_nano >= nanos(since)
                    && fits(&event)
                    && sender.send(event).await.is_err()
                {
                    return;
                }
            }
        }
        let late = async {
            match until.map(|until| until - clock::now()) {
                Some(left) => tokio::time::sleep(left.try_into().unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        let mut late = std::pin::pin!(late);
        loop {
            let event = tokio::select! {
                event = live.recv() => event,
                () = &mut late => return,
                () = closing.cancelled() => return,
                () = sender.closed() => return,
            };
            // A listener that fell behind is cut off: a gap must not go unseen.
            let Ok(event) = event else { return };
            if fits(&event) && sender.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(answer::lines(lines))
}

fn matches(filters: &Filters, event: &Event) -> bool {
    let about = |kind: &str| {
        filters.any(kind, |wanted| {
            event.kind == kind
                && (event.actor.id.starts_with(wanted)
                    || event
                        .actor
                        .attributes
                        .get("name")
                        .is_some_and(|name| name == wanted))
        })
    };
    filters.any("type", |kind| kind == event.kind)
        && filters.any("event", |action| {
            event.action == action || event.action.split(':').next() == Some(action)
        })
        && filters.any("scope", |scope| scope == event.scope)
        && filters.labels(&event.actor.attributes)
        && ["container", "image", "network", "volume", "daemon"]
            .into_iter()
            .all(about)
}

pub(super) async fn disk_usage(core: &Core, request: &Request) -> Result<Answer> {
    let kinds = request.query.all("type");
    let wanted = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
    let mut usage = DiskUsage {
        layers_size: core.db.layers_size().await?,
        build_cache: wanted("build-cache").then(Vec::new),
        ..Default::default()
    };
    if wanted("image") {
        usage.images = Some(image::list::list(core, None, None).await?);
    }
    if wanted("container") {
        let all = ListQuery {
            all: true,
            ..Default::default()
        };
        let mut containers = container_list::list(core, &all).await?;
        for summary in &mut containers {
            let (rw, root) = super::containers::sizes(core, &summary.id).await?;
            summary.size_rw = Some(rw);
            summary.size_root_fs = Some(root);
        }
        usage.containers = Some(containers);
    }
    if wanted("volume") {
        usage.volumes = Some(volume::with_usage(core).await?);
    }
    if request.version() < since::NO_BUILDER_SIZE {
        usage.builder_size = Some(0);
    }
    answer::ok(&usage)
}
