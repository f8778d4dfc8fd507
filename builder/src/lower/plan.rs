//! Which stages a build needs, in which order, and which images they start from.
//!
//! ONBUILD triggers are in the configuration of base images and may name more
//! stages and images, so the question is asked again each time more images are
//! known, until none is missing.

use std::collections::{BTreeMap, HashMap};

use builder_proto::api::BuildOptions;
use oci::{Digest, ImageConfig, Platform, Reference};

use super::environment::{Environment, global_environment};
use crate::dockerfile::{
    self, Dockerfile, DockerfileError, Expansion, Instruction, Kind, Problem, SourceFile, Span,
    nearest,
};

/// Most stages in one file: their dependencies are walked recursively.
const STAGES_MAX: usize = 1_000;
/// The base that is no image.
const SCRATCH: &str = "scratch";

/// An image that a build reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Base {
    pub reference: Reference,
    pub platform: Platform,
}

/// A base image as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedBase {
    /// Of the manifest, or of the index that `platform` was chosen from.
    pub digest: Digest,
    pub config: ImageConfig,
}

/// The base images that were looked up so far.
pub type ResolvedBases = HashMap<Base, ResolvedBase>;

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Scratch,
    Stage(usize),
    Image(Box<Base>),
}

/// Where COPY --from and RUN --mount=from read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Scratch,
    Stage(usize),
    Image(Box<Base>),
}

/// A Dockerfile with the options of one build.
#[derive(Debug)]
pub struct Plan {
    pub(super) dockerfile: Dockerfile,
    pub(super) options: BuildOptions,
    pub(super) target: usize,
    /// The platform asked for, or the host's.
    pub(super) platform: Platform,
    /// Global ARGs and the platform arguments.
    pub(super) global: Environment,
    pub(super) starts: Vec<Start>,
    /// FROM's own platform, where it names one.
    pub(super) platforms: Vec<Option<Platform>>,
}

/// The stages of a build, dependencies first, each with the triggers of its base.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) stages: Vec<usize>,
    pub(super) triggers: BTreeMap<usize, Vec<Instruction>>,
    pub(super) missing: Vec<Base>,
}

/// Resolves stages, the target and the platform.
///
/// # Errors
/// Base names and platforms that make no sense, an unknown target.
pub fn plan(dockerfile: Dockerfile, options: &BuildOptions) -> Result<Plan, DockerfileError> {
    let file = source_of(&dockerfile);
    if dockerfile.stages.len() > STAGES_MAX {
        let problem = Problem::too_large(format!("more than {STAGES_MAX} stages"));
        return Err(problem.at(&file, dockerfile.stages[STAGES_MAX].span, "FROM"));
    }
    let host = Platform::host();
    let platform = match options.platform.as_str() {
        "" => host.clone(),
        text => Platform::parse(text).ok_or_else(|| {
            Problem::invalid(format!(
                "invalid platform {text:?}: write os/architecture[/variant], for example linux/amd64"
            ))
            .nowhere(&file)
        })?,
    };
    if !matches!(options.network.as_str(), "" | "default" | "none" | "host") {
        let problem = Problem::invalid(format!("invalid network mode {:?}", options.network));
        return Err(problem.nowhere(&file));
    }
    let target = find_target(&dockerfile, &options.target).map_err(|p| p.nowhere(&file))?;
    let target_name = match (&options.target, &dockerfile.stages[target].name) {
        (_, Some(name)) => name.clone(),
        (text, None) if !text.is_empty() => text.clone(),
        _ => "default".to_owned(),
    };
    let global = global_environment(&dockerfile, options, &host, &platform, &target_name)?;

    let mut starts = Vec::new();
    let mut platforms = Vec::new();
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        let found = start(&dockerfile, index, &platform, &global)
            .map_err(|problem| problem.at(&file, stage.span, "FROM"))?;
        starts.push(found.0);
        platforms.push(found.1);
    }
    Ok(Plan {
        options: options.clone(),
        target,
        platform,
        global,
        starts,
        platforms,
        dockerfile,
    })
}

impl Plan {
    /// The images that must be looked up before [`super::lower`] can run. Ask
    /// again after each look-up: their ONBUILD triggers may name more.
    ///
    /// # Errors
    /// Circular and forward references between stages, triggers that do not parse.
    pub fn missing(&self, resolved: &ResolvedBases) -> Result<Vec<Base>, DockerfileError> {
        Ok(self.order(resolved)?.missing)
    }

    /// The error for a base image that could not be looked up, at the first
    /// instruction that names it.
    pub fn base_failed(&self, base: &Base, reason: &str) -> DockerfileError {
        let (span, instruction) = self.first_use(base);
        let message = format!(
            "failed to resolve source metadata for {}: {reason}",
            base.reference
        );
        Problem::invalid(message).at(&self.source(), span, instruction)
    }

    fn first_use(&self, base: &Base) -> (Span, &'static str) {
        let stages = &self.dockerfile.stages;
        for (index, stage) in stages.iter().enumerate() {
            if matches!(&self.starts[index], Start::Image(start) if **start == *base) {
                return (stage.span, "FROM");
            }
            for node in &stage.instructions {
                let named = node.kind.origins().any(|name| {
                    let origin = self.origin(name, index);
                    matches!(origin, Ok(Origin::Image(image)) if *image == *base)
                });
                if named {
                    return (node.span, node.kind.name());
                }
            }
        }
        // Only a trigger of some base image names it.
        (stages[self.target].span, "FROM")
    }

    /// Advice about the Dockerfile, for the build's log.
    pub fn warnings(&self) -> &[dockerfile::Warning] {
        &self.dockerfile.warnings
    }

    pub(super) fn source(&self) -> SourceFile<'_> {
        source_of(&self.dockerfile)
    }

    /// The name that progress and messages use.
    pub(super) fn stage_name(&self, index: usize) -> String {
        match &self.dockerfile.stages[index].name {
            Some(name) => name.clone(),
            None => format!("stage-{index}"),
        }
    }

    pub(super) fn stage_platform(&self, index: usize) -> &Platform {
        match (&self.platforms[index], &self.starts[index]) {
            // A stage on a stage is of its base's platform, as FROM --platform
            // chooses among the variants of an image.
            (_, Start::Stage(base)) => self.stage_platform(*base),
            (Some(platform), _) => platform,
            (None, _) => &self.platform,
        }
    }

    pub(super) fn order(&self, resolved: &ResolvedBases) -> Result<Order, DockerfileError> {
        let mut walk = Walk {
            plan: self,
            resolved,
            state: vec![Mark::New; self.starts.len()],
            order: Order {
                stages: Vec::new(),
                triggers: BTreeMap::new(),
                missing: Vec::new(),
            },
        };
        walk.visit(self.target)?;
        Ok(walk.order)
    }

    /// What `--from=name` means in stage `current`: the last stage of that name
    /// before it, else one after it (an error, but a telling one), else an image.
    pub(super) fn origin(&self, name: &str, current: usize) -> Result<Origin, Problem> {
        if let Ok(index) = name.parse::<i64>() {
            return match usize::try_from(index) {
                Ok(index) if index < self.starts.len() => Ok(Origin::Stage(index)),
                _ => Err(Problem::invalid(format!("invalid stage index {index}"))),
            };
        }
        let lower = name.to_lowercase();
        let named = |stage: &usize| self.dockerfile.stages[*stage].name.as_deref() == Some(&lower);
        let found = (0..current)
            .rev()
            .find(named)
            .or_else(|| (current..self.starts.len()).find(named));
        if let Some(stage) = found {
            return Ok(Origin::Stage(stage));
        }
        if lower == SCRATCH {
            return Ok(Origin::Scratch);
        }
        let reference = reference(name)?;
        Ok(Origin::Image(Box::new(Base {
            reference,
            platform: self.platform.clone(),
        })))
    }
}

pub(super) fn source_of(dockerfile: &Dockerfile) -> SourceFile<'_> {
    SourceFile {
        name: &dockerfile.file_name,
        text: &dockerfile.text,
    }
}

fn find_target(dockerfile: &Dockerfile, target: &str) -> Result<usize, Problem> {
    let stages = &dockerfile.stages;
    if target.is_empty() {
        return Ok(stages.len() - 1);
    }
    let lower = target.to_lowercase();
    let by_name = stages
        .iter()
        .rposition(|stage| stage.name.as_deref() == Some(&lower));
    let by_index = || target.parse::<usize>().ok().filter(|i| *i < stages.len());
    by_name.or_else(by_index).ok_or_else(|| {
        let mut problem = Problem::invalid(format!("target stage {target:?} could not be found"));
        let names = stages.iter().filter_map(|stage| stage.name.as_deref());
        if let Some(near) = nearest(target, names) {
            problem
                .message
                .push_str(&format!(" (did you mean {near}?)"));
        }
        problem
    })
}

fn start(
    dockerfile: &Dockerfile,
    index: usize,
    target: &Platform,
    global: &Environment,
) -> Result<(Start, Option<Platform>), Problem> {
    let stage = &dockerfile.stages[index];
    let expansion = Expansion::new(dockerfile.directives.escape);
    let base = expansion.word(&stage.base, global)?.text;
    if base.is_empty() {
        return Err(Problem::invalid(format!(
            "base name ({}) should not be blank",
            stage.base
        )));
    }
    let platform = match &stage.platform {
        None => None,
        Some(text) => {
            let expanded = expansion.word(text, global)?;
            if expanded.text.is_empty() {
                let problem =
                    Problem::invalid(format!("empty platform value from expression {text}"));
                let known: Vec<&str> = global.names().collect();
                let unset = expanded.unset.first().map_or("", String::as_str);
                return Err(problem.suggest(unset, known));
            }
            let parsed = Platform::parse(&expanded.text);
            Some(parsed.ok_or_else(|| {
                Problem::invalid(format!(
                    "failed to parse platform {}: write os/architecture[/variant]",
                    expanded.text
                ))
            })?)
        }
    };
    let lower = base.to_lowercase();
    let earlier = (0..index)
        .rev()
        .find(|stage| dockerfile.stages[*stage].name.as_deref() == Some(&lower));
    let start = match earlier {
        Some(stage) => Start::Stage(stage),
        None if base == SCRATCH => Start::Scratch,
        None => Start::Image(Box::new(Base {
            reference: reference(&base)?,
            platform: platform.clone().unwrap_or_else(|| target.clone()),
        })),
    };
    Ok((start, platform))
}

fn reference(name: &str) -> Result<Reference, Problem> {
    let parsed = name.parse::<Reference>();
    let parsed = parsed.map_err(|error| {
        Problem::invalid(format!("failed to parse stage name {name:?}: {error}"))
    })?;
    Ok(parsed.with_default_tag())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path from the target to here.
    Open,
    Done,
}

struct Walk<'a> {
    plan: &'a Plan,
    resolved: &'a ResolvedBases,
    state: Vec<Mark>,
    order: Order,
}

impl Walk<'_> {
    fn visit(&mut self, index: usize) -> Result<(), DockerfileError> {
        self.state[index] = Mark::Open;
        let triggers = match &self.plan.starts[index] {
            Start::Scratch => Vec::new(),
            Start::Stage(base) => {
                self.depend(
                    *base,
                    index,
                    self.plan.dockerfile.stages[index].span,
                    "FROM",
                )?;
                self.stage_triggers(*base)
            }
            Start::Image(base) => match self.resolved.get(base.as_ref()) {
                Some(found) => found.config.config.on_build.clone(),
                None => {
                    self.need(base);
                    Vec::new()
                }
            },
        };
        let triggers = self.parse_triggers(index, &triggers)?;
        let stages = &self.plan.dockerfile.stages;
        for instruction in triggers.iter().chain(&stages[index].instructions) {
            self.sources(index, instruction)?;
        }
        if !triggers.is_empty() {
            self.order.triggers.insert(index, triggers);
        }
        self.state[index] = Mark::Done;
        self.order.stages.push(index);
        Ok(())
    }

    /// The triggers that a stage's own ONBUILD instructions leave for the next.
    fn stage_triggers(&self, base: usize) -> Vec<String> {
        let instructions = &self.plan.dockerfile.stages[base].instructions;
        let triggers = instructions.iter().filter_map(|node| match &node.kind {
            Kind::Onbuild(trigger) => Some(trigger.clone()),
            _ => None,
        });
        triggers.collect()
    }

    fn parse_triggers(
        &self,
        index: usize,
        texts: &[String],
    ) -> Result<Vec<Instruction>, DockerfileError> {
        let span = self.plan.dockerfile.stages[index].span;
        let parsed = texts.iter().map(|text| {
            let node = dockerfile::parse_trigger(text).map_err(|problem| Problem {
                message: format!("ONBUILD trigger of the base image: {text:?}: {problem}"),
                ..problem
            })?;
            // Its text is in the base image; in this file, FROM brings it in.
            Ok(Instruction { span, ..node })
        });
        parsed
            .collect::<Result<_, Problem>>()
            .map_err(|problem| problem.at(&self.plan.source(), span, "FROM"))
    }

    /// Follows what an instruction reads from.
    fn sources(&mut self, current: usize, node: &Instruction) -> Result<(), DockerfileError> {
        for name in node.kind.origins() {
            let file = self.plan.source();
            let located = |problem: Problem| problem.at(&file, node.span, node.kind.name());
            if matches!(node.kind, Kind::Copy(_)) && name.contains('$') {
                return Err(located(Problem::syntax(
                    "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
                )));
            }
            match self.plan.origin(name, current).map_err(located)? {
                Origin::Scratch => {}
                Origin::Image(base) => {
                    if !self.resolved.contains_key(base.as_ref()) {
                        self.need(&base);
                    }
                }
                Origin::Stage(stage) => {
                    self.depend(stage, current, node.span, node.kind.name())?;
                    if stage > current {
                        return Err(located(Problem::invalid(format!(
                            "cannot copy from stage {name:?}, it needs to be defined before current stage {:?}",
                            self.plan.stage_name(current)
                        ))));
                    }
                }
            }
        }
        Ok(())
    }

    fn depend(
        &mut self,
        stage: usize,
        current: usize,
        span: Span,
        instruction: &str,
    ) -> Result<(), DockerfileError> {
        match self.state[stage] {
            Mark::Done => Ok(()),
            Mark::New => self.visit(stage),
            Mark::Open => {
                let problem = Problem::invalid(format!(
                    "circular dependency detected on stage: {}",
                    self.plan.stage_name(current.min(stage))
                ));
                Err(problem.at(&self.plan.source(), span, instruction))
            }
        }
    }

    fn need(&mut self, base: &Base) {
        if !self.order.missing.contains(base) {
            self.order.missing.push(base.clone());
        }
    }
}
