//! Where log lines go: to standard error, as `log` and `log_format` say.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Config, LogFormat};

/// Begins to log. What is logged already goes on as it does: a process has one log.
pub(crate) fn begin(config: &Config) {
    // The configuration was checked, so what cannot be read here is a mistake of the program's; then nothing
    // is left out.
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let begun = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // A test in this process may have begun it before.
    drop(begun);
}
