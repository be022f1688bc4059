//! The layers of a configuration, put over each other and read.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use encke_proto::AllowList;
use serde::{Deserialize, Deserializer};
use toml::de::DeTable;
use toml::{Table, Value};

use super::keys::{self, DIALECTS, REMOVED, variable};
use super::mistake::Sources;
use super::places::Lines;
use super::reading::Reading;
use super::setting::{Kind, Setting, switch, value};
use super::{Config, ConfigError, Mistake, Said, Source, limits, unknown_variables};
use crate::{engines, regular_file};

/// The largest file that is read while the server runs.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Collects what the file, the environment and the command line say, in this order: each later one wins.
#[derive(Debug, Default)]
pub struct Layers {
    table: Table,
    sources: Sources,
    dialects: Vec<&'static str>,
    /// What could not be taken over.
    mistakes: Vec<Mistake>,
    /// What of the environment is no setting, and the secrets of files that it hides, a line each.
    warnings: Vec<String>,
}

impl Layers {
    /// Nothing but the defaults, for a server that knows these dialects.
    #[must_use]
    pub fn new(dialects: Vec<&'static str>) -> Self {
        Self { dialects, ..Self::default() }
    }

    /// Puts a file over what is there.
    ///
    /// # Errors
    /// [`ConfigError::Read`].
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Ok(self.text(&text, path))
    }

    /// The same, but for a regular file of at most a megabyte: it does not wait for another program.
    ///
    /// # Errors
    /// [`ConfigError::Read`].
    pub fn regular_file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = regular_file::read(path, FILE_MAX_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Ok(self.text(&text, path))
    }

    pub(super) fn text(mut self, text: &str, path: &Path) -> Self {
        let lines = Lines::new(text, path);
        let (_, mut errors) = DeTable::parse_recoverable(text);
        let table = text.parse::<Table>();
        // What is well-formed may be no value all the same: a number that is too large.
        if errors.is_empty() {
            errors.extend(table.as_ref().err().cloned());
        }
        // What follows from a mistake in the same line is none of its own.
        let mut last_line = 0;
        for error in &errors {
            let from = lines.place(error.span().map_or(0, |span| span.start));
            let Source::File { line, .. } = from else { continue };
            if std::mem::replace(&mut last_line, line) != line {
                // The words may go on for lines; the first says what is wrong.
                let problem = error.message().lines().next().unwrap_or("not TOML").to_owned();
                self.mistakes.push(Mistake { key: String::new(), from, problem });
            }
        }
        let (Ok(parsed), Ok(table)) = (DeTable::parse(text), table) else { return self };
        for (path, source) in lines.places(parsed.get_ref()) {
            self.sources.put(&path, source);
        }
        for (key, value) in table {
            match value {
                // Within a table each key is put over by itself, so that another layer may say something
                // about its neighbour.
                Value::Table(inner) => {
                    self.table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
                    inner.into_iter().for_each(|(name, value)| self.put(&format!("{key}.{name}"), value));
                }
                value => self.put(&key, value),
            }
        }
        self
    }

    /// Puts the environment over what is there. `get` gives the value of an environment variable; empty is as
    /// if it were not set.
    ///
    /// Which variables there are besides, [`Layers::variables`] looks at.
    #[must_use]
    pub fn env(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        let dialects: Vec<(String, Setting)> =
            self.dialects.iter().map(|name| (format!("{DIALECTS}.{name}"), switch())).collect();
        let all = keys::each().map(|(key, setting)| (key, *setting)).chain(dialects);
        for (key, setting) in all.filter(|(_, setting)| !matches!(setting.kind, Kind::Table(_))) {
            let name = variable(&key);
            let Some(text) = get(&name).filter(|text| !text.is_empty()) else { continue };
            let read = read(&text, setting.kind);
            if let (Ok(value), Kind::Secret | Kind::Secrets) = (&read, setting.kind) {
                self.warn_of_hidden(&key, value, &name);
            }
            self.sources.put(&key, Source::Env(name));
            match read {
                Ok(value) => self.put(&key, value),
                Err(problem) => self.mistakes.push(Mistake::at(&key, &self.sources, problem.to_owned())),
            }
        }
        for (key, _) in REMOVED {
            let name = variable(key);
            if let Some(text) = get(&name).filter(|text| !text.is_empty()) {
                self.sources.put(key, Source::Env(name));
                self.put(key, Value::String(text));
            }
        }
        self
    }

    /// Warns of a secret in a file that another one from the environment takes the place of: who changes it
    /// there and reloads would wait in vain.
    fn warn_of_hidden(&mut self, key: &str, value: &Value, variable: &str) {
        let (outer, name) = key.split_once('.').map_or((key, None), |(outer, name)| (outer, Some(name)));
        let before = self.table.get(outer);
        let before = name.map_or(before, |name| before.and_then(|table| table.get(name)));
        if before.is_some_and(|before| before != value) {
            let problem = format!("is not used, as {variable} says something else");
            self.warnings.push(Mistake::at(key, &self.sources, problem).to_string());
        }
    }

    /// Warns of each of these environment variables that begins with `ENCKE_` and is no setting. It is no
    /// error, as others may have set it.
    #[must_use]
    pub fn variables(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.warnings.append(&mut unknown_variables(names, &self.dialects));
        self
    }

    /// Puts one option of the command line over what is there.
    #[must_use]
    pub fn option(mut self, key: &str, option: &'static str, value: impl Into<Value>) -> Self {
        self.sources.put(key, Source::Option(option));
        self.put(key, value.into());
        self
    }

    /// Reads and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError::Mistakes`] has every key that is unknown, of the wrong type, out of its bounds, or does
    /// not go with the others.
    pub fn load(self) -> Result<Config, ConfigError> {
        self.load_and_check(|_| Vec::new())
    }

    /// The same, and what `check` finds besides in what could be read.
    ///
    /// # Errors
    /// [`ConfigError::Mistakes`].
    pub fn load_and_check(
        mut self,
        check: impl FnOnce(&Config) -> Vec<Mistake>,
    ) -> Result<Config, ConfigError> {
        let mut warnings = self.take_removed();
        warnings.append(&mut self.warnings);
        let mut mistakes = self.mistakes;
        let (config, mut found) = Reading::new(&self.sources, &self.dialects).read(&self.table);
        mistakes.append(&mut found);
        let said = Said::new(self.table, self.sources.clone());
        let config = config.map(|config| Config { said, ..config });
        if let Some(config) = &config {
            mistakes.append(&mut limits::check(config, &self.sources, &mistakes));
            mistakes.append(&mut check(config));
        }
        let Some(config) = config.filter(|_| mistakes.is_empty()) else {
            mistakes.sort_by_key(Mistake::order);
            return Err(ConfigError::Mistakes(mistakes));
        };
        warnings.append(&mut limits::warnings(&config, &self.sources));
        if let Some(now) = engines::successor(config.engine.expose()) {
            let problem = format!("there is no engine `{}` any more, it is now `{now}`", config.engine);
            warnings.push(Mistake::at("engine", &self.sources, problem).to_string());
        }
        Ok(Config { warnings, ..config })
    }

    /// Leaves out the keys that have no effect any more, with a warning for each.
    fn take_removed(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, what) in REMOVED {
            if self.table.remove(*key).is_some() {
                let problem = format!("has no effect and can be taken out: {what}");
                warnings.push(Mistake::at(key, &self.sources, problem).to_string());
            }
        }
        warnings
    }

    fn put(&mut self, key: &str, value: Value) {
        let Some((outer, name)) = key.split_once('.') else {
            self.table.insert(key.to_owned(), value);
            return;
        };
        let slot = self.table.entry(outer.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        // Something that is not a table where one belongs is left for the reader to name.
        if let Value::Table(table) = slot {
            table.insert(name.to_owned(), value);
        }
    }
}

/// Reads the text of an environment variable.
fn read(text: &str, kind: Kind) -> Result<Value, &'static str> {
    match kind {
        Kind::Text | Kind::Secret | Kind::Address | Kind::Word(_) => Ok(Value::String(text.to_owned())),
        Kind::Number(..) => text.trim().parse().map(Value::Integer).map_err(|_| "must be a whole number"),
        Kind::Ratio => text.trim().parse().map(Value::Float).map_err(|_| "must be a number"),
        Kind::Switch => match text.trim() {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err("must be true or false"),
        },
        Kind::List | Kind::Secrets | Kind::Words(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        Kind::Tables(_) | Kind::Table(_) => value(text).ok_or("must be a TOML value"),
    }
}

/// Reads an address to listen on that need not be there.
pub(crate) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_address(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Reads `IP:PORT` or `localhost:PORT`.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    local
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{text:?} is no address: write IP:PORT, for instance 127.0.0.1:8080"))
}

/// Reads the prefixes of pages that may be pushed.
pub(crate) fn allow_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AllowList, D::Error> {
    let prefixes = Vec::<String>::deserialize(deserializer)?;
    AllowList::parse(prefixes.iter().map(String::as_str))
        .map_err(|(prefix, error)| serde::de::Error::custom(format!("{prefix:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::example;

    fn load(text: &str) -> Result<Config, ConfigError> {
        Layers::new(vec!["bayeux", "classic", "other"]).text(text, Path::new("encke.toml")).load()
    }

    fn refusal(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: HashMap<_, _> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        move |name| pairs.get(name).cloned()
    }

    #[test]
    fn the_example_holds_every_key_at_its_default() {
        let text = example(&["bayeux", "classic", "other"]);
        // What is commented out in the example has no default that could stand there.
        let everything: Vec<_> = text.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect();
        let everything = everything.join("\n");
        assert!(
            load(&everything).unwrap_err().to_string().contains("placeholder"),
            "no server shall run with the example's keys"
        );
        let table: Table = everything.parse().unwrap();
        for (key, _) in keys::each() {
            let (outer, inner) = key.split_once('.').unwrap_or((key.as_str(), ""));
            let value = table.get(outer).unwrap_or_else(|| panic!("{key} is not in the example"));
            assert!(inner.is_empty() || value.get(inner).is_some(), "{key} is not in the example");
        }
        let plain = |config: &Config| format!("{config:?}");
        assert_eq!(plain(&load(&text).unwrap()), plain(&Config::default()));
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let text = "hold_s = 0\nheartbeat_s = \"x\"\nlistn = 1\nlog = \"info,debgu\"\nlog_format = \"jsn\"\n\
                    trusted_proxies = [\"10.0.0.0/8\", \"a\", \"::1\", \"b\"]\ntls_redirect = true\n\
                    [slow]\n  policy = \"clos\"\n  deadline = 3\n[[rules]]\nsubscrib = \"users\"\n[[rules]]\n\
                    channel = \"in\"\nsubscribe = \"owner\"\n[[rules]]\nchannel = \"b\"\nfollowers_max = 0\n\
                    publish = \"alice\"\n[[auth.keys]]\nalgorithm = \"RS265\"\n";
        let layers = Layers::new(vec!["classic"]).text(text, Path::new("f.toml"));
        let layers = layers.env(env(&[("ENCKE_WORKERS", "many"), ("ENCKE_SLOW_MAX_BYTES", "1")]));
        let error = layers.option("max_connections", "--most", 0).load().unwrap_err();
        let ConfigError::Mistakes(mistakes) = error else { panic!("{error}") };
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let network = |text: &str| {
            format!("{text:?} is no network: write an address, or one with its bits: 10.0.0.0/8")
        };
        let who = "must be anyone, users, owner, token, nobody";
        for line in [
            "f.toml:1:1: hold_s: must be from 1 to 120, is 0".to_owned(),
            "f.toml:2:1: heartbeat_s: must be a whole number without quotes, is text".to_owned(),
            "f.toml:3:1: listn: is no such key; did you mean `listen`?".to_owned(),
            "f.toml:4:1: log: has a directive that is no level; did you mean `debug`?".to_owned(),
            "f.toml:5:1: log_format: must be text, json; did you mean `json`?".to_owned(),
            format!("f.toml:6:34: trusted_proxies: {}", network("a")),
            format!("f.toml:6:46: trusted_proxies: {}", network("b")),
            "f.toml:7:1: tls_redirect: needs tls_listen".to_owned(),
            "f.toml:9:3: slow.policy: must be close, gap; did you mean `close`?".to_owned(),
            "f.toml:10:3: slow.deadline: is no such key; did you mean `slow.deadline_s`?".to_owned(),
            "f.toml:11:1: rules.channel: is missing".to_owned(),
            "f.toml:12:1: rules.subscrib: is no such key; did you mean `rules.subscribe`?".to_owned(),
            "f.toml:13:1: rules: channel \"in\": \"owner\" needs {user} in the pattern".to_owned(),
            "f.toml:18:1: rules.followers_max: must be from 1 to 10000000, is 0".to_owned(),
            format!("f.toml:19:1: rules.publish: {who}"),
            "ENCKE_SLOW_MAX_BYTES: slow.max_bytes: must be from 65536 to 1099511627776, is 1".to_owned(),
            "ENCKE_WORKERS: workers: must be a whole number".to_owned(),
            "--most: max_connections: must be from 1 to 10000000, is 0".to_owned(),
        ] {
            assert!(told.contains(&line), "{line} is not in {told:#?}");
        }
        assert!(told.iter().any(|line| line.starts_with("f.toml:21:1: auth.keys.algorithm: ")), "{told:#?}");
        assert!(told.iter().any(|line| line.ends_with("did you mean `RS256`?")), "{told:#?}");
        assert_eq!(told.len(), 20, "nothing follows from another mistake: {told:#?}");
    }

    #[test]
    fn the_command_line_wins_over_the_environment_that_over_the_file_that_over_the_default() {
        let layers = Layers::new(vec!["classic", "other"])
            .text("hold_s = 1\nheartbeat_s = 2\nworkers = 3\n", Path::new("f"));
        let layers =
            layers.env(env(&[("ENCKE_HOLD_S", "10"), ("ENCKE_HEARTBEAT_S", "20"), ("ENCKE_LOG", "")]));
        let config = layers.option("hold_s", "--hold", 100).load().unwrap();
        assert_eq!(
            (config.hold_s, config.heartbeat_s, config.workers, config.session_grace_s),
            (100, 20, 3, 15)
        );
        assert_eq!(config.log, "info", "an empty variable is as if it were not set");
    }

    #[test]
    fn a_secret_of_a_file_that_the_environment_hides_is_warned_of() {
        let warnings = |in_file: &str| {
            let text = format!("hold_s = 1\napi_key = \"{in_file}\"\n");
            let layers = Layers::new(Vec::new()).text(&text, Path::new("f"));
            let set = env(&[("ENCKE_API_KEY", "4f1c9be07d3a4f1c"), ("ENCKE_HOLD_S", "2")]);
            layers.env(set).load().unwrap().warnings
        };
        assert!(warnings("4f1c9be07d3a4f1c").is_empty());
        let told = "f:2:1: api_key: is not used, as ENCKE_API_KEY says something else";
        assert_eq!(warnings("another-key-of-16"), [told]);
    }

    #[test]
    fn layers_meet_within_a_table() {
        let layers = Layers::new(vec!["classic", "other"])
            .text("[retention_default]\nmax_messages = 5\nmax_age_s = 6\n", Path::new("f"));
        let config = layers.env(env(&[("ENCKE_RETENTION_DEFAULT_MAX_MESSAGES", "7")])).load().unwrap();
        assert_eq!(
            (config.retention_table().public.max_messages, config.retention_table().public.max_age_s),
            (7, 6)
        );
    }

    #[test]
    fn every_kind_of_value_comes_from_the_environment() {
        let config = Layers::new(vec!["classic", "other"])
            .env(env(&[
                ("ENCKE_DEV", "true"),
                ("ENCKE_ALLOWED_ORIGINS", "https://a.example, https://b.example"),
                ("ENCKE_RETENTION", "[{channel = \"news*\", max_messages = 5}]"),
                ("ENCKE_DIALECTS_CLASSIC", "false"),
                ("ENCKE_ENGINE", "memory"),
                ("ENCKE_SERVICE_HOST", "10.0.0.1"),
            ]))
            .load()
            .unwrap();
        assert!(config.dev);
        assert_eq!((config.dialects.says("classic"), config.dialects.says("other")), (Some(false), None));
        assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!(config.retention_table().rules[0].1.max_messages, 5);
        let layers = Layers::new(vec!["classic", "other"]).env(env(&[("ENCKE_HOLD_S", "soon")]));
        assert_eq!(layers.load().unwrap_err().to_string(), "ENCKE_HOLD_S: hold_s: must be a whole number");
    }

    #[test]
    fn unknown_keys_are_named() {
        assert_eq!(refusal("hold = 3"), "encke.toml:1:1: hold: is no such key; did you mean `hold_s`?");
        assert_eq!(refusal("colour = 3"), "encke.toml:1:1: colour: is no such key");
        assert_eq!(
            refusal("[dialects]\nmodern = true"),
            "encke.toml:2:1: dialects.modern: is no such key: the dialects are bayeux, classic, other"
        );
        assert!(refusal("[[retention]]\nchannel = \"a\"\nmax = 1").contains(": retention.max: "));
    }

    #[test]
    fn a_key_that_was_removed_is_warned_of_wherever_it_stands_and_whatever_it_says() {
        assert!(Config::default().warnings.is_empty());
        for (key, _) in REMOVED {
            let there = Layers::new(Vec::new()).text(&format!("{key} = 1000\n"), Path::new("encke.toml"));
            let name = variable(key);
            let named = Layers::new(Vec::new()).env(env(&[(&name, "soon")]));
            for (layers, from) in [(there, "encke.toml:1:1"), (named, name.as_str())] {
                let config = layers.load().unwrap();
                let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
                assert!(warning.starts_with(&format!("{from}: {key}: has no effect")), "{warning}");
            }
            assert!(keys::each().all(|(known, _)| known != *key), "{key} is no key any more");
        }
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, key) in [
            ("hold_s = \"25\"", ": hold_s: "),
            ("hold_s = -1", ": hold_s: "),
            ("dev = 1", ": dev: "),
            ("listen = \"here\"", ": listen: "),
            ("engine = \"oracle\"", ": engine: "),
            ("log_format = \"xml\"", ": log_format: "),
            ("allowed_origins = [\"*\"]", ": allowed_origins: "),
            ("url_allow_list = [\"example.com\"]", ": url_allow_list: "),
            ("retention_default = 3", ": retention_default: "),
            ("[retention_users]\nmax_age_s = \"x\"", ": retention_users.max_age_s: "),
            ("retention = [{max_messages = 3}]", ": retention.channel: is missing"),
            ("[dialects]\nclassic = 1", ": dialects.classic: "),
            ("dialects = true", ": dialects: "),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(key), "{text}: {refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        assert!(
            refusal("dev = true\nlisten 3\n").starts_with("encke.toml:2:"),
            "{}",
            refusal("dev = true\nlisten 3\n")
        );
        assert!(refusal("dev = true\ndev = true\n").starts_with("encke.toml:2:"));
    }

    #[test]
    fn a_number_that_is_too_large_is_told_with_its_place_and_hides_nothing() {
        for (text, place) in [
            ("dev = true\nhold_s = 9223372036854775808\n", "encke.toml:2:10: "),
            ("hold_s = -9223372036854775809\n", "encke.toml:1:10: "),
            ("[slow]\nmax_bytes = 0xFFFFFFFFFFFFFFFFFF\n", "encke.toml:2:13: "),
            ("[[rules]]\nchannel = \"a\"\nfollowers_max = 99999999999999999999\n", "encke.toml:3:17: "),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(place), "{text}: {refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(load("listen = \"localhost:81\"").unwrap().listen.to_string(), "127.0.0.1:81");
        assert_eq!(load("listen = \"[::1]:0\"").unwrap().listen.to_string(), "[::1]:0");
    }
}
