//! What one sandbox holds of the host, and gives back.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use runtime::{
    bridge::Bridge,
    spec::{Mount, MountKind, Propagation},
};

use super::{Sandboxes, resolv};
use crate::{
    ops::{cache_mount::CacheLease, layers::blocking},
    solver::{OpError, op::Network},
};

/// Longest wait for a cgroup whose processes were killed to become empty.
const CGROUP_PATIENCE: Duration = Duration::from_secs(10);

/// Resources of one sandbox; [`Sandbox::close`] gives them back.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) cgroup: String,
    network: Option<(Arc<Bridge>, Ipv4Addr)>,
    netns: Option<OwnedFd>,
    pub(crate) caches: Vec<CacheLease>,
}

impl Sandbox {
    pub(crate) fn new(with: &Sandboxes) -> Result<Self, OpError> {
        let id = format!("build-{}", uuid::Uuid::new_v4().simple());
        let state_dir = with.run_dir.join(&id);
        fs::create_dir(&state_dir)
            .map_err(|error| OpError::host("make the directory of a sandbox", &error))?;
        Ok(Self {
            cgroup: format!("{}/{id}", with.cgroup_parent),
            id,
            state_dir,
            network: None,
            netns: None,
            caches: Vec::new(),
        })
    }

    /// Gives the sandbox its network; its address, when it has one.
    pub(crate) async fn connect(
        &mut self,
        with: &Sandboxes,
        network: Network,
    ) -> Result<Option<IpAddr>, OpError> {
        if network == Network::None {
            return Ok(None);
        }
        let Some(bridge) = with.bridge.clone() else {
            return Err(OpError::User(
                "this builder has no network for its steps: build with network=none".to_owned(),
            ));
        };
        let attached = {
            let bridge = bridge.clone();
            blocking(move || bridge.attach(None)).await
        };
        let attached =
            attached.map_err(|error| OpError::host("connect a sandbox to the network", &error))?;
        self.network = Some((bridge, attached.address));
        self.netns = Some(attached.netns);
        Ok(Some(attached.address.into()))
    }

    pub(crate) fn take_netns(&mut self) -> Option<OwnedFd> {
        self.netns.take()
    }

    /// Writes the files that every sandbox sees instead of the image's.
    pub(crate) fn write_files(
        &self,
        hostname: &str,
        address: Option<IpAddr>,
        extra: &[(String, IpAddr)],
    ) -> io::Result<Vec<Mount>> {
        let host: Vec<String> = resolv::HOST_FILES
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect();
        let files = [
            (
                "/etc/resolv.conf",
                resolv::resolv_conf(host.iter().map(String::as_str)),
            ),
            ("/etc/hosts", resolv::hosts(hostname, address, extra)),
            ("/etc/hostname", format!("{hostname}\n")),
        ];
        files
            .into_iter()
            .map(|(target, text)| {
                let name = target.rsplit('/').next().unwrap_or(target);
                let source = self.state_dir.join(name);
                fs::write(&source, text)?;
                Ok(Mount {
                    target: target.to_owned(),
                    kind: MountKind::Bind {
                        source,
                        recursive: false,
                        propagation: Propagation::Private,
                    },
                    read_only: true,
                })
            })
            .collect()
    }

    /// Gives everything back. Each part is tried, whatever happens to the others.
    pub(crate) async fn close(self, _with: &Sandboxes) {
        let Self {
            id,
            state_dir,
            cgroup,
            network,
            netns,
            caches,
        } = self;
        drop(netns);
        blocking(move || {
            remove_cgroup(&cgroup);
            if let Some((bridge, address)) = network
                && let Err(error) = bridge.detach(address)
            {
                tracing::warn!(sandbox = id, %error, "cannot disconnect a sandbox");
            }
            if let Err(error) = fs::remove_dir_all(&state_dir) {
                tracing::warn!(sandbox = id, %error, "cannot remove the directory of a sandbox");
            }
            drop(caches);
        })
        .await;
    }
}

/// Removes a cgroup once its processes, which are dead or dying, are gone.
pub(crate) fn remove_cgroup(cgroup: &str) {
    let began = Instant::now();
    while let Err(error) = runtime::cgroup::remove(cgroup) {
        if began.elapsed() > CGROUP_PATIENCE {
            tracing::warn!(cgroup, %error, "cannot remove a cgroup");
            return;
        }
        let _again = runtime::cgroup::kill_all(cgroup);
        std::thread::sleep(Duration::from_millis(2));
    }
}
