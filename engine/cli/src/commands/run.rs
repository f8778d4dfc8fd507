//! `run`, `create` and `start`.
//!
//! `run` is create, attach, wait, start in this order: output and exit code of
//! a process that ends at once are never missed.

use std::{fs, io::Write as _, path::Path};

use clap::Args;
use engine_api::{ContainerCreateResponse, ContainerInspect, ContainerWaitResponse};
use http::Method;
use hyper::body::Incoming;

use super::{
    Context,
    container_options::{ContainerOptions, PullPolicy},
    each, pull,
};
use crate::{
    client::{Call, Query, read_all, segment},
    detach::{DEFAULT_DETACH_KEYS, parse_keys},
    error::{CliError, ENGINE_FAILED},
    hint, output,
    session::{self, Ended, Plan},
};

/// Create a container from an image and run it.
#[derive(Args, Clone, Debug)]
#[command(
    disable_help_flag = true,
    override_usage = "carrack run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:\n  \
        carrack run --rm -it busybox sh                     a shell that leaves nothing behind\n  \
        carrack run -d --name web -p 8080:80 nginx          a server in the background\n  \
        carrack run --rm -v ./src:/src -w /src gcc make     a build in the current directory\n\n\
        Exit codes:\n  \
        125 the engine failed · 126 the command cannot be run · 127 the command is not there\n  \
        otherwise the container's own; 128+n when signal n ended it"
)]
pub struct Run {
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Run in the background and print the container's id
    #[arg(short, long, help_heading = "Container")]
    detach: bool,
    /// Keys that leave the container running (ctrl-p,ctrl-q)
    #[arg(long, value_name = "KEYS", help_heading = "Process")]
    detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set,
          help_heading = "Process")]
    sig_proxy: bool,
    #[command(flatten)]
    options: ContainerOptions,
    /// Image, and the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND]",
        help_heading = "Arguments"
    )]
    words: Vec<String>,
}

/// Create a container without starting it.
#[derive(Args, Clone, Debug)]
#[command(
    disable_help_flag = true,
    override_usage = "carrack create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub struct Create {
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    options: ContainerOptions,
    /// Image, and the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND]",
        help_heading = "Arguments"
    )]
    words: Vec<String>,
}

/// Start stopped containers.
#[derive(Args, Clone, Debug)]
pub struct Start {
    /// Attach output and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the container running (ctrl-p,ctrl-q)
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Run {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self.create_and_start(ctx).await {
            Err(error) if !error.is_silent() => {
                let code = match error.with_code(ENGINE_FAILED) {
                    CliError::WithCode { code, source } => {
                        output::note(format!(
                            "carrack: {source}\n\nRun 'carrack run --help' for more information"
                        ));
                        hint::show(&source, ctx.settings.hints);
                        code
                    }
                    other => other.exit_code(),
                };
                Err(CliError::Exit(code))
            }
            other => other,
        }
    }

    async fn create_and_start(mut self, ctx: &Context) -> Result<u8, CliError> {
        if self.detach && !self.options.process.attach.is_empty() {
            return Err(CliError::usage(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        let keys = detach_keys(ctx, self.detach_keys.as_deref())?;
        let attached = self.options.attached(self.detach);
        if !self.detach {
            session::check_tty(attached.stdin, self.options.process.tty)?;
        }
        let command = self.words.split_off(1);
        let image = self.words.remove(0);
        let id = create(ctx, &self.options, &image, &command, self.detach).await?;
        if self.detach {
            start(ctx, &id).await?;
            output::line(&id)?;
            return Ok(0);
        }

        let signals = (self.sig_proxy && !self.options.process.tty)
            .then(|| session::proxy_signals(ctx.engine.clone(), id.clone()));
        let attach = Query::new()
            .with("stream", 1)
            .flag("stdin", attached.stdin)
            .flag("stdout", attached.stdout)
            .flag("stderr", attached.stderr)
            .maybe("detachKeys", self.detach_keys.as_deref());
        let path = format!("/containers/{id}/attach");
        let hijacked = ctx.engine.hijack(&path, Call::query(attach)).await?;
        let condition = if self.options.identity.rm {
            "removed"
        } else {
            "next-exit"
        };
        let wait = wait(ctx, &id, condition).await?;
        if let Err(error) = start(ctx, &id).await {
            if self.options.identity.rm {
                // The engine removes what could not start; only then is the
                // name free again.
                let _ = read_all(wait).await;
            }
            return Err(error);
        }
        let size = (self.options.process.tty && output::stdout_is_terminal())
            .then(|| session::follow_size(ctx.engine.clone(), format!("/containers/{id}/resize")));
        let plan = Plan {
            tty: self.options.process.tty,
            stdin: attached.stdin,
            output: attached.stdout || attached.stderr,
            detach_keys: keys,
        };
        let ended = session::run(hijacked, plan).await?;
        let code = finish(ended, wait).await;
        if let Some(signals) = signals {
            signals.abort();
        }
        if let Some(size) = size {
            size.abort();
        }
        code
    }
}

impl Create {
    pub(super) async fn run(mut self, ctx: &Context) -> Result<u8, CliError> {
        let command = self.words.split_off(1);
        let image = self.words.remove(0);
        let id = create(ctx, &self.options, &image, &command, false).await?;
        output::line(id)?;
        Ok(0)
    }
}

impl Start {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        if !self.attach && !self.interactive {
            return each(ctx, &self.containers, |name| async move {
                start(ctx, &name).await?;
                Ok(Some(name))
            })
            .await;
        }
        let [name] = self.containers.as_slice() else {
            return Err(CliError::usage(
                "you cannot start and attach multiple containers at once",
            ));
        };
        let keys = detach_keys(ctx, self.detach_keys.as_deref())?;
        let path = format!("/containers/{}", segment(name));
        let container: ContainerInspect = ctx
            .engine
            .get(&format!("{path}/json"), Query::new())
            .await?;
        let tty = container.config.tty;
        session::check_tty(self.interactive, tty)?;
        let signals =
            (!tty).then(|| session::proxy_signals(ctx.engine.clone(), container.id.clone()));
        let attach = Query::new()
            .with("stream", 1)
            .flag("stdin", self.interactive && container.config.open_stdin)
            .with("stdout", 1)
            .with("stderr", 1)
            .maybe("detachKeys", self.detach_keys.as_deref());
        let hijacked = ctx
            .engine
            .hijack(&format!("{path}/attach"), Call::query(attach))
            .await?;
        let condition = if container.host_config.auto_remove {
            "removed"
        } else {
            "next-exit"
        };
        let wait = wait(ctx, name, condition).await?;
        start(ctx, name).await?;
        let size = (tty && output::stdout_is_terminal())
            .then(|| session::follow_size(ctx.engine.clone(), format!("{path}/resize")));
        let plan = Plan {
            tty,
            stdin: self.interactive && container.config.open_stdin,
            output: true,
            detach_keys: keys,
        };
        let ended = session::run(hijacked, plan).await?;
        let code = finish(ended, wait).await;
        if let Some(signals) = signals {
            signals.abort();
        }
        if let Some(size) = size {
            size.abort();
        }
        code
    }
}

/// Keys by flag, else config.json, else the usual ones.
pub(super) fn detach_keys(ctx: &Context, flag: Option<&str>) -> Result<Vec<u8>, CliError> {
    let keys = flag
        .or_else(|| ctx.settings.config.text("detachKeys"))
        .unwrap_or(DEFAULT_DETACH_KEYS);
    parse_keys(keys).map_err(CliError::Usage)
}

/// Registers a wait. The engine answers with headers at once and with the
/// body when the condition holds.
pub(super) async fn wait(ctx: &Context, id: &str, condition: &str) -> Result<Incoming, CliError> {
    let path = format!("/containers/{}/wait", segment(id));
    let query = Query::new().with("condition", condition);
    let response = ctx
        .engine
        .stream(Method::POST, &path, Call::query(query))
        .await?;
    Ok(response.into_body())
}

/// The exit code that a registered wait brings.
pub(super) async fn exit_code(wait: Incoming) -> Result<u8, CliError> {
    let bytes = read_all(wait).await?;
    let answer: ContainerWaitResponse = serde_json::from_slice(&bytes)
        .map_err(|error| CliError::Disconnected(format!("it told no exit code ({error})")))?;
    if let Some(error) = answer.error.filter(|error| !error.message.is_empty()) {
        return Err(CliError::Engine {
            status: 500,
            message: error.message,
        }
        .with_code(ENGINE_FAILED));
    }
    Ok((answer.status_code & 0xff) as u8)
}

/// The program's exit code after a session.
pub(super) async fn finish(ended: Ended, wait: Incoming) -> Result<u8, CliError> {
    match ended {
        Ended::Finished => exit_code(wait).await,
        Ended::Detached => {
            output::note("read escape sequence");
            Ok(0)
        }
        Ended::Signalled(number) => Ok((128 + number) as u8),
    }
}

async fn start(ctx: &Context, id: &str) -> Result<(), CliError> {
    let path = format!("/containers/{}/start", segment(id));
    let started = ctx
        .engine
        .command(Method::POST, &path, Call::default())
        .await;
    started.map(|_| ()).map_err(|error| {
        let code = match error.engine_message() {
            Some(message) => start_failure_code(message),
            None => ENGINE_FAILED,
        };
        error.with_code(code)
    })
}

/// What a shell would return for the same mistake: 127 for a command that is
/// not there, 126 for one that cannot be run.
fn start_failure_code(message: &str) -> u8 {
    const NOT_FOUND: [&str; 2] = ["executable file not found", "no such file or directory"];
    const NOT_RUNNABLE: [&str; 3] = ["permission denied", "is a directory", "exec format error"];
    let message = message.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    match () {
        () if has(&NOT_FOUND) => 127,
        () if has(&NOT_RUNNABLE) => 126,
        () => ENGINE_FAILED,
    }
}

/// Creates a container, pulling the image as the policy says.
async fn create(
    ctx: &Context,
    options: &ContainerOptions,
    image: &str,
    command: &[String],
    detach: bool,
) -> Result<String, CliError> {
    let request = options.request(image, command, detach)?;
    let platform = options
        .identity
        .platform
        .clone()
        .or_else(|| ctx.settings.default_platform.clone());
    let id_file = options
        .identity
        .cidfile
        .as_deref()
        .map(reserve_id_file)
        .transpose()?;
    if options.identity.pull == PullPolicy::Always {
        pull::quietly_on_stderr(ctx, image, platform.as_deref(), options.identity.quiet).await?;
    }
    let call = || {
        Call::query(
            Query::new()
                .maybe("name", options.identity.name.as_deref())
                .maybe("platform", platform.as_deref()),
        )
        .json(&request)
    };
    let path = "/containers/create";
    let first = ctx
        .engine
        .json::<ContainerCreateResponse>(Method::POST, path, call())
        .await;
    let created = match first {
        Err(error) if options.identity.pull == PullPolicy::Missing && is_missing_image(&error) => {
            output::note(format!(
                "Unable to find image '{}' locally",
                pull::familiar(image)
            ));
            pull::quietly_on_stderr(ctx, image, platform.as_deref(), options.identity.quiet)
                .await?;
            ctx.engine.json(Method::POST, path, call()).await
        }
        other => other,
    };
    let created = match created {
        Ok(created) => created,
        Err(error) => {
            if let Some(path) = &options.identity.cidfile {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
    };
    for warning in &created.warnings {
        output::note(format!("WARNING: {warning}"));
    }
    if let (Some(mut file), Some(path)) = (id_file, &options.identity.cidfile) {
        file.write_all(created.id.as_bytes())
            .map_err(|error| CliError::io(format!("cannot write {}", path.display()), error))?;
    }
    Ok(created.id)
}

fn is_missing_image(error: &CliError) -> bool {
    error.status() == Some(404)
        && error
            .engine_message()
            .is_some_and(|message| message.to_lowercase().contains("no such image"))
}

/// Made before the container, so that two runs never share one file.
fn reserve_id_file(path: &Path) -> Result<fs::File, CliError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => CliError::usage(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            )),
            _ => CliError::io(
                format!("failed to create the container ID file {}", path.display()),
                error,
            ),
        })
}

#[cfg(test)]
#[path = "run/tests.rs"]
mod tests;
