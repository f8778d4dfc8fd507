//! `exec`.

use std::path::PathBuf;

use clap::Args;
use engine_api::{ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest};
use http::Method;

use super::{Context, run::detach_keys};
use crate::{
    client::{Call, Query, segment},
    error::CliError,
    flags, output,
    session::{self, Ended, Plan},
    terminal,
};

/// Run a command in a running container.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "carrack exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    after_help = "Examples:\n  \
        carrack exec -it web sh                 a shell\n  \
        carrack exec -u root web cat /etc/passwd\n  \
        carrack exec -i db psql < dump.sql      with our input"
)]
pub struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User name or id, and group (user[:group])
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// Working directory in the container
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,
    /// Set an environment variable; without a value: pass ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Give all capabilities
    #[arg(long)]
    privileged: bool,
    /// Keys that leave the command running (ctrl-p,ctrl-q)
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Container, and the command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER COMMAND")]
    words: Vec<String>,
}

impl Exec {
    pub(super) async fn run(mut self, ctx: &Context) -> Result<u8, CliError> {
        let keys = detach_keys(ctx, self.detach_keys.as_deref())?;
        if !self.detach {
            session::check_tty(self.interactive, self.tty)?;
        }
        let command = self.words.split_off(1);
        let container = segment(&self.words.remove(0));
        let console = terminal::size()
            .filter(|_| self.tty)
            .map(|(rows, columns)| [u32::from(rows), u32::from(columns)]);
        let request = ExecCreateRequest {
            user: self.user,
            privileged: self.privileged,
            tty: self.tty,
            console_size: console,
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach: self.detach,
            detach_keys: self.detach_keys.unwrap_or_default(),
            env: Some(flags::environment(&self.env_file, &self.env).map_err(CliError::Usage)?),
            working_dir: self.workdir,
            cmd: command,
        };
        let path = format!("/containers/{container}/exec");
        let call = Call::default().json(&request);
        let created: ExecCreateResponse = ctx.engine.json(Method::POST, &path, call).await?;
        let path = format!("/exec/{}", segment(&created.id));
        let start = Call::default().json(&ExecStartRequest {
            detach: self.detach,
            tty: self.tty,
            console_size: console,
        });
        let start_path = format!("{path}/start");
        if self.detach {
            ctx.engine.command(Method::POST, &start_path, start).await?;
            return Ok(0);
        }
        let hijacked = ctx.engine.hijack(&start_path, start).await?;
        let size = (self.tty && output::stdout_is_terminal())
            .then(|| session::follow_size(ctx.engine.clone(), format!("{path}/resize")));
        let plan = Plan {
            tty: self.tty,
            stdin: self.interactive,
            output: true,
            detach_keys: keys,
        };
        let ended = session::run(hijacked, plan).await?;
        if let Some(size) = size {
            size.abort();
        }
        match ended {
            Ended::Finished => {
                let exec: ExecInspect = ctx
                    .engine
                    .get(&format!("{path}/json"), Query::new())
                    .await?;
                Ok((exec.exit_code.unwrap_or(0) & 0xff) as u8)
            }
            Ended::Detached => {
                output::note("read escape sequence");
                Ok(0)
            }
            Ended::Signalled(number) => Ok((128 + number) as u8),
        }
    }
}
