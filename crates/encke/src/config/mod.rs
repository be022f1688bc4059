//! The configuration of the server: one file, the environment and the command line, checked before a port
//! opens.
//!
//! Each setting is defined once, below or in the file of its table (`setting`). Each key is also an
//! environment variable: `ENCKE_` and the key in capitals, the tables' names in front
//! (`ENCKE_RETENTION_DEFAULT_MAX_MESSAGES`). The command line wins over the environment, that over the file,
//! that over the default.

mod access_log;
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
mod example;
mod hooks;
mod keys;
mod layers;
mod limits;
mod listen_address;
mod log_format;
mod mistake;
mod nearest;
mod network;
mod node;
mod origins;
mod places;
mod pusher;
mod rates;
mod reading;
mod reference;
mod retention;
mod rules;
mod said;
mod scope;
mod secret;
mod setting;
mod shown;
mod slow;
mod traces;
mod unknown;
mod url_checks;
mod websocket_compression;

use std::net::SocketAddr;
use std::path::PathBuf;

use encke_engine::RetentionTable;
use encke_proto::limits::{BODY_MAX_BYTES, SESSION_MAX_CHANNELS};
use encke_proto::{AllowList, ChannelName};
use serde::Deserialize;

use setting::{address, list, number, secret, settings, switch, table, tables, text, word, words};

pub use access_log::AccessLogTarget;
pub use alpn::Alpn;
pub use api_keys::ApiKeyEntry;
pub use audit::{AUDIT_TARGET, AuditLevel};
pub use auth::{Auth, AuthKey};
pub use certificate_files::CertificateFiles;
pub use dev_keys::{DevKeys, DevKeysError};
pub use dialects::Dialects;
pub use engine_url::EngineUrl;
pub use error::{ConfigError, KeysMissing};
pub(crate) use example::example;
pub use hooks::{Decision, HookEvent, Hooks, OnFailure};
pub(crate) use keys::reloads;
pub use layers::Layers;
pub use listen_address::ListenAddress;
pub use log_format::LogFormat;
pub use mistake::{Mistake, Source};
pub use network::Network;
pub use pusher::{PusherApp, WebhookEvent};
pub use rates::Limits;
pub(crate) use reference::reference;
pub use retention::{RetentionRule, RetentionSection};
pub use rules::RuleEntry;
pub use said::Said;
pub use scope::{Scope, Scopes};
pub use secret::Secret;
pub(crate) use shown::{Shown, shown};
pub use slow::{Slow, SlowPolicy};
pub use traces::Traces;
pub(crate) use unknown::unknown_variables;
pub use url_checks::UrlChecks;
pub use websocket_compression::WebsocketCompression;

/// For how long browsers are told to use https alone, unless something else is said: a year, in seconds.
const HSTS_S: u64 = YEAR_S;

/// A year, in seconds.
const YEAR_S: u64 = 31_536_000;

/// Longer than this a message would no longer come at once, in milliseconds.
const LINGER_MAX_MS: u64 = 50;

/// The most event loops of a node. A set of them is kept for each public channel that is followed.
pub const WORKERS_MAX: usize = 256;

settings! {
    /// Every setting of the server. Made by [`Layers::load`], which checks each value; the fields are then
    /// within the bounds that are defined here.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        /// Where to listen: an IP address (or `localhost`) and a port; port 0 picks a free one. Or a unix
        /// socket, for a proxy on this machine: `unix:/run/encke/client.sock`, whose file the owner and the
        /// group may use (mode 0660). Peers there count as 127.0.0.1. In dev mode a loopback address or a
        /// unix socket.
        listen: ListenAddress = "127.0.0.1:8080" => text();
        /// Where to listen for backends and operators: the server API, the console, `/metrics`, the
        /// descriptions and health are served there, and of these health alone at `listen` and `tls_listen`.
        /// Or a unix socket: `unix:/run/encke/admin.sock`. In dev mode a loopback address or a unix socket.
        admin_listen: Option<ListenAddress>
            => text().unset("no such listener, the others serve all").sample("\"127.0.0.1:8081\"");
        /// The proxies in front, as CIDR networks, at most 100: whose `X-Forwarded-For`, `X-Forwarded-Proto`
        /// and `Forwarded` count, and no other peer's. Limits by address then count their clients. Empty:
        /// each peer is a client, and `X-Forwarded-Proto` counts.
        trusted_proxies: Vec<Network> = [] => list();
        /// Whether these begin each connection with a preface of the PROXY protocol, version 2. For `listen`
        /// and `tls_listen`.
        proxy_protocol: bool = false => switch();
        /// Whether the console is served.
        console: bool = true => switch();
        /// Whether the demo is served.
        demo: bool = true => switch();
        /// Where to listen for TLS, besides. It needs `tls_cert` and `tls_key`, `tls_certificates` or
        /// `tls_acme`.
        #[serde(default, deserialize_with = "layers::optional_address")]
        tls_listen: Option<SocketAddr> => text().unset("nowhere").sample("\"0.0.0.0:8443\"");
        /// The file with the certificate and its chain, in PEM. Read again when it changes.
        tls_cert: Option<PathBuf> => text().sample("\"/etc/encke/cert.pem\"").reloads();
        /// The file with the certificate's private key, in PEM. Read again when it changes.
        tls_key: Option<PathBuf> => text().sample("\"/etc/encke/key.pem\"").reloads();
        /// More certificates with their keys, at most 100. A client is shown the first that is for the name
        /// that it asks for, `tls_cert` before these, and the first of all when none is.
        tls_certificates: Vec<CertificateFiles> = [] => tables(CertificateFiles::SETTINGS).reloads();
        /// The names of hosts that the server gets a certificate for and renews by itself (ACME, RFC 8555),
        /// at most 100. To set it is to agree to the terms of service of the directory.
        #[serde(deserialize_with = "acme::names")]
        tls_acme: Vec<String> = [] => list();
        /// An address for mail that the directory is told.
        #[serde(default, deserialize_with = "acme::contact")]
        tls_acme_contact: Option<String> => text().sample("\"ops@example.com\"");
        /// The address of the directory that certificates are got from: Let's Encrypt's, whose certificates
        /// browsers trust. To try it out: `https://acme-staging-v02.api.letsencrypt.org/directory`.
        #[serde(deserialize_with = "acme::directory")]
        tls_acme_directory: String = "https://acme-v02.api.letsencrypt.org/directory" => text();
        /// The file with the roots that the directory's own certificate is checked with, in PEM.
        tls_acme_root: Option<PathBuf>
            => text().unset("those that the system trusts").sample("\"/etc/encke/acme-root.pem\"");
        /// The versions of HTTP that TLS offers, the preferred one first.
        tls_alpn: Vec<Alpn> = ["h2", "http/1.1"] => words(&["h2", "http/1.1"]);
        /// Whether requests in plain text are led to https, at the names that the certificates are for;
        /// probes and what a proxy has got by https are served. It needs `tls_listen`.
        tls_redirect: bool = false => switch();
        /// The port that they are led to.
        tls_redirect_port: Option<u64> => number(1, 65_535).unset("that of tls_listen").sample("443");
        /// For how long browsers are told to use https alone (`Strict-Transport-Security`); 0 does not tell
        /// them. It is for all ports of a name.
        tls_hsts_s: Option<u64>
            => number(0, 2 * YEAR_S)
                .unset("a year with tls_redirect outside dev mode, else 0")
                .sample("31536000");
        /// The directory for the logs, for what `tls_acme` gets, and in dev mode for the keys.
        data: PathBuf = "./encke-data" => text();
        /// Where the logs live: memory, log, `redis://…` or `nats://…`.
        engine: EngineUrl = "log" => address();
        /// Dev mode: anyone may log in with an id alone, and missing keys are made. For this machine only.
        dev: bool = false => switch();
        /// The key of the server API, which allows everything: 16 to 512 bytes. Make one with
        /// `openssl rand -hex 32`. Better in ENCKE_API_KEY than in a file.
        api_key: Option<Secret> => secret().sample("\"changeme\"").reloads();
        /// More keys of the server API, each with what it allows. At most 100.
        api_keys: Vec<ApiKeyEntry> = [] => tables(ApiKeyEntry::SETTINGS).reloads();
        /// The secret that client tokens are signed with (HS256): 32 bytes at least. Better in
        /// ENCKE_TOKEN_SECRET than in a file.
        token_secret: Option<Secret> => secret().sample("\"changeme\"");
        /// This node's name, as operators see it: 1 to 64 ASCII letters, digits, `.`, `-`, `_`.
        #[serde(default = "node::default_name")]
        node: String => text().unset("the host's name, or node-1").sample("\"node-1\"");
        /// How long a poll is held at most.
        hold_s: u64 = 25 => number(1, 120);
        /// The longest silence on a stream. Keep it under the idle time of every proxy in front.
        heartbeat_s: u64 = 20 => number(1, 120);
        /// How long a session outlives its connection.
        session_grace_s: u64 = 15 => number(1, 3600);
        /// How long a push without a time to live waits for its user.
        push_ttl_s: u64 = 604_800 => number(1, YEAR_S);
        /// How long a token that a login gives is good.
        token_ttl_s: u64 = 86_400 => number(1, YEAR_S);
        /// Foreign origins whose pages may use the cookie: `https://app.example.com`, or an app's,
        /// `capacitor://localhost`. At most 100, no patterns. In dev mode those of this machine (localhost,
        /// 127.0.0.1, [::1]) are allowed besides.
        #[serde(deserialize_with = "origins::origins")]
        allowed_origins: Vec<String> = [] => list();
        /// Which pages may be pushed: http or https URLs whose scheme, host and port must match and whose
        /// path is a prefix that ends at a `/`. Empty: every page.
        #[serde(deserialize_with = "layers::allow_list")]
        url_allow_list: AllowList = [] => list();
        /// Which pages are asked for when an operator wants to know how one answers that is to be pushed, and
        /// whether it may stand in a frame: "off": none; "public": those at addresses that all of the
        /// Internet reaches alike; or "any": what this machine reaches, too, its own services among it.
        url_checks: UrlChecks = "off" => word(&["off", "public", "any"]);
        /// How many connections at once. Some more are taken for probes and operators alone.
        max_connections: u64 = 100_000 => number(1, 10_000_000);
        /// How many connections at once from one address (a /64 of IPv6); 0 is no bound. A reverse proxy is
        /// one address, unless it is one of `trusted_proxies`.
        max_connections_per_address: Option<u64>
            => number(0, 10_000_000).unset("10000, and no bound for this machine itself").sample("10000");
        /// How many connections at once with requests that do not wait. Some more are taken for probes and
        /// operators alone.
        max_request_connections: u64 = 4_096 => number(1, 1_000_000);
        /// How many of those from one address (a /64 of IPv6); 0 is no bound. An address of this machine may
        /// be a reverse proxy.
        max_request_connections_per_address: Option<u64>
            => number(0, 1_000_000)
                .unset("an eighth of all, and half for an address of this machine")
                .sample("512");
        /// How many sessions one user may have at once.
        max_sessions_per_user: u64 = 1_000 => number(1, 1_000_000).reloads();
        /// How many public channels the sessions of one user may follow on a node, all together.
        max_channels_per_user: u64 = 10_000 => number(SESSION_MAX_CHANNELS as u64, 100_000_000).reloads();
        /// How many channels a user may make in an hour on a node, by publishing to names that no message was
        /// published to before; 0 lets clients make none.
        max_new_channels_per_hour: u64 = 1_000 => number(0, 1_000_000).reloads();
        /// Which messages over WebSocket are compressed for clients that offer it (RFC 7692), each by itself:
        /// `shared`, those that several connections receive, once for all of them; `all`, which costs time
        /// for each message to one; or none (`off`).
        websocket_compression: WebsocketCompression = "shared" => word(&["off", "shared", "all"]);
        /// How long a message is at least that is compressed, in bytes.
        websocket_compression_min_bytes: u64 = 256 => number(1, BODY_MAX_BYTES as u64);
        /// How many event loops; 0 is one for each core.
        workers: u64 = 0 => number(0, WORKERS_MAX as u64);
        /// What is logged: a level (error, warn, info, debug, trace) or directives such as
        /// `info,encke=debug`.
        log: String = "info" => text().reloads();
        /// How it is logged: text, or one JSON object a line.
        log_format: LogFormat = "text" => word(&["text", "json"]);
        /// Where a line goes for each request that was answered, and for each connection that waited, at its
        /// end: a file (opened anew on SIGHUP), or "stderr". In the form of `log_format`.
        access_log: Option<AccessLogTarget>
            => text().unset("nowhere").sample("\"/var/log/encke/access.log\"").reloads();
        /// What gets an audit line (target `encke::audit`; who, action, what, outcome, from): "off";
        /// "control": closes, deletions, refusals of keys and tokens; or "all": pushes and publishes of
        /// backends too.
        audit: AuditLevel = "control" => word(&["off", "control", "all"]);
        /// The public channel that audit lines are published to besides, which no client may follow or
        /// publish to, whatever its token or a rule says.
        #[serde(default, deserialize_with = "audit::channel")]
        audit_channel: Option<ChannelName> => text().unset("none").sample("\"audit\"");
        /// How long connections may take to end when the server stops.
        shutdown_drain_s: u64 = 10 => number(0, 300);
        /// Over how long clients are spread who are told to come back when the server stops, at most; few
        /// come back within some two seconds.
        shutdown_spread_s: u64 = 10 => number(1, 300);
        /// How long messages of public channels gather before they are written; 0 writes each at once, unless
        /// they come faster than they can be written: then up to 5. What is pushed to users does not gather.
        linger_ms: u64 = 0 => number(0, LINGER_MAX_MS);
        /// Whether sends to several sockets are made by one call of the kernel (io_uring). Where a kernel or
        /// container forbids that, they are made one by one anyway.
        batched_sends: bool = true => switch();
        /// How much is kept of each public channel; what is over any of the bounds goes, the oldest first,
        /// and receivers are told of the gap. It changes while the server runs with the engines `log` and
        /// `memory`.
        retention_default: RetentionSection => table(RetentionSection::SETTINGS);
        /// How much is kept of users' own channels, where pushes wait. It changes while the server runs with
        /// the engines `log` and `memory`.
        retention_users: RetentionSection => table(RetentionSection::SETTINGS);
        /// How much is kept of the public channels that a pattern fits; the first that fits wins. What a rule
        /// does not say is taken from `retention_default`. At most 1,000. They change while the
        /// server runs with the engines `log` and `memory`.
        retention: Vec<RetentionRule> = [] => tables(RetentionRule::SETTINGS).reloads();
        /// Who may do what in the public channels that a pattern fits: the first rule that fits decides, and
        /// where there is any rule, what none allows is forbidden to clients. Whom: "anyone", "users" (a
        /// verified token), "owner" (the user that {user} stands for), "token" (what the token names) or
        /// no client. A token that names channels has no others, whatever a rule allows. Backends are bound
        /// by the scopes of their keys alone. At most 100.
        rules: Vec<RuleEntry> = [] => tables(RuleEntry::SETTINGS).reloads();
        /// Receivers that take less than they are sent. One that comes back far behind, and takes what it
        /// gets, is none of them.
        slow: Slow => table(Slow::SETTINGS);
        /// How often clients may ask; a rate of 0 is no limit. By address (one of IPv4, a /64 of IPv6; this
        /// machine itself is limited in its failures alone) and by user. What is beyond is refused with
        /// `rate_limited`.
        limits: Limits => table(Limits::SETTINGS);
        /// Protocols of other servers that are spoken too, by name; docs/DIALECTS.md has them.
        dialects: Dialects => table(&[]);
        /// The applications of the dialect `pusher`, each with what its clients and its backend say to name
        /// it and to sign. At most 100.
        pusher_apps: Vec<PusherApp> = [] => tables(PusherApp::SETTINGS);
        /// How clients' tokens are read.
        auth: Auth => table(Auth::SETTINGS);
        /// The application's own endpoint, which decides what clients may do and is told what they did;
        /// docs/HOOKS.md has the requests.
        hooks: Hooks => table(Hooks::SETTINGS);
        /// Traces of messages, for OpenTelemetry; docs/OPERATING.md says what is recorded and what it costs.
        traces: Traces => table(Traces::SETTINGS);
    }
    beside {
        /// What of the configuration is of a former version or unknown, a line each; for the log, and for
        /// `check-config`.
        #[serde(skip)]
        warnings: Vec<String>,
        /// What was said of each key and where, for comparing this configuration with one that is read later.
        #[serde(skip)]
        said: Said,
    }
}

impl Default for Config {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
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
        self.retention_table_with(self.push_ttl_s)
    }

    /// The same, where pushes wait for this many seconds.
    pub(crate) fn retention_table_with(&self, push_ttl_s: u64) -> RetentionTable {
        let public = self.retention_default.over(retention::PUBLIC);
        let own =
            self.retention_users.over(encke_engine::Retention { max_age_s: push_ttl_s, ..retention::OWN });
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
