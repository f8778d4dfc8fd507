//! The Docker Engine REST types and the version table.
//!
//! Field names, nulls and empties follow what a Docker Engine writes, because
//! clients compare them: a Go `nil` slice is `None` here and `null` on the
//! wire, an empty one is `Some([])` and `[]`. Reading is lenient: every field
//! may be missing or `null`, so that both sides survive each other's version.
//!
//! Source: the Engine API's published OpenAPI description, versions 1.24–1.52.
//!
//! Must not contain: logic, I/O, any dependency but serde.

mod auth;
mod container;
mod error;
mod event;
mod exec;
mod host_config;
mod image;
mod network;
mod null;
mod progress;
mod stats;
mod stream;
mod system;
mod version;
mod volume;

pub use auth::{AuthConfig, AuthResponse};
pub use container::{
    ChangeItem, ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, ContainerInspect,
    ContainerPruneReport, ContainerState, ContainerSummary, ContainerTop, ContainerUpdateResponse,
    ContainerWaitResponse, GraphDriver, Health, HealthConfig, HealthResult, ListPort, MountPoint,
    PathStat, SummaryHostConfig, SummaryNetworkSettings, WaitError,
};
pub use error::ErrorMessage;
pub use event::{Actor, Event};
pub use exec::{ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecProcess, ExecStartRequest};
pub use host_config::{
    BindOptions, Device, DeviceRequest, DriverConfig, HostConfig, LogConfig, Mount, PortBinding,
    PortMap, RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};
pub use image::{
    ImageDelete, ImageHistory, ImageInspect, ImageInspectConfig, ImageMetadata, ImagePruneReport,
    ImageRootFs, ImageSearchResult, ImageSummary,
};
pub use network::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamPool, Network, NetworkContainer,
    NetworkCreateRequest, NetworkCreateResponse, NetworkPruneReport, NetworkSettings,
    NetworkingConfig,
};
pub use progress::{ErrorDetail, Progress, ProgressDetail, PushResult};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    ThrottlingData,
};
pub use stream::{FRAME_HEADER_BYTES, Frame, StreamKind};
pub use system::{
    CommitId, Component, DiskUsage, IndexInfo, Info, PluginsInfo, RegistryConfig, RuntimeInfo,
    SwarmInfo, SystemVersion, VersionPlatform,
};
pub use version::{ApiVersion, ApiVersionError, since};
pub use volume::{Volume, VolumeCreateRequest, VolumeList, VolumePruneReport, VolumeUsage};

#[cfg(test)]
mod tests;
