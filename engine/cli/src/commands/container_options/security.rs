//! Rights, devices and namespaces.

use std::{fs, path::Path};

use clap::Args;
use engine_api::{Device, DeviceRequest};

use crate::{error::CliError, flags};

/// Options below the heading "Security".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Security")]
pub struct SecurityOptions {
    /// Grant a capability
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// Give all capabilities and devices
    #[arg(long)]
    pub privileged: bool,
    /// Security option (no-new-privileges, seccomp=FILE, …)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Add a device of the host (/dev/a[:/dev/b[:rwm]])
    #[arg(long, value_name = "DEVICE", value_parser = flags::device)]
    pub device: Vec<Device>,
    /// Add a rule to the allowed devices (c 1:3 rwm)
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// GPUs to add (all, a number, or device=…)
    #[arg(long, value_name = "GPUS", value_parser = flags::gpus)]
    pub gpus: Option<DeviceRequest>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,
    /// Process namespace (host, container:NAME)
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC namespace (none, private, shareable, host, container:NAME)
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// UTS namespace (host)
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// User namespace (host)
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Cgroup namespace (private, host)
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Isolation technology (accepted for compatibility)
    #[arg(long, value_name = "NAME", hide = true)]
    pub isolation: Option<String>,
    /// Accepted for compatibility: images are verified by digest
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<bool>,
}

impl SecurityOptions {
    /// Seccomp profiles are files on our side, and travel as their contents.
    pub(super) fn security_opts(&self) -> Result<Vec<String>, CliError> {
        self.security_opt
            .iter()
            .map(|option| {
                let Some((key, value)) = option.split_once(['=', ':']) else {
                    if option == "no-new-privileges" {
                        return Ok(option.clone());
                    }
                    return Err(CliError::usage(format!(
                        "invalid --security-opt: {option:?}"
                    )));
                };
                if key != "seccomp" || matches!(value, "unconfined" | "builtin") {
                    return Ok(format!("{key}={value}"));
                }
                let text = fs::read_to_string(Path::new(value)).map_err(|error| {
                    CliError::io(format!("opening seccomp profile ({value}) failed"), error)
                })?;
                let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
                    CliError::usage(format!("the seccomp profile {value} is not JSON: {error}"))
                })?;
                Ok(format!("seccomp={profile}"))
            })
            .collect()
    }
}
