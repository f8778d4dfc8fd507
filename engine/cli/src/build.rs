//! `build` and `builds`: images built by a Carrack server.
//!
//! The build runs on the server and does not depend on this program: it sends
//! the context, then follows the events, and leaving it behind is allowed
//! (`--detach`, `builds logs -f`).

mod builds;
mod context;
mod follow;
mod progress;
mod server;
mod sse;
mod upload;

use std::{
    fs,
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use builder_proto::api::Build;
use clap::Args;

use crate::{
    config::{self, Settings},
    error::CliError,
    output,
};
pub use builds::BuildsCommand;
use context::Context;
use follow::{Ended, follow};
use progress::{Look, Mode, Progress};
use server::Server;
use upload::Body;

/// Log lines shown below each running step of a terminal.
const LOG_LINES: usize = 6;
/// Exit code of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Build an image from a Dockerfile on a Carrack server.
#[derive(Args, Debug)]
pub struct BuildImage {
    /// Directory that COPY reads from, or - for a tar archive on standard input
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Name of the result, pushed to it; without a registry, to the server's (repeatable)
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// Dockerfile, or - for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Stage to build [default: the last]
    #[arg(
        long,
        value_name = "STAGE",
        default_value = "",
        hide_default_value = true
    )]
    target: String,
    /// Value of an ARG; without a value, this environment's (repeatable)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Label of the image (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Build every step again
    #[arg(long)]
    no_cache: bool,
    /// Look base images up again; they always are
    #[arg(long, hide = true)]
    pull: bool,
    /// os/architecture[/variant] [default: the server's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true,
          value_parser = ["", "default", "none", "host"], hide_possible_values = true)]
    network: String,
    /// Push to the tags; done anyway
    #[arg(long, overrides_with = "no_push")]
    push: bool,
    /// Name the result, but push it nowhere
    #[arg(long)]
    no_push: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    progress: Mode,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    /// Print the build's id and do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Write the image's digest to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
}

impl BuildImage {
    /// Runs the command; the number is the exit code of the program.
    pub(crate) async fn run(self, settings: &Settings) -> Result<u8, CliError> {
        let server = Server::new(settings).await?;
        let (body, dockerfile) = self.body()?;
        let query = self.query(settings, &server, &dockerfile)?;
        let mode = if self.quiet {
            Mode::Quiet
        } else {
            self.progress
        };
        let mut progress = Progress::new(mode, look(settings));
        let build = upload::send(&server, &query, body, &mut progress).await?;
        if self.detach {
            output::line(&build.id)?;
            return Ok(0);
        }
        let ended = follow(&server, &build.id, &mut progress, true).await?;
        self.finish(ended, &server, build, progress).await
    }

    /// The context and the Dockerfile's path in it.
    fn body(&self) -> Result<(Body, String), CliError> {
        let current = config::current_dir()?;
        let text = self.path.to_string_lossy();
        if text == "-" {
            if std::io::stdin().is_terminal() {
                return Err(CliError::usage(
                    "standard input is a terminal: pipe a tar archive into it, or give a directory",
                ));
            }
            let file = self.file.as_deref().unwrap_or(Path::new("Dockerfile"));
            return Ok((Body::Stdin, file.to_string_lossy().into_owned()));
        }
        if text.contains("://") || text.starts_with("git@") {
            return Err(CliError::usage(format!(
                "{text} is not a directory: contexts from URLs are not supported; clone or download it first"
            )));
        }
        let context = match self.file.as_deref() {
            Some(file) if file == Path::new("-") => {
                let mut dockerfile = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut dockerfile)
                    .map_err(|error| CliError::io("cannot read standard input", error))?;
                Context::with_dockerfile(&self.path, dockerfile, &current)?
            }
            file => Context::open(&self.path, file, &current)?,
        };
        let dockerfile = context.dockerfile.clone();
        Ok((Body::Directory(Box::new(context)), dockerfile))
    }

    fn query(
        &self,
        settings: &Settings,
        server: &Server,
        dockerfile: &str,
    ) -> Result<Vec<(&'static str, String)>, CliError> {
        let mut query = Vec::new();
        for tag in &self.tags {
            query.push(("tag", full_tag(tag, server.host())?));
        }
        query.push(("dockerfile", dockerfile.to_owned()));
        let platform = self.platform.clone().or(settings.default_platform.clone());
        for (name, value) in [
            ("target", self.target.clone()),
            ("platform", platform.unwrap_or_default()),
            ("network", self.network.clone()),
        ] {
            if !value.is_empty() {
                query.push((name, value));
            }
        }
        for argument in &self.build_args {
            let value = match argument.split_once('=') {
                Some(("", _)) => {
                    return Err(CliError::usage(format!(
                        "--build-arg {argument} has no name"
                    )));
                }
                Some(_) => Some(argument.clone()),
                None => config::variable(argument).map(|value| format!("{argument}={value}")),
            };
            // As with Docker, a variable that is not set here is not sent.
            query.extend(value.map(|value| ("build-arg", value)));
        }
        for label in &self.labels {
            if label.split('=').next().is_none_or(str::is_empty) {
                return Err(CliError::usage(format!("--label {label} has no name")));
            }
            let value = match label.contains('=') {
                true => label.clone(),
                false => format!("{label}="),
            };
            query.push(("label", value));
        }
        if self.no_cache {
            query.push(("no-cache", "1".to_owned()));
        }
        if self.no_push {
            query.push(("push", "0".to_owned()));
        } else if self.push {
            if self.tags.is_empty() {
                return Err(CliError::usage("--push needs a --tag to push to"));
            }
            query.push(("push", "1".to_owned()));
        }
        Ok(query)
    }

    async fn finish(
        &self,
        ended: Ended,
        server: &Server,
        build: Build,
        mut progress: Progress,
    ) -> Result<u8, CliError> {
        match ended {
            Ended::Succeeded => {}
            Ended::Failed => {
                progress.summary(&build.id)?;
                return Ok(1);
            }
            Ended::Cancelled => {
                output::note(format!("The build {} was cancelled.", build.id));
                return Ok(INTERRUPTED);
            }
            Ended::Abandoned => {
                output::note(format!(
                    "The build may still run; see it with `carrack builds logs -f {}`.",
                    build.id
                ));
                return Ok(INTERRUPTED);
            }
        }
        let done = server.build(&build.id).await?;
        let digest = done.digest.clone().or(progress.digest.take());
        let Some(digest) = digest else {
            return self.unnamed();
        };
        if let Some(path) = &self.iidfile {
            write(path, digest.as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            let metadata = serde_json::json!({
                "buildx.build.ref": done.id,
                "containerimage.digest": digest,
                "image.name": done.options.tags.join(","),
            });
            write(path, format!("{metadata:#}\n").as_bytes())?;
        }
        if self.quiet {
            output::line(&digest)?;
        } else if self.progress != Mode::Quiet && self.progress != Mode::Rawjson {
            for tag in &done.options.tags {
                output::note(format!("pushed {tag}@{digest}"));
            }
        }
        Ok(0)
    }

    /// The build worked, but made no image that has a digest.
    fn unnamed(&self) -> Result<u8, CliError> {
        if self.iidfile.is_some() || self.metadata_file.is_some() {
            return Err(CliError::usage(
                "the result was pushed nowhere, so it has no digest to write down: give it a --tag",
            ));
        }
        if !self.quiet {
            output::note("Everything was built; without a --tag the result is kept as cache only.");
        }
        Ok(0)
    }
}

fn look(settings: &Settings) -> Look {
    let lines = config::variable("BUILDKIT_TTY_LOG_LINES").and_then(|text| text.parse().ok());
    Look {
        color: settings.color,
        log_lines: lines.unwrap_or(LOG_LINES),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    fs::write(path, bytes)
        .map_err(|error| CliError::io(format!("cannot write {}", path.display()), error))
}

/// A tag with its registry: what names none means the server's.
fn full_tag(tag: &str, host: &str) -> Result<String, CliError> {
    let named = tag
        .split_once('/')
        .is_some_and(|(first, _)| first == "localhost" || first.contains(['.', ':']));
    let full = match named {
        true => tag.to_owned(),
        false => format!("{host}/{tag}"),
    };
    let reference: oci::Reference = full
        .parse()
        .map_err(|error| CliError::usage(format!("invalid tag {tag:?}: {error}")))?;
    Ok(reference.with_default_tag().to_string())
}

#[cfg(test)]
#[path = "build/tests.rs"]
mod tests;
