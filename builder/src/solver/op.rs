//! Operations as the solver trusts them: indexes in range, enumerations known,
//! texts free of NUL. Made by [`super::op_decode`] only.

use bytes::Bytes;
use oci::{Platform, Reference};

/// What a vertex does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Source(Source),
    Exec(Exec),
    File(File),
}

impl Op {
    /// How many file systems the operation produces.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Source(_) => 1,
            Self::Exec(exec) => exec.outputs,
            Self::File(file) => file.outputs,
        }
    }
}

/// Where content enters the graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Image(ImageSource),
    Local(Local),
}

/// An image pinned by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ImageSource {
    pub(crate) reference: Reference,
    pub(crate) platform: Platform,
}

/// A directory that came with the build, narrowed by patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) name: String,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) follow: Vec<String>,
}

/// A process in a sandbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exec {
    pub(crate) args: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    /// Name and address.
    pub(crate) extra_hosts: Vec<(String, std::net::IpAddr)>,
    pub(crate) rlimits: Vec<Rlimit>,
    /// Exit codes that count as success; never empty.
    pub(crate) valid_exit_codes: Vec<i32>,
    /// Variables that reach the process but not the cache key.
    pub(crate) proxy_env: Vec<String>,
    pub(crate) network: Network,
    pub(crate) root: RootMount,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) outputs: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) name: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Network of a process. The host's is refused while decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The sandbox's own address behind NAT.
    Default,
    /// Only loopback.
    None,
}

/// The mount at `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootMount {
    /// Index into the vertex's inputs; `None` is an empty file system.
    pub(crate) input: Option<usize>,
    pub(crate) output: Option<usize>,
    pub(crate) readonly: bool,
}

/// A mount below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute, cleaned, not `/`.
    pub(crate) dest: String,
    pub(crate) kind: MountKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind {
        input: Option<usize>,
        /// Directory or file inside the input.
        selector: String,
        readonly: bool,
    },
    Cache {
        id: String,
        sharing: Sharing,
        /// What the directory holds when it is first made.
        input: Option<usize>,
        selector: String,
        readonly: bool,
    },
    Tmpfs {
        /// Bytes; `None` is the kernel's default.
        size_bytes: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Private,
    Locked,
}

/// A sequence of changes to file systems without running anything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    pub(crate) actions: Vec<FileAction>,
    pub(crate) outputs: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileAction {
    /// What is changed.
    pub(crate) input: FileInput,
    pub(crate) output: Option<usize>,
    pub(crate) change: Change,
}

/// A file system that an action reads or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileInput {
    Empty,
    /// Index into the vertex's inputs.
    Input(usize),
    /// Result of an earlier action of the same operation.
    Action(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Copy(Copy),
    MakeFile {
        path: String,
        mode: u32,
        data: Bytes,
        owner: Option<Owner>,
        timestamp: Option<i64>,
    },
    MakeDir {
        path: String,
        mode: u32,
        parents: bool,
        owner: Option<Owner>,
        timestamp: Option<i64>,
    },
    Remove {
        path: String,
        allow_not_found: bool,
        wildcard: bool,
    },
    Symlink {
        target: String,
        path: String,
        owner: Option<Owner>,
        timestamp: Option<i64>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copy {
    pub(crate) from: FileInput,
    pub(crate) src: String,
    pub(crate) dest: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) mode: Option<Chmod>,
    pub(crate) follow_symlink: bool,
    pub(crate) dir_copy_contents: bool,
    pub(crate) unpack: bool,
    pub(crate) create_dest_path: bool,
    pub(crate) wildcard: bool,
    pub(crate) allow_empty_wildcard: bool,
    /// Nanoseconds since the epoch for everything copied.
    pub(crate) timestamp: Option<i64>,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) always_replace: bool,
    pub(crate) required_paths: Vec<String>,
}

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    /// At most 0o7777.
    Octal(u32),
    /// As chmod(1) takes it; checked when applied.
    Symbolic(String),
}

/// Who shall own what is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: Option<Principal>,
    pub(crate) group: Option<Principal>,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    Id(u32),
    /// Looked up in the passwd or group file of the file system that is changed.
    Name(String),
}
