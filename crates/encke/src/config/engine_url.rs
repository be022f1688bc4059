//! Which engine keeps the logs, as an address. Which schemes there are, the table of engines knows.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer};

use crate::engines::{self, AddressError};

/// Where the logs live, as the configuration names it: `memory`, `redis://HOST…`. It may hold a password, so
/// neither `Debug` nor `Display` shows it whole. Whether this build has the engine, is checked where one is
/// said.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl(Cow<'static, str>);

impl EngineUrl {
    /// The address of an engine on this machine, which is its scheme and no more. Whether there is one,
    /// opening it says.
    #[must_use]
    pub const fn local(scheme: &'static str) -> Self {
        Self(Cow::Borrowed(scheme))
    }

    /// All of it, for the engine that connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for EngineUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        engines::check(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

/// The scheme and the hosts, without who to be there and without settings.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once("://") {
            Some((scheme, rest)) => write!(f, "{scheme}://{}", engines::hosts(rest)),
            None => f.write_str(&self.0),
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
        Ok(Self(Cow::Owned(String::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_an_engine() {
        assert_eq!("memory".parse(), Ok(EngineUrl::local("memory")));
        for bad in ["", "Memory", "sqlite://x", "redis:", "redis://", "http://x", "postgres://x"] {
            let refused = bad.parse::<EngineUrl>().unwrap_err().to_string();
            assert!(refused.contains("must be memory"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for (text, shown) in [
            ("redis://user:hush@host:6379/0", "redis://host:6379"),
            ("rediss://user:hu@sh@a:1,b:2/?sentinel=m&sentinel_password=hush", "rediss://a:1,b:2"),
            ("nats://hush@n1:4222,n2?tls_ca=hush", "nats://n1:4222,n2"),
        ] {
            let engine = EngineUrl::local(text);
            assert_eq!(engine.to_string(), shown);
            assert!(!format!("{engine:?}").contains("hush"));
        }
    }
}
