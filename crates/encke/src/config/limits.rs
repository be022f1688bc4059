//! The bounds of every value.

use std::net::{IpAddr, SocketAddr};

use super::error::Sources;
use super::{Config, ConfigError, RetentionSection, Source, node};

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
    check_rules(config, &checker)?;
    check_secrets(config, &checker)?;
    check_retention(config, &checker)
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
        ("workers", config.workers, 0, 256),
        ("shutdown_drain_s", config.shutdown_drain_s, 0, 300),
        ("shutdown_spread_s", config.shutdown_spread_s, 1, 300),
        ("slow.max_messages", config.slow.max_messages, 1, 1_000_000_000),
        ("slow.max_bytes", config.slow.max_bytes, 65_536, 1 << 40),
        ("slow.deadline_s", config.slow.deadline_s, 1, 300),
        ("linger_ms", config.linger_ms, 0, LINGER_MAX_MS),
        ("auth.leeway_s", config.auth.leeway_s, 0, LEEWAY_MAX_S),
    ] {
        checker.range(key, Some(value), min, max)?;
    }
    checker.range("max_connections_per_address", config.max_connections_per_address, 0, 10_000_000)
}

/// The settings that are no numbers.
fn check_rules(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    check_tls(checker, config)?;
    checker.rule("data", !config.data.as_os_str().is_empty(), || "must name a directory".to_owned())?;
    checker.rule("node", node::is_name(&config.node), || {
        "must be 1 to 64 ASCII letters, digits, `.`, `-`, `_`".to_owned()
    })?;
    checker.rule("log", tracing_subscriber::EnvFilter::try_new(&config.log).is_ok(), || {
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

fn check_secrets(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    // Dev mode is for this machine only, so a key that is easy to type does no harm there. The signature's
    // secret stays one in any case.
    let api_key_min = if config.dev { 1 } else { 16 };
    for (key, secret, min_bytes) in
        [("api_key", &config.api_key, api_key_min), ("token_secret", &config.token_secret, 32)]
    {
        if let Some(problem) = secret.as_ref().and_then(|secret| secret.weakness(min_bytes)) {
            checker.rule(key, false, || problem)?;
        }
    }
    Ok(())
}

fn check_retention(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    checker.retention("retention_default", config.retention_default)?;
    checker.retention("retention_users", config.retention_users)?;
    let users_age = config.retention_users.max_age_s;
    checker.rule(
        "retention_users.max_age_s",
        users_age.is_none_or(|age| age >= config.push_ttl_s),
        || {
            format!(
                "must be at least push_ttl_s ({}), or pushes would be trimmed while they wait",
                config.push_ttl_s
            )
        },
    )?;
    checker
        .rule("retention", config.retention.len() <= 1000, || "must have at most 1000 rules".to_owned())?;
    for rule in &config.retention {
        checker.rule("retention", (1..=255).contains(&rule.channel.len()), || {
            "each channel must have 1 to 255 bytes".to_owned()
        })?;
        checker.rule("retention", !rule.channel.starts_with('@'), || {
            format!("channel {:?}: users' own channels have [retention_users]", rule.channel)
        })?;
        checker.retention("retention", rule.keep())?;
    }
    Ok(())
}

fn check_tls(checker: &Checker<'_>, config: &Config) -> Result<(), ConfigError> {
    let there = [config.tls_listen.is_some(), !config.certificates().is_empty()];
    let pair = config.tls_cert.is_some() == config.tls_key.is_some();
    checker.rule("tls_listen", pair && there[0] == there[1], || {
        "needs tls_cert and tls_key, or tls_certificates, and they need it".to_owned()
    })?;
    checker.rule("tls_certificates", config.tls_certificates.len() <= 100, || {
        "must have at most 100 entries".to_owned()
    })?;
    let free = config.tls_listen.is_none_or(|address| !collide(address, config.listen));
    checker.rule("tls_listen", free, || {
        format!("must be another address than `listen`, which is {}", config.listen)
    })?;
    checker.rule(
        "tls_listen",
        !config.dev || config.tls_listen.is_none_or(|address| address.ip().is_loopback()),
        || "must be a loopback address in dev mode, like listen".to_owned(),
    )
}

/// Whether only one of two listeners could have its address: each is for all addresses of its machine, or
/// both are for the same one.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // An IPv6 listener for all addresses takes those of IPv4 as well.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // Port 0 is a free one for each.
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

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

    fn retention(&self, table: &str, section: RetentionSection) -> Result<(), ConfigError> {
        self.range(&format!("{table}.max_messages"), section.max_messages, 1, 1_000_000_000)?;
        self.range(&format!("{table}.max_bytes"), section.max_bytes, 65_536, 1 << 40)?;
        self.range(&format!("{table}.max_age_s"), section.max_age_s, 1, 10 * YEAR_S)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Layers;
    use toml::Value;

    fn refusal(key: &str, value: impl Into<Value>) -> String {
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
        for key in
            ["max_connections_per_address", "workers", "shutdown_drain_s", "linger_ms", "auth.leeway_s"]
        {
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
    fn the_bounds_of_a_rule_in_the_list_are_those_of_the_tables() {
        for (key, below, above) in [
            ("max_messages", 0, 1_000_000_001_i64),
            ("max_bytes", 65_535, (1 << 40) + 1),
            ("max_age_s", 0, 10 * 31_536_000 + 1),
        ] {
            let rule = |value: i64| {
                let rule =
                    toml::Table::from_iter([("channel".into(), "news*".into()), (key.into(), value.into())]);
                let plain = toml::Table::from_iter([("channel".into(), "a".into())]);
                // The second of two, so that it is not the first alone that is looked at.
                Layers::new(Vec::new())
                    .option("retention", "--option", vec![Value::Table(plain), Value::Table(rule)])
                    .load()
            };
            for wrong in [below, above] {
                let refusal = rule(wrong).unwrap_err().to_string();
                assert!(
                    refusal.starts_with(&format!(
                        "`retention.{key}` from --option: must be from {} to ",
                        below + 1
                    )),
                    "{refusal}"
                );
            }
            assert!(rule(below + 1).is_ok() && rule(above - 1).is_ok(), "{key}");
            for table in ["retention_default", "retention_users"] {
                let key = format!("{table}.{key}");
                assert!(refusal(&key, below).starts_with(&format!("`{key}`")), "{key}");
                assert!(refusal(&key, above).starts_with(&format!("`{key}`")), "{key}");
            }
        }
        let rule = |channel: &str| toml::Table::from_iter([("channel".into(), channel.into())]);
        for channel in [String::new(), "a".repeat(256), "@alice".to_owned()] {
            assert!(
                refusal("retention", vec![Value::Table(rule(&channel))]).starts_with("`retention`"),
                "{channel}"
            );
        }
        assert!(refusal("retention", vec![Value::Table(rule("a")); 1001]).contains("1000 rules"));
    }

    #[test]
    fn words_are_checked_too() {
        assert!(refusal("node", "a b").starts_with("`node`"));
        assert!(refusal("log", "encke=loud").starts_with("`log`"));
        assert!(refusal("data", "").starts_with("`data`"));
        assert!(refusal("slow.policy", "drop").starts_with("`slow.policy`"));
        assert!(refusal("api_key", "short").starts_with("`api_key`"));
        assert!(refusal("token_secret", "changeme").contains("placeholder"));
        assert!(
            !refusal("token_secret", "4f1c9be07d3a").contains("4f1c9be07d3a"),
            "a secret is not in the words of its refusal"
        );
        assert!(refusal("retention_users.max_age_s", 60).contains("push_ttl_s"));
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

    #[test]
    fn two_listeners_have_two_addresses() {
        let load = |listen: &str, tls_listen: &str| {
            let layers = Layers::new(Vec::new()).option("listen", "--listen", listen);
            let layers = layers.option("tls_cert", "--cert", "c").option("tls_key", "--key", "k");
            layers.option("tls_listen", "--tls", tls_listen).load()
        };
        for (listen, tls_listen) in [
            ("127.0.0.1:443", "127.0.0.1:443"),
            ("localhost:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "192.168.1.2:443"),
            ("192.168.1.2:443", "0.0.0.0:443"),
            ("[::]:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "[::]:443"),
            ("[::1]:443", "[::]:443"),
            ("127.0.0.1:443", "[::ffff:127.0.0.1]:443"),
        ] {
            let refusal = load(listen, tls_listen).unwrap_err().to_string();
            assert!(
                refusal.starts_with("`tls_listen` from --tls: must be another address than `listen`"),
                "{listen} {tls_listen}: {refusal}"
            );
        }
        for (listen, tls_listen) in [
            ("127.0.0.1:80", "127.0.0.1:443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:443", "127.0.0.2:443"),
            ("0.0.0.0:443", "[::1]:443"),
            ("127.0.0.1:443", "[::1]:443"),
        ] {
            assert!(load(listen, tls_listen).is_ok(), "{listen} {tls_listen}");
        }
    }

    #[test]
    fn in_dev_mode_a_short_api_key_will_do() {
        let dev = Layers::new(Vec::new()).option("dev", "--dev", true);
        assert!(dev.option("api_key", "--option", "test-key").load().is_ok());
    }
}
