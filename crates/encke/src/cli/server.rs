//! How the commands find the server and the keys for it.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use encke_client::Api;

use super::CliError;
use crate::config::{Config, ConfigError, DevKeys, Layers, Scopes};
use crate::dialects::Registry;

/// How much of a file with a key is read, in bytes.
const KEY_FILE_MAX_BYTES: u64 = 4096;
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8080";

/// Where the server is.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's address; HOST:PORT stands for http://HOST:PORT, unix:/PATH is a unix socket
    #[arg(
        long = "server", env = "ENCKE_URL", value_name = "URL", default_value = DEFAULT_ADDRESS,
        value_parser = address
    )]
    address: String,
    /// Where else to look for keys: the server's configuration file
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the server is, and the key of its API.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The key of the server API. When not given: from the configuration, or, on the same machine, the key
    /// that `serve --dev` made
    ///
    /// A key on the command line is seen by everyone who may list processes: use ENCKE_API_KEY or
    /// --api-key-file.
    #[arg(long, env = "ENCKE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// A file with the key of the server API in its first line
    #[arg(long, env = "ENCKE_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// Reads an address, to which `http://` is added if it is a host and a port alone.
fn address(text: &str) -> Result<String, Infallible> {
    let authority = text.split('/').next().unwrap_or_default();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    Ok(if has_port { format!("http://{text}") } else { text.to_owned() })
}

impl ServerArgs {
    pub(crate) fn address(&self) -> &str {
        // An empty variable is as if it were not set.
        if self.address.is_empty() { DEFAULT_ADDRESS } else { &self.address }
    }

    /// The server's configuration, as far as it is known here.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        local_config(self.config.clone())
    }

    /// Whether the server is on this machine, so that keys found here are meant for it. They are not shown to
    /// any other.
    fn is_local(&self) -> bool {
        if self.address().starts_with("unix:") {
            return true;
        }
        let url = url::Url::parse(self.address()).ok();
        match url.as_ref().and_then(url::Url::host) {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

impl ApiArgs {
    /// The server API with the key that was given or found.
    pub(crate) fn api(&self) -> Result<Api, CliError> {
        let hint = "set ENCKE_API_KEY or give --api-key-file (a server in dev mode keeps it in dev-keys.json in its data directory, see ENCKE_DATA)";
        let key = self.key()?.ok_or(CliError::NoKey { key: "api_key", hint })?;
        Ok(Api::new(self.server.address(), &key)?)
    }

    /// Where the server is.
    pub(crate) fn server(&self) -> &ServerArgs {
        &self.server
    }

    /// The key that was given or found.
    pub(crate) fn key(&self) -> Result<Option<String>, CliError> {
        let given = self.api_key.clone().filter(|key| !key.is_empty());
        let file = self.api_key_file.as_deref().filter(|path| !path.as_os_str().is_empty());
        match (given, file) {
            (Some(key), _) => Ok(Some(key)),
            (None, Some(file)) => read_key(file).map(Some),
            (None, None) => self.found_key(),
        }
    }

    fn found_key(&self) -> Result<Option<String>, CliError> {
        let config = self.server.config()?;
        let whole = config.all_api_keys().into_iter().filter(|entry| entry.scopes == Scopes::ALL);
        if let Some(key) = whole.filter_map(|entry| entry.key).next() {
            return Ok(Some(key.expose().to_owned()));
        }
        if !self.server.is_local() {
            return Ok(None);
        }
        let keys = DevKeys::read(&config.data).map_err(ConfigError::DevKeys)?;
        Ok(keys.map(|keys| keys.api_key.expose().to_owned()))
    }
}

/// The key in the first line of a file.
fn read_key(path: &Path) -> Result<String, CliError> {
    let unreadable = |problem: String| CliError::KeyFile { path: path.to_owned(), problem };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(KEY_FILE_MAX_BYTES).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() {
        Err(unreadable("its first line holds no key".to_owned()))
    } else {
        Ok(key.to_owned())
    }
}

/// The configuration from a file and the environment, for a command that is not the server.
///
/// The API key of the environment is left out: the commands take it as it is, since the server that it is for
/// decides whether it is good enough.
pub(crate) fn local_config(file: Option<PathBuf>) -> Result<Config, ConfigError> {
    let mut layers = Layers::new(Registry::built_in().names());
    if let Some(file) = file.filter(|path| !path.as_os_str().is_empty()) {
        layers = layers.file(&file)?;
    }
    layers.env(|name| if name == "ENCKE_API_KEY" { None } else { std::env::var(name).ok() }).load()
}
