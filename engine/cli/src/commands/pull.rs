//! `pull` and `push`, and the pull inside `run`.

use std::io::{self, Write};

use clap::Args;
use http::Method;
use oci::Reference;

use super::Context;
use crate::{
    client::{Call, JsonLines, Query, segment},
    credentials,
    error::CliError,
    output, progress,
};

/// Download an image.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack pull busybox                                the tag latest\n  \
    carrack pull 127.0.0.1:5000/team/app:1.2            from your own registry\n  \
    carrack pull --platform linux/arm64 busybox         for another machine")]
pub struct Pull {
    /// Download all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Platform of the image (os/architecture[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print only the name of the image
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: images are verified by digest
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Name of the image
    #[arg(value_name = "IMAGE[:TAG|@DIGEST]")]
    image: String,
}

/// Upload an image.
#[derive(Args, Clone, Debug)]
pub struct Push {
    /// Upload all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Upload only this platform of a multi-platform image
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print only the name of the image
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: images are verified by digest
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Name of the image
    #[arg(value_name = "IMAGE[:TAG]")]
    image: String,
}

fn parse(image: &str) -> Result<Reference, CliError> {
    image
        .parse()
        .map_err(|error: oci::ReferenceError| CliError::usage(error.to_string()))
}

/// The name as people read it, with its tag; the text itself if it is none.
pub(super) fn familiar(image: &str) -> String {
    match image.parse::<Reference>() {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => image.to_owned(),
    }
}

impl Pull {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let reference = parse(&self.image)?;
        if self.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
            return Err(CliError::usage("tag can't be used with --all-tags/-a"));
        }
        let bare = reference.tag().is_none() && reference.digest().is_none();
        if bare && !self.all_tags && !self.quiet {
            output::line("Using default tag: latest")?;
        }
        let platform = self
            .platform
            .as_deref()
            .or(ctx.settings.default_platform.as_deref());
        let lines = request(ctx, &reference, self.all_tags, platform).await?;
        let full = if self.all_tags {
            reference
        } else {
            reference.with_default_tag()
        };
        if self.quiet {
            progress::drain(lines).await?;
        } else {
            let terminal = output::stdout_is_terminal() && ctx.settings.color;
            progress::show(lines, io::stdout(), terminal, |_| {}).await?;
        }
        output::line(full.to_string())?;
        Ok(0)
    }
}

impl Push {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let reference = parse(&self.image)?;
        if reference.digest().is_some() {
            return Err(CliError::usage(
                "cannot push a digest reference: name the image by a tag",
            ));
        }
        if self.all_tags && reference.tag().is_some() {
            return Err(CliError::usage("tag can't be used with --all-tags/-a"));
        }
        let reference = match (self.all_tags, reference.tag()) {
            (false, None) => {
                if !self.quiet {
                    output::line("Using default tag: latest")?;
                }
                reference.with_default_tag()
            }
            _ => reference,
        };
        let query = Query::new()
            .maybe("tag", reference.tag().map(oci::Tag::as_str))
            .maybe("platform", platform_json(self.platform.as_deref())?);
        let mut call = Call::query(query);
        call.headers.insert(
            credentials::HEADER,
            credentials::header(&ctx.settings.config, reference.registry()).await?,
        );
        let path = format!("/images/{}/push", segment(&reference.familiar_name()));
        let response = ctx.engine.stream(Method::POST, &path, call).await?;
        let lines = JsonLines::new(response.into_body());
        if self.quiet {
            progress::drain(lines).await?;
            output::line(reference.to_string())?;
        } else {
            let terminal = output::stdout_is_terminal() && ctx.settings.color;
            progress::show(lines, io::stdout(), terminal, |_| {}).await?;
        }
        Ok(0)
    }
}

/// Push wants its platform as a JSON object.
fn platform_json(text: Option<&str>) -> Result<Option<String>, CliError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let platform = oci::Platform::parse(text).ok_or_else(|| {
        CliError::usage(format!(
            "invalid platform '{text}': write os/architecture[/variant]"
        ))
    })?;
    Ok(serde_json::to_string(&platform).ok())
}

async fn request(
    ctx: &Context,
    reference: &Reference,
    all_tags: bool,
    platform: Option<&str>,
) -> Result<JsonLines, CliError> {
    let key = (!all_tags).then(|| reference.manifest_key());
    let query = Query::new()
        .with("fromImage", reference.familiar_name())
        .maybe("tag", key)
        .maybe("platform", platform);
    let mut call = Call::query(query);
    call.headers.insert(
        credentials::HEADER,
        credentials::header(&ctx.settings.config, reference.registry()).await?,
    );
    let response = ctx
        .engine
        .stream(Method::POST, "/images/create", call)
        .await?;
    Ok(JsonLines::new(response.into_body()))
}

/// The pull that `run` needs: progress on stderr, because stdout is the
/// container's.
pub(super) async fn quietly_on_stderr(
    ctx: &Context,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), CliError> {
    let reference = parse(image)?;
    let lines = request(ctx, &reference, false, platform).await?;
    if quiet {
        return progress::drain(lines).await;
    }
    let terminal = output::stderr_is_terminal() && ctx.settings.color;
    progress::show(lines, Stderr, terminal, |_| {}).await
}

/// Unbuffered, and never an error: a closed stderr must not stop the pull.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
