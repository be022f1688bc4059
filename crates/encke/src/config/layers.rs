//! The layers of a configuration, put over each other and read.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use encke_proto::AllowList;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::error::Sources;
use super::keys::{DIALECTS, KEYS, Kind, REMOVED, is_top_level, variable};
use super::{Config, ConfigError, Said, Source, limits, unknown_variables};
use crate::{engines, regular_file};

/// The largest file that is read while the server runs.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Collects what the file, the environment and the command line say, in this order: each later one wins.
#[derive(Debug, Default)]
pub struct Layers {
    table: Table,
    sources: Sources,
    dialects: Vec<&'static str>,
    /// The environment variables that are no settings, a line each.
    unknown: Vec<String>,
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
    /// [`ConfigError::Read`] and [`ConfigError::Syntax`].
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        self.text(&text, path)
    }

    /// The same, but for a regular file of at most a megabyte: it does not wait for another program.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::Syntax`].
    pub fn regular_file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = regular_file::read(path, FILE_MAX_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        self.text(&text, path)
    }

    fn text(mut self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            // hyper's words may go on for lines; the first says what is wrong.
            let problem = error.message().lines().next().unwrap_or("not TOML").to_owned();
            ConfigError::Syntax { path: path.to_owned(), line: before.matches('\n').count() + 1, problem }
        })?;
        for (key, value) in table {
            // Within a table each key is put over by itself, so that another layer may say something about
            // its neighbour.
            match value {
                Value::Table(inner) => {
                    self.table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
                    for (name, value) in inner {
                        self.put(&format!("{key}.{name}"), value, Source::File(path.to_owned()));
                    }
                    self.sources.insert(key, Source::File(path.to_owned()));
                }
                value => self.put(&key, value, Source::File(path.to_owned())),
            }
        }
        Ok(self)
    }

    /// Puts the environment over what is there. `variable` gives the value of an environment variable; empty
    /// is as if it were not set.
    ///
    /// Which variables there are besides, [`Layers::variables`] looks at.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for text that does not read as the key's kind.
    pub fn env(mut self, get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let dialects = self.dialects.iter().map(|name| (format!("{DIALECTS}.{name}"), Kind::Switch));
        let keys: Vec<(String, Kind)> =
            KEYS.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).chain(dialects).collect();
        for (key, kind) in keys {
            let name = variable(&key);
            let Some(text) = get(&name).filter(|text| !text.is_empty()) else { continue };
            let source = Source::Env(name);
            let value = read(&text, kind).map_err(|problem| ConfigError::Value {
                key: key.clone(),
                from: source.clone(),
                problem,
            })?;
            self.put(&key, value, source);
        }
        for (key, _) in REMOVED {
            let name = variable(key);
            if let Some(text) = get(&name).filter(|text| !text.is_empty()) {
                self.put(key, Value::String(text), Source::Env(name));
            }
        }
        Ok(self)
    }

    /// Warns of each of these environment variables that begins with `ENCKE_` and is no setting. It is no
    /// error, as others may have set it.
    #[must_use]
    pub fn variables(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.unknown = unknown_variables(names, &self.dialects);
        self
    }

    /// Puts one option of the command line over what is there.
    #[must_use]
    pub fn option(mut self, key: &str, option: &'static str, value: impl Into<Value>) -> Self {
        self.put(key, value.into(), Source::Option(option));
        self
    }

    /// Reads and checks the whole.
    ///
    /// # Errors
    /// The first key that is unknown, of the wrong type or out of its bounds.
    pub fn load(mut self) -> Result<Config, ConfigError> {
        let mut warnings = self.take_removed();
        warnings.append(&mut self.unknown);
        for (key, value) in &self.table {
            let from = || self.sources.get(key).cloned().unwrap_or(Source::Default);
            if !is_top_level(key) {
                return Err(ConfigError::Unknown { key: key.clone(), from: from() });
            }
            // Each key by itself first: whatever is wrong with the whole is then wrong with a key that can be
            // named.
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = alone.try_into::<Config>() {
                return Err(self.name_inner(key, error.message().lines().next().unwrap_or("not understood")));
            }
        }
        let said = Said(self.table.clone());
        let config = self.table.try_into::<Config>().map_err(|error| ConfigError::Value {
            key: "configuration".to_owned(),
            from: Source::Default,
            problem: error.message().lines().next().unwrap_or("not understood").to_owned(),
        })?;
        limits::check(&config, &self.sources)?;
        warnings.append(&mut limits::warnings(&config, &self.sources));
        if let Some(name) = config.dialects.names().find(|name| !self.dialects.contains(name)) {
            let key = format!("{DIALECTS}.{name}");
            let from = self.sources.get(&key).cloned().unwrap_or(Source::Default);
            return Err(ConfigError::Dialect { key, from, known: self.dialects.join(", ") });
        }
        if let Some(now) = engines::successor(config.engine.expose()) {
            let (key, engine) = ("engine", &config.engine);
            let from = self.sources.get(key).cloned().unwrap_or(Source::Default);
            warnings
                .push(format!("`{key}`{from}: there is no engine `{engine}` any more, it is now `{now}`"));
        }
        Ok(Config { warnings, said, ..config })
    }

    /// Leaves out the keys that have no effect any more, with a warning for each.
    fn take_removed(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, what) in REMOVED {
            if self.table.remove(*key).is_some() {
                let from = self.sources.get(*key).cloned().unwrap_or(Source::Default);
                warnings.push(format!("`{key}`{from} has no effect and can be taken out: {what}"));
            }
        }
        warnings
    }

    /// Finds the key within a table that is wrong, by leaving out one at a time.
    fn name_inner(&self, key: &str, problem: &str) -> ConfigError {
        let inner = match self.table.get(key) {
            Some(Value::Table(inner)) => inner.keys().find(|name| {
                let one = Table::from_iter([((*name).clone(), inner[*name].clone())]);
                Table::from_iter([(key.to_owned(), Value::Table(one))]).try_into::<Config>().is_err()
            }),
            _ => None,
        };
        let key = inner.map_or_else(|| key.to_owned(), |name| format!("{key}.{name}"));
        let from = self.sources.get(&key).cloned().unwrap_or(Source::Default);
        if problem.starts_with("unknown field") && inner.is_some() {
            return ConfigError::Unknown { key, from };
        }
        ConfigError::Value { key, from, problem: problem.to_owned() }
    }

    fn put(&mut self, key: &str, value: Value, source: Source) {
        self.sources.insert(key.to_owned(), source);
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

fn read(text: &str, kind: Kind) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Number => {
            text.trim().parse().map(Value::Integer).map_err(|_| "must be a whole number".to_owned())
        }
        Kind::Switch => match text.trim() {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err("must be true or false".to_owned()),
        },
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        Kind::Toml => {
            let mut table: Table =
                format!("value = {text}").parse().map_err(|_| "must be a TOML value".to_owned())?;
            table
                .remove("value")
                .filter(|_| table.is_empty())
                .ok_or_else(|| "must be a TOML value".to_owned())
        }
    }
}

/// Reads an address to listen on.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_address(&text).map_err(serde::de::Error::custom)
}

/// Reads an address to listen on that need not be there.
pub(crate) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
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

    fn load(text: &str) -> Result<Config, ConfigError> {
        Layers::new(vec!["bayeux", "classic", "other"]).text(text, Path::new("encke.toml"))?.load()
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
        let text = include_str!("../../encke.example.toml");
        // What is commented out in the example has no default that could stand there.
        let everything: Vec<_> = text.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect();
        let everything = everything.join("\n");
        assert!(
            load(&everything).unwrap_err().to_string().contains("placeholder"),
            "no server shall run with the example's keys"
        );
        let everything = everything.replacen("changeme", "4f1c9be07d3a4f1c", 1);
        let everything = everything.replace("changeme", "9b1d4e7f20c35a6881e0d2f4b6a79c13");
        let table: Table = everything.parse().unwrap();
        for (key, _) in KEYS {
            let (outer, inner) = key.split_once('.').unwrap_or((key, ""));
            let value = table.get(outer).unwrap_or_else(|| panic!("{key} is not in the example"));
            assert!(inner.is_empty() || value.get(inner).is_some(), "{key} is not in the example");
        }
        load(&everything).unwrap();
        let example = format!("{:?}", load(text).unwrap().retention_table());
        assert_eq!(example, format!("{:?}", Config::default().retention_table()));
        let plain = |config: &Config| {
            let mut config = config.clone();
            (config.retention_default, config.retention_users) = Default::default();
            config.dialects = Default::default();
            format!("{config:?}")
        };
        assert_eq!(plain(&load(text).unwrap()), plain(&Config::default()));
    }

    #[test]
    fn the_command_line_wins_over_the_environment_that_over_the_file_that_over_the_default() {
        let layers = Layers::new(vec!["classic", "other"])
            .text("hold_s = 1\nheartbeat_s = 2\nworkers = 3\n", Path::new("f"))
            .unwrap();
        let layers = layers
            .env(env(&[("ENCKE_HOLD_S", "10"), ("ENCKE_HEARTBEAT_S", "20"), ("ENCKE_LOG", "")]))
            .unwrap();
        let config = layers.option("hold_s", "--hold", 100).load().unwrap();
        assert_eq!(
            (config.hold_s, config.heartbeat_s, config.workers, config.session_grace_s),
            (100, 20, 3, 15)
        );
        assert_eq!(config.log, "info", "an empty variable is as if it were not set");
    }

    #[test]
    fn layers_meet_within_a_table() {
        let layers = Layers::new(vec!["classic", "other"])
            .text("[retention_default]\nmax_messages = 5\nmax_age_s = 6\n", Path::new("f"))
            .unwrap();
        let config =
            layers.env(env(&[("ENCKE_RETENTION_DEFAULT_MAX_MESSAGES", "7")])).unwrap().load().unwrap();
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
            .unwrap()
            .load()
            .unwrap();
        assert!(config.dev);
        assert_eq!((config.dialects.says("classic"), config.dialects.says("other")), (Some(false), None));
        assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!(config.retention_table().rules[0].1.max_messages, 5);
        let error = Layers::new(vec!["classic", "other"]).env(env(&[("ENCKE_HOLD_S", "soon")])).unwrap_err();
        assert_eq!(error.to_string(), "`hold_s` from ENCKE_HOLD_S: must be a whole number");
    }

    #[test]
    fn unknown_keys_are_named() {
        assert_eq!(refusal("hold = 3"), "unknown key `hold` in encke.toml; did you mean `hold_s`?");
        assert_eq!(refusal("colour = 3"), "unknown key `colour` in encke.toml");
        assert!(refusal("[slow]\ndeadline = 3").ends_with("; did you mean `slow.deadline_s`?"));
        assert_eq!(
            refusal("[dialects]\nmodern = true"),
            "unknown key `dialects.modern` in encke.toml: the dialects are bayeux, classic, other"
        );
        assert!(refusal("[[retention]]\nchannel = \"a\"\nmax = 1").contains("`retention`"));
    }

    #[test]
    fn a_key_that_was_removed_is_warned_of_wherever_it_stands_and_whatever_it_says() {
        assert!(Config::default().warnings.is_empty());
        for (key, _) in REMOVED {
            let there =
                Layers::new(Vec::new()).text(&format!("{key} = 1000\n"), Path::new("encke.toml")).unwrap();
            let name = variable(key);
            let named = Layers::new(Vec::new()).env(env(&[(&name, "soon")])).unwrap();
            for (layers, from) in [(there, "in encke.toml"), (named, &format!("from {name}"))] {
                let config = layers.load().unwrap();
                let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
                assert!(warning.starts_with(&format!("`{key}` {from} has no effect")), "{warning}");
            }
            assert!(KEYS.iter().all(|(known, _)| known != key), "{key} is no key any more");
        }
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, key) in [
            ("hold_s = \"25\"", "`hold_s` in encke.toml"),
            ("hold_s = -1", "`hold_s`"),
            ("dev = 1", "`dev`"),
            ("listen = \"here\"", "`listen`"),
            ("engine = \"oracle\"", "`engine`"),
            ("log_format = \"xml\"", "`log_format`"),
            ("allowed_origins = [\"*\"]", "`allowed_origins`"),
            ("url_allow_list = [\"example.com\"]", "`url_allow_list`"),
            ("retention_default = 3", "`retention_default`"),
            ("[retention_users]\nmax_age_s = \"x\"", "`retention_users.max_age_s` in encke.toml"),
            ("retention = [{max_messages = 3}]", "`retention`"),
            ("[dialects]\nclassic = 1", "`dialects.classic` in encke.toml"),
            ("dialects = true", "`dialects` in encke.toml"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(key), "{text}: {refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        assert!(
            refusal("dev = true\nlisten 3\n").starts_with("encke.toml line 2: "),
            "{}",
            refusal("dev = true\nlisten 3\n")
        );
        assert!(refusal("dev = true\ndev = true\n").starts_with("encke.toml line 2: "));
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(load("listen = \"localhost:81\"").unwrap().listen.to_string(), "127.0.0.1:81");
        assert_eq!(load("listen = \"[::1]:0\"").unwrap().listen.to_string(), "[::1]:0");
    }
}
