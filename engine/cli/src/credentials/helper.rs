//! The `docker-credential-<name>` protocol: one verb as argument, JSON or a
//! server name on standard input, JSON or a message on standard output.

use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::error::CliError;

/// What a helper says when it knows nothing about a server.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What a helper knows about a server.
pub(super) struct Found {
    pub(super) username: String,
    pub(super) secret: String,
}

pub(super) async fn get(helper: &str, server: &str) -> Result<Option<Found>, CliError> {
    match call(helper, "get", server.as_bytes()).await? {
        Answer::Done(output) => {
            let entry: Entry = serde_json::from_slice(&output).map_err(|error| {
                CliError::usage(format!(
                    "docker-credential-{helper} get answered no JSON ({error}): correct credsStore in config.json"
                ))
            })?;
            Ok(Some(Found {
                username: entry.username,
                secret: entry.secret,
            }))
        }
        Answer::Failed(message) if message.contains(NOT_FOUND) => Ok(None),
        Answer::Failed(message) => Err(failure(helper, "get", &message)),
    }
}

pub(super) async fn store(
    helper: &str,
    server: &str,
    username: &str,
    secret: &str,
) -> Result<(), CliError> {
    let entry = Entry {
        server_url: server.to_owned(),
        username: username.to_owned(),
        secret: secret.to_owned(),
    };
    let input = serde_json::to_vec(&entry).unwrap_or_default();
    match call(helper, "store", &input).await? {
        Answer::Done(_) => Ok(()),
        Answer::Failed(message) => Err(failure(helper, "store", &message)),
    }
}

pub(super) async fn erase(helper: &str, server: &str) -> Result<(), CliError> {
    match call(helper, "erase", server.as_bytes()).await? {
        Answer::Done(_) => Ok(()),
        Answer::Failed(message) if message.contains(NOT_FOUND) => Ok(()),
        Answer::Failed(message) => Err(failure(helper, "erase", &message)),
    }
}

enum Answer {
    Done(Vec<u8>),
    Failed(String),
}

async fn call(helper: &str, verb: &str, input: &[u8]) -> Result<Answer, CliError> {
    // The name comes from a file: it must stay one program of the search path.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(plain) {
        return Err(CliError::usage(format!(
            "invalid credential helper {helper:?} in config.json: write the part behind docker-credential-"
        )));
    }
    let program = format!("docker-credential-{helper}");
    let context = || {
        format!(
            "cannot run {program}, which config.json names (install it, or remove credsStore or credHelpers there)"
        )
    };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| CliError::io(context(), error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says so by its exit status.
        let _ = stdin.write_all(input).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| CliError::io(context(), error))?;
    if output.status.success() {
        return Ok(Answer::Done(output.stdout));
    }
    Ok(Answer::Failed(
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    ))
}

fn failure(helper: &str, verb: &str, message: &str) -> CliError {
    CliError::usage(format!(
        "docker-credential-{helper} {verb} failed: {message}"
    ))
}
