//! Reads the little languages inside flags: ports, mounts, environment,
//! limits. Pure, except that environment files and label files are read.
//!
//! The accepted forms and defaults are those of docker-run(1).

mod environment;
mod limits;
mod mounts;
mod networks;
mod ports;

pub use environment::{environment, labels, option_map};
pub use limits::{
    capability, device, gpus, health_command, restart_policy, throttle, ulimit, weight_device,
};
pub use mounts::{Volume, mount, tmpfs, volume};
pub use networks::{NetworkFlag, extra_host, network};
pub use ports::{exposed, published};

/// Splits a comma-separated value with quotes, as `--mount` has it.
///
/// # Errors
/// When a quote is not closed.
fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("the quote in '{text}' is not closed"));
    }
    fields.push(field);
    Ok(fields)
}

/// `true`, `1`, `false`, `0`.
fn boolean(key: &str, text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(format!(
            "invalid value for {key}: '{text}': write true or false"
        )),
    }
}

#[cfg(test)]
#[path = "flags/tests.rs"]
mod tests;
