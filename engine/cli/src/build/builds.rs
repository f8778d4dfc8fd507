//! `builds`: what the server has built.

use builder_proto::api::Build;
use clap::{Args, Subcommand};
use reqwest::Method;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    follow::{Ended, follow},
    look,
    progress::{Mode, Progress, state_name},
    server::{Server, check_id},
};
use crate::{config::Settings, error::CliError, output, table};

/// Commands on the builds of a Carrack server
#[derive(Subcommand, Debug)]
pub enum BuildsCommand {
    /// List builds, the newest first
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show the log of a build
    Logs(Logs),
    /// Stop builds
    Cancel(Cancel),
    /// Show builds as JSON
    Inspect(Inspect),
}

#[derive(Args, Debug)]
pub struct List {
    /// Most builds to list
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON, one build per line
    #[arg(long, value_parser = ["table", "json"], default_value = "table")]
    format: String,
}

#[derive(Args, Debug)]
pub struct Logs {
    /// Build to show
    #[arg(value_name = "ID")]
    id: String,
    /// Go on until the build ends; the exit code is the build's
    #[arg(short, long)]
    follow: bool,
    /// How progress is shown when following
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    progress: Mode,
}

#[derive(Args, Debug)]
pub struct Cancel {
    /// Builds to stop
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// Builds to show
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl BuildsCommand {
    /// Runs the command; the number is the exit code of the program.
    pub(crate) async fn run(self, settings: &Settings) -> Result<u8, CliError> {
        let server = Server::new(settings).await?;
        match self {
            Self::Ls(command) => command.run(&server).await,
            Self::Logs(command) => command.run(&server, settings).await,
            Self::Cancel(command) => {
                let mut failed = false;
                for id in command.ids {
                    match server.cancel(&id).await {
                        Ok(()) => output::line(&id)?,
                        Err(error @ CliError::Connect(_)) => return Err(error),
                        Err(error) => {
                            output::note(format!("{id}: {error}"));
                            failed = true;
                        }
                    }
                }
                Ok(u8::from(failed))
            }
            Self::Inspect(command) => {
                let mut builds = Vec::new();
                for id in &command.ids {
                    builds.push(server.build(id).await?);
                }
                let json = serde_json::to_string_pretty(&builds).unwrap_or_default();
                output::line(json)?;
                Ok(0)
            }
        }
    }
}

impl List {
    async fn run(self, server: &Server) -> Result<u8, CliError> {
        let request = server
            .request(Method::GET, "/api/v1/builds")
            .query(&[("limit", self.limit)]);
        let builds: Vec<Build> = server.json(request).await?;
        if self.quiet {
            return output::print(lines(builds.iter().map(|build| build.id.clone()))).map(|()| 0);
        }
        if self.format == "json" {
            let json = builds
                .iter()
                .map(|b| serde_json::to_string(b).unwrap_or_default());
            return output::print(lines(json)).map(|()| 0);
        }
        output::print(listing(&builds, OffsetDateTime::now_utc()))?;
        Ok(0)
    }
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("{item}\n")).collect()
}

fn listing(builds: &[Build], now: OffsetDateTime) -> String {
    let mut rows = vec!["BUILD ID\tSTATE\tCREATED\tDURATION\tBY\tTAGS".to_owned()];
    for build in builds {
        let created = parse(&build.created_at).map(|at| age(now - at));
        rows.push(format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            build.id,
            state_name(build.state),
            created.unwrap_or_default(),
            duration(build, now),
            build.created_by,
            build.options.tags.join(", ")
        ));
    }
    table::align(&rows)
}

fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

fn age(age: time::Duration) -> String {
    let std = std::time::Duration::try_from(age).unwrap_or_default();
    format!("{} ago", crate::units::human_duration(std))
}

fn duration(build: &Build, now: OffsetDateTime) -> String {
    let Some(started) = build.started_at.as_deref().and_then(parse) else {
        return String::new();
    };
    let ended = build.ended_at.as_deref().and_then(parse).unwrap_or(now);
    format!("{:.1}s", (ended - started).as_seconds_f64())
}

impl Logs {
    async fn run(self, server: &Server, settings: &Settings) -> Result<u8, CliError> {
        if self.follow {
            let mut progress = Progress::new(self.progress, look(settings));
            return Ok(
                match follow(server, &self.id, &mut progress, false).await? {
                    Ended::Succeeded => 0,
                    Ended::Failed => {
                        progress.summary(&self.id)?;
                        1
                    }
                    Ended::Cancelled | Ended::Abandoned => super::INTERRUPTED,
                },
            );
        }
        let path = format!("/api/v1/builds/{}/log", check_id(&self.id)?);
        let mut response = server.send(server.request(Method::GET, &path)).await?;
        loop {
            let chunk = response.chunk().await;
            match chunk.map_err(|error| server.unreachable(error))? {
                None => return Ok(0),
                Some(bytes) => output::print(bytes)?,
            }
        }
    }
}
