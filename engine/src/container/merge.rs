//! The request's configuration over the image's: pure.

use std::collections::BTreeMap;

use engine_api::ContainerConfig;

use crate::error::{EngineError, Result};

/// Labels in this namespace steer Carrack itself. One that comes from an image
/// is dropped: an image is data, not a caller.
const RESERVED_LABELS: &str = "io.carrack.";

/// Fills what the request left open from the image, by Docker's rules: lists
/// of the command replace each other, environment and labels merge by key.
///
/// # Errors
/// When neither names a command.
pub(crate) fn merge(
    mut request: ContainerConfig,
    image: &oci::ContainerConfig,
) -> Result<ContainerConfig> {
    let entrypoint_given = request.entrypoint.is_some();
    if request.entrypoint.as_ref().is_none_or(Vec::is_empty)
        && request.cmd.as_ref().is_none_or(Vec::is_empty)
    {
        request.cmd.clone_from(&image.cmd);
        request.args_escaped = image.args_escaped;
    }
    if !entrypoint_given {
        request.entrypoint.clone_from(&image.entrypoint);
    }
    // `--entrypoint ""` is sent as one empty word and means none.
    if request
        .entrypoint
        .as_ref()
        .is_some_and(|e| e.len() == 1 && e[0].is_empty())
    {
        request.entrypoint = None;
    }
    if command(&request).is_empty() {
        return Err(EngineError::bad("no command specified"));
    }
    if request.user.is_empty() {
        request.user.clone_from(&image.user);
    }
    if request.working_dir.is_empty() {
        request.working_dir.clone_from(&image.working_dir);
    }
    if request.stop_signal.is_empty() {
        request.stop_signal = image.stop_signal.clone().unwrap_or_default();
    }
    if request.stop_timeout.is_none() {
        request.stop_timeout = image.stop_timeout;
    }
    if request.shell.is_none() {
        request.shell.clone_from(&image.shell);
    }
    request.env = Some(merge_env(&image.env, request.env.as_deref().unwrap_or(&[])));
    for (port, value) in &image.exposed_ports {
        request
            .exposed_ports
            .entry(port.clone())
            .or_insert_with(|| value.clone());
    }
    for (label, value) in &image.labels {
        if !label.starts_with(RESERVED_LABELS) {
            request
                .labels
                .entry(label.clone())
                .or_insert_with(|| value.clone());
        }
    }
    if !image.volumes.is_empty() {
        let volumes = request.volumes.get_or_insert_with(BTreeMap::new);
        for (path, value) in &image.volumes {
            volumes.entry(path.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(request)
}

/// Entry point and command as one argument vector.
pub(crate) fn command(config: &ContainerConfig) -> Vec<String> {
    let words = config.entrypoint.iter().chain(&config.cmd);
    words.flatten().cloned().collect()
}

/// The image's variables that the request does not name, then the request's.
/// A name without `=` removes the image's variable.
fn merge_env(image: &[String], request: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or("").to_owned();
    let named: Vec<String> = request.iter().map(|entry| name(entry)).collect();
    let kept = image.iter().filter(|entry| !named.contains(&name(entry)));
    let set = request.iter().filter(|entry| entry.contains('='));
    kept.chain(set).cloned().collect()
}

#[cfg(test)]
#[path = "merge/tests.rs"]
mod tests;
