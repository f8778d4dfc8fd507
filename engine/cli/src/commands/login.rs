//! `login` and `logout`.

use std::io::{self, Read as _};

use clap::Args;
use oci::DEFAULT_REGISTRY;

use super::Context;
use crate::{
    credentials::{self, Kept},
    error::CliError,
    output, registry_login,
    terminal::{self, NoEcho},
};

/// Longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Log in to a registry.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack login -u admin                                   this host's Carrack server\n  \
    carrack login -u ci --password-stdin registry.example < token\n\n\
    The credentials are kept in config.json, which docker reads too, or by the\n\
    docker-credential helper that config.json names (credsStore, credHelpers).")]
pub struct Login {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password (prefer --password-stdin: other users see command lines)
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Registry (host[:port]); the Carrack server's when left out
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Log out of a registry.
#[derive(Args, Clone, Debug)]
pub struct Logout {
    /// Registry (host[:port]); the Carrack server's when left out
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// `host[:port]` of what a person writes for a registry.
fn registry_of(ctx: &Context, text: Option<&str>) -> Result<String, CliError> {
    let text = text.unwrap_or_else(|| ctx.settings.server_host());
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    if matches!(host, "index.docker.io" | "registry-1.docker.io") {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    let valid = oci::Repository::parse("x")
        .and_then(|repository| oci::Reference::new(host, repository, None, None));
    match valid {
        Ok(_) if !host.is_empty() => Ok(host.to_owned()),
        _ => Err(CliError::usage(format!(
            "{text:?} is not a registry: write host[:port]"
        ))),
    }
}

impl Login {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let registry = registry_of(ctx, self.registry.as_deref())?;
        if self.password_stdin && self.username.is_none() {
            return Err(CliError::usage(
                "Must provide --username with --password-stdin",
            ));
        }
        let user = match self.username {
            Some(user) => user,
            None => ask_user(ctx, &registry).await?,
        };
        if user.is_empty() {
            return Err(CliError::usage("username is empty: name one with -u"));
        }
        let password = match self.password {
            Some(password) => {
                output::note(
                    "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
                );
                password
            }
            None if self.password_stdin => read_password_from_stdin()?,
            None => ask_password()?,
        };
        if password.is_empty() {
            return Err(CliError::usage("password is empty"));
        }
        registry_login::verify(&registry, &user, &password).await?;
        let mut config = ctx.settings.config.clone();
        let kept = credentials::keep(&mut config, &registry, &user, &password).await?;
        if kept == Kept::File {
            output::note(format!(
                "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper (credsStore) to remove this warning.\n",
                config.path().display()
            ));
        }
        output::line("Login Succeeded")?;
        Ok(0)
    }
}

impl Logout {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let registry = registry_of(ctx, self.registry.as_deref())?;
        let mut config = ctx.settings.config.clone();
        let shown = credentials::key_of(&registry);
        if credentials::forget(&mut config, &registry).await? {
            output::line(format!("Removing login credentials for {shown}"))?;
        } else {
            output::line(format!("Not logged in to {shown}"))?;
        }
        Ok(0)
    }
}

async fn ask_user(ctx: &Context, registry: &str) -> Result<String, CliError> {
    if !terminal::stdin_is_terminal() {
        return Err(CliError::usage(
            "Cannot perform an interactive login from a non TTY device: give -u and --password-stdin",
        ));
    }
    let known = credentials::find(&ctx.settings.config, registry)
        .await?
        .username;
    let question = if known.is_empty() {
        "Username: ".to_owned()
    } else {
        format!("Username ({known}): ")
    };
    output::print(question)?;
    let answer = read_line()?;
    Ok(if answer.is_empty() { known } else { answer })
}

fn ask_password() -> Result<String, CliError> {
    if !terminal::stdin_is_terminal() {
        return Err(CliError::usage(
            "Cannot perform an interactive login from a non TTY device: give --password-stdin",
        ));
    }
    output::print("Password: ")?;
    let silent =
        NoEcho::enter().map_err(|error| CliError::io("cannot hide the password", error))?;
    let answer = read_line();
    drop(silent);
    output::print("\n")?;
    answer
}

fn read_line() -> Result<String, CliError> {
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CliError::io("cannot read the answer", error))?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_password_from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| CliError::io("cannot read the password from standard input", error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
