//! The configuration of the server: one file, the environment and the command line, checked before a port
//! opens.
//!
//! `encke.example.toml` beside this crate shows every key with its default. Each key is also an environment
//! variable: `ENCKE_` and the key in capitals, the tables' names in front
//! (`ENCKE_RETENTION_DEFAULT_MAX_MESSAGES`). The command line wins over the environment, that over the file,
//! that over the default.

mod acme;
mod alpn;
mod api_keys;
mod audit;
mod auth;
mod certificate_files;
mod dev_keys;
mod dialects;
mod engine_url;
mod error;
mod keys;
mod layers;
mod limits;
mod listen_address;
mod log_format;
mod network;
mod node;
mod origins;
mod rates;
mod retention;
mod rules;
mod said;
mod scope;
mod secret;
mod slow;
mod unknown;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use encke_engine::RetentionTable;
use encke_proto::{AllowList, ChannelName};
use serde::Deserialize;

pub use alpn::Alpn;
pub use api_keys::ApiKeyEntry;
pub use audit::{AUDIT_TARGET, AuditLevel};
pub use auth::{Auth, AuthKey};
pub use certificate_files::CertificateFiles;
pub use dev_keys::{DevKeys, DevKeysError};
pub use dialects::Dialects;
pub use engine_url::EngineUrl;
pub use error::{ConfigError, KeysMissing, Source};
pub use layers::Layers;
pub(crate) use layers::parse_address;
pub use listen_address::ListenAddress;
pub use log_format::LogFormat;
pub use network::Network;
pub use rates::Limits;
pub use retention::{RetentionRule, RetentionSection};
pub use rules::RuleEntry;
pub use said::Said;
pub use scope::{Scope, Scopes};
pub use secret::Secret;
pub use slow::{Slow, SlowPolicy};
pub(crate) use unknown::unknown_variables;

/// Where the logs live unless something else is said. A build without it needs to be told.
const DEFAULT_ENGINE: EngineUrl = EngineUrl::local("log");

/// For how long browsers are told to use https alone, unless something else is said: a year, in seconds.
const HSTS_S: u64 = 31_536_000;

/// The most event loops of a node. A set of them is kept for each public channel that is followed.
pub const WORKERS_MAX: usize = 256;

/// Every setting of the server. Made by [`Layers::load`], which checks each value; the fields are then within
/// the bounds that are documented here.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: an IP address (or `localhost`) and a port; port 0 picks a free one. Default
    /// `127.0.0.1:8080`. In dev mode a loopback address.
    #[serde(deserialize_with = "layers::address")]
    pub listen: SocketAddr,
    /// Where to listen for backends and operators: the server API, the console, `/metrics`, the descriptions
    /// and health are served there, and of these health alone at `listen` and `tls_listen`. Default: there is
    /// no such listener, and the others serve all. In dev mode a loopback address or a unix socket.
    pub admin_listen: Option<ListenAddress>,
    /// The proxies in front, as CIDR networks: whose `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded`
    /// count, and no other peer's. At most 100. Default none: then each peer is a client, and
    /// `X-Forwarded-Proto` counts.
    pub trusted_proxies: Vec<Network>,
    /// Whether these begin each connection with a preface of the PROXY protocol, version 2. Default false.
    pub proxy_protocol: bool,
    /// Whether the console is served. Default true.
    pub console: bool,
    /// Whether the demo is served. Default true.
    pub demo: bool,
    /// Where to listen for TLS, besides. Default: nowhere. It needs `tls_cert` and
    /// `tls_key`, `tls_certificates` or `tls_acme`.
    #[serde(deserialize_with = "layers::optional_address")]
    pub tls_listen: Option<SocketAddr>,
    /// The file with the certificate and its chain, in PEM. Read again when it changes.
    pub tls_cert: Option<PathBuf>,
    /// The file with the certificate's private key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// More certificates with their keys, at most 100. A client is shown the first that is for the name that
    /// it asks for, `tls_cert` before these, and the first of all when none is.
    pub tls_certificates: Vec<CertificateFiles>,
    /// The names of hosts that a certificate is got for by ACME (RFC 8555), at most 100. Default none.
    #[serde(deserialize_with = "acme::names")]
    pub tls_acme: Vec<String>,
    /// An address for mail that the directory is told, as `mailto:…`. Default none.
    #[serde(deserialize_with = "acme::contact")]
    pub tls_acme_contact: Option<String>,
    /// The address of the directory that certificates are got from. Default Let's Encrypt's.
    #[serde(deserialize_with = "acme::directory")]
    pub tls_acme_directory: String,
    /// The file with the roots that the directory's own certificate is checked with, in PEM. Default: those
    /// that the system trusts.
    pub tls_acme_root: Option<PathBuf>,
    /// The versions of HTTP that TLS offers, the preferred one first: `h2`, `http/1.1` or both. Default both,
    /// in this order.
    pub tls_alpn: Vec<Alpn>,
    /// Whether requests in plain text are led to https. It needs `tls_listen`. Default false.
    pub tls_redirect: bool,
    /// The port that they are led to, 1 to 65,535. Default: that of `tls_listen`.
    pub tls_redirect_port: Option<u64>,
    /// For how long browsers are told to use https alone (`Strict-Transport-Security`), in seconds, up to
    /// 63,072,000 (two years); 0 does not tell them. Default 31,536,000 (a year) with `tls_redirect` outside
    /// dev mode, else 0.
    pub tls_hsts_s: Option<u64>,
    /// The directory for the logs, for what `tls_acme` gets, and in dev mode for the keys. Default
    /// `./encke-data`.
    pub data: PathBuf,
    /// Where the logs live: `memory`, `log`, `redis://…` or `nats://…`. Default `log`.
    pub engine: EngineUrl,
    /// Dev mode: anyone may log in with an id alone, and missing keys are made. Default false.
    pub dev: bool,
    /// The key of the server API, which allows everything. 16 to 512 bytes (any but an empty one in dev
    /// mode).
    pub api_key: Option<Secret>,
    /// More keys of the server API, each with what it allows. At most 100.
    pub api_keys: Vec<ApiKeyEntry>,
    /// The secret that client tokens are signed with (HS256). 32 bytes at least.
    pub token_secret: Option<Secret>,
    /// This node's name, as operators see it: 1 to 64 ASCII letters, digits, `.`, `-`, `_`. Default: the
    /// host's name, or `node-1`.
    pub node: String,
    /// How long a poll is held at most, in seconds, 1 to 120. Default 25.
    pub hold_s: u64,
    /// The longest silence on a stream, in seconds, 1 to 120. Default 20.
    pub heartbeat_s: u64,
    /// How long a session outlives its connection, in seconds, 1 to 3600. Default 15.
    pub session_grace_s: u64,
    /// How long a push without a time to live waits, in seconds, 1 to 31,536,000. Default 604,800 (7 days).
    pub push_ttl_s: u64,
    /// How long a token that a login gives is good, in seconds, 1 to 31,536,000. Default 86,400 (a day).
    pub token_ttl_s: u64,
    /// Foreign origins whose pages may use the cookie: `https://app.example.com`, `capacitor://localhost`.
    /// Default none; at most 100.
    #[serde(deserialize_with = "origins::origins")]
    pub allowed_origins: Vec<String>,
    /// Which pages may be pushed: http or https URLs whose scheme, host and port must match and whose path is
    /// a prefix. Default: empty, every page.
    #[serde(deserialize_with = "layers::allow_list")]
    pub url_allow_list: AllowList,
    /// How many connections at once, 1 to 10,000,000. Default 100,000. Some more are taken for probes and
    /// operators alone.
    pub max_connections: u64,
    /// How many connections at once from one address, up to 10,000,000; 0 is no bound. A reverse proxy is one
    /// address. When not said: 10,000, and no bound for this machine itself.
    pub max_connections_per_address: Option<u64>,
    /// How many sessions one user may have at once, 1 to 1,000,000. Default 1,000.
    pub max_sessions_per_user: u64,
    /// How many public channels the sessions of one user may follow on a node, all together, 128 to
    /// 100,000,000. Default 10,000.
    pub max_channels_per_user: u64,
    /// How many channels a user may make in an hour on a node, by publishing to names that no message was
    /// published to before, up to 1,000,000; 0 lets clients make none. Default 1,000.
    pub max_new_channels_per_hour: u64,
    /// Whether messages over WebSocket are compressed for clients that offer it (RFC 7692, each message by
    /// itself). Default false: it saves bandwidth and costs time.
    pub websocket_compression: bool,
    /// How many event loops, up to 256; 0 is one for each core. Default 0.
    pub workers: u64,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as
    /// `info,encke=debug`. Default `info`.
    pub log: String,
    /// How it is logged: `text` or `json`. Default `text`.
    pub log_format: LogFormat,
    /// What gets an audit line: `off`, `control` (closes, deletions, refusals of keys and tokens) or `all`
    /// (pushes and publishes of backends too). Default `control`.
    pub audit: AuditLevel,
    /// The public channel that audit lines are published to besides, which no client may follow or publish
    /// to. Default none.
    #[serde(deserialize_with = "audit::channel")]
    pub audit_channel: Option<ChannelName>,
    /// How long connections may take to end when the server stops, in seconds, up to 300. Default 10.
    pub shutdown_drain_s: u64,
    /// Over how long clients are spread who are told to come back when the server stops, at most, in seconds,
    /// 1 to 300; few come back within some two seconds. Default 10.
    pub shutdown_spread_s: u64,
    /// How much is kept of the public channels that a pattern fits; the first that fits wins. At most 1,000
    /// rules.
    pub retention: Vec<RetentionRule>,
    /// How much is kept of every other public channel.
    pub retention_default: RetentionSection,
    /// How much is kept of users' own channels. `max_age_s` is `push_ttl_s` when it is not said, and never
    /// less.
    pub retention_users: RetentionSection,
    /// Who may do what in the public channels that a pattern fits; the first that fits decides. Where there
    /// is any, what none allows is forbidden to clients. At most 100. Default none: tokens alone decide.
    pub rules: Vec<RuleEntry>,
    /// Receivers that take too little.
    pub slow: Slow,
    /// How often clients may ask.
    pub limits: Limits,
    /// How long messages of public channels gather before they are written, in milliseconds, up to 50; 0
    /// writes each at once, unless they come faster than they can be written: then up to 5. Default 0. What
    /// is pushed to users does not.
    pub linger_ms: u64,
    /// Whether sends to several sockets are made by one call of the kernel (`io_uring`), where it allows
    /// that. Default true.
    pub batched_sends: bool,
    /// Protocols of other servers, by name.
    pub dialects: Dialects,
    /// How tokens are read.
    pub auth: Auth,
    /// What of the configuration is of a former version or unknown, a line each; for the log, and for
    /// `check-config`.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// What was said of each key, for comparing this configuration with one that is read later.
    #[serde(skip)]
    pub said: Said,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            admin_listen: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            console: true,
            demo: true,
            tls_listen: None,
            tls_cert: None,
            tls_key: None,
            tls_certificates: Vec::new(),
            tls_acme: Vec::new(),
            tls_acme_contact: None,
            tls_acme_directory: acme::DEFAULT_DIRECTORY.to_owned(),
            tls_acme_root: None,
            tls_alpn: vec![Alpn::Http2, Alpn::Http11],
            tls_redirect: false,
            tls_redirect_port: None,
            tls_hsts_s: None,
            data: PathBuf::from("./encke-data"),
            engine: DEFAULT_ENGINE,
            dev: false,
            api_key: None,
            api_keys: Vec::new(),
            token_secret: None,
            node: node::default_name(),
            hold_s: 25,
            heartbeat_s: 20,
            session_grace_s: 15,
            push_ttl_s: 604_800,
            token_ttl_s: 86_400,
            allowed_origins: Vec::new(),
            url_allow_list: AllowList::default(),
            max_connections: 100_000,
            max_connections_per_address: None,
            max_sessions_per_user: 1_000,
            max_channels_per_user: 10_000,
            max_new_channels_per_hour: 1_000,
            websocket_compression: false,
            workers: 0,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            audit: AuditLevel::Control,
            audit_channel: None,
            shutdown_drain_s: 10,
            shutdown_spread_s: 10,
            retention: Vec::new(),
            retention_default: RetentionSection::default(),
            retention_users: RetentionSection::default(),
            rules: Vec::new(),
            slow: Slow::default(),
            limits: Limits::default(),
            linger_ms: 0,
            batched_sends: true,
            dialects: Dialects::default(),
            auth: Auth::default(),
            warnings: Vec::new(),
            said: Said::default(),
        }
    }
}

impl Config {
    /// Whether there is something to verify tokens with.
    #[must_use]
    pub fn has_token_keys(&self) -> bool {
        self.token_secret.is_some() || self.auth.has_keys()
    }

    /// How many event loops to run: as configured, or one for each core.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match usize::try_from(self.workers) {
            Ok(count) if count > 0 => count,
            _ => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
        }
    }

    /// For how long browsers are told to use https alone, in seconds; 0 does not tell them.
    #[must_use]
    pub fn hsts_s(&self) -> u64 {
        self.tls_hsts_s.unwrap_or(if self.tls_redirect && !self.dev { HSTS_S } else { 0 })
    }

    /// What is kept of which channel, as engines want it.
    #[must_use]
    pub fn retention_table(&self) -> RetentionTable {
        let public = self.retention_default.over(retention::PUBLIC);
        let own = self
            .retention_users
            .over(encke_engine::Retention { max_age_s: self.push_ttl_s, ..retention::OWN });
        let rules =
            self.retention.iter().map(|rule| (rule.channel.clone(), rule.keep().over(public))).collect();
        RetentionTable { rules, public, own }
    }

    /// Completes the keys that `serve` needs: in dev mode missing ones come from `DATA/dev-keys.json`, which
    /// is made when there is none.
    ///
    /// Afterwards there is a key of the server API, and something to verify tokens with; in dev mode
    /// `token_secret`.
    ///
    /// # Errors
    /// [`ConfigError::NoKeys`] outside dev mode, which says what to do; [`ConfigError::DevKeys`] when the
    /// file cannot be read or made.
    pub fn complete_keys(&mut self) -> Result<(), ConfigError> {
        let has_token_keys = self.has_token_keys();
        if self.has_api_key() && (self.token_secret.is_some() || (has_token_keys && !self.dev)) {
            return Ok(());
        }
        if !self.dev {
            return Err(ConfigError::NoKeys { api_key: !self.has_api_key(), token_secret: !has_token_keys });
        }
        let keys = DevKeys::read_or_make(&self.data).map_err(ConfigError::DevKeys)?;
        if !self.has_api_key() {
            self.api_key = Some(keys.api_key);
        }
        self.token_secret.get_or_insert(keys.token_secret);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_dev_mode_missing_keys_are_refused_with_what_to_do() {
        let mut config = Config::default();
        let refusal = config.complete_keys().unwrap_err().to_string();
        for word in [
            "`api_key`",
            "`token_secret`",
            "ENCKE_API_KEY",
            "ENCKE_TOKEN_SECRET",
            "openssl rand -hex 32",
            "--dev",
        ] {
            assert!(refusal.contains(word), "{refusal}");
        }
        config.api_key = Some(Secret::new("x".repeat(32)));
        let refusal = config.complete_keys().unwrap_err().to_string();
        assert!(refusal.contains("`token_secret`") && !refusal.contains("`api_key`"), "{refusal}");
        config.token_secret = Some(Secret::new("x".repeat(32)));
        assert!(config.complete_keys().is_ok());
    }

    #[test]
    fn in_dev_mode_missing_keys_are_made_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { dev: true, data: dir.path().join("data"), ..Config::default() };
        let mut other = Config { api_key: Some(Secret::new("mine".into())), ..config.clone() };
        config.complete_keys().unwrap();
        other.complete_keys().unwrap();
        assert_eq!(other.api_key.unwrap().expose(), "mine");
        assert_eq!(other.token_secret.unwrap().expose(), config.token_secret.unwrap().expose());
    }

    #[test]
    fn users_channels_are_kept_as_long_as_pushes_wait() {
        let config = Config { push_ttl_s: 1_000_000, ..Config::default() };
        let table = config.retention_table();
        assert_eq!(table.own.max_age_s, 1_000_000);
        assert_eq!(
            (table.public.max_messages, table.public.max_bytes, table.public.max_age_s),
            (1000, 16 << 20, 86_400)
        );
    }
}
