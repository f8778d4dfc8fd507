//! The query of `POST /api/v1/builds`, checked before anything is stored.

use builder_proto::api::BuildOptions;
use oci::{Platform, Reference};

use super::error::ApiError;

/// Longest value in bytes: build arguments end in environments, whose entries
/// the kernel limits to 128 KiB.
const VALUE_BYTES_MAX: usize = 128 * 1024;
/// Most tags of one build.
const TAGS_MAX: usize = 64;

/// Reads options from decoded query pairs.
///
/// # Errors
/// [`ApiError::InvalidArgument`] that names the parameter.
pub(crate) fn from_query(pairs: Vec<(String, String)>) -> Result<BuildOptions, ApiError> {
    let mut options = BuildOptions::default();
    let mut push = None;
    for (key, value) in pairs {
        if value.len() > VALUE_BYTES_MAX || value.contains('\0') {
            return Err(bad(&key, "is too long or contains a NUL byte"));
        }
        match key.as_str() {
            "tag" => options.tags.push(tag(&value)?),
            "dockerfile" => options.dockerfile = value,
            "target" => options.target = value,
            "build-arg" => {
                let (name, value) = assignment("build-arg", &value)?;
                options.build_args.insert(name, value);
            }
            "label" => {
                let (name, value) = assignment("label", &value)?;
                options.labels.insert(name, value);
            }
            "no-cache" => options.no_cache = flag("no-cache", &value)?,
            "push" => push = Some(flag("push", &value)?),
            "platform" => options.platform = platform(value)?,
            "network" => options.network = network(value)?,
            _ => {
                return Err(bad(
                    &key,
                    "is not known: use tag, dockerfile, target, build-arg, label, no-cache, push, platform or network",
                ));
            }
        }
    }
    if options.tags.len() > TAGS_MAX {
        return Err(bad("tag", "is given too often"));
    }
    options.push = push.unwrap_or(!options.tags.is_empty());
    if options.push && options.tags.is_empty() {
        return Err(bad("push", "needs at least one tag"));
    }
    Ok(options)
}

fn bad(parameter: &str, reason: &str) -> ApiError {
    let parameter: String = parameter.chars().take(80).collect();
    ApiError::InvalidArgument(format!("query parameter {parameter:?} {reason}"))
}

fn tag(value: &str) -> Result<String, ApiError> {
    let reference: Reference = value
        .parse()
        .map_err(|error| bad("tag", &format!("is not an image name: {error}")))?;
    if reference.digest().is_some() {
        return Err(bad("tag", "must not have a digest"));
    }
    Ok(reference.with_default_tag().familiar())
}

fn assignment(parameter: &str, value: &str) -> Result<(String, String), ApiError> {
    match value.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(bad(parameter, "must be NAME=VALUE")),
    }
}

fn flag(parameter: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "1" | "true" | "" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(parameter, "must be 0 or 1")),
    }
}

fn platform(value: String) -> Result<String, ApiError> {
    match value.is_empty() || Platform::parse(&value).is_some() {
        true => Ok(value),
        false => Err(bad("platform", "must be os/architecture[/variant]")),
    }
}

fn network(value: String) -> Result<String, ApiError> {
    match value.as_str() {
        "" | "default" | "none" | "host" => Ok(value),
        _ => Err(bad("network", "must be default, none or host")),
    }
}

#[cfg(test)]
#[path = "options/tests.rs"]
mod tests;
