//! Commands that change the state of existing containers.

use clap::Args;
use http::Method;

use super::{Context, each, run};
use crate::{
    client::{Call, Query, segment},
    error::CliError,
};

/// Stop containers: a signal, and SIGKILL when that does not help in time.
#[derive(Args, Clone, Debug)]
pub struct Stop {
    #[command(flatten)]
    ending: Ending,
}

/// Stop and start containers.
#[derive(Args, Clone, Debug)]
pub struct Restart {
    #[command(flatten)]
    ending: Ending,
}

/// Which containers end, and how.
#[derive(Args, Clone, Debug)]
struct Ending {
    /// Signal to send (the container's own, else SIGTERM)
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Send a signal to containers.
#[derive(Args, Clone, Debug)]
pub struct Kill {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Freeze all processes of containers.
#[derive(Args, Clone, Debug)]
pub struct Pause {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Let frozen containers go on.
#[derive(Args, Clone, Debug)]
pub struct Unpause {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Wait until containers stop and print their exit codes.
#[derive(Args, Clone, Debug)]
pub struct Wait {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Give a container another name.
#[derive(Args, Clone, Debug)]
pub struct Rename {
    /// Name or id of the container
    container: String,
    /// Its new name
    name: String,
}

/// Remove containers.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack rm web                      remove a stopped container\n  \
    carrack rm -f web                   also when it runs\n  \
    carrack rm $(carrack ps -aq -f status=exited)")]
pub struct Rm {
    /// Kill running containers first
    #[arg(short, long)]
    force: bool,
    /// Remove the anonymous volumes of the container too
    #[arg(short, long)]
    volumes: bool,
    /// Remove the link instead of the container (legacy)
    #[arg(short, long)]
    link: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Ending {
    async fn post(self, ctx: &Context, action: &str) -> Result<u8, CliError> {
        let query = Query::new()
            .maybe("signal", self.signal)
            .maybe("t", self.timeout);
        each_post(ctx, &self.containers, action, &query).await
    }
}

impl Stop {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        self.ending.post(ctx, "stop").await
    }
}

impl Restart {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        self.ending.post(ctx, "restart").await
    }
}

impl Kill {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let query = Query::new().with("signal", self.signal);
        each_post(ctx, &self.containers, "kill", &query).await
    }
}

impl Pause {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        each_post(ctx, &self.containers, "pause", &Query::new()).await
    }
}

impl Unpause {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        each_post(ctx, &self.containers, "unpause", &Query::new()).await
    }
}

impl Wait {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        each(ctx, &self.containers, |name| async move {
            let wait = run::wait(ctx, &name, "not-running").await?;
            Ok(Some(run::exit_code(wait).await?.to_string()))
        })
        .await
    }
}

impl Rename {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let path = format!("/containers/{}/rename", segment(&self.container));
        let query = Query::new().with("name", &self.name);
        ctx.engine
            .command(Method::POST, &path, Call::query(query))
            .await?;
        Ok(0)
    }
}

impl Rm {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let query = &Query::new()
            .flag("force", self.force)
            .flag("v", self.volumes)
            .flag("link", self.link);
        let force = self.force;
        each(ctx, &self.containers, |name| async move {
            let path = format!("/containers/{}", segment(name.trim_matches('/')));
            let call = Call::query(query.clone());
            match ctx.engine.command(Method::DELETE, &path, call).await {
                Ok(_) => Ok(Some(name)),
                // With --force, gone is what was asked for.
                Err(error) if force && error.status() == Some(404) => {
                    crate::output::note(error.to_string());
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

async fn each_post(
    ctx: &Context,
    names: &[String],
    action: &str,
    query: &Query,
) -> Result<u8, CliError> {
    each(ctx, names, |name| async move {
        let path = format!("/containers/{}/{action}", segment(&name));
        let call = Call::query(query.clone());
        ctx.engine.command(Method::POST, &path, call).await?;
        Ok(Some(name))
    })
    .await
}
