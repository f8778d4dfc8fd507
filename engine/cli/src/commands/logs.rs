//! `logs`.

use clap::Args;
use engine_api::ContainerInspect;
use http::Method;
use http_body_util::BodyExt as _;
use time::OffsetDateTime;

use super::Context;
use crate::{
    client::{Call, Query, segment},
    error::CliError,
    session::Sink,
    units::parse_instant,
};

/// Show what a container wrote.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack logs -f web                 everything, and what comes\n  \
    carrack logs -n 100 -t web          the last hundred lines with their times\n  \
    carrack logs --since 10m web        the last ten minutes")]
pub struct Logs {
    /// Follow: go on until the container stops
    #[arg(short, long)]
    follow: bool,
    /// Number of lines from the end, or all
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines since an instant or a duration ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines before an instant or a duration ago (10m)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show the details that the logging driver was given
    #[arg(long)]
    details: bool,
    /// Name or id of the container
    container: String,
}

impl Logs {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let now = OffsetDateTime::now_utc();
        let instant = |text: Option<&String>| {
            text.map(|text| parse_instant(text, now))
                .transpose()
                .map_err(CliError::Usage)
        };
        let query = Query::new()
            .with("stdout", 1)
            .with("stderr", 1)
            .flag("follow", self.follow)
            .flag("timestamps", self.timestamps)
            .flag("details", self.details)
            .with("tail", &self.tail)
            .maybe("since", instant(self.since.as_ref())?)
            .maybe("until", instant(self.until.as_ref())?);
        let path = format!("/containers/{}", segment(&self.container));
        let container: ContainerInspect = ctx
            .engine
            .get(&format!("{path}/json"), Query::new())
            .await?;
        let response = ctx
            .engine
            .stream(Method::GET, &format!("{path}/logs"), Call::query(query))
            .await?;
        let mut body = response.into_body();
        let mut sink = Sink::new(container.config.tty);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| CliError::Disconnected(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                sink.push(data).await?;
            }
        }
        sink.finish()?;
        Ok(0)
    }
}
