//! Where log lines go: to standard error, as `log` and `log_format` say.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    config::{Config, LogFormat},
    reload::{Change, Problem, Reload},
};

/// What is logged; it can be changed.
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

/// Begins to log. What is logged already goes on as it does: a process has one log.
pub(crate) fn begin(config: &Config) -> LogFilter {
    // The configuration was checked, so what cannot be read here is a mistake of the program's; then nothing
    // is left out.
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // The log is there as long as the process is, unless another had begun before.
    let (set, begun): (Arc<dyn Fn(EnvFilter) + Send + Sync>, _) = match config.log_format {
        LogFormat::Text => {
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (Arc::new(move |filter| drop(handle.reload(filter))), lines.try_init())
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (Arc::new(move |filter| drop(handle.reload(filter))), lines.try_init())
        }
    };
    // A test in this process may have begun it before.
    drop(begun);
    LogFilter(set)
}

impl Reload for LogFilter {
    fn keys(&self) -> &'static [&'static str] {
        &["log"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let set = Arc::clone(&self.0);
        Box::pin(async move {
            let filter = EnvFilter::try_new(&config.log)?;
            Ok(Box::new(move || set(filter)) as Change)
        })
    }
}
