//! The URL of Redis as an operator writes it, parsed and checked. It connects to nothing.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;

/// The port of a server whose URL names none.
const PORT: u16 = 6379;
/// The port of a sentinel whose URL names none.
const SENTINEL_PORT: u16 = 26379;
/// What the names of all keys begin with unless the URL says otherwise.
const PREFIX: &str = "encke";
/// The longest such beginning, in bytes.
const PREFIX_MAX_BYTES: usize = 32;

/// Why a URL names no Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It does not begin as one.
    #[error("must begin with redis:// or rediss://")]
    Scheme,
    /// A host or a port is none.
    #[error("each host must be HOST or HOST:PORT")]
    Host,
    /// The user or the password is not percent-encoded UTF-8.
    #[error("user and password must be percent-encoded UTF-8")]
    Login,
    /// The path is no number.
    #[error("the path must be the number of a database")]
    Database,
    /// Only one server is named.
    #[error("several hosts need cluster=true or sentinel=NAME")]
    Hosts,
    /// Both cannot be.
    #[error("cluster=true allows neither sentinel=NAME nor a database other than 0")]
    Cluster,
    /// Keys would be hard to read, or would not lie together.
    #[error("prefix must be 1 to {PREFIX_MAX_BYTES} of A-Z, a-z, 0-9, `_`, `-` and `.`")]
    Prefix,
    /// A setting that there is not.
    #[error("the settings are cluster, sentinel, sentinel_user, sentinel_password, prefix and tls_ca")]
    Setting,
}

/// How the servers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// There is one, and it is named.
    One,
    /// Sentinels know the master of this name.
    Sentinel(String),
    /// Each knows which of them has which slots.
    Cluster,
}

/// Who we are to a server.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Which Redis, and how to get there. It may hold a password, which neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub(super) tls: bool,
    /// Instead of the operating system's authorities, those in this file.
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    pub(super) hosts: Vec<Address>,
    pub(super) database: u16,
    pub(super) topology: Topology,
    pub(super) prefix: String,
}

impl RedisOptions {
    /// Reads `redis://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/DATABASE][?SETTINGS]`, or `rediss://…` for
    /// TLS. The settings are `cluster=true`, `sentinel=NAME` (the hosts are sentinels then, `sentinel_user`
    /// and `sentinel_password` are for them), `prefix=NAME` and `tls_ca=FILE`.
    ///
    /// # Errors
    /// [`OptionsError`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, OptionsError> {
        let (scheme, rest) = url.split_once("://").ok_or(OptionsError::Scheme)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(OptionsError::Scheme),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (parse_login(login)?, hosts),
            None => (Login::default(), authority),
        };
        let database = if path.is_empty() { 0 } else { path.parse().map_err(|_| OptionsError::Database)? };
        let mut options = Self {
            tls,
            tls_ca: None,
            login,
            sentinel_login: Login::default(),
            hosts: Vec::new(),
            database,
            topology: Topology::One,
            prefix: PREFIX.to_owned(),
        };
        let mut cluster = false;
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').ok_or(OptionsError::Setting)?;
            let value = decode(value)?;
            match name {
                "cluster" => cluster = value == "true",
                "sentinel" if !value.is_empty() => options.topology = Topology::Sentinel(value),
                "sentinel_user" => options.sentinel_login.user = Some(value),
                "sentinel_password" => options.sentinel_login.password = Some(value),
                "prefix" => options.prefix = value,
                "tls_ca" => options.tls_ca = Some(value.into()),
                _ => return Err(OptionsError::Setting),
            }
        }
        if cluster {
            if options.topology != Topology::One || database != 0 {
                return Err(OptionsError::Cluster);
            }
            options.topology = Topology::Cluster;
        }
        let port = if matches!(options.topology, Topology::Sentinel(_)) { SENTINEL_PORT } else { PORT };
        options.hosts = hosts.split(',').map(|host| parse_host(host, port)).collect::<Result<_, _>>()?;
        if options.topology == Topology::One && options.hosts.len() != 1 {
            return Err(OptionsError::Hosts);
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !(1..=PREFIX_MAX_BYTES).contains(&options.prefix.len()) || !options.prefix.bytes().all(fits) {
            return Err(OptionsError::Prefix);
        }
        Ok(options)
    }
}

fn decode(text: &str) -> Result<String, OptionsError> {
    percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| OptionsError::Login)
}

fn parse_login(text: &str) -> Result<Login, OptionsError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(decode(password)?)),
        None => (text, None),
    };
    Ok(Login { user: (!user.is_empty()).then(|| decode(user)).transpose()?, password })
}

fn parse_host(text: &str, port: u16) -> Result<Address, OptionsError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(OptionsError::Host)?;
        (host, rest.strip_prefix(':').map_or(Ok(port), str::parse))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, port.parse()),
            None => (text, Ok(port)),
        }
    };
    match port {
        Ok(port) if !host.is_empty() && port > 0 => Ok(Address { host: host.to_owned(), port }),
        _ => Err(OptionsError::Host),
    }
}

impl fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(Address::to_string).collect();
        write!(f, "{}://{}", if self.tls { "rediss" } else { "redis" }, hosts.join(","))
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisOptions({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn every_topology_has_a_url() {
        let one = RedisOptions::parse("redis://me:p%40ss%2F@h:7000/3?prefix=a-b").unwrap();
        assert_eq!(
            (one.hosts, one.database, one.topology, one.tls),
            (vec![address("h", 7000)], 3, Topology::One, false)
        );
        assert_eq!(
            (one.login.user.as_deref(), one.login.password.as_deref(), one.prefix.as_str()),
            (Some("me"), Some("p@ss/"), "a-b")
        );
        let cluster =
            RedisOptions::parse("rediss://:hush@[::1],h2:7/?cluster=true&tls_ca=/etc/ca.pem").unwrap();
        assert_eq!(
            (cluster.hosts, cluster.topology, cluster.tls),
            (vec![address("::1", 6379), address("h2", 7)], Topology::Cluster, true)
        );
        assert_eq!((cluster.login.user, cluster.login.password.as_deref()), (None, Some("hush")));
        let sentinel = RedisOptions::parse("redis://a,b:2/1?sentinel=main&sentinel_password=x").unwrap();
        assert_eq!(sentinel.topology, Topology::Sentinel("main".into()));
        assert_eq!((sentinel.hosts, sentinel.database), (vec![address("a", 26379), address("b", 2)], 1));
    }

    #[test]
    fn what_is_no_redis_is_refused() {
        for (url, error) in [
            ("http://h", OptionsError::Scheme),
            ("redis:h", OptionsError::Scheme),
            ("redis://", OptionsError::Host),
            ("redis://h:0", OptionsError::Host),
            ("redis://h:x", OptionsError::Host),
            ("redis://[::1", OptionsError::Host),
            ("redis://h/x", OptionsError::Database),
            ("redis://a,b", OptionsError::Hosts),
            ("redis://a,b/1?cluster=true", OptionsError::Cluster),
            ("redis://a?cluster=true&sentinel=m", OptionsError::Cluster),
            ("redis://a?prefix=", OptionsError::Prefix),
            ("redis://a?prefix={x}", OptionsError::Prefix),
            ("redis://a?color=red", OptionsError::Setting),
            ("redis://a?cluster", OptionsError::Setting),
            ("redis://%ff@a", OptionsError::Login),
        ] {
            assert_eq!(RedisOptions::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let options = RedisOptions::parse("redis://me:hush@h?sentinel=m&sentinel_password=hush").unwrap();
        assert_eq!(format!("{options:?} {options}"), "RedisOptions(redis://h:26379) redis://h:26379");
    }
}
