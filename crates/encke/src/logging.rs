//! Where log lines go: to standard error, as `log` and `log_format` say.

mod limit;

use std::{
    error::Error,
    io::{self, IsTerminal},
    time::Instant,
};

use tracing_subscriber::{EnvFilter, fmt};

use self::limit::Limited;
use crate::config::{Config, LogFormat};

/// The target of what is said of the settings. Each line is of another one and they are written once, so
/// that none of them is left out.
pub(crate) const SETTINGS: &str = "encke::settings";

/// There is no log: something in this process has begun another one.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot begin: {0}")]
pub struct LogTaken(#[source] Box<dyn Error + Send + Sync>);

/// Begins to log. A process has one log, so this is done once.
///
/// # Errors
/// [`LogTaken`] when it was done before; what was begun then goes on as it does.
pub(crate) fn begin(config: &Config) -> Result<(), LogTaken> {
    // The configuration was checked, so what cannot be read here is a mistake of the program's; then nothing
    // is left out.
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let format = config.log_format;
    match format {
        LogFormat::Text => {
            lines.map_event_format(|lines| Limited::new(lines, format, Instant::now)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.map_event_format(|lines| Limited::new(lines, format, Instant::now)).try_init()
        }
    }
    .map_err(LogTaken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_log_is_refused() {
        let config = Config { log: "off".into(), ..Config::default() };
        // Whether this is the first in this process is not known.
        let _ = begin(&config);
        let refused = begin(&config).unwrap_err().to_string();
        assert!(refused.starts_with("the log cannot begin: "), "{refused}");
    }
}
