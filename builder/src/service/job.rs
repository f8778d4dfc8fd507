//! One build from its context to its image.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use builder_proto::api::{BuildFailure, BuildOptions};
use futures_util::FutureExt;
use oci::{Digest, Reference, ignore};
use runtime::root::Root;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::contexts::Contexts;
use crate::{
    db::BuildRow,
    dockerfile::{self, DockerfileError, SourceFile, Span},
    export::{Exported, Finish},
    lower::{self, ResolvedBase, ResolvedBases, SourceContext},
    ops::{Site, Tree, Workshop, blocking},
    solver::{Graph, OpError, Reporter, SolveError, StepUpdate, Value, executor::Progress},
};

/// Largest Dockerfile and ignore file that is read, in bytes.
const DOCKERFILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The Dockerfile's name when the build does not say, and what is tried after it.
const DOCKERFILE: &str = "Dockerfile";
const DOCKERFILE_LOWER: &str = "dockerfile";

/// Why a build has no image.
#[derive(Debug)]
pub(crate) enum JobError {
    Cancelled,
    Failed(Box<BuildFailure>),
}

impl From<OpError> for JobError {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Cancelled => Self::Cancelled,
            error => Self::Failed(Box::new(BuildFailure {
                message: error.to_string(),
                ..BuildFailure::default()
            })),
        }
    }
}

impl From<DockerfileError> for JobError {
    fn from(error: DockerfileError) -> Self {
        Self::Failed(Box::new(error.to_failure()))
    }
}

/// What a build works with.
pub(crate) struct Place<'a> {
    pub(crate) workshop: &'a Workshop,
    pub(crate) contexts: &'a Contexts,
    /// Pushes and pulls in the name of whoever sent the build.
    pub(crate) token: Option<String>,
    /// Gets the unpacked context, for whoever has told of the build's end to
    /// drop: removing many files takes long.
    pub(crate) leftover: oneshot::Sender<Arc<Tree>>,
}

/// Runs a build; the digest of its image, when it was pushed.
///
/// # Cancellation
/// When `cancel` fires, returns [`JobError::Cancelled`] once everything the
/// build ran has ended and nothing of it is left but its context.
pub(crate) async fn run(
    place: Place<'_>,
    row: &BuildRow,
    reporter: Reporter,
    cancel: &CancellationToken,
) -> Result<Option<Digest>, JobError> {
    let Place {
        workshop,
        contexts,
        token,
        leftover,
    } = place;
    let job = Job {
        workshop,
        options: &row.options,
        token: token.as_deref(),
        reporter,
        cancel,
    };
    let (tarball, tree) = (contexts.tarball(&row.id), contexts.tree(&row.id));
    let tree = {
        let cancel = cancel.clone();
        blocking(move || Tree::unpack(&tarball, &tree, &cancel)).await?
    };
    let (tree, found) = job.find(tree).await?;
    let tree = Arc::new(tree);
    let site = workshop.site(tree.clone(), token.clone(), cancel.clone());
    let result = job.run(&found, Arc::new(site)).await;
    if let Err(tree) = leftover.send(tree) {
        blocking(move || drop(tree)).await;
    }
    result
}

struct Job<'a> {
    workshop: &'a Workshop,
    options: &'a BuildOptions,
    token: Option<&'a str>,
    reporter: Reporter,
    cancel: &'a CancellationToken,
}

/// A Dockerfile as found in the context.
struct Found {
    name: String,
    text: String,
}

impl Job<'_> {
    async fn run(&self, found: &Found, site: Arc<Site>) -> Result<Option<Digest>, JobError> {
        let file = SourceFile {
            name: &found.name,
            text: &found.text,
        };
        let parsed = dockerfile::parse(&found.text, &found.name)?;
        let plan = lower::plan(parsed, self.options)?;
        for warning in plan.warnings() {
            let message = format!(
                "{}: {} ({}:{})",
                warning.rule, warning.message, found.name, warning.line
            );
            let vertex = Digest::sha256(b"warning");
            self.reporter
                .send(vertex, StepUpdate::Warning(message))
                .await;
        }
        let resolved = self.resolve(&plan).await?;
        let lowered = lower::lower(&plan, &resolved, &SourceContext::default())?;
        let graph = Graph::decode(&lowered.definition).map_err(|error| {
            JobError::Failed(Box::new(BuildFailure {
                message: error.to_string(),
                ..BuildFailure::default()
            }))
        })?;
        let value = self
            .workshop
            .solve(&graph, site.clone(), self.reporter.clone(), self.cancel)
            .await
            .map_err(|error| explain(&error, &graph, &file))?;
        if !self.options.push {
            return Ok(None);
        }
        let finish = Finish {
            config: lowered.config,
            epoch: lowered.source_date_epoch,
        };
        self.export(&site, &value, finish).await.map(Some)
    }

    /// Reads the Dockerfile and applies the ignore file that goes with it.
    async fn find(&self, mut tree: Tree) -> Result<(Tree, Found), JobError> {
        let asked = self.options.dockerfile.clone();
        let label = match asked.as_str() {
            "" => DOCKERFILE,
            name => name,
        };
        let name = format!("[internal] load build definition from {label}");
        let work = move || {
            let found = read(&mut tree, &asked)?;
            Ok((tree, found))
        };
        self.step(&name, blocking(work)).await
    }

    /// Looks up base images until none is missing.
    async fn resolve(&self, plan: &lower::Plan) -> Result<ResolvedBases, JobError> {
        let mut resolved = ResolvedBases::new();
        loop {
            let missing = plan.missing(&resolved)?;
            if missing.is_empty() {
                return Ok(resolved);
            }
            for base in missing {
                let name = format!("[internal] load metadata for {}", base.reference);
                let looked_up = self.step(&name, async {
                    let found = self
                        .workshop
                        .resolve(&base.reference, &base.platform, self.token);
                    tokio::select! {
                        found = found => found,
                        () = self.cancel.cancelled() => Err(OpError::Cancelled),
                    }
                });
                let (digest, config) = match looked_up.await {
                    Ok(found) => found,
                    Err(JobError::Cancelled) => return Err(JobError::Cancelled),
                    Err(JobError::Failed(failure)) => {
                        return Err(plan.base_failed(&base, &failure.message).into());
                    }
                };
                resolved.insert(base, ResolvedBase { digest, config });
            }
        }
    }

    async fn export(&self, site: &Site, value: &Value, finish: Finish) -> Result<Digest, JobError> {
        let mut tags = BTreeSet::new();
        for tag in &self.options.tags {
            let tag: Reference = tag
                .parse()
                .map_err(|error| OpError::User(format!("{tag:?} is not an image name: {error}")))?;
            tags.insert(tag.with_default_tag());
        }
        let tags: Vec<Reference> = tags.into_iter().collect();
        let exporter = self.workshop.exporter();
        let name = "exporting to image";
        let progress = Progress::of(self.reporter.clone(), step_digest(name));
        let image = self
            .step(name, async {
                let layers = site.layers(value, &progress, self.cancel).await?;
                let layers = layers.ok_or_else(|| {
                    OpError::User("the result of a build cannot be its context".to_owned())
                })?;
                let layers = exporter.layers(&layers, &progress, self.cancel).await?;
                Ok(Exported::new(layers, finish))
            })
            .await?;
        let names: Vec<String> = tags.iter().map(Reference::familiar).collect();
        let name = format!("pushing {}", names.join(", "));
        let progress = Progress::of(self.reporter.clone(), step_digest(&name));
        let credentials = |tag: &Reference| self.workshop.credentials(tag, self.token);
        self.step(
            &name,
            exporter
                .push(&image, &tags, &credentials, &progress, self.cancel)
                .boxed(),
        )
        .await?;
        Ok(image.digest)
    }

    /// Runs work of the builder itself as a step that progress shows.
    async fn step<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, OpError>>,
    ) -> Result<T, JobError> {
        let vertex = step_digest(name);
        let started = StepUpdate::Started {
            name: name.to_owned(),
        };
        self.reporter.send(vertex, started).await;
        let result = work.await;
        let update = match &result {
            Ok(_) => StepUpdate::Done,
            Err(OpError::Cancelled) => StepUpdate::Cancelled,
            Err(error) => StepUpdate::Failed(error.to_string()),
        };
        self.reporter.send(vertex, update).await;
        Ok(result?)
    }
}

/// Stands for a step that is no operation of the graph.
fn step_digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

/// Reads the Dockerfile, through the root of the context whatever links it
/// has, then removes what the ignore file names. Blocks.
fn read(tree: &mut Tree, asked: &str) -> Result<Found, OpError> {
    let root = tree.root()?;
    let (name, text) = match asked {
        "" => match read_text(&root, DOCKERFILE)? {
            Some(text) => (DOCKERFILE, text),
            None => (
                DOCKERFILE_LOWER,
                read_text(&root, DOCKERFILE_LOWER)?.ok_or_else(|| missing(DOCKERFILE))?,
            ),
        },
        name => (name, read_text(&root, name)?.ok_or_else(|| missing(name))?),
    };
    for file in ignore::file_names(name) {
        if let Some(patterns) = read_text(&root, &file)? {
            tree.prune(&file, &patterns)?;
            break;
        }
    }
    Ok(Found {
        name: name.to_owned(),
        text,
    })
}

/// In the words that Docker's builder has for it.
fn missing(name: &str) -> OpError {
    OpError::User(format!(
        "failed to read dockerfile: open {name}: no such file or directory"
    ))
}

/// The text of a file of the context; `None` when there is none.
fn read_text(root: &Root, name: &str) -> Result<Option<String>, OpError> {
    let path = Path::new(name.trim_start_matches('/'));
    match root.read_regular(path, DOCKERFILE_BYTES_MAX) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| OpError::User(format!("{name} is not UTF-8 text"))),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(OpError::User(format!("failed to read dockerfile: {error}"))),
    }
}

/// A failed step in terms of the Dockerfile it comes from.
fn explain(error: &SolveError, graph: &Graph, file: &SourceFile<'_>) -> JobError {
    if *error.error == OpError::Cancelled {
        return JobError::Cancelled;
    }
    let mut failure = BuildFailure {
        message: error.to_string(),
        exit_code: match *error.error {
            OpError::Exit { code, .. } => Some(code),
            _ => None,
        },
        ..BuildFailure::default()
    };
    let vertex = graph.vertex(&error.vertex);
    if let Some(location) = vertex.and_then(|vertex| vertex.location.as_ref()) {
        failure.file = Some(location.file.clone());
        failure.line = Some(location.first_line);
        failure.excerpt = Some(file.excerpt(Span {
            start: location.first_line,
            end: location.last_line,
        }));
        let line = file.text.lines().nth(location.first_line as usize - 1);
        let word = line.and_then(|line| line.split_whitespace().next());
        failure.instruction = word.map(str::to_uppercase);
    }
    JobError::Failed(Box::new(failure))
}
