//! What every use case needs: configuration, database, runtime, tables.

use oci::client::Client;
use runtime::host::Host;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::EngineConfig;
use crate::container::exec::Execs;
use crate::container::index::Index;
use crate::db::Db;
use crate::events::EventBus;
use crate::flights::Flights;
use crate::image::store::Images;

/// The engine's shared state.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) id: String,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) db: Db,
    pub(crate) host: Host,
    pub(crate) registry: Client,
    pub(crate) events: EventBus,
    pub(crate) containers: Index,
    pub(crate) execs: Execs,
    pub(crate) images: Images,
    /// Held by name while a volume is removed, and from its choice for a
    /// container until that container's row names it.
    pub(crate) volumes: Flights,
    /// Ends streams that would go on for ever: no new requests are taken.
    pub(crate) closing: CancellationToken,
    /// Ends the actors; containers go on.
    pub(crate) shutdown: CancellationToken,
    /// Actors, and work that outlives the request that asked for it.
    pub(crate) tasks: TaskTracker,
}
