//! How the engine finds out whether the container is well.

use clap::Args;
use engine_api::HealthConfig;

use crate::{flags, units::parse_duration};

fn duration_ns(text: &str) -> Result<i64, String> {
    let duration = parse_duration(text)?;
    i64::try_from(duration.as_nanos()).map_err(|_| format!("the duration '{text}' is too long"))
}

/// Options below the heading "Health".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Health")]
pub struct HealthOptions {
    /// Command that tells whether the container is healthy
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between two checks (30s)
    #[arg(long, value_name = "DURATION", value_parser = duration_ns)]
    pub health_interval: Option<i64>,
    /// Longest time of one check (30s)
    #[arg(long, value_name = "DURATION", value_parser = duration_ns)]
    pub health_timeout: Option<i64>,
    /// Failures in a row that mean unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<i64>,
    /// Time to start in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = duration_ns)]
    pub health_start_period: Option<i64>,
    /// Time between two checks while starting
    #[arg(long, value_name = "DURATION", value_parser = duration_ns)]
    pub health_start_interval: Option<i64>,
    /// Disable the health check of the image
    #[arg(long)]
    pub no_healthcheck: bool,
}

impl HealthOptions {
    /// The health check that these ask for; `None` leaves the image's.
    pub(super) fn config(&self) -> Option<HealthConfig> {
        if self.no_healthcheck {
            return Some(HealthConfig {
                test: vec!["NONE".to_owned()],
                ..HealthConfig::default()
            });
        }
        let health = HealthConfig {
            test: self
                .health_cmd
                .as_deref()
                .map(flags::health_command)
                .unwrap_or_default(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        (health != HealthConfig::default()).then_some(health)
    }
}
