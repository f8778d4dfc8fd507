//! `version` and `info`.

use clap::Args;
use engine_api::{Info as EngineInfo, SystemVersion};
use http::Method;

use super::Context;
use crate::{
    client::Call,
    error::CliError,
    format, output,
    template::{Map, Value},
    units::binary_size,
};

/// Show versions of this program and of the engine.
#[derive(Args, Clone, Debug)]
pub struct Version {
    /// Print as 'json' or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Show the engine's state and configuration.
#[derive(Args, Clone, Debug)]
pub struct Info {
    /// Print as 'json' or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let answer = ctx
            .engine
            .bytes(Method::GET, "/version", Call::default())
            .await;
        let server = match &answer {
            Ok(bytes) => Value::from_json(bytes).unwrap_or(Value::Nil),
            Err(_) => Value::Nil,
        };
        if let Some(format) = &self.format {
            let mut all = Map::default();
            all.push("Client", client());
            all.push("Server", server);
            let text = if format == "json" {
                "{{json .}}"
            } else {
                format
            };
            output::line(format::render(&format::parse(text)?, &Value::Map(all))?)?;
        } else {
            output::print(client_text())?;
            if let Ok(bytes) = &answer {
                let version = serde_json::from_slice(bytes).unwrap_or_default();
                output::print(server_text(&version))?;
            }
        }
        // What of the client is known has been said; the rest is the failure.
        answer.map(|_| 0)
    }
}

fn client() -> Map {
    let mut client = Map::default();
    client.push("Version", env!("CARGO_PKG_VERSION"));
    client.push("ApiVersion", engine_api::ApiVersion::MAX.to_string());
    client.push("Os", oci::Platform::host().os);
    client.push("Arch", oci::Platform::host().architecture);
    client
}

fn client_text() -> String {
    let platform = oci::Platform::host();
    [
        "Client: Carrack".to_owned(),
        field("Version", env!("CARGO_PKG_VERSION")),
        field("API version", &engine_api::ApiVersion::MAX.to_string()),
        field(
            "OS/Arch",
            &format!("{}/{}", platform.os, platform.architecture),
        ),
        String::new(),
    ]
    .join("\n")
}

fn field(name: &str, value: &str) -> String {
    format!(" {:<18}{value}", format!("{name}:"))
}

fn server_text(version: &SystemVersion) -> String {
    let name = if version.platform.name.is_empty() {
        "Server:".to_owned()
    } else {
        format!("Server: {}", version.platform.name)
    };
    let mut lines = vec![String::new(), name, " Engine:".to_owned()];
    let api = format!(
        "{} (minimum version {})",
        version.api_version, version.min_api_version
    );
    for (name, value) in [
        ("Version", version.version.as_str()),
        ("API version", &api),
        ("Git commit", &version.git_commit),
        ("Built", &version.build_time),
        ("OS/Arch", &format!("{}/{}", version.os, version.arch)),
        ("Kernel", &version.kernel_version),
    ] {
        if !value.is_empty() {
            lines.push(format!("  {:<17}{value}", format!("{name}:")));
        }
    }
    for component in version.components.iter().filter(|c| c.name != "Engine") {
        lines.push(format!(" {}:", component.name));
        lines.push(format!("  {:<17}{}", "Version:", component.version));
    }
    lines.push(String::new());
    lines.join("\n")
}

impl Info {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let bytes = ctx
            .engine
            .bytes(Method::GET, "/info", Call::default())
            .await?;
        if let Some(format) = &self.format {
            output::line(format::document(format, &bytes)?)?;
            return Ok(0);
        }
        let info: EngineInfo = serde_json::from_slice(&bytes)
            .map_err(|error| CliError::Disconnected(format!("it sent no information ({error})")))?;
        output::print(info_text(&info))?;
        for warning in info.warnings.iter().flatten() {
            output::note(warning);
        }
        Ok(0)
    }
}

fn info_text(info: &EngineInfo) -> String {
    let mut lines = vec![
        "Client: Carrack".to_owned(),
        format!(" Version: {}", env!("CARGO_PKG_VERSION")),
        String::new(),
        "Server:".to_owned(),
    ];
    let mut add = |indent: usize, name: &str, value: &str| {
        if !value.is_empty() {
            let line = format!("{:indent$}{name}: {value}", "");
            lines.push(line.trim_end().to_owned());
        }
    };
    add(1, "Containers", &info.containers.to_string());
    add(2, "Running", &info.containers_running.to_string());
    add(2, "Paused", &info.containers_paused.to_string());
    add(2, "Stopped", &info.containers_stopped.to_string());
    add(1, "Images", &info.images.to_string());
    add(1, "Server Version", &info.server_version);
    add(1, "Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        add(2, name, value);
    }
    add(1, "Logging Driver", &info.logging_driver);
    add(1, "Cgroup Driver", &info.cgroup_driver);
    add(1, "Cgroup Version", &info.cgroup_version);
    add(1, "Plugins", " ");
    add(2, "Volume", &info.plugins.volume.join(" "));
    add(2, "Network", &info.plugins.network.join(" "));
    add(2, "Log", &info.plugins.log.join(" "));
    let runtimes: Vec<_> = info.runtimes.keys().map(String::as_str).collect();
    add(1, "Runtimes", &runtimes.join(" "));
    add(1, "Default Runtime", &info.default_runtime);
    add(1, "Security Options", &info.security_options.join(" "));
    add(1, "Kernel Version", &info.kernel_version);
    add(1, "Operating System", &info.operating_system);
    add(1, "OSType", &info.os_type);
    add(1, "Architecture", &info.architecture);
    add(1, "CPUs", &info.cpus.to_string());
    let memory = i64::try_from(info.mem_total).unwrap_or(i64::MAX);
    add(1, "Total Memory", &binary_size(memory));
    add(1, "Name", &info.name);
    add(1, "ID", &info.id);
    add(1, "Data Root Dir", &info.docker_root_dir);
    add(1, "Debug Mode", &info.debug.to_string());
    add(
        1,
        "Live Restore Enabled",
        &info.live_restore_enabled.to_string(),
    );
    add(1, "HTTP Proxy", &info.http_proxy);
    add(1, "HTTPS Proxy", &info.https_proxy);
    add(1, "No Proxy", &info.no_proxy);
    add(1, "Labels", &info.labels.join(" "));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
#[path = "info/tests.rs"]
mod tests;
