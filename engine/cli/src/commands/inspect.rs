//! `inspect`: the engine's documents, as they are or by a template.

use clap::{Args, ValueEnum};
use http::Method;

use super::Context;
use crate::{
    client::{Call, Query, segment},
    error::CliError,
    format, output,
    template::{MissingKey, Template, Value},
};

/// What a name may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    fn path(self, name: &str) -> String {
        let name = segment(name);
        match self {
            Self::Container => format!("/containers/{name}/json"),
            Self::Image => format!("/images/{name}/json"),
            Self::Network => format!("/networks/{name}"),
            Self::Volume => format!("/volumes/{name}"),
        }
    }
}

/// Show details of containers, images, networks and volumes as JSON.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack inspect web\n  \
    carrack inspect -f '{{.State.Status}}' web\n  \
    carrack inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web\n  \
    carrack inspect -f '{{json .Config.Env}}' busybox")]
pub struct Inspect {
    /// Print as 'json' or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Add file sizes to containers
    #[arg(short, long)]
    size: bool,
    /// Look only for one kind of object
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Inspect {
    pub(super) async fn run(self, ctx: &Context, only: Option<Kind>) -> Result<u8, CliError> {
        let template = match self.format.as_deref() {
            None | Some("") => None,
            Some("json") => Some(format::parse("{{json .}}")?),
            Some(text) => Some(format::parse(text)?.on_missing_key(MissingKey::Error)),
        };
        let mut documents = Vec::new();
        let mut failed = false;
        for name in &self.names {
            match self.find(ctx, only.or(self.kind), name).await {
                Ok(json) => documents.push(json),
                Err(error @ (CliError::Connect(_) | CliError::BrokenPipe)) => return Err(error),
                Err(error) => {
                    failed = true;
                    // What was found is printed first, as one list.
                    documents.push(Document::Failed(error.to_string()));
                }
            }
        }
        let found: Vec<&[u8]> = documents
            .iter()
            .filter_map(|document| match document {
                Document::Found(json) => Some(json.as_ref()),
                Document::Failed(_) => None,
            })
            .collect();
        match &template {
            Some(template) => {
                for json in &found {
                    output::line(render(template, json)?)?;
                }
            }
            None => output::print(list(&found))?,
        }
        for document in &documents {
            if let Document::Failed(message) = document {
                output::note(message);
            }
        }
        Ok(u8::from(failed))
    }

    async fn find(
        &self,
        ctx: &Context,
        only: Option<Kind>,
        name: &str,
    ) -> Result<Document, CliError> {
        const ORDER: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
        let order = ORDER.iter().filter(|k| only.is_none_or(|only| only == **k));
        for kind in order {
            let query = Query::new().flag("size", self.size && *kind == Kind::Container);
            let answer = ctx
                .engine
                .bytes(Method::GET, &kind.path(name), Call::query(query))
                .await;
            match answer {
                Ok(json) => return Ok(Document::Found(json)),
                // Asked for one kind: the engine's own words say best what is wrong.
                Err(error) if only.is_some() => return Err(error),
                // A name with a slash is no container: others may know it.
                Err(error) if matches!(error.status(), Some(400 | 404)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CliError::usage(format!("Error: No such object: {name}")))
    }
}

enum Document {
    Found(bytes::Bytes),
    Failed(String),
}

fn render(template: &Template, json: &[u8]) -> Result<String, CliError> {
    let value = Value::from_json(json)
        .map_err(|error| CliError::Disconnected(format!("it sent no JSON ({error})")))?;
    template
        .render(&value)
        .map_err(|error| CliError::usage(format!("template parsing error: {error}")))
}

/// One JSON list of the documents, indented; their keys stay in order.
pub(super) fn list(documents: &[&[u8]]) -> Vec<u8> {
    let mut joined = b"[".to_vec();
    joined.extend(documents.join(&b','));
    joined.push(b']');
    indent(&joined)
}

/// Indents JSON by four spaces without touching its values.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut text = false;
    let mut escaped = false;
    let mut opened = false;
    for byte in json {
        if text {
            out.push(*byte);
            text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if opened != closes && (opened || closes) {
            new_line(&mut out, depth);
        }
        opened = matches!(byte, b'{' | b'[');
        out.push(*byte);
        match byte {
            b'{' | b'[' => depth += 1,
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => text = true,
            _ => {}
        }
    }
    out.push(b'\n');
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 4));
}

#[cfg(test)]
#[path = "inspect/tests.rs"]
mod tests;
