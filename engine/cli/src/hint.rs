//! What to do next after a failure that the engine reports.
//!
//! Shown to people only: on a terminal, in a line of its own, so that scripts
//! which compare messages meet the engine's words alone.

use crate::{error::CliError, output};

/// Prints the hint for an error, if there is one, it is wanted and somebody is
/// there to read it.
pub fn show(error: &CliError, wanted: bool) {
    if !wanted || !output::stderr_is_terminal() {
        return;
    }
    if let Some(text) = error.engine_message().and_then(of) {
        output::note(format!("hint: {text}"));
    }
}

/// The hint for an engine's message.
fn of(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let has = |text: &str| lower.contains(text);
    let hint = if has("port is already allocated") {
        "publish on another host port, or let the engine choose one with -p 0:PORT; \
         'carrack ps' shows who has it"
    } else if has("is already in use by container") {
        "choose another name, remove that container with 'carrack rm', or add --rm to runs \
         that leave nothing"
    } else if has("no such container") {
        "'carrack ps -a' lists all containers, also stopped ones"
    } else if has("no such image") {
        "'carrack images' lists the images here; 'carrack pull' fetches one"
    } else if has("no such volume") {
        "'carrack volume ls' lists the volumes"
    } else if has("container is running") && has("remove") {
        "'carrack rm -f' stops and removes in one step"
    } else if has("is not running") {
        "'carrack start' starts it; 'carrack logs' shows why it ended"
    } else if has("unauthorized") || has("access denied") || has("authentication required") {
        return Some(match registry(message) {
            Some(host) => format!("log in with 'carrack login {host}', then try again"),
            None => "log in with 'carrack login REGISTRY', then try again".to_owned(),
        });
    } else if has("no space left on device") {
        "'carrack system df' shows what uses the disk; 'carrack system prune' frees some of it"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// The first word of a message that is an image of a registry with a host.
fn registry(message: &str) -> Option<String> {
    message
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','))
        .map(|word| word.trim_end_matches([':', '.']))
        .filter(|word| word.contains('/') && !word.contains("://"))
        .filter_map(|word| word.parse::<oci::Reference>().ok())
        .map(|reference| reference.registry().to_owned())
        .find(|host| host.contains(['.', ':']) && host != oci::DEFAULT_REGISTRY)
}

#[cfg(test)]
#[path = "hint/tests.rs"]
mod tests;
