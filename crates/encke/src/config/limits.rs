//! What values have to do with each other, and what the kind of a setting does not say of its value. Here is
//! what concerns the server itself; each part that has rules of its own has a file.

mod auth;
mod channel_rules;
mod hooks;
mod listeners;
mod pusher;
mod retention;
mod secrets;
mod tls;
mod traces;

use std::cell::RefCell;

use tracing_subscriber::filter::LevelFilter;

pub(crate) use listeners::warnings;

use super::mistake::Sources;
use super::{Config, Mistake, nearest, node};
use crate::engines;

/// Checks what the values of several settings have to do with each other, and what the kind of one does not
/// say. Returns all mistakes. Of a key that has one already, nothing more is said.
pub(crate) fn check(config: &Config, sources: &Sources, mistaken: &[Mistake]) -> Vec<Mistake> {
    let checker = Checker { sources, mistaken, found: RefCell::default() };
    check_words(config, &checker);
    tls::check(config, &checker);
    listeners::check(config, &checker);
    secrets::check(config, &checker);
    auth::check(config, &checker);
    retention::check(config, &checker);
    channel_rules::check(config, &checker);
    hooks::check(config, &checker);
    pusher::check(config, &checker);
    traces::check(config, &checker);
    checker.found.into_inner()
}

/// The settings that are no numbers.
fn check_words(config: &Config, checker: &Checker<'_>) {
    checker.rule("data", !config.data.as_os_str().is_empty(), || "must name a directory".to_owned());
    checker.rule("node", node::is_name(&config.node), || {
        "must be 1 to 64 ASCII letters, digits, `.`, `-`, `_`".to_owned()
    });
    // The default is opened whether or not this build has it, and then says so.
    if checker.sources.have("engine") {
        let problem = engines::check(config.engine.expose()).err();
        checker.rule("engine", problem.is_none(), || problem.map(|p| p.to_string()).unwrap_or_default());
    }
    let problem = log_problem(&config.log);
    checker.rule("log", problem.is_none(), || problem.unwrap_or_default());
    checker.rule("allowed_origins", config.allowed_origins.len() <= 100, || {
        "must have at most 100 entries".to_owned()
    });
    checker.relation(&["listen", "dev"], !config.dev || config.listen.is_local(), || {
        format!(
            "dev mode lets anyone in, so it listens on a loopback address (127.0.0.1 or [::1]) or a unix socket only, not on {}",
            config.listen
        )
    });
}

/// What is wrong with the directives of the log.
fn log_problem(log: &str) -> Option<String> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let parts = || log.split(',').map(str::trim);
    // A word that is no level would be taken for a part of the program, of which alone all would be logged.
    let has_level =
        parts().any(|directive| is_level(directive.rsplit('=').next().unwrap_or_default().trim()));
    let misspelt = parts().filter(|part| !is_level(part)).find_map(|part| {
        let meant = nearest::meant_level(part.rsplit('=').next().unwrap_or_default());
        meant.filter(|_| !part.rsplit('=').next().is_some_and(is_level))
    });
    if let Some(meant) = misspelt {
        return Some(format!("has a directive that is no level{}", nearest::hint(meant)));
    }
    let is_filter = has_level && tracing_subscriber::EnvFilter::try_new(log).is_ok();
    (!is_filter)
        .then(|| "must be error, warn, info, debug, trace, or directives such as info,encke=debug".to_owned())
}

/// Names the key whose value is wrong, and where the value came from.
struct Checker<'a> {
    sources: &'a Sources,
    /// What is known to be wrong already.
    mistaken: &'a [Mistake],
    found: RefCell<Vec<Mistake>>,
}

impl Checker<'_> {
    /// A rule for the value of a key, which may be in a list: `rules[0].channel`.
    fn rule(&self, path: &str, holds: bool, problem: impl FnOnce() -> String) {
        self.relation(&[path], holds, problem);
    }

    /// A rule for the values of several keys, of which the first is named. If any is wrong by itself, nothing
    /// can be said of them together.
    fn relation(&self, paths: &[&str], holds: bool, problem: impl FnOnce() -> String) {
        let Some(path) = paths.first().filter(|_| !holds) else { return };
        let mut found = self.found.borrow_mut();
        let at = |path: &str| Mistake::at(path, self.sources, String::new());
        let is_told = |path: &str| {
            let at = at(path);
            self.mistaken.iter().chain(found.iter()).any(|one| one.key == at.key && one.from == at.from)
        };
        if !paths.iter().any(|path| is_told(path)) {
            found.push(Mistake::at(path, self.sources, problem()));
        }
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
            "max_request_connections",
            "max_sessions_per_user",
            "shutdown_spread_s",
        ] {
            assert!(
                refusal(key, 0).starts_with(&format!("--option: {key}: must be from 1 to ")),
                "{}",
                refusal(key, 0)
            );
            assert!(refusal(key, i64::MAX).contains("must be from 1 to "));
        }
        for key in ["slow.max_messages", "slow.max_bytes", "slow.deadline_s"] {
            assert!(
                refusal(key, 0).starts_with(&format!("--option: {key}: must be from ")),
                "{}",
                refusal(key, 0)
            );
        }
        for key in [
            "max_connections_per_address",
            "max_request_connections_per_address",
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
                assert!(refusal(&key, 0).starts_with(&format!("--option: {key}: ")));
            }
        }
    }

    #[test]
    fn words_are_checked_too() {
        assert!(refusal("node", "a b").starts_with("--option: node: "));
        for wrong in
            ["encke=loud", "warning", "loud", "", "a,,b==", "info,debgu", "info,encke=debgu", "warnn"]
        {
            assert!(refusal("log", wrong).starts_with("--option: log: "), "{wrong:?}");
        }
        for good in ["off", "INFO", "encke=debug", "info,encke=debug", "warn,hyper"] {
            assert!(Layers::new(Vec::new()).option("log", "--option", good).load().is_ok(), "{good:?}");
        }
        assert!(refusal("data", "").starts_with("--option: data: "));
        assert!(refusal("slow.policy", "drop").starts_with("--option: slow.policy: "));
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
            assert!(refusal.starts_with("--listen: listen: "), "{refusal}");
        }
    }
}
