//! The bounds of every value. Here are those of the server itself; each part that has rules of its own has a
//! file.

mod auth;
mod channel_rules;
mod listeners;
mod retention;
mod secrets;
mod tls;

use encke_proto::limits::SESSION_MAX_CHANNELS;
use tracing_subscriber::filter::LevelFilter;

pub(crate) use listeners::warnings;

use super::error::Sources;
use super::{Config, ConfigError, Source, WORKERS_MAX, node};

/// A year, in seconds.
const YEAR_S: u64 = 31_536_000;
/// Longer than this a message would no longer come at once, in milliseconds.
const LINGER_MAX_MS: u64 = 50;
/// The most by which the clock of a token's issuer may be ahead, in seconds; more is a clock to be set right.
const LEEWAY_MAX_S: u64 = 300;

/// Checks all values; the first that is out of its bounds is named.
pub(crate) fn check(config: &Config, sources: &Sources) -> Result<(), ConfigError> {
    let checker = Checker { sources };
    check_ranges(config, &checker)?;
    tls::check(config, &checker)?;
    listeners::check(config, &checker)?;
    check_rules(config, &checker)?;
    secrets::check(config, &checker)?;
    auth::check(config, &checker)?;
    retention::check(config, &checker)?;
    channel_rules::check(config, &checker)
}

fn check_ranges(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    for (key, value, min, max) in [
        ("hold_s", config.hold_s, 1, 120),
        ("heartbeat_s", config.heartbeat_s, 1, 120),
        ("session_grace_s", config.session_grace_s, 1, 3600),
        ("push_ttl_s", config.push_ttl_s, 1, YEAR_S),
        ("token_ttl_s", config.token_ttl_s, 1, YEAR_S),
        ("max_connections", config.max_connections, 1, 10_000_000),
        ("max_sessions_per_user", config.max_sessions_per_user, 1, 1_000_000),
        ("max_channels_per_user", config.max_channels_per_user, SESSION_MAX_CHANNELS as u64, 100_000_000),
        ("max_new_channels_per_hour", config.max_new_channels_per_hour, 0, 1_000_000),
        ("workers", config.workers, 0, WORKERS_MAX as u64),
        ("shutdown_drain_s", config.shutdown_drain_s, 0, 300),
        ("shutdown_spread_s", config.shutdown_spread_s, 1, 300),
        ("slow.max_messages", config.slow.max_messages, 1, 1_000_000_000),
        ("slow.max_bytes", config.slow.max_bytes, 65_536, 1 << 40),
        ("slow.deadline_s", config.slow.deadline_s, 1, 300),
        ("linger_ms", config.linger_ms, 0, LINGER_MAX_MS),
        ("auth.leeway_s", config.auth.leeway_s, 0, LEEWAY_MAX_S),
        ("auth.revocations_kept_s", config.auth.revocations_kept_s, 60, 10 * YEAR_S),
    ] {
        checker.range(key, Some(value), min, max)?;
    }
    for (key, rate) in config.limits.rates() {
        checker.range(key, Some(rate), 0, 1_000_000_000)?;
    }
    checker.range("limits.burst_s", Some(config.limits.burst_s), 1, 3_600)?;
    checker.range("max_connections_per_address", config.max_connections_per_address, 0, 10_000_000)
}

/// The settings that are no numbers.
fn check_rules(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    checker.rule("data", !config.data.as_os_str().is_empty(), || "must name a directory".to_owned())?;
    checker.rule("node", node::is_name(&config.node), || {
        "must be 1 to 64 ASCII letters, digits, `.`, `-`, `_`".to_owned()
    })?;
    // A word that is no level would be taken for a part of the program, of which alone all would be logged.
    let has_level = config.log.split(',').any(|directive| {
        // Nothing at all would be read as a level.
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    });
    let is_filter = has_level && tracing_subscriber::EnvFilter::try_new(&config.log).is_ok();
    checker.rule("log", is_filter, || {
        "must be error, warn, info, debug, trace, or directives such as info,encke=debug".to_owned()
    })?;
    checker.rule("allowed_origins", config.allowed_origins.len() <= 100, || {
        "must have at most 100 entries".to_owned()
    })?;
    checker.rule("listen", !config.dev || config.listen.ip().is_loopback(), || {
        format!(
            "dev mode lets anyone in, so it listens on a loopback address only (127.0.0.1 or [::1]), not on {}",
            config.listen
        )
    })
}

/// Names the key whose value is out of its bounds, and where the value came from.
struct Checker<'a> {
    sources: &'a Sources,
}

impl Checker<'_> {
    fn rule(&self, key: &str, holds: bool, problem: impl FnOnce() -> String) -> Result<(), ConfigError> {
        if holds {
            return Ok(());
        }
        // A rule within a list has no source of its own; the list has.
        let outer = key.split('.').next().unwrap_or(key);
        let from =
            self.sources.get(key).or_else(|| self.sources.get(outer)).cloned().unwrap_or(Source::Default);
        Err(ConfigError::Value { key: key.to_owned(), from, problem: problem() })
    }

    fn range(&self, key: &str, value: Option<u64>, min: u64, max: u64) -> Result<(), ConfigError> {
        let Some(value) = value else { return Ok(()) };
        self.rule(key, (min..=max).contains(&value), || format!("must be from {min} to {max}, is {value}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Layers;
    use toml::Value;

    /// Why this value is refused.
    pub(super) fn refusal(key: &str, value: impl Into<Value>) -> String {
        Layers::new(Vec::new()).option(key, "--option", value).load().unwrap_err().to_string()
    }

    #[test]
    fn every_number_has_bounds_and_its_key_is_named() {
        for key in [
            "hold_s",
            "heartbeat_s",
            "session_grace_s",
            "push_ttl_s",
            "token_ttl_s",
            "max_connections",
            "max_sessions_per_user",
            "shutdown_spread_s",
        ] {
            assert!(
                refusal(key, 0).starts_with(&format!("`{key}` from --option: must be from 1 to ")),
                "{}",
                refusal(key, 0)
            );
            assert!(refusal(key, i64::MAX).contains("must be from 1 to "));
        }
        for key in ["slow.max_messages", "slow.max_bytes", "slow.deadline_s"] {
            assert!(
                refusal(key, 0).starts_with(&format!("`{key}` from --option: must be from ")),
                "{}",
                refusal(key, 0)
            );
        }
        for key in [
            "max_connections_per_address",
            "max_new_channels_per_hour",
            "workers",
            "shutdown_drain_s",
            "linger_ms",
            "auth.leeway_s",
            "limits.address_failures_per_s",
            "limits.user_publish_bytes_per_s",
        ] {
            assert!(Layers::new(Vec::new()).option(key, "--option", 0).load().is_ok());
            assert!(refusal(key, i64::MAX).contains("must be from 0 to "));
        }
        for table in ["retention_default", "retention_users"] {
            for key in ["max_messages", "max_bytes", "max_age_s"] {
                let key = format!("{table}.{key}");
                assert!(refusal(&key, 0).starts_with(&format!("`{key}`")));
            }
        }
    }

    #[test]
    fn words_are_checked_too() {
        assert!(refusal("node", "a b").starts_with("`node`"));
        for wrong in ["encke=loud", "warning", "loud", "", "a,,b=="] {
            assert!(refusal("log", wrong).starts_with("`log`"), "{wrong:?}");
        }
        for good in ["off", "INFO", "encke=debug", "info,encke=debug", "warn,hyper"] {
            assert!(Layers::new(Vec::new()).option("log", "--option", good).load().is_ok(), "{good:?}");
        }
        assert!(refusal("data", "").starts_with("`data`"));
        assert!(refusal("slow.policy", "drop").starts_with("`slow.policy`"));
    }

    #[test]
    fn dev_mode_is_for_loopback_only() {
        let dev = |listen: &str| {
            Layers::new(Vec::new()).option("dev", "--dev", true).option("listen", "--listen", listen).load()
        };
        assert!(dev("127.0.0.1:0").is_ok());
        assert!(dev("[::1]:0").is_ok());
        for open in ["0.0.0.0:8080", "[::]:8080", "192.168.1.2:8080"] {
            let refusal = dev(open).unwrap_err().to_string();
            assert!(refusal.starts_with("`listen` from --listen: "), "{refusal}");
        }
    }
}
