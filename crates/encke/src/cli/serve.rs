//! `encke serve`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{CliError, named_files};
use crate::config::{Config, ConfigError, EngineUrl, Layers, ListenAddress};
use crate::dialects::Registry;
use crate::logging;

/// Run the server
///
/// Each option is also a key of the configuration file and an environment variable (ENCKE_LISTEN, ENCKE_DATA,
/// …), as are the settings that have no option; `encke config example` shows them all. The command line wins
/// over the environment, that over the file.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  encke serve --dev
  encke serve --config /etc/encke/encke.toml
  ENCKE_API_KEY=… ENCKE_TOKEN_SECRET=… encke serve --listen 0.0.0.0:8080 --engine redis://10.0.0.5")]
pub(crate) struct Args {
    /// Let anyone log in with an id alone, and make missing keys; listens on loopback only
    #[arg(long)]
    dev: bool,
    /// The configuration file
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:8080]; port 0 picks a free one, unix:/PATH is a unix socket
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<ListenAddress>,
    /// The directory for the logs [default: ./encke-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where the logs live: memory, log, redis://… or nats://… [default: log]
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    engine: Option<String>,
}

/// How long what still runs may take to end once the server has stopped.
const RUNTIME_END: Duration = Duration::from_secs(5);

/// Checks the engine here already, since a wrong one on the command line is bad usage, and keeps its text.
fn engine(text: &str) -> Result<String, String> {
    text.parse::<EngineUrl>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let mut config = args.load()?;
    config.complete_keys()?;
    let log = Arc::new(logging::begin(&config)?);
    config.warnings.iter().for_each(|warning| tracing::warn!(target: logging::SETTINGS, "{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_count())
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let reread = Arc::new(move || {
        let mut config = args.layers(Layers::regular_file)?.load()?;
        config.complete_keys()?;
        Ok(config)
    });
    let served = runtime.block_on(crate::serve(config, reread, log));
    // A read of a file that gives no answer, on a network that is gone say, is no reason not to end.
    runtime.shutdown_timeout(RUNTIME_END);
    Ok(served?)
}

/// The names of all variables of the environment that are set.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok())
}

impl Args {
    /// The configuration by these arguments, the environment and the file, whose own files are looked at too.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        self.layers(Layers::file)?.load_and_check(named_files::mistakes)
    }

    /// What is said, with the file read by `file`.
    fn layers(
        &self,
        file: impl FnOnce(Layers, &Path) -> Result<Layers, ConfigError>,
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers::new(Registry::built_in().names());
        if let Some(path) = self.config.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            layers = file(layers, path)?;
        }
        layers = layers.env(|name| std::env::var(name).ok()).variables(variables());
        if self.dev {
            layers = layers.option("dev", "--dev", true);
        }
        if let Some(listen) = &self.listen {
            layers = layers.option("listen", "--listen", listen.to_string());
        }
        if let Some(data) = &self.data {
            layers = layers.option("data", "--data", data.clone());
        }
        if let Some(engine) = &self.engine {
            layers = layers.option("engine", "--engine", engine.clone());
        }
        Ok(layers)
    }
}
