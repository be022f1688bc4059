//! Which engine keeps the logs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer};

/// Where the logs live, as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub enum EngineUrl {
    /// In this process: gone when it ends.
    Memory,
    /// In an SQLite file in the data directory.
    Sqlite,
    /// In Redis.
    Redis(Remote),
    /// In NATS JetStream.
    Nats(Remote),
}

/// The address of an engine on other machines. It may hold a password, so neither `Debug` nor `Display` shows it whole. What else there is in it, its engine reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote(String);

/// The text names no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be memory, sqlite, redis://HOST… or nats://HOST…")]
pub struct NoEngine;

impl Remote {
    /// All of it, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The scheme and the hosts, without who to be there and without settings.
    fn shown(&self) -> (&str, &str) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        (scheme, authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, hosts) = self.shown();
        write!(f, "{scheme}://{hosts}")
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({self})")
    }
}

impl FromStr for EngineUrl {
    type Err = NoEngine;

    fn from_str(text: &str) -> Result<Self, NoEngine> {
        match text {
            "memory" => return Ok(Self::Memory),
            "sqlite" => return Ok(Self::Sqlite),
            _ => {}
        }
        let remote = Remote(text.to_owned());
        match remote.shown() {
            (_, "") => Err(NoEngine),
            ("redis" | "rediss", _) => Ok(Self::Redis(remote)),
            ("nats" | "tls", _) => Ok(Self::Nats(remote)),
            _ => Err(NoEngine),
        }
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite => f.write_str("sqlite"),
            Self::Redis(remote) | Self::Nats(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        for (text, shown) in [
            ("redis://user:hush@host:6379/0", "redis://host:6379"),
            ("rediss://user:hu@sh@a:1,b:2/?sentinel=m&sentinel_password=hush", "rediss://a:1,b:2"),
            ("nats://hush@n1:4222,n2?ca=hush", "nats://n1:4222,n2"),
        ] {
            let engine: EngineUrl = text.parse().unwrap();
            assert_eq!(engine.to_string(), shown);
            assert!(!format!("{engine:?}").contains("hush"));
        }
    }
}
