//! Where log lines go: to standard error, as `log` and `log_format` say.

mod journal;
mod limit;

use std::{
    error::Error,
    io::{self, IsTerminal},
    sync::Arc,
    time::Instant,
};

use futures_util::future::BoxFuture;
use tracing_subscriber::{EnvFilter, fmt};

use self::{
    journal::{Lines, Timer},
    limit::Limited,
};
use crate::{
    config::{AUDIT_TARGET, AuditLevel, Config, LogFormat},
    reload::{Change, Problem, Reload},
};

/// The target of what is said of the settings. Each line is of another one and they are written once, so
/// that none of them is left out.
pub(crate) const SETTINGS: &str = "encke::settings";

/// There is no log: something in this process has begun another one.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot begin: {0}")]
pub struct LogTaken(#[source] Box<dyn Error + Send + Sync>);

/// What is logged; it can be changed.
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

/// Begins to log. A process has one log, so this is done once.
///
/// # Errors
/// [`LogTaken`] when it was done before; what was begun then goes on as it does.
pub(crate) fn begin(config: &Config) -> Result<LogFilter, LogTaken> {
    // The configuration was checked, so what cannot be read here is a mistake of the program's; then nothing
    // is left out.
    let filter = filter(config).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_writer(io::stderr).with_ansi(is_coloured());
    let format = config.log_format;
    let (set, begun): (Arc<dyn Fn(EnvFilter) + Send + Sync>, _) = match format {
        LogFormat::Text => {
            let in_journal = journal::reads_stderr();
            let lines = lines.with_timer(Timer { in_journal });
            let lines = lines.map_event_format(|lines| Lines { lines, in_journal });
            let lines = lines.map_event_format(|lines| Limited::new(lines, format, Instant::now));
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (Arc::new(move |filter| drop(handle.reload(filter))), lines.try_init())
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.map_event_format(|lines| Limited::new(lines, format, Instant::now));
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (Arc::new(move |filter| drop(handle.reload(filter))), lines.try_init())
        }
    };
    begun.map(|()| LogFilter(set)).map_err(LogTaken)
}

/// What is logged: as `log` says, and the audit trail whatever it says, which has a switch of its own.
fn filter(config: &Config) -> Result<EnvFilter, Problem> {
    let filter = EnvFilter::try_new(&config.log)?;
    let level = if config.audit == AuditLevel::Off { "off" } else { "info" };
    Ok(filter.add_directive(format!("{AUDIT_TARGET}={level}").parse()?))
}

impl Reload for LogFilter {
    fn keys(&self) -> &'static [&'static str] {
        &["log"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let set = Arc::clone(&self.0);
        Box::pin(async move {
            let filter = filter(&config)?;
            Ok(Box::new(move || set(filter)) as Change)
        })
    }
}

/// Whether a terminal reads the log, where colours are not refused (<https://no-color.org>).
fn is_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_log_is_refused() {
        let config = Config { log: "off".into(), ..Config::default() };
        // Whether this is the first in this process is not known.
        let _ = begin(&config);
        let refused = begin(&config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.starts_with("the log cannot begin: "), "{refused}");
    }
}
