//! What is in force, and where each value came from. Secrets are masked.

use serde::Serialize;
use toml::{Table, Value};

use super::Config;
use super::keys::{self, DIALECTS};
use super::mistake::Sources;
use super::setting::{Kind, Setting, switch};
use crate::engines;

/// What stands in the place of a secret.
const MASK: &str = "********";

/// One setting that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Its key, with its table in front.
    pub(crate) key: String,
    /// Its value, as TOML, or what holds instead, in words.
    pub(crate) value: String,
    /// Where it came from: `default`, `FILE:LINE:COLUMN`, a variable or an option.
    pub(crate) from: String,
}

/// Every setting, in the order of the reference.
pub(crate) fn shown(config: &Config, dialects: &[&str]) -> Vec<Shown> {
    let (said, sources) = (&config.said, config.said.sources());
    let of_dialects = dialects.iter().map(|name| (format!("{DIALECTS}.{name}"), switch().unset("not said")));
    let all = keys::each().map(|(key, setting)| (key, *setting)).chain(of_dialects);
    let all = all.filter(|(_, setting)| !matches!(setting.kind, Kind::Table(_)));
    all.map(|(key, setting)| one(said.get(&key), &key, &setting, sources)).collect()
}

fn one(said: Option<&Value>, key: &str, setting: &Setting, sources: &Sources) -> Shown {
    let (value, from) = match said {
        Some(value) => (masked(value, setting.kind).to_string(), sources.of(key).to_string()),
        None => {
            let default = setting.default_value().map(|value| value.to_string());
            (default.unwrap_or_else(|| format!("({})", setting.unset)), "default".to_owned())
        }
    };
    Shown { key: key.to_owned(), value, from }
}

/// A value without its secrets.
fn masked(value: &Value, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::Secret | Kind::Secrets, _) => Value::from(MASK),
        (Kind::Address, Value::String(address)) => Value::from(match address.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}", engines::hosts(rest)),
            None => address.clone(),
        }),
        (Kind::Tables(settings), Value::Array(list)) => {
            Value::Array(list.iter().map(|one| masked(one, Kind::Table(settings))).collect())
        }
        (Kind::Table(settings), Value::Table(table)) => {
            let kind = |name: &str| {
                settings.iter().find(|one| one.name == name).map_or(Kind::Secret, |one| one.kind)
            };
            let all = table.iter().map(|(name, value)| (name.clone(), masked(value, kind(name))));
            Value::Table(all.collect::<Table>())
        }
        (_, value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Layers;

    #[test]
    fn what_is_in_force_is_shown_with_its_source_and_without_secrets() {
        let text = "hold_s = 30\napi_key = \"4f1c9be07d3a4f1c\"\nengine = \"memory\"\n\
                    [[api_keys]]\nname = \"a\"\nkey = \"7d3a4f1c9be07d3a\"\nscopes = [\"push\"]\n";
        let layers = Layers::new(vec!["classic"]).text(text, Path::new("f.toml"));
        let layers = layers.env(|name| (name == "ENCKE_SLOW_POLICY").then(|| "gap".to_owned()));
        let config = layers.option("dev", "--dev", true).load().unwrap();
        let all = shown(&config, &["classic"]);
        for (key, value, from) in [
            ("hold_s", "30", "f.toml:1:1"),
            ("heartbeat_s", "20", "default"),
            ("api_key", "\"********\"", "f.toml:2:1"),
            ("token_secret", "(not set)", "default"),
            ("slow.policy", "\"gap\"", "ENCKE_SLOW_POLICY"),
            ("dev", "true", "--dev"),
            ("dialects.classic", "(not said)", "default"),
        ] {
            let one = all.iter().find(|one| one.key == key).unwrap();
            assert_eq!((one.value.as_str(), one.from.as_str()), (value, from), "{key}");
        }
        let everything = format!("{all:?}");
        assert!(everything.contains("name = ") && !everything.contains("4f1c9be0"), "{everything}");
        let hidden = masked(&Value::from("redis://user:hush@h:1/0?password=hush"), Kind::Address);
        assert_eq!(hidden, Value::from("redis://h:1"));
    }
}
