//! What the solver asks of the world, and how it tells of progress.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use oci::Digest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    OpError,
    graph::Vertex,
    key::Selection,
    op::{ImageSource, Local, Source},
};

/// A file system that a vertex produced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Names of layers in the layer store, lowest first; none is empty.
    Layers(Vec<String>),
    /// An image that is pulled only when a step needs its files.
    Image(ImageSource),
    /// A directory that came with the build.
    Local(Local),
}

/// A step to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) vertex: Arc<Vertex>,
    /// Values of the vertex's inputs, in order.
    pub(crate) inputs: Vec<Value>,
    pub(crate) progress: Progress,
    /// Fires when nobody wants the result any more.
    pub(crate) cancel: CancellationToken,
}

/// What a step produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executed {
    /// Layer names of each output, lowest first.
    pub(crate) outputs: Vec<Vec<String>>,
    /// Those among them that this step made.
    pub(crate) created: Vec<String>,
}

/// Runs the operations of one build.
///
/// An implementation leaves nothing behind when it fails or is cancelled.
pub(crate) trait Executor: Send + Sync + 'static {
    /// What stands for a source in cache keys: equal content, equal identity.
    fn source_identity<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Digest, OpError>>;

    /// Digest of the files of `value` that `selection` names: their paths,
    /// modes, owners and bytes, not their times.
    fn content_digest<'a>(
        &'a self,
        value: &'a Value,
        selection: &'a Selection,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Digest, OpError>>;

    /// Runs a step.
    fn execute(&self, job: Job) -> BoxFuture<'_, Result<Executed, OpError>>;

    /// Removes layers that [`Executor::execute`] made and nobody will name.
    fn discard<'a>(&'a self, layers: &'a [String]) -> BoxFuture<'a, ()>;
}

/// News of one step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StepUpdate {
    Started {
        name: String,
    },
    Done,
    Cached,
    Failed(String),
    Cancelled,
    /// Bytes of standard output or, when `stderr`, of standard error.
    Output {
        stderr: bool,
        data: bytes::Bytes,
    },
    /// Bytes moved.
    Transfer {
        id: String,
        status: &'static str,
        current: u64,
        total: u64,
    },
    /// Advice that does not fail the build.
    Warning(String),
}

/// News of a step, as a build receives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepEvent {
    pub(crate) vertex: Digest,
    pub(crate) update: StepUpdate,
}

/// Where one build's news goes. Cheap to clone; the channel's bound makes a
/// step wait for a build that falls behind. News for a build that has gone is
/// dropped.
#[derive(Clone, Debug)]
pub(crate) struct Reporter(mpsc::Sender<StepEvent>);

/// News that may wait for one build's recorder before its steps wait too.
const EVENTS_PENDING_MAX: usize = 1024;

impl Reporter {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<StepEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_PENDING_MAX);
        (Self(sender), receiver)
    }

    pub(crate) async fn send(&self, vertex: Digest, update: StepUpdate) {
        let _gone = self.0.send(StepEvent { vertex, update }).await;
    }
}

/// Where the news of a running step goes: to every build that waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<dyn Audience>);

/// The builds that follow a step.
pub(crate) trait Audience: Send + Sync + std::fmt::Debug {
    fn tell(&self, update: StepUpdate) -> BoxFuture<'_, ()>;
}

impl Progress {
    pub(crate) fn new(audience: Arc<dyn Audience>) -> Self {
        Self(audience)
    }

    /// The news of one vertex, for one build.
    pub(crate) fn of(reporter: Reporter, vertex: Digest) -> Self {
        #[derive(Debug)]
        struct One(Reporter, Digest);
        impl Audience for One {
            fn tell(&self, update: StepUpdate) -> BoxFuture<'_, ()> {
                Box::pin(self.0.send(self.1, update))
            }
        }
        Self::new(Arc::new(One(reporter, vertex)))
    }

    pub(crate) async fn tell(&self, update: StepUpdate) {
        self.0.tell(update).await;
    }
}
