//! `attach`.

use clap::Args;
use engine_api::ContainerInspect;

use super::{Context, run};
use crate::{
    client::{Call, Query, segment},
    error::CliError,
    output,
    session::{self, Plan},
};

/// Connect to a running container's input and output.
#[derive(Args, Clone, Debug)]
pub struct Attach {
    /// Keys that leave the container running (ctrl-p,ctrl-q)
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id of the container
    container: String,
}

impl Attach {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let keys = run::detach_keys(ctx, self.detach_keys.as_deref())?;
        let path = format!("/containers/{}", segment(&self.container));
        let container: ContainerInspect = ctx
            .engine
            .get(&format!("{path}/json"), Query::new())
            .await?;
        let state = &container.state;
        for (wrong, text) in [
            (
                !state.running,
                "cannot attach to a stopped container, start it first",
            ),
            (
                state.paused,
                "cannot attach to a paused container, unpause it first",
            ),
            (
                state.restarting,
                "cannot attach to a restarting container, wait until it is running",
            ),
        ] {
            if wrong {
                return Err(CliError::usage(text));
            }
        }
        let tty = container.config.tty;
        let stdin = !self.no_stdin && container.config.open_stdin;
        session::check_tty(stdin, tty)?;
        let signals = (self.sig_proxy && !tty)
            .then(|| session::proxy_signals(ctx.engine.clone(), container.id.clone()));
        let attach = Query::new()
            .with("stream", 1)
            .flag("stdin", stdin)
            .with("stdout", 1)
            .with("stderr", 1)
            .maybe("detachKeys", self.detach_keys.as_deref());
        let wait = run::wait(ctx, &container.id, "not-running").await?;
        let hijacked = ctx
            .engine
            .hijack(&format!("{path}/attach"), Call::query(attach))
            .await?;
        let size = (tty && output::stdout_is_terminal())
            .then(|| session::follow_size(ctx.engine.clone(), format!("{path}/resize")));
        let plan = Plan {
            tty,
            stdin,
            output: true,
            detach_keys: keys,
        };
        let ended = session::run(hijacked, plan).await?;
        if let Some(size) = size {
            size.abort();
        }
        let code = run::finish(ended, wait).await;
        if let Some(signals) = signals {
            signals.abort();
        }
        code
    }
}
