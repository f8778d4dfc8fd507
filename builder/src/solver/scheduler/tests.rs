//! The scheduler with a fake executor: what runs, how often, and what is left
//! when steps fail or are cancelled.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use builder_proto::pb;
use futures_util::{FutureExt, future::BoxFuture};
use oci::Digest;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Solver;
use crate::{
    db::Db,
    solver::{
        Cache, Executed, Executor, Graph, Job, OpError, Reporter, SolveError, StepEvent,
        StepUpdate, Value,
        executor::Progress,
        key::Selection,
        op::{Op, Source},
    },
};

/// Builds definitions by name: each vertex is an exec of `name`, or a copy.
#[derive(Default)]
struct Definition {
    ops: Vec<Vec<u8>>,
    metadata: BTreeMap<String, pb::OpMetadata>,
}

impl Definition {
    fn add(&mut self, op: pb::Op, name: &str) -> pb::Input {
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.ops.push(bytes);
        let description = [("llb.customname".to_owned(), name.to_owned())];
        self.metadata.insert(
            digest.clone(),
            pb::OpMetadata {
                description: description.into(),
                ..pb::OpMetadata::default()
            },
        );
        pb::Input { digest, index: 0 }
    }

    fn local(&mut self, name: &str) -> pb::Input {
        let source = pb::SourceOp {
            identifier: format!("local://{name}"),
            ..pb::SourceOp::default()
        };
        let op = pb::Op {
            op: Some(pb::op::Op::Source(source)),
            ..pb::Op::default()
        };
        self.add(op, name)
    }

    /// A RUN of `name` on the first input; it mounts the others writable.
    fn run(&mut self, name: &str, inputs: &[&pb::Input]) -> pb::Input {
        let mounts = (0..inputs.len().max(1)).map(|at| pb::Mount {
            input: if inputs.is_empty() { -1 } else { at as i64 },
            dest: if at == 0 {
                "/".into()
            } else {
                format!("/mnt{at}")
            },
            output: if at == 0 { 0 } else { -1 },
            ..pb::Mount::default()
        });
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec![name.to_owned()],
                ..pb::Meta::default()
            }),
            mounts: mounts.collect(),
            ..pb::ExecOp::default()
        };
        let op = pb::Op {
            inputs: inputs.iter().map(|input| (*input).clone()).collect(),
            op: Some(pb::op::Op::Exec(exec)),
            ..pb::Op::default()
        };
        self.add(op, name)
    }

    /// A COPY of `/src` of `from` onto the empty file system.
    fn copy(&mut self, name: &str, from: &pb::Input) -> pb::Input {
        let copy = pb::FileActionCopy {
            src: "/src".to_owned(),
            dest: format!("/{name}"),
            mode: -1,
            timestamp: -1,
            ..pb::FileActionCopy::default()
        };
        let action = pb::FileAction {
            input: -1,
            secondary_input: 0,
            output: 0,
            action: Some(pb::file_action::Action::Copy(copy)),
        };
        let op = pb::Op {
            inputs: vec![from.clone()],
            op: Some(pb::op::Op::File(pb::FileOp {
                actions: vec![action],
            })),
            ..pb::Op::default()
        };
        self.add(op, name)
    }

    fn ignore_cache(&mut self, input: &pb::Input) {
        let metadata = self.metadata.get_mut(&input.digest).unwrap();
        metadata.ignore_cache = true;
    }

    fn graph(&self, result: &pb::Input) -> Graph {
        let end = pb::Op {
            inputs: vec![result.clone()],
            ..pb::Op::default()
        };
        let ops = self.ops.iter().cloned().chain([end.encode_to_vec()]);
        Graph::decode(&pb::Definition {
            def: ops.map(Into::into).collect(),
            metadata: self.metadata.clone(),
            source: None,
        })
        .unwrap()
    }
}

/// What a step does in the fake world.
#[derive(Clone)]
enum Script {
    /// Waits until told, then succeeds; cancellable.
    Wait(Arc<Notify>),
    Fail,
}

#[derive(Default)]
struct World {
    layers: Mutex<BTreeSet<String>>,
    runs: Mutex<Vec<String>>,
    scripts: Mutex<HashMap<String, Script>>,
    /// Content of local sources.
    content: Mutex<HashMap<String, String>>,
    now: AtomicUsize,
    most: AtomicUsize,
    next: AtomicUsize,
    /// Told when a step starts.
    started: Notify,
}

impl World {
    fn runs(&self) -> Vec<String> {
        std::mem::take(&mut self.runs.lock().unwrap())
    }

    fn script(&self, step: &str, script: Script) {
        self.scripts.lock().unwrap().insert(step.into(), script);
    }

    fn set_content(&self, local: &str, content: &str) {
        self.content
            .lock()
            .unwrap()
            .insert(local.into(), content.into());
    }

    fn content_of(&self, local: &str) -> String {
        self.content
            .lock()
            .unwrap()
            .get(local)
            .cloned()
            .unwrap_or_default()
    }
}

struct Fake(Arc<World>);

impl Executor for Fake {
    fn source_identity<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Digest, OpError>> {
        let Source::Local(local) = source else {
            panic!("the tests have local sources only");
        };
        let content = self.0.content_of(&local.name);
        async move { Ok(Digest::sha256(content.as_bytes())) }.boxed()
    }

    fn content_digest<'a>(
        &'a self,
        value: &'a Value,
        _: &'a Selection,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Digest, OpError>> {
        // The files of /src are the first line of the content of a local
        // source, and do not depend on the layers of a step.
        let text = match value {
            Value::Local(local) => {
                let content = self.0.content_of(&local.name);
                content.lines().next().unwrap_or_default().to_owned()
            }
            _ => "same".to_owned(),
        };
        async move { Ok(Digest::sha256(text.as_bytes())) }.boxed()
    }

    fn execute(&self, job: Job) -> BoxFuture<'_, Result<Executed, OpError>> {
        async move {
            let world = &self.0;
            let name = job.vertex.name.clone();
            world.runs.lock().unwrap().push(name.clone());
            let now = world.now.fetch_add(1, Ordering::SeqCst) + 1;
            world.most.fetch_max(now, Ordering::SeqCst);
            world.started.notify_one();
            job.progress
                .tell(StepUpdate::Output {
                    stderr: false,
                    data: format!("hello from {name}\n").into(),
                })
                .await;
            let script = world.scripts.lock().unwrap().get(&name).cloned();
            let result = match script {
                None => Ok(()),
                Some(Script::Fail) => Err(OpError::Exit {
                    process: name.clone(),
                    code: 7,
                }),
                Some(Script::Wait(go)) => tokio::select! {
                    () = go.notified() => Ok(()),
                    () = job.cancel.cancelled() => Err(OpError::Cancelled),
                },
            };
            world.now.fetch_sub(1, Ordering::SeqCst);
            result?;
            let layer = format!("{name}#{}", world.next.fetch_add(1, Ordering::SeqCst));
            world.layers.lock().unwrap().insert(layer.clone());
            let mut layers = match (&job.vertex.op, job.inputs.first()) {
                (Op::Exec(_), Some(Value::Layers(below))) => below.clone(),
                _ => Vec::new(),
            };
            layers.push(layer.clone());
            Ok(Executed {
                outputs: vec![layers],
                created: vec![layer],
            })
        }
        .boxed()
    }

    fn discard<'a>(&'a self, layers: &'a [String]) -> BoxFuture<'a, ()> {
        let mut all = self.0.layers.lock().unwrap();
        for layer in layers {
            all.remove(layer);
        }
        async {}.boxed()
    }
}

struct Bench {
    world: Arc<World>,
    solver: Solver,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        let solver = solver(dir.path(), &world).await;
        Self { world, solver, dir }
    }

    /// The solver of a process that starts after this one.
    async fn restart(&mut self) {
        self.solver = solver(self.dir.path(), &self.world).await;
    }

    async fn solve(&self, graph: &Graph) -> (Result<Value, SolveError>, Vec<StepEvent>) {
        let (reporter, events) = Reporter::channel();
        let cancel = CancellationToken::new();
        let result = self
            .solver
            .solve(graph, Arc::new(Fake(self.world.clone())), reporter, &cancel)
            .await;
        (result, collect(events))
    }

    fn spawn(
        &self,
        graph: Graph,
        cancel: &CancellationToken,
    ) -> tokio::task::JoinHandle<(Result<Value, SolveError>, Vec<StepEvent>)> {
        let (solver, world, cancel) = (self.solver.clone(), self.world.clone(), cancel.clone());
        tokio::spawn(async move {
            let (reporter, events) = Reporter::channel();
            let result = solver
                .solve(&graph, Arc::new(Fake(world)), reporter, &cancel)
                .await;
            (result, collect(events))
        })
    }
}

async fn solver(dir: &std::path::Path, world: &Arc<World>) -> Solver {
    let db = Db::open(&dir.join("builder.db")).await.unwrap();
    let world = world.clone();
    let exists = move |name: &str| world.layers.lock().unwrap().contains(name);
    let cache = Cache::open(db, Arc::new(exists)).await.unwrap();
    Solver::new(cache, 4)
}

fn collect(mut events: mpsc::Receiver<StepEvent>) -> Vec<StepEvent> {
    let mut all = Vec::new();
    while let Ok(event) = events.try_recv() {
        all.push(event);
    }
    all
}

fn cached(events: &[StepEvent]) -> usize {
    let hits = events.iter().filter(|e| e.update == StepUpdate::Cached);
    hits.count()
}

#[tokio::test]
async fn equal_steps_run_once_and_a_restart_remembers_them() {
    let mut bench = Bench::new().await;
    let mut definition = Definition::default();
    let base = definition.run("base", &[]);
    let left = definition.run("left", &[&base]);
    let right = definition.run("right", &[&base]);
    let end = definition.run("end", &[&left, &right]);
    let graph = definition.graph(&end);

    let (first, _) = bench.solve(&graph).await;
    let mut runs = bench.world.runs();
    runs[1..3].sort();
    assert_eq!(runs, ["base", "left", "right", "end"]);

    let (again, events) = bench.solve(&graph).await;
    assert_eq!(again.as_ref().unwrap(), first.as_ref().unwrap());
    assert_eq!((bench.world.runs().len(), cached(&events)), (0, 4));

    bench.restart().await;
    let (after, _) = bench.solve(&graph).await;
    assert_eq!(after.unwrap(), first.unwrap());
    assert_eq!(bench.world.runs().len(), 0);
}

#[tokio::test]
async fn a_record_whose_layer_is_gone_is_not_used() {
    let mut bench = Bench::new().await;
    let mut definition = Definition::default();
    let base = definition.run("base", &[]);
    let end = definition.run("end", &[&base]);
    let graph = definition.graph(&end);
    bench.solve(&graph).await.0.unwrap();
    bench.world.runs();

    bench.world.layers.lock().unwrap().remove("end#1");
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), ["end"]);

    // The base's layer is part of the end's result too.
    bench.world.layers.lock().unwrap().remove("base#0");
    bench.restart().await;
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), ["base", "end"]);
}

#[tokio::test]
async fn a_copy_is_found_by_the_content_it_takes() {
    let bench = Bench::new().await;
    let mut definition = Definition::default();
    let context = definition.local("context");
    let copy = definition.copy("copy", &context);
    let end = definition.run("end", &[&copy]);
    let graph = definition.graph(&end);

    bench.world.set_content("context", "files\nother 1");
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), ["copy", "end"]);

    bench.world.set_content("context", "files\nother 2");
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), [""; 0]);

    bench.world.set_content("context", "changed\nother 2");
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), ["copy", "end"]);
}

#[tokio::test]
async fn a_step_that_ignores_the_cache_runs_and_so_do_those_on_top() {
    let bench = Bench::new().await;
    let mut definition = Definition::default();
    let base = definition.run("base", &[]);
    let middle = definition.run("middle", &[&base]);
    let end = definition.run("end", &[&middle]);
    bench.solve(&definition.graph(&end)).await.0.unwrap();
    bench.world.runs();

    definition.ignore_cache(&middle);
    let (anew, _) = bench.solve(&definition.graph(&end)).await;
    assert_eq!(bench.world.runs(), ["middle", "end"]);

    // What came out anew is what is found from now on.
    definition
        .metadata
        .get_mut(&middle.digest)
        .unwrap()
        .ignore_cache = false;
    let (found, _) = bench.solve(&definition.graph(&end)).await;
    assert_eq!(bench.world.runs(), [""; 0]);
    assert_eq!(found.unwrap(), anew.unwrap());
}

#[tokio::test]
async fn builds_that_run_side_by_side_share_a_step() {
    let bench = Bench::new().await;
    let go = Arc::new(Notify::new());
    bench.world.script("shared", Script::Wait(go.clone()));
    let mut definition = Definition::default();
    let shared = definition.run("shared", &[]);
    let graph = definition.graph(&shared);

    let cancel = CancellationToken::new();
    let first = bench.spawn(graph.clone(), &cancel);
    bench.world.started.notified().await;
    let second = bench.spawn(graph.clone(), &CancellationToken::new());
    // The second has joined once the flight has two followers; it then gets
    // what was said before it came.
    while bench.solver.flights.followers() < 2 {
        tokio::task::yield_now().await;
    }

    // One that leaves does not take the step away from the other.
    cancel.cancel();
    let (left, _) = first.await.unwrap();
    assert_eq!(*left.unwrap_err().error, OpError::Cancelled);
    go.notify_one();
    let (result, events) = second.await.unwrap();
    result.unwrap();
    assert_eq!(bench.world.runs(), ["shared"]);
    let said = |event: &StepEvent| matches!(&event.update, StepUpdate::Output { data, .. } if data == "hello from shared\n");
    assert!(events.iter().any(said), "{events:?}");
}

#[tokio::test]
async fn a_cancelled_build_leaves_no_step_and_no_record() {
    let bench = Bench::new().await;
    let never = Arc::new(Notify::new());
    bench.world.script("slow", Script::Wait(never));
    let mut definition = Definition::default();
    let slow = definition.run("slow", &[]);
    let end = definition.run("end", &[&slow]);
    let graph = definition.graph(&end);

    let cancel = CancellationToken::new();
    let build = bench.spawn(graph.clone(), &cancel);
    bench.world.started.notified().await;
    cancel.cancel();
    let (result, events) = build.await.unwrap();
    assert_eq!(*result.unwrap_err().error, OpError::Cancelled);
    assert!(events.iter().any(|e| e.update == StepUpdate::Cancelled));
    assert_eq!(bench.world.now.load(Ordering::SeqCst), 0);
    assert_eq!(bench.solver.flights.count(), 0);
    assert!(bench.world.layers.lock().unwrap().is_empty());

    bench.world.scripts.lock().unwrap().clear();
    bench.world.runs();
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs(), ["slow", "end"]);
}

#[tokio::test]
async fn the_first_failure_cancels_the_rest_and_is_not_cached() {
    let bench = Bench::new().await;
    bench.world.script("slow", Script::Wait(Arc::default()));
    bench.world.script("bad", Script::Fail);
    let mut definition = Definition::default();
    let slow = definition.run("slow", &[]);
    let bad = definition.run("bad", &[]);
    let end = definition.run("end", &[&slow, &bad]);
    let graph = definition.graph(&end);

    let (result, events) = bench.solve(&graph).await;
    let error = result.unwrap_err();
    assert_eq!(error.vertex.to_string(), bad.digest);
    assert_eq!(
        error.to_string(),
        "process \"bad\" did not complete successfully: exit code: 7"
    );
    assert!(events.iter().any(|e| e.update == StepUpdate::Cancelled));
    assert_eq!(bench.world.now.load(Ordering::SeqCst), 0);
    assert!(bench.world.layers.lock().unwrap().is_empty());

    bench.world.scripts.lock().unwrap().clear();
    bench.world.runs();
    bench.solve(&graph).await.0.unwrap();
    assert_eq!(bench.world.runs().len(), 3);
}

#[tokio::test]
async fn no_more_steps_than_slots_run_at_once() {
    let bench = Bench::new().await;
    let go = Arc::new(Notify::new());
    let mut definition = Definition::default();
    let mut all = Vec::new();
    for number in 0..12 {
        let name = format!("step {number}");
        bench.world.script(&name, Script::Wait(go.clone()));
        all.push(definition.run(&name, &[]));
    }
    let end = definition.run("end", &all.iter().collect::<Vec<_>>());
    let build = bench.spawn(definition.graph(&end), &CancellationToken::new());
    while !build.is_finished() {
        if bench.world.now.load(Ordering::SeqCst) >= 4 {
            go.notify_waiters();
        }
        tokio::task::yield_now().await;
    }
    build.await.unwrap().0.unwrap();
    assert_eq!(bench.world.most.load(Ordering::SeqCst), 4);
}
