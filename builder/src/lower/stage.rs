//! One stage while its instructions are lowered: file system, environment and
//! image configuration.

use oci::{ContainerConfig, History, ImageConfig, Platform, RootFs};

use super::{
    environment::Environment,
    expose,
    graph::{Graph, Node, NodeId},
    names,
    plan::{Plan, ResolvedBases},
};
use builder_proto::pb::{FileAction, FileActionMkDir, FileOp, file_action::Action, op};

use crate::dockerfile::{
    ArgPair, CommandLine, Expansion, Healthcheck, Instruction, Kind, Pair, Problem, Span, Variables,
};

/// What BuildKit writes beside each line of an image's history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
/// Where commands are looked for when the base image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage's result, or what it is so far.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// `None` is the empty file system.
    pub(super) files: Option<NodeId>,
    pub(super) image: ImageConfig,
    pub(super) environment: Environment,
    /// ARGs in scope, for the history of RUN.
    pub(super) args: Vec<(String, Option<String>)>,
    pub(super) platform: Platform,
}

/// What lowering an instruction may look at and change.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) resolved: &'a ResolvedBases,
    pub(super) graph: &'a mut Graph,
    /// Finished stages, by index.
    pub(super) stages: &'a [Option<Stage>],
    /// Paths of the build context that are read.
    pub(super) context_paths: &'a mut std::collections::BTreeSet<String>,
    pub(super) counter: Counter,
    /// RFC 3339, from SOURCE_DATE_EPOCH.
    pub(super) created: Option<String>,
    pub(super) index: usize,
}

/// Numbers the steps of a stage: `[build 2/5] `.
#[derive(Debug)]
pub(super) struct Counter {
    /// Empty when the file has one stage.
    pub(super) stage: String,
    pub(super) total: usize,
    pub(super) done: usize,
    /// The step comes from a trigger of the base image.
    pub(super) triggered: bool,
}

impl Counter {
    pub(super) fn next(&mut self, text: &str) -> String {
        self.done += 1;
        let width = self.total.max(1).to_string().len();
        let gap = if self.stage.is_empty() { "" } else { " " };
        format!(
            "[{}{gap}{:width$}/{}] {}{text}",
            self.stage,
            self.done,
            self.total,
            if self.triggered { "ONBUILD " } else { "" }
        )
    }
}

impl Stage {
    pub(super) fn empty(platform: &Platform) -> Self {
        let image = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: ContainerConfig {
                working_dir: "/".to_owned(),
                ..ContainerConfig::default()
            },
            ..ImageConfig::default()
        };
        Self {
            files: None,
            image,
            environment: Environment::default(),
            args: Vec::new(),
            platform: platform.clone(),
        }
    }

    /// What a stage inherits from its base image.
    pub(super) fn inherit(&mut self) {
        // Layers belong to the file system, which the solver knows.
        self.image.rootfs = RootFs {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        };
        self.image.created = None;
        self.image.config.on_build = Vec::new();
        let env = &mut self.image.config.env;
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        // Over what a base stage leaves: its ARGs stay in scope.
        for entry in env.iter() {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.environment.put(name, value);
        }
    }

    pub(super) fn working_dir(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            directory => directory,
        }
    }

    pub(super) fn history(&mut self, text: String, layer: bool, created: &Option<String>) {
        self.image.history.push(History {
            created: created.clone(),
            created_by: Some(text),
            author: None,
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer: !layer,
        });
    }

    /// A command in shell form gets the image's shell in front.
    pub(super) fn with_shell(&self, text: &str) -> Vec<String> {
        let shell = self.image.config.shell.clone();
        let mut words = shell
            .filter(|shell| !shell.is_empty())
            .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        words.push(text.to_owned());
        words
    }

    pub(super) fn arguments(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.with_shell(text),
        }
    }
}

/// The instructions that change only the configuration, and WORKDIR.
pub(super) struct Configure<'a, 'b> {
    pub(super) stage: &'a mut Stage,
    pub(super) context: &'a mut Context<'b>,
    /// CMD was given in this stage, so ENTRYPOINT leaves it.
    pub(super) cmd_given: &'a mut bool,
    pub(super) expansion: Expansion,
}

impl Configure<'_, '_> {
    pub(super) fn apply(&mut self, node: &Instruction) -> Result<(), Problem> {
        let created = self.context.created.clone();
        let config = &mut self.stage.image.config;
        let text = match &node.kind {
            Kind::Env(pairs) => self.env(pairs)?,
            Kind::Label(pairs) => self.label(pairs)?,
            Kind::Arg(pairs) => self.arg(pairs)?,
            Kind::Cmd(command) => {
                let words = self.stage.arguments(command);
                let text = format!("CMD {}", names::go_quoted(&words));
                self.stage.image.config.cmd = Some(words);
                self.stage.image.config.args_escaped = true;
                *self.cmd_given = true;
                text
            }
            Kind::Entrypoint(command) => {
                let words = self.stage.arguments(command);
                let text = format!("ENTRYPOINT {}", names::go_quoted(&words));
                self.stage.image.config.entrypoint = (!words.is_empty()).then_some(words);
                if !*self.cmd_given {
                    self.stage.image.config.cmd = None;
                }
                text
            }
            Kind::Expose(specs) => {
                let mut words = Vec::new();
                for spec in specs {
                    words.extend(self.expansion.word(spec, &self.stage.environment)?.words);
                }
                let ports = expose::ports(&words)?;
                let text = format!("EXPOSE [{}]", ports.join(" "));
                let empty = || serde_json::Value::Object(serde_json::Map::new());
                config
                    .exposed_ports
                    .extend(ports.into_iter().map(|port| (port, empty())));
                text
            }
            Kind::Healthcheck(check) => {
                config.healthcheck = Some(healthcheck(check));
                healthcheck_history(check)
            }
            Kind::Maintainer(author) => {
                let text = format!("MAINTAINER {author}");
                self.stage.image.author = Some(author.clone());
                text
            }
            Kind::Onbuild(trigger) => {
                config.on_build.push(trigger.clone());
                return Ok(());
            }
            Kind::Shell(words) => {
                config.shell = Some(words.clone());
                format!("SHELL [{}]", words.join(" "))
            }
            Kind::StopSignal(signal) => {
                let signal = self.expand(signal)?;
                names::check_signal(&signal)?;
                let text = format!("STOPSIGNAL {signal}");
                self.stage.image.config.stop_signal = Some(signal);
                text
            }
            Kind::User(user) => {
                // Nothing, when a variable is not set: that is root.
                let user = self.expand(user)?;
                let text = format!("USER {user}");
                self.stage.image.config.user = user;
                text
            }
            Kind::Volume(paths) => self.volume(paths)?,
            Kind::Workdir(path) => return self.workdir(node, path),
            Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) => return Ok(()),
        };
        self.stage.history(text, false, &created);
        Ok(())
    }

    fn expand(&self, text: &str) -> Result<String, Problem> {
        Ok(self.expansion.word(text, &self.stage.environment)?.text)
    }

    /// Names and values, all expanded with the variables as they were before
    /// the instruction.
    fn expand_pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>, Problem> {
        let expanded = pairs.iter().map(|pair| {
            let name = self.expand(&pair.name)?;
            if name.is_empty() || name.contains('=') {
                return Err(Problem::invalid(format!(
                    "{:?} is not a name: it is empty or holds a '='",
                    pair.name
                )));
            }
            Ok((name, self.expand(&pair.value)?))
        });
        expanded.collect()
    }

    fn env(&mut self, pairs: &[Pair]) -> Result<String, Problem> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.expand_pairs(pairs)? {
            text.push_str(&format!(" {name}={value}"));
            self.stage.environment.set(&name, &value)?;
            // In the image a variable keeps its place.
            let entry = format!("{name}={value}");
            let env = &mut self.stage.image.config.env;
            let named = |old: &&mut String| old.split('=').next() == Some(&name);
            match env.iter_mut().find(named) {
                Some(old) => *old = entry,
                None => env.push(entry),
            }
        }
        Ok(text)
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<String, Problem> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.expand_pairs(pairs)? {
            text.push_str(&format!(" {name}={value}"));
            self.stage.image.config.labels.insert(name, value);
        }
        Ok(text)
    }

    fn arg(&mut self, pairs: &[ArgPair]) -> Result<String, Problem> {
        let mut shown = Vec::new();
        for pair in pairs {
            let plan = self.context.plan;
            let given = plan.options.build_args.get(&pair.name).cloned();
            let value = match (given, &pair.value) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => plan.global.get(&pair.name).map(str::to_owned),
            };
            shown.push(match &value {
                Some(value) => format!("{}={value}", pair.name),
                None => pair.name.clone(),
            });
            if let Some(value) = &value {
                self.stage.environment.set(&pair.name, value)?;
            }
            self.stage.args.push((pair.name.clone(), value));
        }
        Ok(format!("ARG {}", shown.join(" ")))
    }

    fn volume(&mut self, paths: &[String]) -> Result<String, Problem> {
        let mut volumes = Vec::new();
        for path in paths {
            let path = self.expand(path)?;
            if path.is_empty() {
                return Err(Problem::invalid(
                    "VOLUME specified can not be an empty string",
                ));
            }
            // An engine would mount over, or copy from, what is outside the image.
            if path.split('/').any(|part| part == "..") || names::absolute("/", &path, false) == "/"
            {
                return Err(Problem::invalid(format!(
                    "VOLUME {path:?} is not a directory inside the image: write its absolute path without '..'"
                )));
            }
            volumes.push(path);
        }
        let text = format!("VOLUME [{}]", volumes.join(" "));
        for path in volumes {
            let empty = serde_json::Value::Object(serde_json::Map::new());
            self.stage.image.config.volumes.insert(path, empty);
        }
        Ok(text)
    }

    fn workdir(&mut self, node: &Instruction, path: &str) -> Result<(), Problem> {
        let path = self.expand(path)?;
        let directory = names::absolute(self.stage.working_dir(), &path, false);
        self.stage.image.config.working_dir.clone_from(&directory);
        let layer = directory != "/";
        let shown = shown_name(node, &self.expansion, &self.stage.environment);
        let name = self.context.counter.next(&shown);
        if layer {
            let user = &self.stage.image.config.user;
            let action = FileActionMkDir {
                path: directory.clone(),
                mode: 0o755,
                make_parents: true,
                owner: (!user.is_empty()).then(|| names::owner(user)),
                timestamp: -1,
            };
            let action = FileAction {
                input: if self.stage.files.is_some() { 0 } else { -1 },
                secondary_input: -1,
                output: 0,
                action: Some(Action::Mkdir(action)),
            };
            let file = op::Op::File(FileOp {
                actions: vec![action],
            });
            let inputs = self.stage.files.into_iter().collect();
            let mkdir = Node {
                spans: vec![node.span],
                ignore_cache: self.context.plan.options.no_cache,
                ..Node::new(file, inputs, name)
            };
            self.stage.files = Some(self.context.graph.add(mkdir)?);
        }
        let created = self.context.created.clone();
        self.stage
            .history(format!("WORKDIR {directory}"), layer, &created);
        Ok(())
    }
}

/// The instruction as progress shows it: keyword in upper case, variables
/// expanded where that works.
pub(super) fn shown_name(
    node: &Instruction,
    expansion: &Expansion,
    variables: &dyn Variables,
) -> String {
    shown_text(&node.source, expansion, variables)
}

pub(super) fn shown_text(text: &str, expansion: &Expansion, variables: &dyn Variables) -> String {
    let text = match expansion.word(text, variables) {
        Ok(expanded) => expanded.text,
        Err(_) => text.to_owned(),
    };
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

fn healthcheck(check: &Healthcheck) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    object.insert("Test".to_owned(), check.test.clone().into());
    let durations = [
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
        ("Retries", i64::from(check.retries)),
    ];
    for (name, value) in durations.into_iter().filter(|(_, value)| *value != 0) {
        object.insert(name.to_owned(), value.into());
    }
    object.into()
}

fn healthcheck_history(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        names::go_duration(check.interval_ns),
        names::go_duration(check.timeout_ns),
        names::go_duration(check.start_period_ns),
        names::go_duration(check.start_interval_ns),
        check.retries,
    )
}

/// A file of the Dockerfile itself, as a file system of its own.
pub(super) fn inline_file(
    graph: &mut Graph,
    name: &str,
    mode: i32,
    data: String,
    span: Span,
) -> Result<NodeId, Problem> {
    let action = builder_proto::pb::FileActionMkFile {
        path: names::absolute("/", name, false),
        mode,
        data: data.into_bytes().into(),
        owner: None,
        timestamp: -1,
    };
    let action = FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(Action::Mkfile(action)),
    };
    let file = op::Op::File(FileOp {
        actions: vec![action],
    });
    graph.add(Node {
        spans: vec![span],
        ..Node::new(file, Vec::new(), "[internal] preparing inline document")
    })
}
