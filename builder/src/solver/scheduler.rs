//! Runs a graph: vertices whose inputs are known, side by side.
//!
//! One loop owns the state of a solve. Resolving a vertex is a future in its
//! set; when one ends, the vertices that waited only for it start. The first
//! failure cancels the rest, and the solve returns when all of them have
//! cleaned up.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use oci::Digest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Cache, OpError, SolveError,
    executor::{Executor, Job, Progress, Reporter, StepUpdate, Value},
    flight::Flights,
    graph::{Edge, Graph, Vertex},
    key,
    op::{Op, Source},
};
use crate::db::CacheRecord;

/// Shared by all builds. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Solver {
    cache: Cache,
    flights: Flights,
    /// Steps that run at once, over all builds.
    slots: Arc<Semaphore>,
}

/// One build's solve.
struct Run {
    solver: Solver,
    executor: Arc<dyn Executor>,
    reporter: Reporter,
    cancel: CancellationToken,
}

/// What is known of a resolved vertex.
#[derive(Clone, Debug)]
struct Resolved {
    identity: Digest,
    values: Vec<Value>,
}

impl Solver {
    pub(crate) fn new(cache: Cache, steps_max: usize) -> Self {
        Self {
            cache,
            flights: Flights::default(),
            slots: Arc::new(Semaphore::new(steps_max.max(1))),
        }
    }

    /// Waits until no step runs any more.
    pub(crate) async fn drain(&self) {
        self.flights.drain().await;
    }

    /// Resolves the result of `graph`.
    ///
    /// # Errors
    /// The first step that failed, or [`OpError::Cancelled`] once `cancel`
    /// fired and every step has cleaned up.
    pub(crate) async fn solve(
        &self,
        graph: &Graph,
        executor: Arc<dyn Executor>,
        reporter: Reporter,
        cancel: &CancellationToken,
    ) -> Result<Value, SolveError> {
        let Some(result) = graph.result else {
            return Ok(Value::Layers(Vec::new()));
        };
        let run = Run {
            solver: self.clone(),
            executor,
            reporter,
            cancel: cancel.child_token(),
        };
        run.all(graph)
            .await
            .map(|resolved| value(&resolved, result))
    }
}

fn value(resolved: &[Option<Resolved>], edge: Edge) -> Value {
    resolved[edge.vertex]
        .as_ref()
        .expect("inputs are resolved before their users")
        .values[edge.output]
        .clone()
}

impl Run {
    async fn all(&self, graph: &Graph) -> Result<Vec<Option<Resolved>>, SolveError> {
        let vertices: Vec<Arc<Vertex>> = graph.vertices.iter().cloned().map(Arc::new).collect();
        let mut users = vec![Vec::new(); vertices.len()];
        let mut missing = vec![0_usize; vertices.len()];
        for (at, vertex) in vertices.iter().enumerate() {
            let mut below: Vec<usize> = vertex.inputs.iter().map(|edge| edge.vertex).collect();
            below.sort_unstable();
            below.dedup();
            missing[at] = below.len();
            for input in below {
                users[input].push(at);
            }
        }
        let mut resolved: Vec<Option<Resolved>> = vec![None; vertices.len()];
        let mut ready: Vec<usize> = (0..vertices.len()).filter(|at| missing[*at] == 0).collect();
        let mut running = FuturesUnordered::new();
        let mut failure: Option<SolveError> = None;
        loop {
            for at in ready.drain(..) {
                let vertex = vertices[at].clone();
                let inputs = inputs_of(&vertex, &resolved);
                running.push(async move { (at, self.resolve(vertex, inputs).await) });
            }
            match running.next().await {
                None => break,
                Some((at, Ok(done))) => {
                    resolved[at] = Some(done);
                    for user in &users[at] {
                        missing[*user] -= 1;
                        if missing[*user] == 0 && failure.is_none() {
                            ready.push(*user);
                        }
                    }
                }
                Some((at, Err(error))) => {
                    self.cancel.cancel();
                    let first = failure
                        .as_ref()
                        .is_none_or(|first| *first.error == OpError::Cancelled);
                    if first {
                        failure = Some(SolveError {
                            vertex: vertices[at].digest,
                            error,
                        });
                    }
                }
            }
        }
        match failure {
            None => Ok(resolved),
            Some(failure) => Err(failure),
        }
    }

    /// Resolves one vertex and tells how it went.
    async fn resolve(
        &self,
        vertex: Arc<Vertex>,
        inputs: Vec<(Digest, Value)>,
    ) -> Result<Resolved, Arc<OpError>> {
        if self.cancel.is_cancelled() {
            return Err(Arc::new(OpError::Cancelled));
        }
        let tell = |update| self.reporter.send(vertex.digest, update);
        let name = vertex.name.clone();
        tell(StepUpdate::Started { name }).await;
        let outcome = match &vertex.op {
            Op::Source(source) => self.source(source).await,
            _ => self.step(&vertex, inputs).await,
        };
        match outcome {
            Ok((resolved, update)) => {
                tell(update).await;
                Ok(resolved)
            }
            Err(error) => {
                tell(match *error {
                    OpError::Cancelled => StepUpdate::Cancelled,
                    ref error => StepUpdate::Failed(error.to_string()),
                })
                .await;
                Err(error)
            }
        }
    }

    async fn source(&self, source: &Source) -> Result<(Resolved, StepUpdate), Arc<OpError>> {
        let identity = tokio::select! {
            identity = self.executor.source_identity(source) => identity?,
            () = self.cancel.cancelled() => return Err(Arc::new(OpError::Cancelled)),
        };
        let value = match source {
            Source::Image(image) => Value::Image(image.clone()),
            Source::Local(local) => Value::Local(local.clone()),
        };
        let resolved = Resolved {
            identity,
            values: vec![value],
        };
        Ok((resolved, StepUpdate::Done))
    }

    async fn step(
        &self,
        vertex: &Arc<Vertex>,
        inputs: Vec<(Digest, Value)>,
    ) -> Result<(Resolved, StepUpdate), Arc<OpError>> {
        let cache = &self.solver.cache;
        let (identities, values): (Vec<Digest>, Vec<Value>) = inputs.into_iter().unzip();
        let definition = key::definition_key(vertex, &identities);
        if !vertex.ignore_cache
            && let Some(record) = cache.lookup(&definition).await.map_err(OpError::from)?
        {
            return Ok((self.found(&record), StepUpdate::Cached));
        }
        let content = self.content_key(vertex, &identities, &values).await?;
        if !vertex.ignore_cache
            && let Some(content) = &content
            && let Some(record) = cache.lookup(content).await.map_err(OpError::from)?
        {
            cache
                .alias(&definition, &record)
                .await
                .map_err(OpError::from)?;
            return Ok((self.found(&record), StepUpdate::Cached));
        }
        let mut keys = vec![definition];
        keys.extend(content);
        // What came out anew must not be mistaken for what came out before, so
        // a step that ignores the cache gets an identity of its own.
        let identity = match vertex.ignore_cache {
            true => key::unique_key(&definition),
            false => content.unwrap_or(definition),
        };
        let (started, result) = self
            .solver
            .flights
            .join(
                identity,
                &self.reporter,
                vertex.digest,
                &self.cancel,
                |progress, cancel| {
                    Flown {
                        cache: cache.clone(),
                        slots: self.solver.slots.clone(),
                        executor: self.executor.clone(),
                        identity,
                        keys,
                        job: Job {
                            vertex: vertex.clone(),
                            inputs: values,
                            progress,
                            cancel,
                        },
                    }
                    .run()
                },
            )
            .await;
        let record = result?;
        if !started {
            cache
                .alias(&definition, &record)
                .await
                .map_err(OpError::from)?;
        }
        Ok((self.found(&record), StepUpdate::Done))
    }

    /// The key by content, when the step reads only some files of an input.
    async fn content_key(
        &self,
        vertex: &Arc<Vertex>,
        identities: &[Digest],
        values: &[Value],
    ) -> Result<Option<Digest>, Arc<OpError>> {
        let selections = key::selections(vertex);
        if selections.is_empty() {
            return Ok(None);
        }
        let progress = Progress::of(self.reporter.clone(), vertex.digest);
        let mut contents = Vec::with_capacity(selections.len());
        for selection in &selections {
            let digest = tokio::select! {
                digest = self.executor.content_digest(&values[selection.input], selection, &progress) => digest?,
                () = self.cancel.cancelled() => return Err(Arc::new(OpError::Cancelled)),
            };
            contents.push((selection.input, digest));
        }
        Ok(Some(key::content_key(vertex, identities, &contents)))
    }

    fn found(&self, record: &CacheRecord) -> Resolved {
        Resolved {
            identity: record.identity,
            values: record.outputs.iter().cloned().map(Value::Layers).collect(),
        }
    }
}

fn inputs_of(vertex: &Vertex, resolved: &[Option<Resolved>]) -> Vec<(Digest, Value)> {
    vertex
        .inputs
        .iter()
        .map(|edge| {
            let input = resolved[edge.vertex]
                .as_ref()
                .expect("inputs are resolved before their users");
            (input.identity, input.values[edge.output].clone())
        })
        .collect()
}

/// A step on its way, independent of the build that started it.
struct Flown {
    cache: Cache,
    slots: Arc<Semaphore>,
    executor: Arc<dyn Executor>,
    identity: Digest,
    keys: Vec<Digest>,
    job: Job,
}

impl Flown {
    async fn run(self) -> Result<CacheRecord, OpError> {
        let cancel = self.job.cancel.clone();
        let _slot = tokio::select! {
            slot = self.slots.acquire() => slot.map_err(|_| OpError::Cancelled)?,
            () = cancel.cancelled() => return Err(OpError::Cancelled),
        };
        // Another flight may have ended between the lookup and this one.
        if !self.job.vertex.ignore_cache {
            for key in &self.keys {
                if let Some(record) = self.cache.lookup(key).await? {
                    return Ok(record);
                }
            }
        }
        let outputs = self.job.vertex.op.outputs();
        let executed = self.executor.execute(self.job).await?;
        assert_eq!(
            executed.outputs.len(),
            outputs,
            "an executor gives each output of the operation"
        );
        let stored = self
            .cache
            .store(&self.identity, &self.keys, &executed)
            .await;
        match stored {
            Ok(record) => Ok(record),
            Err(error) => {
                self.executor.discard(&executed.created).await;
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
#[path = "scheduler/tests.rs"]
mod tests;
