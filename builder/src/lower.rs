//! Dockerfile to LLB.
//!
//! Pure, in three steps, so that whoever runs a build does the I/O between
//! them: [`plan`] resolves stages and the target; [`Plan::missing`] names the
//! base images to look up, until it names none; [`lower`] makes the graph and
//! the image's configuration. The same input always makes the same bytes.
//!
//! Stages that the target does not need are not lowered. What the language
//! knows and this builder does not do is refused by name, never skipped.
//!
//! The graph is the one that BuildKit's own frontend makes for the same file:
//! names in progress, source positions and history texts agree.

mod copy;
mod environment;
mod expose;
mod graph;
mod names;
mod plan;
mod run;
mod stage;

pub use plan::{Base, Plan, ResolvedBase, ResolvedBases, plan};

use std::collections::{BTreeMap, BTreeSet};

use builder_proto::pb::{Definition, SourceOp, op};
use oci::ImageConfig;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::dockerfile::{DockerfileError, Expansion, Instruction, Kind, Problem, Span, Variables};
use graph::{Graph, Node, NodeId};
use plan::Start;
use stage::{Configure, Context, Counter, Stage};

/// The name of the build context among the local sources.
pub const CONTEXT_NAME: &str = "context";
/// Attribute of a local source: the paths that are read, a JSON list. Absent
/// when all of it may be.
pub const ATTR_FOLLOW_PATHS: &str = "local.followpaths";
/// Attribute of a local source: patterns that are left out, a JSON list.
pub const ATTR_EXCLUDE_PATTERNS: &str = "local.excludepatterns";
/// Attribute of a local source: which earlier upload it most resembles.
pub const ATTR_SHARED_KEY_HINT: &str = "local.sharedkeyhint";
/// Attribute of a local source: what tells this upload from others.
pub const ATTR_UNIQUE: &str = "local.unique";

/// The build context, as the graph names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceContext {
    /// Tells this upload from others; empty when the solver tells by content.
    pub unique: String,
    /// Lines of the ignore file that apply to it.
    pub exclude_patterns: Vec<String>,
}

/// What a Dockerfile comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// Without any vertex when the result is the empty file system.
    pub definition: Definition,
    /// Without layers and creation time, which only the result has; its history
    /// has one entry without `empty_layer` for each layer on top of the base's.
    pub config: ImageConfig,
    /// SOURCE_DATE_EPOCH, in seconds: the creation time to use instead of now.
    pub source_date_epoch: Option<i64>,
}

/// Makes the graph of `plan`.
///
/// # Errors
/// Values that make no sense once variables are expanded, and what this
/// builder does not do. A base image that [`Plan::missing`] would still name
/// is an error too.
pub fn lower(
    plan: &Plan,
    resolved: &ResolvedBases,
    source: &SourceContext,
) -> Result<Lowered, DockerfileError> {
    let file = plan.source();
    let order = plan.order(resolved)?;
    if let Some(base) = order.missing.first() {
        let problem = Problem::invalid(format!("{} was not looked up", base.reference));
        return Err(problem.nowhere(&file));
    }
    let epoch = epoch(plan).map_err(|problem| problem.nowhere(&file))?;
    let created = epoch.and_then(|seconds| {
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        time.format(&Rfc3339).ok()
    });

    let mut graph = Graph::new();
    let mut stages: Vec<Option<Stage>> = vec![None; plan.starts.len()];
    let mut context_paths = BTreeSet::new();
    for index in order.stages {
        let triggers = order.triggers.get(&index).map_or(&[][..], Vec::as_slice);
        let context = Context {
            plan,
            resolved,
            graph: &mut graph,
            stages: &stages,
            context_paths: &mut context_paths,
            counter: counter(plan, index, triggers),
            created: created.clone(),
            index,
        };
        let lowered = lower_stage(context, triggers)?;
        stages[index] = Some(lowered);
    }
    graph.set_context(context_node(source, &context_paths));

    let mut target = stages[plan.target]
        .take()
        .expect("the walk over stages ends with the target");
    let config = &mut target.image.config;
    let labels = plan.options.labels.iter();
    config
        .labels
        .extend(labels.map(|(name, value)| (name.clone(), value.clone())));
    Ok(Lowered {
        definition: graph.definition(target.files, &file),
        config: target.image,
        source_date_epoch: epoch,
    })
}

fn epoch(plan: &Plan) -> Result<Option<i64>, Problem> {
    let text = plan.options.build_args.get("SOURCE_DATE_EPOCH");
    let text = text.map(String::as_str);
    match text.or_else(|| plan.global.get("SOURCE_DATE_EPOCH")) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(seconds) if OffsetDateTime::from_unix_timestamp(seconds).is_ok() => {
                Ok(Some(seconds))
            }
            _ => Err(Problem::invalid(format!(
                "invalid SOURCE_DATE_EPOCH: {text:?} is not a number of seconds"
            ))),
        },
    }
}

fn counter(plan: &Plan, index: usize, triggers: &[Instruction]) -> Counter {
    let from = matches!(plan.starts[index], Start::Image(_));
    let own = &plan.dockerfile.stages[index].instructions;
    let counted = own.iter().filter(|node| {
        matches!(
            node.kind,
            Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_)
        )
    });
    let single = plan.dockerfile.stages.len() == 1;
    Counter {
        stage: if single {
            String::new()
        } else {
            plan.stage_name(index)
        },
        total: usize::from(from) + triggers.len() + counted.count(),
        done: 0,
        triggered: false,
    }
}

fn lower_stage(
    mut context: Context<'_>,
    triggers: &[Instruction],
) -> Result<Stage, DockerfileError> {
    let plan = context.plan;
    let file = plan.source();
    let text = &plan.dockerfile.stages[context.index];
    let mut stage = begin(&mut context).map_err(|problem| problem.at(&file, text.span, "FROM"))?;
    let expansion = Expansion::new(plan.dockerfile.directives.escape);
    let mut cmd_given = false;
    for (at, node) in triggers.iter().chain(&text.instructions).enumerate() {
        context.counter.triggered = at < triggers.len();
        let lowered = match &node.kind {
            Kind::Run(run) => run::lower(node, run, &mut stage, &mut context, expansion),
            Kind::Copy(copy) | Kind::Add(copy) => {
                copy::lower(node, copy, &mut stage, &mut context, expansion)
            }
            _ => Configure {
                stage: &mut stage,
                context: &mut context,
                cmd_given: &mut cmd_given,
                expansion,
            }
            .apply(node),
        };
        lowered.map_err(|problem| problem.at(&file, node.span, node.kind.name()))?;
    }
    Ok(stage)
}

/// The stage as FROM leaves it.
fn begin(context: &mut Context<'_>) -> Result<Stage, Problem> {
    let plan = context.plan;
    let platform = plan.stage_platform(context.index).clone();
    let mut stage = match &plan.starts[context.index] {
        Start::Scratch => Stage::empty(&platform),
        Start::Stage(base) => context.stages[*base]
            .clone()
            .expect("the walk over stages visits bases first"),
        Start::Image(base) => {
            let found = &context.resolved[base.as_ref()];
            let mut stage = Stage::empty(&platform);
            stage.image = found.config.clone();
            let text = &plan.dockerfile.stages[context.index];
            let number = context.counter.next("");
            let name = |pinned: &str| format!("{number}FROM {pinned}");
            stage.files = context.image(base, text.span, Some(text.source.clone()), name)?;
            stage
        }
    };
    stage.inherit();
    Ok(stage)
}

impl Context<'_> {
    /// The file system of a base image; none when the image has no layers.
    pub(super) fn image(
        &mut self,
        base: &Base,
        span: Span,
        command: Option<String>,
        name: impl Fn(&str) -> String,
    ) -> Result<Option<NodeId>, Problem> {
        let found = self
            .resolved
            .get(base)
            .ok_or_else(|| Problem::invalid(format!("{} was not looked up", base.reference)))?;
        if found.config.rootfs.diff_ids.is_empty() {
            return Ok(None);
        }
        let pinned = match base.reference.digest() {
            Some(_) => base.reference.to_string(),
            None => format!("{}@{}", base.reference, found.digest),
        };
        let source = op::Op::Source(SourceOp {
            identifier: format!("docker-image://{pinned}"),
            attrs: BTreeMap::new(),
        });
        let node = Node {
            platform: Some(base.platform.clone()),
            command,
            spans: vec![span],
            ..Node::new(source, Vec::new(), name(&pinned))
        };
        self.graph.add(node).map(Some)
    }
}

fn context_node(source: &SourceContext, paths: &BTreeSet<String>) -> Node {
    let mut attrs = BTreeMap::new();
    let mut set = |name: &str, value: String| attrs.insert(name.to_owned(), value);
    set(ATTR_SHARED_KEY_HINT, CONTEXT_NAME.to_owned());
    if !source.unique.is_empty() {
        set(ATTR_UNIQUE, source.unique.clone());
    }
    let list = |items: Vec<&str>| serde_json::Value::from(items).to_string();
    if !paths.contains("/") {
        let relative = paths.iter().map(|path| path.trim_start_matches('/'));
        set(ATTR_FOLLOW_PATHS, list(relative.collect()));
    }
    if !source.exclude_patterns.is_empty() {
        let patterns = source.exclude_patterns.iter().map(String::as_str);
        set(ATTR_EXCLUDE_PATTERNS, list(patterns.collect()));
    }
    let context = SourceOp {
        identifier: format!("local://{CONTEXT_NAME}"),
        attrs,
    };
    Node::new(
        op::Op::Source(context),
        Vec::new(),
        "[internal] load build context",
    )
}

#[cfg(test)]
#[path = "lower/tests.rs"]
mod tests;
