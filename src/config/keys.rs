//! The table of settings.

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Comma-separated in the environment, repeatable as a flag, an array in the file.
    List,
}

/// One setting under its three names: `--data-dir`, `CARRACK_DATA_DIR`, `data-dir`.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// Placeholder in `--help`.
    pub value_name: &'static str,
    /// `None`: unset unless given. `{data-dir}` stands for that setting's value.
    pub default: Option<&'static str>,
    pub help: &'static str,
    /// Never printed.
    pub secret: bool,
    /// Taken from the environment or the file only: a flag would show in `ps`.
    pub flag: bool,
}

impl Key {
    /// Name of the environment variable.
    pub fn variable(&self) -> String {
        format!(
            "CARRACK_{}",
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }
}

const fn text(
    name: &'static str,
    value_name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind: Kind::Text,
        value_name,
        default,
        help,
        secret: false,
        flag: true,
    }
}

const fn list(
    name: &'static str,
    value_name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    let default = Some(default);
    Key {
        name,
        kind: Kind::List,
        value_name,
        default,
        help,
        secret: false,
        flag: true,
    }
}

/// Every setting of the server, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    list(
        "role",
        "ROLE",
        "registry,builder,engine",
        "Part to run: registry, builder or engine (repeatable)",
    ),
    text(
        "data-dir",
        "DIR",
        Some("/var/lib/carrack"),
        "Directory that holds all state",
    ),
    text(
        "listen",
        "ADDR:PORT",
        Some(cli::DEFAULT_SERVER_ADDRESS),
        "Address of the registry, the token service and the API",
    ),
    text(
        "public-url",
        "URL",
        None,
        "URL by which clients reach --listen; else taken from each request's Host",
    ),
    text(
        "engine-socket",
        "PATH",
        Some(cli::DEFAULT_ENGINE_SOCKET),
        "Socket of the Docker-compatible API",
    ),
    text(
        "builder-socket",
        "PATH",
        Some("/run/carrack/buildkit.sock"),
        "Socket of the build service",
    ),
    list(
        "socket-group",
        "GROUP",
        "docker,carrack",
        "Group of the sockets: the first that exists",
    ),
    text(
        "front-user",
        "USER",
        Some("carrack"),
        "User that the network-facing process runs as: a name or a number; uid 64646 when the name does not exist",
    ),
    text(
        "database-url",
        "URL",
        Some("sqlite:{data-dir}/registry/registry.db"),
        "Metadata of the registry: sqlite:FILE",
    ),
    text(
        "storage",
        "DIR",
        Some("{data-dir}/registry/blobs"),
        "Blobs of the registry: a directory",
    ),
    Key {
        name: "admin-password",
        kind: Kind::Text,
        value_name: "PASSWORD",
        default: None,
        help: "Password of the user admin; one is generated and printed once when unset",
        secret: true,
        flag: false,
    },
    text(
        "bridge",
        "NAME",
        Some("carrack0"),
        "Name of the default bridge and of its nftables table, at most 15 bytes",
    ),
    text(
        "bridge-subnet",
        "CIDR",
        Some("172.30.0.0/16"),
        "IPv4 subnet of the default bridge",
    ),
    text(
        "cgroup-parent",
        "PATH",
        Some("carrack"),
        "Cgroup under which containers and build steps run",
    ),
    text(
        "build-workers",
        "N",
        Some("2"),
        "Builds that run at the same time",
    ),
    text(
        "build-cache-max",
        "BYTES|PERCENT%",
        Some("20%"),
        "Size of the build cache, or its part of the disk; the least recently used goes first",
    ),
    text(
        "log",
        "FILTER",
        Some("info"),
        "Log filter, for example info or engine=debug,info",
    ),
    text("log-format", "FORMAT", Some("text"), "text or json"),
    text(
        "start-timeout",
        "SECONDS",
        Some("60"),
        "Seconds that a part gets to serve after its start, before it is taken for stuck",
    ),
    text(
        "shutdown-timeout",
        "SECONDS",
        Some("15"),
        "Seconds that requests get to finish after SIGTERM",
    ),
];
