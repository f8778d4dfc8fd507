//! COPY and ADD.

use builder_proto::pb::{FileAction, FileActionCopy, FileOp, file_action::Action, op};

use super::{
    graph::{CONTEXT, Node, NodeId},
    names::{self, FileMode},
    plan::Origin,
    stage::{Context, Stage, inline_file, shown_name},
};
use crate::dockerfile::{Copy, Expansion, Instruction, Kind, Problem};

/// Most sources of one instruction, as the solver takes them in one operation.
const SOURCES_MAX: usize = 1_000;

/// The copies of one instruction, gathered into one operation.
struct Actions {
    inputs: Vec<NodeId>,
    actions: Vec<(i64, FileActionCopy)>,
}

impl Actions {
    /// Reads from `source`; `None` is the empty file system.
    fn push(&mut self, source: Option<NodeId>, copy: FileActionCopy) {
        let input = match source {
            None => -1,
            Some(source) => self.input(source),
        };
        self.actions.push((input, copy));
    }

    fn input(&mut self, node: NodeId) -> i64 {
        let known = self.inputs.iter().position(|input| *input == node);
        known.unwrap_or_else(|| {
            self.inputs.push(node);
            self.inputs.len() - 1
        }) as i64
    }

    /// Each action works on the result of the one before; the first on `base`.
    fn finish(self, base: Option<NodeId>) -> (op::Op, Vec<NodeId>) {
        let count = self.actions.len();
        let inputs = self.inputs.len();
        let chained = self
            .actions
            .into_iter()
            .enumerate()
            .map(|(at, (from, copy))| {
                let input = match at {
                    0 if base.is_none() => -1,
                    0 => 0,
                    at => (inputs + at - 1) as i64,
                };
                FileAction {
                    input,
                    secondary_input: from,
                    output: if at + 1 == count { 0 } else { -1 },
                    action: Some(Action::Copy(copy)),
                }
            });
        let file = FileOp {
            actions: chained.collect(),
        };
        (op::Op::File(file), self.inputs)
    }
}

pub(super) fn lower(
    node: &Instruction,
    copy: &Copy,
    stage: &mut Stage,
    context: &mut Context<'_>,
    expansion: Expansion,
) -> Result<(), Problem> {
    let is_add = matches!(node.kind, Kind::Add(_));
    let environment = stage.environment.clone();
    let expand =
        |text: &str| -> Result<String, Problem> { Ok(expansion.word(text, &environment)?.text) };
    let optional = |text: &Option<String>| text.as_deref().map(expand).transpose();
    let chown = optional(&copy.chown)?.filter(|text| !text.is_empty());
    let chmod = optional(&copy.chmod)?.filter(|text| !text.is_empty());
    let written = expand(&copy.destination)?;
    let destination = names::absolute(stage.working_dir(), &written, true);
    refuse_unsupported(copy)?;

    let mut template = FileActionCopy {
        dest: destination,
        owner: chown.as_deref().map(names::owner),
        mode: -1,
        create_dest_path: true,
        exclude_patterns: copy.exclude.clone(),
        timestamp: -1,
        ..FileActionCopy::default()
    };
    match chmod.as_deref().map(names::file_mode).transpose()? {
        None => {}
        Some(FileMode::Bits(bits)) => template.mode = bits,
        Some(FileMode::Symbolic(text)) => {
            template.mode = 0;
            template.mode_str = text;
        }
    }

    let keyword = node.kind.name();
    let mut history = keyword.to_owned();
    if copy.parents {
        history.push_str(" --parents");
    }
    if let Some(chown) = &chown {
        history.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &chmod {
        history.push_str(&format!(" --chmod={chmod}"));
    }

    let mut actions = Actions {
        inputs: stage.files.into_iter().collect(),
        actions: Vec::new(),
    };
    let origin = match &copy.from {
        None => None,
        Some(name) => Some(context.plan.origin(name, context.index)?),
    };
    for source in &copy.sources {
        let source = expand(source)?;
        history.push_str(&format!(" {source}"));
        refuse_remote(&source, is_add)?;
        let files = match &origin {
            None => {
                // With its wildcards: the solver matches them.
                let path = names::absolute("/", &source, false);
                context.context_paths.insert(path);
                Some(CONTEXT)
            }
            Some(origin) => context.files_of(origin, node)?,
        };
        let action = local_copy(&template, copy, &source, is_add);
        actions.push(files, action);
    }
    for document in &copy.contents {
        history.push_str(&format!(" <<{}", document.name));
        let content = document.content();
        let data = if document.expand {
            let body = Expansion {
                plain_quotes: true,
                ..Expansion::new('\\')
            };
            body.word(&content, &environment)?.text
        } else {
            content
        };
        let file = inline_file(context.graph, &document.name, 0o644, data, node.span)?;
        let action = FileActionCopy {
            src: names::absolute("/", &document.name, false),
            ..template.clone()
        };
        actions.push(Some(file), action);
    }
    history.push_str(&format!(" {written} # buildkit"));

    let shown = shown_name(node, &expansion, &environment);
    let name = context.counter.next(&shown);
    let (file, inputs) = actions.finish(stage.files);
    let vertex = Node {
        spans: vec![node.span],
        ignore_cache: context.plan.options.no_cache,
        ..Node::new(file, inputs, name)
    };
    stage.files = Some(context.graph.add(vertex)?);
    let created = context.created.clone();
    stage.history(history, true, &created);
    Ok(())
}

fn local_copy(
    template: &FileActionCopy,
    copy: &Copy,
    source: &str,
    is_add: bool,
) -> FileActionCopy {
    let mut action = FileActionCopy {
        src: names::absolute("/", source, false),
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: copy.unpack.unwrap_or(is_add),
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..template.clone()
    };
    if copy.parents {
        // What is before `/./` stays behind; the rest keeps its directories.
        let (parent, pattern) = source.split_once("/./").unwrap_or(("/", source));
        action.src = names::absolute("/", parent, false);
        let pattern = names::absolute("/", pattern, false);
        if !has_wildcards(parent) && !has_wildcards(&pattern) {
            let required = names::absolute(&action.src, &pattern[1..], false);
            action.required_paths = vec![required];
        }
        action.include_patterns = vec![pattern[1..].to_owned()];
    }
    action
}

fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

fn refuse_unsupported(copy: &Copy) -> Result<(), Problem> {
    if copy.sources.len() + copy.contents.len() > SOURCES_MAX {
        return Err(Problem::too_large(format!(
            "more than {SOURCES_MAX} sources in one instruction: name their directory instead"
        )));
    }
    if copy.checksum.is_some() {
        return Err(Problem::unsupported(
            "ADD --checksum is not supported by this builder: it has no remote sources yet",
        ));
    }
    if copy.keep_git_dir.is_some() {
        return Err(Problem::unsupported(
            "ADD --keep-git-dir is not supported by this builder: it has no git sources yet",
        ));
    }
    Ok(())
}

fn refuse_remote(source: &str, is_add: bool) -> Result<(), Problem> {
    let http = source.starts_with("http://") || source.starts_with("https://");
    let git = ["git://", "git@", "ssh://"]
        .iter()
        .any(|scheme| source.starts_with(scheme));
    match (http, git, is_add) {
        (false, false, _) => Ok(()),
        (true, _, false) => Err(Problem::invalid("source can't be a URL for COPY")),
        (_, true, false) => Err(Problem::invalid("source can't be a git ref for COPY")),
        (_, _, true) => Err(Problem::unsupported(format!(
            "ADD of {source:?} is not supported by this builder: fetch it in a RUN, or put it into the build context"
        ))),
    }
}

impl Context<'_> {
    /// The file system that `--from` names.
    pub(super) fn files_of(
        &mut self,
        origin: &Origin,
        node: &Instruction,
    ) -> Result<Option<NodeId>, Problem> {
        match origin {
            Origin::Scratch => Ok(None),
            Origin::Stage(index) => {
                let stage = self.stages[*index].as_ref().ok_or_else(|| {
                    Problem::invalid(format!(
                        "cannot copy from stage {:?}, it needs to be defined before current stage {:?}",
                        self.plan.stage_name(*index),
                        self.plan.stage_name(self.index)
                    ))
                })?;
                Ok(stage.files)
            }
            Origin::Image(base) => {
                let shown = |pinned: &str| format!("FROM {pinned}");
                self.image(base, node.span, None, shown)
            }
        }
    }
}
