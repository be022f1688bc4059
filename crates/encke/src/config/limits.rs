//! The bounds of every value.

use std::net::{IpAddr, SocketAddr};

use encke_proto::{
    Who,
    limits::{BODY_MAX_BYTES, SESSION_MAX_CHANNELS},
};
use tracing_subscriber::filter::LevelFilter;

use super::error::Sources;
use super::{ApiKeyEntry, AuthKey, Config, ConfigError, RetentionSection, Scopes, Secret, Source, node};

/// A year, in seconds.
const YEAR_S: u64 = 31_536_000;
/// Longer than this a message would no longer come at once, in milliseconds.
const LINGER_MAX_MS: u64 = 50;
/// The most by which the clock of a token's issuer may be ahead, in seconds; more is a clock to be set right.
const LEEWAY_MAX_S: u64 = 300;

/// How long a key of the server API is, outside dev mode.
const API_KEY_MIN_BYTES: usize = 16;
/// See [`API_KEY_MIN_BYTES`]; longer ones do not fit into the head of a request beside what else it has.
const API_KEY_MAX_BYTES: usize = 512;
const API_KEYS_MAX: usize = 100;
/// Each place at which a client names a channel goes through them until one fits.
const RULES_MAX: usize = 100;

/// Checks all values; the first that is out of its bounds is named.
pub(crate) fn check(config: &Config, sources: &Sources) -> Result<(), ConfigError> {
    let checker = Checker { sources };
    check_ranges(config, &checker)?;
    check_rules(config, &checker)?;
    check_secrets(config, &checker)?;
    check_auth(config, &checker)?;
    check_retention(config, &checker)?;
    check_channel_rules(config, &checker)
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

fn check_secrets(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    // Dev mode is for this machine only, so a key that is easy to type does no harm there. The signature's
    // secret stays one in any case.
    let api_key_min = if config.dev { 1 } else { API_KEY_MIN_BYTES };
    for (key, secret, min_bytes) in
        [("api_key", &config.api_key, api_key_min), ("token_secret", &config.token_secret, 32)]
    {
        if let Some(problem) = secret.as_ref().and_then(|secret| secret.weakness(min_bytes)) {
            checker.rule(key, false, || problem)?;
        }
    }
    let is_alone = !["redis", "nats"].iter().any(|scheme| config.engine.expose().starts_with(scheme));
    let has_others = config.auth.has_keys();
    checker.rule("token_secret", is_alone || config.token_secret.is_some() || !has_others, || {
        "is needed where there are several nodes: tickets of one are good at all by it".to_owned()
    })?;
    let is_short = |key: &Secret| key.expose().len() <= API_KEY_MAX_BYTES;
    checker.rule("api_key", config.api_key.as_ref().is_none_or(is_short), || {
        format!("must have at most {API_KEY_MAX_BYTES} bytes")
    })?;
    // Each is given to others: the one to all backends, the other to what makes tokens.
    checker.rule("api_key", config.api_key.is_none() || config.api_key != config.token_secret, || {
        "must not be the same as token_secret".to_owned()
    })?;
    checker.rule("api_keys", config.api_keys.len() <= API_KEYS_MAX, || {
        format!("must have at most {API_KEYS_MAX} entries")
    })?;
    for (at, entry) in config.api_keys.iter().enumerate() {
        let others = &config.api_keys[..at];
        let problem = api_key_problem(config, entry, api_key_min).or_else(|| {
            others.iter().any(|other| other.name == entry.name).then(|| "this name is taken".to_owned())
        });
        let is_twin = |other: &ApiKeyEntry| other.sha256() == entry.sha256();
        let problem =
            problem.or_else(|| others.iter().any(is_twin).then(|| "it is the same as another".to_owned()));
        if let Some(problem) = problem {
            checker.rule("api_keys", false, || format!("key {:?}: {problem}", entry.name))?;
        }
    }
    Ok(())
}

/// What is wrong with a key of the server API, if anything is.
fn api_key_problem(config: &Config, entry: &ApiKeyEntry, min_bytes: usize) -> Option<String> {
    if !node::is_name(&entry.name) {
        return Some("the name must be 1 to 64 ASCII letters, digits, `.`, `-`, `_`".to_owned());
    }
    if entry.scopes == Scopes::NONE {
        return Some("it has no scopes, so it allows nothing".to_owned());
    }
    if entry.key.is_some() == entry.key_sha256.is_some() {
        return Some("it needs either key or key_sha256".to_owned());
    }
    let mut secrets = [&config.api_key, &config.token_secret].into_iter().flatten();
    if secrets.any(|secret| Some(secret.sha256()) == entry.sha256()) {
        return Some("must be neither api_key nor token_secret".to_owned());
    }
    let key = entry.key.as_ref()?;
    if key.expose().len() > API_KEY_MAX_BYTES {
        return Some(format!("must have at most {API_KEY_MAX_BYTES} bytes"));
    }
    key.weakness(min_bytes)
}

fn check_auth(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    let auth = &config.auth;
    let backend_keys: Vec<_> = config.all_api_keys().iter().filter_map(ApiKeyEntry::sha256).collect();
    for (key, claim) in [
        ("auth.user_claim", &auth.user_claim),
        ("auth.channels_claim", &auth.channels_claim),
        ("auth.publish_claim", &auth.publish_claim),
    ] {
        checker.rule(key, (1..=255).contains(&claim.len()), || "must have 1 to 255 bytes".to_owned())?;
    }
    checker.rule("auth.issuer", auth.issuer.as_ref().is_none_or(|issuer| !issuer.is_empty()), || {
        "must not be empty".to_owned()
    })?;
    checker.rule(
        "auth.audience",
        auth.audience.len() <= 100 && auth.audience.iter().all(|one| !one.is_empty()),
        || "must have at most 100 entries, none of them empty".to_owned(),
    )?;
    checker.rule("auth.jwks_url", auth.jwks_url.as_ref().is_none_or(|url| is_safe(url)), || {
        "must be an https URL without a user, or an http one of this machine".to_owned()
    })?;
    checker.rule("auth.keys", auth.keys.len() <= 32, || "must have at most 32 entries".to_owned())?;
    for (index, key) in auth.keys.iter().enumerate() {
        let name = key.kid.as_ref().map_or(format!("key {}", index + 1), |kid| format!("{kid:?}"));
        let problem = key_problem(key, &auth.keys[..index]).or_else(|| {
            let is_given_to_backends = |secret: &Secret| backend_keys.contains(&secret.sha256());
            let is_shared = key.secret.as_ref().is_some_and(is_given_to_backends);
            is_shared.then(|| "must not be a key of the server API".to_owned())
        });
        checker.rule("auth.keys", problem.is_none(), || format!("{name} {}", problem.unwrap_or_default()))?;
    }
    Ok(())
}

/// Whether nothing between the server and an address can put keys of its own in the place of those there.
fn is_safe(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user && (url.scheme() == "https" || (url.scheme() == "http" && is_here))
}

/// What is wrong with a key that tokens are verified with, as far as it can be seen here. `before` are those
/// that stand before it.
fn key_problem(key: &AuthKey, before: &[AuthKey]) -> Option<String> {
    let sources = [key.file.is_some(), key.secret.is_some(), key.jwk.is_some()];
    if sources.iter().filter(|is_there| **is_there).count() != 1 {
        return Some("must have one of file, secret and jwk".to_owned());
    }
    if key.kid.as_ref().is_some_and(|kid| !(1..=255).contains(&kid.len())) {
        return Some("must have a kid of 1 to 255 bytes, or none".to_owned());
    }
    let is_twin = |other: &AuthKey| other.kid == key.kid && other.algorithm == key.algorithm;
    if key.kid.is_some() && before.iter().any(is_twin) {
        return Some("stands there twice".to_owned());
    }
    key.secret.as_ref().and_then(|secret| secret.weakness(32))
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

fn check_channel_rules(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    checker.rule("rules", config.rules.len() <= RULES_MAX, || {
        format!("must have at most {RULES_MAX} entries")
    })?;
    for entry in &config.rules {
        let problem = entry.rule().err();
        checker.rule("rules", problem.is_none(), || {
            format!(
                "channel {:?}: {}",
                entry.channel,
                problem.map(|problem| problem.to_string()).unwrap_or_default()
            )
        })?;
        let is_of_users = entry.channel.contains("{user}");
        let whom = [entry.subscribe, entry.publish, entry.presence, entry.history.unwrap_or_default()];
        checker.rule("rules", is_of_users || !whom.contains(&Who::Owner), || {
            format!("channel {:?}: \"owner\" needs {{user}} in the pattern", entry.channel)
        })?;
        checker.range("rules.message_max_bytes", entry.message_max_bytes, 1, BODY_MAX_BYTES as u64)?;
        checker.range("rules.followers_max", entry.followers_max, 1, 10_000_000)?;
    }
    Ok(())
}

fn check_tls(checker: &Checker<'_>, config: &Config) -> Result<(), ConfigError> {
    let by_acme = !config.tls_acme.is_empty();
    checker.rule("tls_acme", !by_acme || config.tls_listen.is_some(), || {
        "needs tls_listen, where the certificate is shown".to_owned()
    })?;
    checker.rule("tls_acme", config.tls_acme.len() <= 100, || "must have at most 100 names".to_owned())?;
    for key in ["tls_acme_contact", "tls_acme_directory", "tls_acme_root"] {
        let holds = by_acme || !checker.sources.contains_key(key);
        checker.rule(key, holds, || "has no effect without tls_acme".to_owned())?;
    }
    let there = [config.tls_listen.is_some(), by_acme || !config.certificates().is_empty()];
    let pair = config.tls_cert.is_some() == config.tls_key.is_some();
    checker.rule("tls_listen", pair && there[0] == there[1], || {
        "needs tls_cert and tls_key, tls_certificates or tls_acme, and they need it".to_owned()
    })?;
    checker.rule("tls_redirect", !config.tls_redirect || config.tls_listen.is_some(), || {
        "needs tls_listen".to_owned()
    })?;
    let (first, more) = (config.tls_alpn.first(), config.tls_alpn.get(1..).unwrap_or_default());
    let distinct =
        first.is_some() && more.len() < 2 && more.first().is_none_or(|second| Some(second) != first);
    checker.rule("tls_alpn", distinct, || "must have one or both of h2 and http/1.1".to_owned())?;
    checker.range("tls_redirect_port", config.tls_redirect_port, 1, 65_535)?;
    checker.range("tls_hsts_s", config.tls_hsts_s, 0, 2 * YEAR_S)?;
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
        for key in [
            "max_connections_per_address",
            "max_new_channels_per_hour",
            "workers",
            "shutdown_drain_s",
            "linger_ms",
            "auth.leeway_s",
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
    fn a_rule_for_channels_that_is_none_is_named() {
        let load = |rules: &str| {
            let rules: toml::Table = rules.parse().unwrap();
            Layers::new(Vec::new()).option("rules", "--option", rules["rules"].clone()).load()
        };
        let rule = |more: &str| load(&format!("[[rules]]\nchannel = \"a\"\n[[rules]]\n{more}"));
        for (more, problem) in [
            ("subscribe = \"users\"", "missing field `channel`"),
            ("channel = \"in-{users}\"", "channel \"in-{users}\": may hold {user} once"),
            ("channel = \"@alice\"", "do not begin with @"),
            ("channel = \"{user}*\"", "may hold one * beside {user}"),
            ("channel = \"\"", "must have 1 to 255 bytes"),
            ("channel = \"a\"\nsubscribe = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nhistory = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nsubscribe = \"all\"", "unknown variant `all`"),
            ("channel = \"a\"\nread = \"users\"", "unknown field `read`"),
            ("channel = \"a\"\nmessage_max_bytes = 0", "must be from 1 to 65536"),
            ("channel = \"a\"\nmessage_max_bytes = 65537", "must be from 1 to 65536"),
            ("channel = \"a\"\nfollowers_max = 0", "must be from 1 to "),
        ] {
            let refusal = rule(more).unwrap_err().to_string();
            assert!(refusal.starts_with("`rules") && refusal.contains(problem), "{more}: {refusal}");
        }
        assert!(rule("channel = \"in-{user}\"\nsubscribe = \"owner\"\nfollowers_max = 1").is_ok());
        let many = "[[rules]]\nchannel = \"a\"\n".repeat(101);
        assert!(load(&many).unwrap_err().to_string().contains("at most 100 entries"));
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
        for wrong in ["encke=loud", "warning", "loud", "", "a,,b=="] {
            assert!(refusal("log", wrong).starts_with("`log`"), "{wrong:?}");
        }
        for good in ["off", "INFO", "encke=debug", "info,encke=debug", "warn,hyper"] {
            assert!(Layers::new(Vec::new()).option("log", "--option", good).load().is_ok(), "{good:?}");
        }
        assert!(refusal("data", "").starts_with("`data`"));
        assert!(refusal("slow.policy", "drop").starts_with("`slow.policy`"));
        assert!(refusal("api_key", "short").starts_with("`api_key`"));
        for weak in ["aaaaaaaaaaaaaaab", "abcababcabcabcabc", "1212121212121212"] {
            assert!(refusal("api_key", weak).contains("a few characters"), "{weak}");
        }
        assert!(refusal("api_key", "4f1c9be07d3a".repeat(50)).contains("at most 512 bytes"));
        assert!(refusal("token_secret", "changeme").contains("placeholder"));
        assert!(
            !refusal("token_secret", "4f1c9be07d3a").contains("4f1c9be07d3a"),
            "a secret is not in the words of its refusal"
        );
        assert!(refusal("retention_users.max_age_s", 60).contains("push_ttl_s"));
        for url in [
            "http://id.example.com/k",
            "ftp://id.example.com/k",
            "https://a:b@id.example.com/k",
            "/k",
            "http://127.0.0.1.example.com/k",
        ] {
            assert!(refusal("auth.jwks_url", url).starts_with("`auth.jwks_url`"), "{url}");
        }
        for url in
            ["https://id.example.com/k", "http://127.0.0.1:81/k", "http://localhost/k", "http://[::1]/k"]
        {
            assert!(Layers::new(Vec::new()).option("auth.jwks_url", "--option", url).load().is_ok(), "{url}");
        }
    }

    #[test]
    fn each_api_key_has_a_name_scopes_and_one_form() {
        let digest = "0f4e8c1b".repeat(8);
        let load = |keys: &str| {
            let table: toml::Table = format!("keys = {keys}").parse().unwrap();
            let layers = Layers::new(Vec::new()).option("api_key", "--option", "4f1c9be07d3a4f1c");
            layers.option("api_keys", "--option", table["keys"].clone()).load()
        };
        let key = |fields: &str| format!("[{{ {fields} }}]");
        let good = [
            key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = ["push"]"#),
            key(&format!(r#"name = "a", key_sha256 = "{digest}", scopes = ["admin"]"#)),
            key(&format!(
                r#"name = "a", key_sha256 = "{digest}", scopes = ["read"], expires = "2027-01-31T00:00:00Z""#
            )),
        ];
        for keys in good {
            assert!(load(&keys).is_ok(), "{keys}");
        }
        let a = r#"{ name = "a", key = "7d3a4f1c9be07d3a", scopes = ["push"] }"#;
        for (keys, word) in [
            (key(r#"name = "a", scopes = ["push"]"#), "either key or key_sha256"),
            (
                key(&format!(
                    r#"name = "a", key = "7d3a4f1c9be07d3a", key_sha256 = "{digest}", scopes = ["push"]"#
                )),
                "either key or key_sha256",
            ),
            (key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = []"#), "no scopes"),
            (key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = ["all"]"#), "unknown variant `all`"),
            (key(r#"name = "a b", key = "7d3a4f1c9be07d3a", scopes = ["push"]"#), "the name must be"),
            (key(r#"name = "a", key = "4f1c9be07d3a4f1c", scopes = ["push"]"#), "neither api_key nor"),
            (key(r#"name = "a", key = "short", scopes = ["push"]"#), "at least 16 bytes"),
            (key(r#"name = "a", key_sha256 = "0f4e", scopes = ["push"]"#), "64 hexadecimal digits"),
            (format!("[{a}, {a}]"), "this name is taken"),
        ] {
            let refusal = load(&keys).unwrap_err().to_string();
            assert!(refusal.starts_with("`api_keys`") && refusal.contains(word), "{keys}: {refusal}");
            assert!(!refusal.contains("7d3a4f1c9be07d3a"), "{refusal}");
        }
        let same = Layers::new(Vec::new()).option("api_key", "--option", "4f1c9be07d3a".repeat(3));
        let same = same.option("token_secret", "--option", "4f1c9be07d3a".repeat(3)).load().unwrap_err();
        assert!(same.to_string().contains("must not be the same as token_secret"), "{same}");
    }

    #[test]
    fn what_browsers_are_told_of_tls_has_bounds() {
        for (alpn, good) in [
            (&["h2", "http/1.1"][..], true),
            (&["http/1.1", "h2"], true),
            (&["http/1.1"], true),
            (&[], false),
            (&["h2", "h2"], false),
            (&["h2", "http/1.1", "h2"], false),
            (&["http/1.0"], false),
        ] {
            let value = Value::Array(alpn.iter().map(|name| (*name).into()).collect());
            let loaded = Layers::new(Vec::new()).option("tls_alpn", "--option", value).load();
            assert_eq!(loaded.is_ok(), good, "{alpn:?}");
        }
        assert!(refusal("tls_redirect", true).contains("needs tls_listen"));
        assert!(refusal("tls_redirect_port", 65_536).contains("must be from 1 to "));
        assert!(refusal("tls_hsts_s", 63_072_001).contains("must be from 0 to "));
        let hsts_s = |more: &str| {
            let listen = "tls_listen = \"127.0.0.1:0\"\ntls_cert = \"a\"\ntls_key = \"b\"\n";
            let text: toml::Table = format!("{listen}{more}").parse().unwrap();
            let layers = Layers::new(Vec::new());
            let layers =
                text.into_iter().fold(layers, |layers, (key, value)| layers.option(&key, "--option", value));
            layers.load().unwrap().hsts_s()
        };
        for (more, said_s) in [
            ("", 0),
            ("tls_redirect = true", 31_536_000),
            ("tls_redirect = true\ndev = true", 0),
            ("tls_redirect = true\ntls_hsts_s = 0", 0),
            ("tls_hsts_s = 7", 7),
        ] {
            assert_eq!(hsts_s(more), said_s, "{more}");
        }
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
