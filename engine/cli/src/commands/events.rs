//! `events`.

use clap::Args;
use engine_api::Event;
use http::Method;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Context;
use crate::{
    client::{Call, Filters, JsonLines, Query},
    error::CliError,
    format, output,
    template::Value,
    units::parse_instant,
};

/// Show what happens in the engine.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Filters (-f key=value):\n  \
    type (container, image, network, volume), event, container, image, network, volume, label\n\n\
    Examples:\n  \
    carrack events -f type=container -f event=die\n  \
    carrack events --since 1h --until 0s              what has happened, without waiting")]
pub struct Events {
    /// Show only events that match (key=value)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Also events since an instant or a duration ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at an instant or a duration ago (10m)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Events {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let now = OffsetDateTime::now_utc();
        let instant = |text: Option<&String>| {
            text.map(|text| parse_instant(text, now))
                .transpose()
                .map_err(CliError::Usage)
        };
        let query = Query::new()
            .maybe("since", instant(self.since.as_ref())?)
            .maybe("until", instant(self.until.as_ref())?)
            .filters(&Filters::parse(&self.filter)?);
        let template = match self.format.as_deref() {
            None | Some("") => None,
            Some("json") => Some(format::parse("{{json .}}")?),
            Some(text) => Some(format::parse(text)?),
        };
        let response = ctx
            .engine
            .stream(Method::GET, "/events", Call::query(query))
            .await?;
        let mut lines = JsonLines::new(response.into_body());
        while let Some(line) = lines.next_line().await? {
            let text = match &template {
                Some(template) => {
                    let value = Value::from_json(&line).unwrap_or(Value::Nil);
                    format::render(template, &value)?
                }
                None => shown(&serde_json::from_slice(&line).map_err(|error| {
                    CliError::Disconnected(format!("it sent an event of another shape ({error})"))
                })?),
            };
            output::line(text)?;
        }
        Ok(0)
    }
}

/// `2026-01-31T12:00:00.000000000Z container start id (image=busybox, name=web)`
fn shown(event: &Event) -> String {
    let nanos = if event.time_nano == 0 {
        i128::from(event.time) * 1_000_000_000
    } else {
        i128::from(event.time_nano)
    };
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| {
            let whole = at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?;
            Some(format!(
                "{}.{:09}Z",
                whole.trim_end_matches('Z'),
                at.nanosecond()
            ))
        })
        .unwrap_or_default();
    let mut text = format!("{at} {} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<_> = event
            .actor
            .attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        text.push_str(&format!(" ({})", pairs.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = Event {
            kind: "container".to_owned(),
            action: "start".to_owned(),
            time: 1_769_860_800,
            time_nano: 1_769_860_800_000_000_042,
            actor: engine_api::Actor {
                id: "abc".to_owned(),
                attributes: [
                    ("name".to_owned(), "web".to_owned()),
                    ("image".to_owned(), "x".to_owned()),
                ]
                .into(),
            },
            ..Event::default()
        };
        assert_eq!(
            shown(&event),
            "2026-01-31T12:00:00.000000042Z container start abc (image=x, name=web)"
        );
    }
}
