//! Which engine keeps the logs.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use url::Url;

/// Where the logs live, as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub enum EngineUrl {
    /// In this process: gone when it ends.
    Memory,
    /// In an SQLite file in the data directory.
    Sqlite,
    /// In a Redis server. The URL may hold a password, so neither `Debug` nor `Display` shows it whole.
    Redis(Url),
    /// In NATS JetStream. The URL may hold a password, so neither `Debug` nor `Display` shows it whole.
    Nats(Url),
}

/// The text names no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be memory, sqlite, redis://HOST… or nats://HOST…")]
pub struct NoEngine;

impl FromStr for EngineUrl {
    type Err = NoEngine;

    fn from_str(text: &str) -> Result<Self, NoEngine> {
        match text {
            "memory" => return Ok(Self::Memory),
            "sqlite" => return Ok(Self::Sqlite),
            _ => {}
        }
        let url = Url::parse(text).map_err(|_| NoEngine)?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(NoEngine);
        }
        match url.scheme() {
            "redis" | "rediss" => Ok(Self::Redis(url)),
            "nats" | "tls" => Ok(Self::Nats(url)),
            _ => Err(NoEngine),
        }
    }
}

impl std::fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite => f.write_str("sqlite"),
            Self::Redis(url) | Self::Nats(url) => {
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl std::fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineUrl({self})")
    }
}

impl<'de> Deserialize<'de> for EngineUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_engines_have_a_name() {
        assert_eq!("memory".parse(), Ok(EngineUrl::Memory));
        assert_eq!("sqlite".parse(), Ok(EngineUrl::Sqlite));
        assert!(matches!("redis://127.0.0.1:6379/0".parse(), Ok(EngineUrl::Redis(_))));
        assert!(matches!("nats://n1:4222".parse(), Ok(EngineUrl::Nats(_))));
        for bad in ["", "Memory", "sqlite://x", "redis:", "redis://", "http://x", "postgres://x"] {
            assert_eq!(bad.parse::<EngineUrl>(), Err(NoEngine), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let engine: EngineUrl = "redis://user:hush@host:6379/0".parse().unwrap();
        assert_eq!(engine.to_string(), "redis://host:6379");
        assert!(!format!("{engine:?}").contains("hush"));
    }
}
