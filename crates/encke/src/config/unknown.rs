//! Names that no setting has, and which setting was meant.

use super::keys::{self, DIALECTS, REMOVED, variable};
use super::nearest::{PREFIX, hint, nearest};
use super::setting::{Kind, Setting};

/// What its commands read besides the settings.
const OF_COMMANDS: &[&str] = &["ENCKE_API_KEY_FILE", "ENCKE_CONFIG", "ENCKE_TOKEN", "ENCKE_URL"];

/// A line for each of these environment variables that looks like a setting and is none. Those of an
/// orchestrator for a service whose name begins with `encke` are left alone.
pub(crate) fn unknown_variables(
    names: impl IntoIterator<Item = String>,
    dialects: &[&'static str],
) -> Vec<String> {
    let settings = keys::each().map(|(key, _)| variable(&key));
    let dialects = dialects.iter().map(|name| variable(&format!("{DIALECTS}.{name}")));
    let all: Vec<String> =
        settings.chain(dialects).chain(OF_COMMANDS.iter().map(|name| (*name).to_owned())).collect();
    let is_removed = |name: &str| REMOVED.iter().any(|(key, _)| variable(key) == name);
    let mut unknown: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !is_service_link(name))
        .filter(|name| !all.contains(name) && !is_removed(name))
        .collect();
    unknown.sort_unstable();
    let told = |name: String| {
        let meant = nearest(&name, all.iter().map(String::as_str)).map(hint).unwrap_or_default();
        format!("`{name}` in the environment is no setting{meant}")
    };
    unknown.into_iter().map(told).collect()
}

/// The key that was meant by one that is none.
pub(crate) fn meant(key: &str) -> Option<String> {
    // The place within a list is not a part of the name.
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut known: Vec<String> = keys::all().iter().map(|setting| setting.name.to_owned()).collect();
    known.extend(keys::each().map(|(key, _)| key));
    if let Some(settings) = tables_at(table) {
        known.extend(settings.iter().map(|setting| format!("{table}.{}", setting.name)));
    }
    let nearest_key = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
    // It may also stand in the wrong table.
    nearest_key.or_else(|| known.into_iter().find(|known| known.rsplit('.').next() == Some(name)))
}

/// What the tables of a list have, by the key of the list.
fn tables_at(key: &str) -> Option<&'static [Setting]> {
    keys::each().find(|(known, _)| known == key).and_then(|(_, setting)| match setting.kind {
        Kind::Tables(settings) => Some(settings),
        _ => None,
    })
}

/// Whether an orchestrator sets a variable of this name for a service: `ENCKE_SERVICE_HOST`, `ENCKE_PORT`,
/// `ENCKE_PORT_8080_TCP_ADDR`, and those of services with a longer name.
fn is_service_link(name: &str) -> bool {
    let is_port = |rest: &str| {
        let (number, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && ["TCP", "UDP", "SCTP"].iter().any(|known| protocol.starts_with(known))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<String> {
        unknown_variables(names.iter().map(|name| (*name).to_owned()), &["classic", "other"])
    }

    #[test]
    fn a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("ENCKE_HOLD", "ENCKE_HOLD_S"),
            ("ENCKE_APIKEY", "ENCKE_API_KEY"),
            ("ENCKE_LISTNE", "ENCKE_LISTEN"),
            ("ENCKE_SLOW_DEADLINE_MS", "ENCKE_SLOW_DEADLINE_S"),
            ("ENCKE_DIALECTS_CLASIC", "ENCKE_DIALECTS_CLASSIC"),
            ("ENCKE_DIALECT_OTHER", "ENCKE_DIALECTS_OTHER"),
            ("ENCKE_CONFIGS", "ENCKE_CONFIG"),
        ] {
            let words = format!("`{name}` in the environment is no setting; did you mean `{meant}`?");
            assert_eq!(told(&[name]), [words]);
        }
        for name in ["ENCKE_DIALECTS_FOO", "ENCKE_", "ENCKE_SHARDS_PER_CORE", "ENCKE_listen"] {
            assert_eq!(told(&[name]), [format!("`{name}` in the environment is no setting")]);
        }
    }

    #[test]
    fn what_is_known_or_not_ours_is_not_told() {
        let known: Vec<String> = keys::each()
            .map(|(key, _)| key)
            .chain(["dialects.classic".to_owned()])
            .map(|key| variable(&key))
            .chain(OF_COMMANDS.iter().map(|name| (*name).to_owned()))
            .chain(REMOVED.iter().map(|(key, _)| variable(key)))
            .collect();
        assert_eq!(unknown_variables(known, &["classic"]), [""; 0]);
        assert_eq!(
            told(&[
                "PATH",
                "ENCKE",
                "ENCKED_X",
                "ENCKE_SERVICE_HOST",
                "ENCKE_SERVICE_PORT",
                "ENCKE_SERVICE_PORT_HTTP",
                "ENCKE_PORT",
                "ENCKE_PORT_8080_TCP",
                "ENCKE_PORT_8080_TCP_ADDR",
                "ENCKE_REDIS_SERVICE_HOST",
                "ENCKE_REDIS_PORT_6379_TCP_PROTO",
            ]),
            [""; 0]
        );
    }

    #[test]
    fn a_key_that_was_meant_is_found() {
        for (key, wanted) in [
            ("hold", Some("hold_s")),
            ("slow.deadline", Some("slow.deadline_s")),
            ("rules.chanel", Some("rules.channel")),
            ("auth.keys.algoritm", Some("auth.keys.algorithm")),
            ("retentoin", Some("retention")),
            ("deadline_s", Some("slow.deadline_s")),
            ("slow.hold_s", Some("hold_s")),
            ("colour", None),
        ] {
            assert_eq!(meant(key).as_deref(), wanted, "{key}");
        }
    }
}
