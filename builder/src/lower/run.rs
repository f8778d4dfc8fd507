//! RUN.

use builder_proto::pb::{
    CacheOpt, CacheSharingOpt, ExecOp, FileAction, FileActionMkDir, FileOp, Meta, Mount, MountType,
    NetMode, ProxyEnv, SecurityMode, TmpfsOpt, file_action::Action, op,
};

use super::{
    graph::{CONTEXT, Node, NodeId},
    names,
    stage::{Context, Stage, inline_file, shown_text},
};
use crate::dockerfile::{
    self, CommandLine, Expansion, Heredoc, Instruction, MountKind, Problem, Run, Sharing, Variables,
};

/// Where a script with a `#!` line is mounted.
const SCRIPT_DIRECTORY: &str = "/dev/pipes/";

/// Most mounts of one RUN, as the solver takes them, its root included.
const MOUNTS_MAX: usize = 999;

/// A mount and the file system it shows, before inputs are numbered.
struct Mounted {
    mount: Mount,
    source: Option<NodeId>,
}

pub(super) fn lower(
    node: &Instruction,
    run: &Run,
    stage: &mut Stage,
    context: &mut Context<'_>,
    expansion: Expansion,
) -> Result<(), Problem> {
    refuse_unsupported(run)?;
    if network(run, context) == NetMode::Host {
        return Err(Problem::unsupported(
            "the host's network is not allowed to this builder's steps: use --network=default or none",
        ));
    }
    let mut mounts = vec![Mounted {
        mount: Mount {
            input: 0,
            dest: "/".to_owned(),
            ..Mount::default()
        },
        source: stage.files,
    }];
    let (arguments, summary) = command(node, run, stage, context, &mut mounts)?;
    for text in &run.mounts {
        let environment = &stage.environment;
        let mut expand = |value: &str| Ok(expansion.word(value, environment)?.text);
        let resolved = text.resolve(&mut expand)?;
        mounts.push(mount(&resolved, node, stage, context)?);
    }
    // The root first, then by place: a mount below another comes after it.
    mounts.sort_by(|a, b| a.mount.dest.cmp(&b.mount.dest));
    let (mounts, inputs) = number(mounts);

    let exec = ExecOp {
        meta: Some(Meta {
            args: arguments.clone(),
            env: stage.environment.to_list(),
            cwd: stage.working_dir().to_owned(),
            user: stage.image.config.user.clone(),
            proxy_env: proxies(context),
            remove_mount_stubs_recursive: true,
            ..Meta::default()
        }),
        mounts,
        network: network(run, context).into(),
        security: SecurityMode::Sandbox.into(),
        ..ExecOp::default()
    };

    let shown = Expansion {
        keep_quotes: true,
        keep_escapes: true,
        keep_unset: true,
        ..expansion
    };
    let text = format!("{}{summary}", node.source);
    let name = shown_text(&text, &shown, &stage.environment);
    let name = context.counter.next(&name);
    let vertex = Node {
        platform: Some(stage.platform.clone()),
        command: Some(node.source.clone()),
        spans: vec![node.span],
        ignore_cache: context.plan.options.no_cache,
        ..Node::new(op::Op::Exec(exec), inputs, name)
    };
    stage.files = Some(context.graph.add(vertex)?);
    let created = context.created.clone();
    let text = format!("RUN {} # buildkit", history(stage, &arguments));
    stage.history(text, true, &created);
    Ok(())
}

fn refuse_unsupported(run: &Run) -> Result<(), Problem> {
    if run.mounts.len() >= MOUNTS_MAX {
        return Err(Problem::too_large(format!(
            "RUN has more than {} mounts",
            MOUNTS_MAX - 1
        )));
    }
    if run.security.as_deref() == Some("insecure") {
        return Err(Problem::unsupported(
            "RUN --security=insecure is not allowed by this builder: remove the flag",
        ));
    }
    if !run.devices.is_empty() {
        return Err(Problem::unsupported(
            "RUN --device is not supported by this builder: remove the flag",
        ));
    }
    Ok(())
}

/// The process's arguments, and what the step's name says beside the instruction.
fn command(
    node: &Instruction,
    run: &Run,
    stage: &Stage,
    context: &mut Context<'_>,
    mounts: &mut Vec<Mounted>,
) -> Result<(Vec<String>, String), Problem> {
    let CommandLine::Shell(text) = &run.command else {
        return Ok((stage.arguments(&run.command), String::new()));
    };
    let Some(first) = run.heredocs.first() else {
        return Ok((stage.with_shell(text), String::new()));
    };
    if Heredoc::from_word(text).is_none() {
        // The shell reads the documents itself: give them back to it.
        let mut script = text.clone();
        for document in &run.heredocs {
            script.push('\n');
            script.push_str(&document.body);
            script.push_str(&document.name);
        }
        return Ok((stage.with_shell(&script), String::new()));
    }
    let summary = format!(" ({})", summarize(&first.body));
    let script = first.content();
    if !script.starts_with("#!") {
        return Ok((stage.with_shell(&script), summary));
    }
    let file = inline_file(context.graph, &first.name, 0o755, script, node.span)?;
    mounts.push(Mounted {
        mount: Mount {
            selector: "/".to_owned(),
            dest: SCRIPT_DIRECTORY.to_owned(),
            readonly: true,
            ..Mount::default()
        },
        source: Some(file),
    });
    let path = names::absolute(SCRIPT_DIRECTORY, &first.name, false);
    Ok((stage.with_shell(&path), summary))
}

fn summarize(body: &str) -> String {
    let mut lines = body.trim().lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { "..." } else { "" };
    format!("{first}{more}")
}

fn mount(
    given: &dockerfile::Mount,
    node: &Instruction,
    stage: &Stage,
    context: &mut Context<'_>,
) -> Result<Mounted, Problem> {
    if matches!(given.kind, MountKind::Secret | MountKind::Ssh) {
        return Err(Problem::unsupported(format!(
            "RUN --mount=type={} is not supported by this builder yet",
            given.kind.name()
        )));
    }
    // Without a target it is the working directory.
    let target = names::absolute(stage.working_dir(), &given.target, false);
    if target == "/" {
        return Err(Problem::invalid(format!("invalid mount target {target:?}")));
    }
    let mut mount = Mount {
        dest: target.clone(),
        readonly: given.read_only,
        ..Mount::default()
    };
    let mut source = match (&given.from, given.kind) {
        (_, MountKind::Tmpfs) => None,
        (Some(name), _) => {
            let origin = context.plan.origin(name, context.index)?;
            context.files_of(&origin, node)?
        }
        (None, MountKind::Bind) => {
            let path = names::absolute("/", &given.source, false);
            context.context_paths.insert(path);
            Some(CONTEXT)
        }
        (None, _) => None,
    };
    match given.kind {
        MountKind::Tmpfs => {
            mount.mount_type = MountType::Tmpfs.into();
            mount.tmpfs_opt = Some(TmpfsOpt {
                size: given.size_bytes,
            });
            return Ok(Mounted { mount, source });
        }
        MountKind::Cache => {
            mount.mount_type = MountType::Cache.into();
            let id = match given.id.as_str() {
                "" => target,
                id => id.to_owned(),
            };
            let namespace = context
                .plan
                .options
                .build_args
                .get("BUILDKIT_CACHE_MOUNT_NS");
            let namespace = namespace.map(String::as_str).unwrap_or_default();
            let sharing = match given.sharing.unwrap_or(Sharing::Shared) {
                Sharing::Shared => CacheSharingOpt::Shared,
                Sharing::Private => CacheSharingOpt::Private,
                Sharing::Locked => CacheSharingOpt::Locked,
            };
            mount.cache_opt = Some(CacheOpt {
                id: format!("{namespace}/{id}"),
                sharing: sharing.into(),
            });
        }
        _ => {}
    }
    let path = names::absolute("/", &given.source, false);
    if path != "/" {
        mount.selector = path;
    } else if given.mode.is_some() || given.uid.is_some() || given.gid.is_some() {
        source = Some(cache_directory(given, source, context)?);
        mount.selector = "/cache".to_owned();
    }
    Ok(Mounted { mount, source })
}

/// A cache begins as a directory with the owner and mode that were asked for.
fn cache_directory(
    given: &dockerfile::Mount,
    source: Option<NodeId>,
    context: &mut Context<'_>,
) -> Result<NodeId, Problem> {
    let id = |id: Option<u32>| id.unwrap_or(0).to_string();
    let action = FileActionMkDir {
        path: "/cache".to_owned(),
        mode: given.mode.map_or(0o755, |mode| (mode & 0o7777) as i32),
        make_parents: false,
        owner: Some(names::owner(&format!(
            "{}:{}",
            id(given.uid),
            id(given.gid)
        ))),
        timestamp: -1,
    };
    let action = FileAction {
        input: if source.is_some() { 0 } else { -1 },
        secondary_input: -1,
        output: 0,
        action: Some(Action::Mkdir(action)),
    };
    let file = op::Op::File(FileOp {
        actions: vec![action],
    });
    let inputs = source.into_iter().collect();
    let name = "[internal] setting cache mount permissions";
    context.graph.add(Node::new(file, inputs, name))
}

/// Numbers inputs and outputs: only the root's changes are kept.
fn number(mounts: Vec<Mounted>) -> (Vec<Mount>, Vec<NodeId>) {
    let mut inputs: Vec<NodeId> = Vec::new();
    let numbered = mounts.into_iter().map(|Mounted { mut mount, source }| {
        mount.input = match source {
            None => -1,
            Some(source) => {
                let known = inputs.iter().position(|input| *input == source);
                known.unwrap_or_else(|| {
                    inputs.push(source);
                    inputs.len() - 1
                }) as i64
            }
        };
        mount.output = if mount.dest == "/" { 0 } else { -1 };
        mount
    });
    (numbered.collect(), inputs)
}

fn network(run: &Run, context: &Context<'_>) -> NetMode {
    let mode = run.network.as_deref();
    let mode = mode.unwrap_or(context.plan.options.network.as_str());
    match mode {
        "host" => NetMode::Host,
        "none" => NetMode::None,
        _ => NetMode::Unset,
    }
}

/// Proxy build arguments reach every RUN without being part of its cache key.
fn proxies(context: &Context<'_>) -> Option<ProxyEnv> {
    let mut proxy = ProxyEnv::default();
    for (name, value) in &context.plan.options.build_args {
        let slot = match name.to_lowercase().as_str() {
            "http_proxy" => &mut proxy.http_proxy,
            "https_proxy" => &mut proxy.https_proxy,
            "ftp_proxy" => &mut proxy.ftp_proxy,
            "no_proxy" => &mut proxy.no_proxy,
            "all_proxy" => &mut proxy.all_proxy,
            _ => continue,
        };
        slot.clone_from(value);
    }
    (proxy != ProxyEnv::default()).then_some(proxy)
}

/// `|2 A=1 B=2 /bin/sh -c make`: the ARGs in scope, then the command.
fn history(stage: &Stage, arguments: &[String]) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, value) in &stage.args {
        let now = stage.environment.get(name).map(str::to_owned);
        let value = now.or_else(|| value.clone()).unwrap_or_default();
        match pairs.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => pairs.push((name, value)),
        }
    }
    let mut words = Vec::new();
    if !pairs.is_empty() {
        words.push(format!("|{}", pairs.len()));
        words.extend(pairs.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(arguments.iter().cloned());
    words.join(" ")
}
