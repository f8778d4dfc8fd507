//! `images`, `rmi`, `tag` and `carrack image …`.

use clap::{Args, Subcommand};
use engine_api::{ImageDelete, ImageHistory, ImageSummary};
use http::Method;
use time::OffsetDateTime;

use super::{
    Context, each,
    inspect::{Inspect, Kind},
    pull::{Pull, Push},
    system::Prune,
};
use crate::{
    client::{Call, Filters, Query, segment},
    error::CliError,
    format::{Listing, ellipsis, short_id},
    output,
    template::Map,
    units::{ago, go_time, human_size},
};

const NONE: &str = "<none>";
const HEADS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];
const IMAGES: Listing = Listing {
    type_name: "image",
    heads: HEADS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};
const IMAGES_WITH_DIGEST: Listing = Listing {
    type_name: "image",
    heads: HEADS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// Characters of a step that the history shows.
const STEP_CHARS: usize = 45;
const HISTORY: Listing = Listing {
    type_name: "history",
    heads: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// List images.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Filters (-f key=value):\n  \
    dangling=true, label, before (image), since (image), reference (pattern)\n\n\
    Examples:\n  \
    carrack images busybox                          one repository\n  \
    carrack images -f dangling=true -q              ids of images without a name\n  \
    carrack images --format '{{.Repository}}:{{.Tag}}'")]
pub struct Images {
    /// Show intermediate images too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only images that match (key=value)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository, or repository and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Show the steps that made an image.
#[derive(Args, Clone, Debug)]
pub struct History {
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Remove images.
#[derive(Args, Clone, Debug)]
pub struct Rmi {
    /// Remove even if containers use it
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Give an image another name.
#[derive(Args, Clone, Debug)]
pub struct Tag {
    /// Name or id of the image
    #[arg(value_name = "SOURCE[:TAG]")]
    source: String,
    /// Its further name
    #[arg(value_name = "TARGET[:TAG]")]
    target: String,
}

/// Commands on images.
#[derive(Subcommand, Debug)]
pub enum ImageCommand {
    /// Show the steps that made an image
    History(History),
    /// Show details of images as JSON
    Inspect(Inspect),
    /// List images
    #[command(visible_alias = "list")]
    Ls(Images),
    /// Remove unused images
    Prune(Prune),
    /// Download an image
    Pull(Pull),
    /// Upload an image
    Push(Push),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(Rmi),
    /// Give an image another name
    Tag(Tag),
}

impl ImageCommand {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::History(command) => command.run(ctx).await,
            Self::Inspect(command) => command.run(ctx, Some(Kind::Image)).await,
            Self::Ls(command) => command.run(ctx).await,
            Self::Prune(command) => command.images(ctx).await,
            Self::Pull(command) => command.run(ctx).await,
            Self::Push(command) => command.run(ctx).await,
            Self::Rm(command) => command.run(ctx).await,
            Self::Tag(command) => command.run(ctx).await,
        }
    }
}

impl Images {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let mut filters = Filters::parse(&self.filter)?;
        if let Some(reference) = &self.reference {
            filters.add("reference", reference);
        }
        let query = Query::new().flag("all", self.all).filters(&filters);
        let images: Vec<ImageSummary> = ctx.engine.get("/images/json", query).await?;
        let now = OffsetDateTime::now_utc();
        let mut rows = Vec::new();
        for image in &images {
            rows.extend(self.rows(image, now));
        }
        if self.quiet && self.format.is_none() {
            let ids: String = rows
                .iter()
                .filter_map(|row| row.get("ID").map(|id| format!("{id}\n")))
                .collect();
            output::print(ids)?;
            return Ok(0);
        }
        let listing = if self.digests {
            IMAGES_WITH_DIGEST
        } else {
            IMAGES
        };
        let format = self
            .format
            .as_deref()
            .or_else(|| ctx.settings.config.text("imagesFormat"));
        output::print(listing.render(format, rows)?)?;
        Ok(0)
    }

    /// One row for each name of the image.
    fn rows(&self, image: &ImageSummary, now: OffsetDateTime) -> Vec<Map> {
        let named = |text: &&String| !text.starts_with(NONE);
        let tags: Vec<_> = image
            .repo_tags
            .iter()
            .filter(named)
            .filter_map(|name| name.rsplit_once(':'))
            .collect();
        let digests: Vec<_> = image
            .repo_digests
            .iter()
            .filter(named)
            .filter_map(|name| name.split_once('@'))
            .collect();
        let digest_of = |repository: &str| {
            digests
                .iter()
                .find(|(name, _)| *name == repository)
                .map_or(NONE, |(_, digest)| digest)
        };
        let mut rows: Vec<Map> = tags
            .iter()
            .map(|(repository, tag)| self.row(image, repository, tag, digest_of(repository), now))
            .collect();
        // Pulled by digest: named by repository only.
        for (repository, digest) in &digests {
            if !tags.iter().any(|(tagged, _)| tagged == repository) {
                rows.push(self.row(image, repository, NONE, digest, now));
            }
        }
        if rows.is_empty() {
            rows.push(self.row(image, NONE, NONE, NONE, now));
        }
        rows
    }

    fn row(
        &self,
        image: &ImageSummary,
        repository: &str,
        tag: &str,
        digest: &str,
        now: OffsetDateTime,
    ) -> Map {
        let size = |bytes: i64| {
            if bytes < 0 {
                "N/A".to_owned()
            } else {
                human_size(bytes, 3)
            }
        };
        let mut row = IMAGES.row();
        let containers = if image.containers < 0 {
            "N/A".to_owned()
        } else {
            image.containers.to_string()
        };
        row.push("Containers", containers);
        row.push("CreatedAt", go_time(image.created));
        row.push("CreatedSince", ago(image.created, now));
        row.push("Digest", digest);
        row.push(
            "ID",
            if self.no_trunc {
                &image.id
            } else {
                short_id(&image.id)
            },
        );
        row.push("Repository", repository);
        row.push("SharedSize", size(image.shared_size));
        row.push("Size", size(image.size));
        row.push("Tag", tag);
        let unique = if image.shared_size < 0 {
            -1
        } else {
            image.size - image.shared_size
        };
        row.push("UniqueSize", size(unique));
        row.push("VirtualSize", human_size(image.size, 4));
        row
    }
}

impl History {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let path = format!("/images/{}/history", segment(&self.image));
        let steps: Vec<ImageHistory> = ctx.engine.get(&path, Query::new()).await?;
        let now = OffsetDateTime::now_utc();
        let rows: Vec<_> = steps.iter().map(|step| self.row(step, now)).collect();
        if self.quiet && self.format.is_none() {
            let ids: String = rows
                .iter()
                .filter_map(|row| row.get("ID").map(|id| format!("{id}\n")))
                .collect();
            output::print(ids)?;
            return Ok(0);
        }
        output::print(HISTORY.render(self.format.as_deref(), rows)?)?;
        Ok(0)
    }

    fn row(&self, step: &ImageHistory, now: OffsetDateTime) -> Map {
        let by = step.created_by.replace('\t', " ");
        let created = go_time(step.created)
            .replace(" +0000 UTC", "Z")
            .replace(' ', "T");
        let mut row = HISTORY.row();
        row.push("Comment", step.comment.as_str());
        row.push("CreatedAt", created.as_str());
        row.push(
            "CreatedBy",
            if self.no_trunc {
                by
            } else {
                ellipsis(&by, STEP_CHARS)
            },
        );
        row.push(
            "CreatedSince",
            if self.human {
                ago(step.created, now)
            } else {
                created
            },
        );
        let id = if self.no_trunc {
            &step.id
        } else {
            short_id(&step.id)
        };
        row.push("ID", if step.id == "<missing>" { &step.id } else { id });
        row.push(
            "Size",
            if self.human {
                human_size(step.size, 3)
            } else {
                step.size.to_string()
            },
        );
        row
    }
}

impl Rmi {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let query = &Query::new()
            .flag("force", self.force)
            .flag("noprune", self.no_prune);
        each(ctx, &self.images, |name| async move {
            let path = format!("/images/{}", segment(&name));
            let call = Call::query(query.clone());
            let removed: Vec<ImageDelete> = ctx.engine.json(Method::DELETE, &path, call).await?;
            let lines: Vec<_> = removed.iter().map(removed_line).collect();
            Ok((!lines.is_empty()).then(|| lines.join("\n")))
        })
        .await
    }
}

/// `Untagged: name` or `Deleted: id`.
pub(super) fn removed_line(removed: &ImageDelete) -> String {
    match &removed.deleted {
        deleted if !deleted.is_empty() => format!("Deleted: {deleted}"),
        _ => format!("Untagged: {}", removed.untagged),
    }
}

impl Tag {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let target: oci::Reference =
            self.target.parse().map_err(|error: oci::ReferenceError| {
                CliError::usage(format!(
                    "\"{}\" is not a valid repository/tag: {error}",
                    self.target
                ))
            })?;
        if target.digest().is_some() {
            return Err(CliError::usage(
                "refusing to create a tag with a digest reference",
            ));
        }
        let target = target.with_default_tag();
        let query = Query::new()
            .with("repo", target.familiar_name())
            .maybe("tag", target.tag().map(oci::Tag::as_str));
        let path = format!("/images/{}/tag", segment(&self.source));
        ctx.engine
            .command(Method::POST, &path, Call::query(query))
            .await?;
        Ok(0)
    }
}

#[cfg(test)]
#[path = "images/tests.rs"]
mod tests;
