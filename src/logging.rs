//! Logs: one stream on standard error for the whole tree.

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Config, LogFormat};

/// Installs the subscriber of this process. A filter that does not parse is
/// replaced by `info`, with a warning.
pub fn install(config: &Config) {
    let (filter, warning) = match EnvFilter::try_new(&config.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => {
            let colour = rustix::termios::isatty(std::io::stderr());
            builder.with_ansi(colour).try_init()
        }
    };
    if let (Some(warning), Ok(())) = (warning, installed) {
        tracing::warn!(
            "log filter {:?} does not parse ({warning}): using info",
            config.log
        );
    }
}
