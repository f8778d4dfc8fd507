//! A profile: what to do with each system call, in Docker's JSON format or
//! built in.

use serde::Deserialize;

use super::table::Arch;
use crate::spec::Capabilities;

/// Docker's own files are 17 KB; this bounds what a request can make us parse.
const PROFILE_BYTES_MAX: usize = 1 << 20;

const EPERM: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("is not a profile in Docker's JSON format: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("{0:?} is not an action that this engine supports")]
    UnknownAction(String),
    #[error("{0:?} is not a comparison, or its argument index is over 5")]
    BadArgument(String),
    #[error("compiles to {0} instructions, the kernel takes 4096: use fewer rules")]
    TooLong(usize),
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u16),
    KillProcess,
    KillThread,
    Trap,
    Log,
    Trace(u16),
}

impl Action {
    /// The filter's return value (seccomp(2)).
    pub(super) fn value(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(n) => 0x0005_0000 | u32::from(n),
            Action::Trace(n) => 0x7ff0_0000 | u32::from(n),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    fn parse(name: &str, errno: Option<u16>) -> Result<Action, ProfileError> {
        Ok(match name {
            "SCMP_ACT_ALLOW" => Action::Allow,
            "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(EPERM)),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
            "SCMP_ACT_TRAP" => Action::Trap,
            "SCMP_ACT_LOG" => Action::Log,
            "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(EPERM)),
            _ => return Err(ProfileError::UnknownAction(name.chars().take(64).collect())),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    /// `argument & mask == value`.
    Masked {
        mask: u64,
    },
}

/// A condition on one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) compare: Compare,
    pub(super) value: u64,
}

/// What a rule asks of the machine and the container.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) caps: Vec<String>,
    pub(super) arches: Vec<String>,
    pub(super) kernel_min: Option<(u32, u32)>,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    /// All must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) includes: Scope,
    pub(super) excludes: Scope,
}

#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
}

/// The machine that a filter is compiled for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    pub(super) arch: Arch,
    pub(super) kernel: (u32, u32),
}

impl Host {
    pub(super) fn current() -> Host {
        let arch = if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        };
        let release = rustix::system::uname();
        let kernel = release.release().to_str().ok().and_then(parse_version);
        Host {
            arch,
            kernel: kernel.unwrap_or((5, 15)),
        }
    }
}

impl Rule {
    /// Whether the rule takes part for this machine and these capabilities,
    /// as Docker decides it.
    pub(super) fn applies(&self, host: &Host, caps: Capabilities) -> bool {
        let name = host.arch.go_name();
        let Scope {
            caps: with,
            arches: on,
            kernel_min: from,
        } = &self.includes;
        let Scope {
            caps: without,
            arches: not_on,
            kernel_min: until,
        } = &self.excludes;
        (on.is_empty() || on.iter().any(|a| a == name))
            && with.iter().all(|c| caps.contains(c))
            && from.is_none_or(|min| host.kernel >= min)
            && !not_on.iter().any(|a| a == name)
            && !without.iter().any(|c| caps.contains(c))
            && until.is_none_or(|min| host.kernel < min)
    }
}

impl Profile {
    pub(super) fn parse(json: &str) -> Result<Profile, ProfileError> {
        if json.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLarge);
        }
        let wire: wire::Profile = serde_json::from_str(json)?;
        let rules = wire
            .syscalls
            .unwrap_or_default()
            .into_iter()
            .map(wire::Rule::convert);
        Ok(Profile {
            default: Action::parse(&wire.default_action, wire.default_errno_ret)?,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// The JSON shapes of Docker's profiles.
mod wire {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Profile {
        pub(super) default_action: String,
        pub(super) default_errno_ret: Option<u16>,
        pub(super) syscalls: Option<Vec<Rule>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Rule {
        name: Option<String>,
        #[serde(default)]
        names: Vec<String>,
        action: String,
        errno_ret: Option<u16>,
        args: Option<Vec<Argument>>,
        includes: Option<Scope>,
        excludes: Option<Scope>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Argument {
        index: u8,
        value: u64,
        #[serde(default)]
        value_two: u64,
        op: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Scope {
        caps: Option<Vec<String>>,
        arches: Option<Vec<String>>,
        min_kernel: Option<String>,
    }

    impl Rule {
        pub(super) fn convert(self) -> Result<super::Rule, ProfileError> {
            let arguments = self.args.unwrap_or_default();
            Ok(super::Rule {
                names: self.names.into_iter().chain(self.name).collect(),
                action: Action::parse(&self.action, self.errno_ret)?,
                conditions: arguments
                    .into_iter()
                    .map(Argument::convert)
                    .collect::<Result<_, _>>()?,
                includes: self.includes.map(Scope::convert).unwrap_or_default(),
                excludes: self.excludes.map(Scope::convert).unwrap_or_default(),
            })
        }
    }

    impl Argument {
        fn convert(self) -> Result<Condition, ProfileError> {
            let (compare, value) = match self.op.as_str() {
                "SCMP_CMP_EQ" => (Compare::Equal, self.value),
                "SCMP_CMP_NE" => (Compare::NotEqual, self.value),
                "SCMP_CMP_GT" => (Compare::Greater, self.value),
                "SCMP_CMP_GE" => (Compare::GreaterOrEqual, self.value),
                "SCMP_CMP_LT" => (Compare::Less, self.value),
                "SCMP_CMP_LE" => (Compare::LessOrEqual, self.value),
                "SCMP_CMP_MASKED_EQ" => (Compare::Masked { mask: self.value }, self.value_two),
                _ => {
                    return Err(ProfileError::BadArgument(
                        self.op.chars().take(64).collect(),
                    ));
                }
            };
            if self.index > 5 {
                return Err(ProfileError::BadArgument(self.index.to_string()));
            }
            Ok(Condition {
                argument: self.index,
                compare,
                value,
            })
        }
    }

    impl Scope {
        fn convert(self) -> super::Scope {
            super::Scope {
                caps: self.caps.unwrap_or_default(),
                arches: self.arches.unwrap_or_default(),
                kernel_min: self.min_kernel.as_deref().and_then(parse_version),
            }
        }
    }
}
