//! From protobuf operations to trusted ones.
//!
//! Every index is checked against what it indexes, every enumeration against
//! its known values, and what needs an entitlement or is not supported is
//! refused by name.

use std::collections::BTreeMap;

use builder_proto::pb;
use oci::{Platform, Reference};

use super::{
    GraphError,
    op::{
        Change, Chmod, Copy, Exec, File, FileAction, FileInput, ImageSource, Local, Mount,
        MountKind, Network, Op, Owner, Principal, Rlimit, RootMount, Sharing, Source,
    },
};

/// Longest text field in bytes: no kernel path or argument needs more, and
/// data of this size should be a file.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Most actions of one file operation and mounts of one exec.
const PARTS_MAX: usize = 1_000;

/// Decodes the operation of the vertex named `vertex`.
pub(crate) fn op(vertex: &str, op: pb::Op) -> Result<Op, GraphError> {
    let at = At {
        vertex,
        inputs: op.inputs.len(),
    };
    match op.op {
        Some(pb::op::Op::Source(source)) => at.source(&source, op.platform).map(Op::Source),
        Some(pb::op::Op::Exec(exec)) => at.exec(exec).map(Op::Exec),
        Some(pb::op::Op::File(file)) => at.file(file).map(Op::File),
        Some(pb::op::Op::Merge(_)) => Err(at.unsupported("MergeOp")),
        Some(pb::op::Op::Diff(_)) => Err(at.unsupported("DiffOp")),
        Some(pb::op::Op::Build(_)) => Err(at.unsupported("BuildOp")),
        Some(pb::op::Op::Passthrough(_)) => Err(at.unsupported("PassthroughOp")),
        None => Err(GraphError::NoOperation(vertex.to_owned())),
    }
}

/// An operation being decoded: its name for errors, and how many inputs its
/// indexes may name.
struct At<'a> {
    vertex: &'a str,
    inputs: usize,
}

impl At<'_> {
    fn bad(&self, field: &'static str, reason: impl Into<String>) -> GraphError {
        GraphError::BadField {
            vertex: self.vertex.to_owned(),
            field,
            reason: reason.into(),
        }
    }

    fn bad_index(&self, field: &'static str, index: i64) -> GraphError {
        GraphError::BadIndex {
            vertex: self.vertex.to_owned(),
            field,
            index,
        }
    }

    fn unsupported(&self, what: &'static str) -> GraphError {
        GraphError::Unsupported {
            vertex: self.vertex.to_owned(),
            what,
        }
    }

    fn not_entitled(&self, what: &'static str, entitlement: &'static str) -> GraphError {
        GraphError::NotEntitled {
            vertex: self.vertex.to_owned(),
            what,
            entitlement,
        }
    }

    /// A known value of an enumeration, or the typed error.
    fn known<T: TryFrom<i32>>(&self, field: &'static str, value: i32) -> Result<T, GraphError> {
        T::try_from(value).map_err(|_| GraphError::UnknownEnum {
            vertex: self.vertex.to_owned(),
            field,
            value,
        })
    }

    fn text(&self, field: &'static str, text: String) -> Result<String, GraphError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(self.bad(field, format!("is longer than {TEXT_BYTES_MAX} bytes")));
        }
        if text.contains('\0') {
            return Err(self.bad(field, "contains a NUL byte"));
        }
        Ok(text)
    }

    fn texts(&self, field: &'static str, texts: Vec<String>) -> Result<Vec<String>, GraphError> {
        texts
            .into_iter()
            .map(|text| self.text(field, text))
            .collect()
    }

    /// An input of the vertex; -1 is none.
    fn input(&self, field: &'static str, index: i64) -> Result<Option<usize>, GraphError> {
        match (index, usize::try_from(index)) {
            (-1, _) => Ok(None),
            (_, Ok(at)) if at < self.inputs => Ok(Some(at)),
            _ => Err(self.bad_index(field, index)),
        }
    }

    fn source(
        &self,
        source: &pb::SourceOp,
        platform: Option<pb::Platform>,
    ) -> Result<Source, GraphError> {
        if self.inputs > 0 {
            return Err(self.bad("inputs", "must be empty for a source"));
        }
        let (scheme, rest) = source
            .identifier
            .split_once("://")
            .ok_or_else(|| self.bad("source.identifier", "has no scheme"))?;
        match scheme {
            "docker-image" => self.image(rest, platform).map(Source::Image),
            "local" => self.local(rest, &source.attrs).map(Source::Local),
            "git" => Err(self.unsupported("source git")),
            "http" | "https" => Err(self.unsupported("source http")),
            "oci-layout" => Err(self.unsupported("source oci-layout")),
            _ => Err(self.unsupported("this source scheme")),
        }
    }

    fn image(&self, name: &str, platform: Option<pb::Platform>) -> Result<ImageSource, GraphError> {
        let reference: Reference = name
            .parse()
            .map_err(|error| self.bad("source.identifier", format!("is not an image: {error}")))?;
        if reference.digest().is_none() {
            return Err(self.bad(
                "source.identifier",
                "names an image without digest: resolve it first",
            ));
        }
        let platform = match platform {
            None => Platform::host(),
            Some(platform) => {
                let mut text = format!("{}/{}", platform.os, platform.architecture);
                if !platform.variant.is_empty() {
                    text.push('/');
                    text.push_str(&platform.variant);
                }
                Platform::parse(&text)
                    .ok_or_else(|| self.bad("platform", format!("{text:?} is not a platform")))?
            }
        };
        Ok(ImageSource {
            reference,
            platform,
        })
    }

    fn local(&self, name: &str, attrs: &BTreeMap<String, String>) -> Result<Local, GraphError> {
        let list = |key: &str| match attrs.get(key) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text)
                .map_err(|_| self.bad("source.attrs", format!("{key} is not a list of texts"))),
        };
        Ok(Local {
            name: self.text("source.identifier", name.to_owned())?,
            include: list("local.includepattern")?,
            exclude: list("local.excludepatterns")?,
            follow: list("local.followpaths")?,
        })
    }

    fn exec(&self, exec: pb::ExecOp) -> Result<Exec, GraphError> {
        match self.known("exec.security", exec.security)? {
            pb::SecurityMode::Sandbox => {}
            pb::SecurityMode::Insecure => {
                return Err(self.not_entitled("security mode insecure", "security.insecure"));
            }
        }
        let network = match self.known("exec.network", exec.network)? {
            pb::NetMode::Unset => Network::Default,
            pb::NetMode::None => Network::None,
            pb::NetMode::Host => {
                return Err(self.not_entitled("the host's network", "network.host"));
            }
        };
        if exec.secretenv.iter().any(|secret| !secret.optional) {
            return Err(self.unsupported("a secret in the environment"));
        }
        if exec.cdi_devices.iter().any(|device| !device.optional) {
            return Err(self.unsupported("a device in the sandbox"));
        }
        let meta = exec
            .meta
            .ok_or_else(|| self.bad("exec.meta", "is missing"))?;
        if !meta.cgroup_parent.is_empty() {
            return Err(self.unsupported("a cgroup parent chosen by the build"));
        }
        if meta.args.is_empty() {
            return Err(self.bad("exec.meta.args", "is empty"));
        }
        let cwd = match meta.cwd.as_str() {
            "" => "/".to_owned(),
            cwd if cwd.starts_with('/') => self.text("exec.meta.cwd", meta.cwd)?,
            _ => return Err(self.bad("exec.meta.cwd", "is not absolute")),
        };
        let env = self.texts("exec.meta.env", meta.env)?;
        if env.iter().any(|e| !e.contains('=') || e.starts_with('=')) {
            return Err(self.bad("exec.meta.env", "has an entry that is not NAME=value"));
        }
        let (root, mounts, outputs) = self.mounts(exec.mounts)?;
        Ok(Exec {
            args: self.texts("exec.meta.args", meta.args)?,
            env,
            cwd,
            user: self.text("exec.meta.user", meta.user)?,
            hostname: self.hostname(meta.hostname)?,
            extra_hosts: self.extra_hosts(&meta.extra_hosts)?,
            rlimits: self.rlimits(meta.ulimit)?,
            valid_exit_codes: match meta.valid_exit_codes {
                codes if codes.is_empty() => vec![0],
                codes => codes,
            },
            proxy_env: proxy_env(meta.proxy_env),
            network,
            root,
            mounts,
            outputs,
        })
    }

    fn hostname(&self, name: String) -> Result<String, GraphError> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if name.len() > 63 || !name.bytes().all(fine) {
            return Err(self.bad("exec.meta.hostname", "is not a host name"));
        }
        Ok(name)
    }

    fn extra_hosts(
        &self,
        hosts: &[pb::HostIp],
    ) -> Result<Vec<(String, std::net::IpAddr)>, GraphError> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#';
        hosts
            .iter()
            .map(|entry| {
                if entry.host.is_empty() || entry.host.contains(odd) {
                    return Err(self.bad("exec.meta.extraHosts", "has a bad name"));
                }
                let address = entry
                    .ip
                    .parse()
                    .map_err(|_| self.bad("exec.meta.extraHosts", "has a bad address"))?;
                Ok((entry.host.clone(), address))
            })
            .collect()
    }

    fn rlimits(&self, limits: Vec<pb::Ulimit>) -> Result<Vec<Rlimit>, GraphError> {
        // -1 is "unlimited" on the wire, as in Docker's own API.
        let value = |v: i64| match v {
            -1 => Ok(u64::MAX),
            _ => u64::try_from(v).map_err(|_| self.bad("exec.meta.ulimit", "is negative")),
        };
        limits
            .into_iter()
            .map(|limit| {
                Ok(Rlimit {
                    soft: value(limit.soft)?,
                    hard: value(limit.hard)?,
                    name: self.text("exec.meta.ulimit", limit.name)?,
                })
            })
            .collect()
    }

    fn mounts(&self, mounts: Vec<pb::Mount>) -> Result<(RootMount, Vec<Mount>, usize), GraphError> {
        let mut outputs = Outputs::new(mounts.len());
        if mounts.len() > PARTS_MAX {
            return Err(self.bad("exec.mounts", format!("has over {PARTS_MAX} entries")));
        }
        let mut root = None;
        let mut rest = Vec::new();
        for mount in mounts {
            let kind: pb::MountType = self.known("exec.mounts.mountType", mount.mount_type)?;
            let _: pb::MountContentCache =
                self.known("exec.mounts.contentCache", mount.content_cache)?;
            let output = outputs
                .take(mount.output)
                .map_err(|index| self.bad_index("exec.mounts.output", index))?;
            let dest = clean(&self.text("exec.mounts.dest", mount.dest.clone())?)
                .ok_or_else(|| self.bad("exec.mounts.dest", "is not absolute"))?;
            if dest != "/" {
                rest.extend(self.mount(dest, kind, output, mount)?);
                continue;
            }
            let plain = kind == pb::MountType::Bind && matches!(mount.selector.as_str(), "" | "/");
            if !plain || root.is_some() {
                return Err(self.bad("exec.mounts", "must have one plain bind at /"));
            }
            root = Some(RootMount {
                input: self.input("exec.mounts.input", mount.input)?,
                output,
                readonly: mount.readonly,
            });
        }
        let root = root.ok_or_else(|| self.bad("exec.mounts", "must have one plain bind at /"))?;
        let outputs = outputs
            .count()
            .ok_or_else(|| self.bad("exec.mounts.output", "leaves out an index"))?;
        Ok((root, rest, outputs))
    }

    /// A mount below the root; `None` when it is optional and cannot be had.
    fn mount(
        &self,
        dest: String,
        kind: pb::MountType,
        output: Option<usize>,
        mount: pb::Mount,
    ) -> Result<Option<Mount>, GraphError> {
        let input = self.input("exec.mounts.input", mount.input)?;
        let selector = self.text("exec.mounts.selector", mount.selector)?;
        if output.is_some() {
            return Err(self.unsupported("keeping what a step writes outside its root"));
        }
        let kind = match kind {
            pb::MountType::Bind => MountKind::Bind {
                input,
                selector,
                readonly: mount.readonly,
            },
            pb::MountType::Cache => {
                let options = mount.cache_opt.unwrap_or_default();
                let sharing = self.known("exec.mounts.cacheOpt.sharing", options.sharing)?;
                MountKind::Cache {
                    id: self.text("exec.mounts.cacheOpt.ID", options.id)?,
                    sharing: match sharing {
                        pb::CacheSharingOpt::Shared => Sharing::Shared,
                        pb::CacheSharingOpt::Private => Sharing::Private,
                        pb::CacheSharingOpt::Locked => Sharing::Locked,
                    },
                    input,
                    selector,
                    readonly: mount.readonly,
                }
            }
            pb::MountType::Tmpfs => MountKind::Tmpfs {
                size_bytes: match mount.tmpfs_opt.unwrap_or_default().size {
                    0 => None,
                    size => Some(
                        u64::try_from(size)
                            .map_err(|_| self.bad("exec.mounts.TmpfsOpt.size", "is negative"))?,
                    ),
                },
            },
            // Without a client to ask there are no secrets and no agent.
            pb::MountType::Secret if mount.secret_opt.is_some_and(|o| o.optional) => {
                return Ok(None);
            }
            pb::MountType::Ssh if mount.ssh_opt.is_some_and(|o| o.optional) => return Ok(None),
            pb::MountType::Secret => return Err(self.unsupported("a secret mount")),
            pb::MountType::Ssh => return Err(self.unsupported("an ssh agent mount")),
        };
        Ok(Some(Mount { dest, kind }))
    }

    fn file(&self, file: pb::FileOp) -> Result<File, GraphError> {
        if file.actions.is_empty() || file.actions.len() > PARTS_MAX {
            return Err(self.bad(
                "file.actions",
                format!("must have 1 to {PARTS_MAX} entries"),
            ));
        }
        let mut outputs = Outputs::new(file.actions.len());
        let mut actions = Vec::with_capacity(file.actions.len());
        for (position, action) in file.actions.into_iter().enumerate() {
            let change = action
                .action
                .ok_or_else(|| self.bad("file.actions", "has an entry without action"))?;
            actions.push(FileAction {
                input: self.file_input("file.actions.input", position, action.input)?,
                output: outputs
                    .take(action.output)
                    .map_err(|index| self.bad_index("file.actions.output", index))?,
                change: self.change(position, action.secondary_input, change)?,
            });
        }
        match outputs.count() {
            None | Some(0) => Err(self.bad("file.actions.output", "leaves out an index")),
            Some(outputs) => Ok(File { actions, outputs }),
        }
    }

    /// -1 is empty, then come the vertex's inputs, then earlier actions.
    fn file_input(
        &self,
        field: &'static str,
        position: usize,
        index: i64,
    ) -> Result<FileInput, GraphError> {
        match (index, usize::try_from(index)) {
            (-1, _) => Ok(FileInput::Empty),
            (_, Ok(at)) if at < self.inputs => Ok(FileInput::Input(at)),
            (_, Ok(at)) if at - self.inputs < position => Ok(FileInput::Action(at - self.inputs)),
            _ => Err(self.bad_index(field, index)),
        }
    }

    fn change(
        &self,
        position: usize,
        secondary: i64,
        change: pb::file_action::Action,
    ) -> Result<Change, GraphError> {
        use pb::file_action::Action;
        Ok(match change {
            Action::Copy(copy) => Change::Copy(self.copy(position, secondary, copy)?),
            Action::Mkfile(file) => Change::MakeFile {
                path: self.text("file.mkfile.path", file.path)?,
                mode: self.mode("file.mkfile.mode", file.mode)?.unwrap_or(0o644),
                data: file.data,
                owner: self.owner(file.owner)?,
                timestamp: timestamp(file.timestamp),
            },
            Action::Mkdir(dir) => Change::MakeDir {
                path: self.text("file.mkdir.path", dir.path)?,
                mode: self.mode("file.mkdir.mode", dir.mode)?.unwrap_or(0o755),
                parents: dir.make_parents,
                owner: self.owner(dir.owner)?,
                timestamp: timestamp(dir.timestamp),
            },
            Action::Rm(rm) => Change::Remove {
                path: self.text("file.rm.path", rm.path)?,
                allow_not_found: rm.allow_not_found,
                wildcard: rm.allow_wildcard,
            },
            Action::Symlink(link) => Change::Symlink {
                target: self.text("file.symlink.oldpath", link.oldpath)?,
                path: self.text("file.symlink.newpath", link.newpath)?,
                owner: self.owner(link.owner)?,
                timestamp: timestamp(link.timestamp),
            },
        })
    }

    fn copy(
        &self,
        position: usize,
        secondary: i64,
        copy: pb::FileActionCopy,
    ) -> Result<Copy, GraphError> {
        let mode = match copy.mode_str.as_str() {
            "" => self.mode("file.copy.mode", copy.mode)?.map(Chmod::Octal),
            _ => Some(Chmod::Symbolic(
                self.text("file.copy.modeStr", copy.mode_str)?,
            )),
        };
        Ok(Copy {
            from: self.file_input("file.actions.secondaryInput", position, secondary)?,
            src: self.text("file.copy.src", copy.src)?,
            dest: self.text("file.copy.dest", copy.dest)?,
            owner: self.owner(copy.owner)?,
            mode,
            follow_symlink: copy.follow_symlink,
            dir_copy_contents: copy.dir_copy_contents,
            unpack: copy.attempt_unpack_docker_compatibility,
            create_dest_path: copy.create_dest_path,
            wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            timestamp: timestamp(copy.timestamp),
            include: self.texts("file.copy.include_patterns", copy.include_patterns)?,
            exclude: self.texts("file.copy.exclude_patterns", copy.exclude_patterns)?,
            always_replace: copy.always_replace_existing_dest_paths,
            required_paths: self.texts("file.copy.required_paths", copy.required_paths)?,
        })
    }

    /// Permission bits; -1 is none.
    fn mode(&self, field: &'static str, mode: i32) -> Result<Option<u32>, GraphError> {
        match u32::try_from(mode) {
            Ok(bits) if bits <= 0o7777 => Ok(Some(bits)),
            Err(_) if mode == -1 => Ok(None),
            _ => Err(self.bad(field, "must be at most 07777")),
        }
    }

    fn owner(&self, owner: Option<pb::ChownOpt>) -> Result<Option<Owner>, GraphError> {
        let Some(owner) = owner else { return Ok(None) };
        let principal = |who: Option<pb::UserOpt>| match who.and_then(|who| who.user) {
            None => Ok(None),
            Some(pb::user_opt::User::ById(id)) => Ok(Some(Principal::Id(id))),
            // Which input the name is looked up in is always the file system
            // that the action changes, so the index says nothing.
            Some(pb::user_opt::User::ByName(named)) => Ok(Some(Principal::Name(
                self.text("file.owner.name", named.name)?,
            ))),
        };
        Ok(Some(Owner {
            user: principal(owner.user)?,
            group: principal(owner.group)?,
        }))
    }
}

/// Output indexes of one operation: each is named once, and none is left out.
struct Outputs(Vec<bool>);

impl Outputs {
    fn new(most: usize) -> Self {
        Self(vec![false; most])
    }

    /// Claims an index; -1 is no output. Gives a bad index back as the error.
    fn take(&mut self, index: i64) -> Result<Option<usize>, i64> {
        match (index, usize::try_from(index)) {
            (-1, _) => Ok(None),
            (_, Ok(at)) if self.0.get(at) == Some(&false) => {
                self.0[at] = true;
                Ok(Some(at))
            }
            _ => Err(index),
        }
    }

    /// How many there are; `None` when an index below the highest is missing.
    fn count(&self) -> Option<usize> {
        let count = self.0.iter().filter(|named| **named).count();
        self.0[..count].iter().all(|named| *named).then_some(count)
    }
}

fn timestamp(nanoseconds: i64) -> Option<i64> {
    (nanoseconds >= 0).then_some(nanoseconds)
}

/// The variables that a process gets, in both cases as Docker passes them.
fn proxy_env(proxy: Option<pb::ProxyEnv>) -> Vec<String> {
    let Some(proxy) = proxy else {
        return Vec::new();
    };
    [
        ("http_proxy", proxy.http_proxy),
        ("https_proxy", proxy.https_proxy),
        ("ftp_proxy", proxy.ftp_proxy),
        ("no_proxy", proxy.no_proxy),
        ("all_proxy", proxy.all_proxy),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty() && !value.contains('\0'))
    .flat_map(|(name, value)| {
        [
            format!("{}={value}", name.to_uppercase()),
            format!("{name}={value}"),
        ]
    })
    .collect()
}

/// An absolute path without `.`, `..` and double slashes; `None` when it is
/// relative.
pub(crate) fn clean(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
