//! The definition of a setting: name, type, default, bounds and what it is, once. The struct that holds the
//! values, the check of each value by itself, the environment's names, the example and the reference are made
//! from it. What is not here: rules between several settings (`limits`).

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::nearest;

/// What values a setting has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// Text that is not shown.
    Secret,
    /// The address of another server, which may hold a password.
    Address,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Number(u64, u64),
    /// A part of all: from 0 to 1.
    Ratio,
    /// `true` or `false`.
    Switch,
    /// Texts.
    List,
    /// Texts that are not shown.
    Secrets,
    /// One of these words, or several.
    Words(&'static [&'static str]),
    /// Tables with these settings.
    Tables(&'static [Setting]),
    /// One table with these settings.
    Table(&'static [Setting]),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its name within its table.
    pub(crate) name: &'static str,
    /// What it is, in sentences.
    pub(crate) about: &'static str,
    /// Which values it has.
    pub(crate) kind: Kind,
    /// The default, as TOML; none if nothing could stand there.
    pub(crate) default: Option<&'static str>,
    /// What holds when it is not said, in words, where `default` has nothing.
    pub(crate) unset: &'static str,
    /// A value for the example, as TOML.
    pub(crate) sample: &'static str,
    /// Whether a change is taken over on SIGHUP.
    pub(crate) reloads: bool,
}

impl Setting {
    const fn new(kind: Kind) -> Self {
        let (name, about, unset) = ("", "", "not set");
        Self { name, about, kind, default: None, unset, sample: "", reloads: false }
    }

    /// Says what holds when it is not said.
    pub(crate) const fn unset(self, unset: &'static str) -> Self {
        Self { unset, ..self }
    }

    /// Gives a value for the example.
    pub(crate) const fn sample(self, sample: &'static str) -> Self {
        Self { sample, ..self }
    }

    /// Says that a change is taken over while the server runs.
    pub(crate) const fn reloads(self) -> Self {
        Self { reloads: true, ..self }
    }

    /// The default as a value.
    pub(crate) fn default_value(&self) -> Option<Value> {
        match self.kind {
            Kind::Table(settings) => Some(Value::Table(defaults(settings))),
            _ => self.default.and_then(value),
        }
    }

    /// What is wrong with a value by itself, as far as its kind says it. The words never hold a text.
    pub(crate) fn problem(&self, value: &Value) -> Option<String> {
        let must_be = |what: &str| Some(format!("must be {what}, is {}", shape(value)));
        match (self.kind, value) {
            (Kind::Number(min, max), Value::Integer(number)) => {
                let within = u64::try_from(*number).is_ok_and(|number| (min..=max).contains(&number));
                (!within).then(|| format!("must be from {min} to {max}, is {number}"))
            }
            (Kind::Number(..), _) => must_be("a whole number without quotes"),
            (Kind::Ratio, value) => {
                let number = value.as_float().or(value.as_integer().map(|number| number as f64));
                let is_ratio = number.is_some_and(|number| (0.0..=1.0).contains(&number));
                if is_ratio { None } else { must_be("a number from 0 to 1 without quotes") }
            }
            (Kind::Word(words), Value::String(text)) => unknown_word(words, text),
            (Kind::Words(words), Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).find_map(|text| unknown_word(words, text))
            }
            (Kind::Text | Kind::Secret | Kind::Address | Kind::Word(_), value) => {
                if value.is_str() {
                    None
                } else {
                    must_be("text in quotes")
                }
            }
            (Kind::Switch, value) => {
                if value.is_bool() {
                    None
                } else {
                    must_be("true or false without quotes")
                }
            }
            (Kind::List | Kind::Secrets | Kind::Words(_), value) => {
                let texts = value.as_array().is_some_and(|list| list.iter().all(Value::is_str));
                if texts { None } else { must_be("a list of texts in quotes") }
            }
            (Kind::Tables(_), value) => {
                let tables = value.as_array().is_some_and(|list| list.iter().all(Value::is_table));
                if tables { None } else { must_be("a list of tables") }
            }
            (Kind::Table(_), value) => {
                if value.is_table() {
                    None
                } else {
                    must_be("a table")
                }
            }
        }
    }

    /// Which values it may have, in words; nothing where its description says it all.
    pub(crate) fn values(&self) -> String {
        let words =
            |words: &[&str]| words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
        match self.kind {
            Kind::Text | Kind::Address => "text".to_owned(),
            Kind::Secret => "text, kept secret".to_owned(),
            Kind::Word(known) => words(known),
            Kind::Words(known) => format!("a list of {}", words(known)),
            Kind::Number(min, max) => format!("{min} to {max}{}", unit(self.name)),
            Kind::Ratio => "0 to 1".to_owned(),
            Kind::Switch => "`true`, `false`".to_owned(),
            Kind::List => "a list of texts".to_owned(),
            Kind::Secrets => "a list of texts, kept secret".to_owned(),
            Kind::Tables(_) => "tables".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
        }
    }
}

/// The unit that a name ends with.
fn unit(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("bytes_per_s") => " bytes a second",
        _ if name.ends_with("_per_s") => " a second",
        _ if name.ends_with("_ms") => " ms",
        _ if name.ends_with("_s") => " s",
        _ if name.ends_with("bytes") => " bytes",
        _ => "",
    }
}

/// What a value looks like, without what it says unless it is harmless.
fn shape(value: &Value) -> String {
    match value {
        Value::String(_) => "text".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(is_on) => is_on.to_string(),
        Value::Datetime(_) => "a time without quotes".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

fn unknown_word(words: &[&str], text: &str) -> Option<String> {
    if words.contains(&text) {
        return None;
    }
    let meant = nearest::nearest(text, words.iter().copied()).map(nearest::hint).unwrap_or_default();
    Some(format!("must be {}{meant}", words.join(", ")))
}

/// A value of TOML.
pub(crate) fn value(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    table.remove("value").filter(|_| table.is_empty())
}

/// What is in force where nothing is said.
pub(crate) fn defaults(settings: &[Setting]) -> Table {
    let value = |setting: &Setting| setting.default_value().map(|value| (setting.name.to_owned(), value));
    settings.iter().filter_map(value).collect()
}

/// What was said, over the defaults of these settings and of those within them.
pub(crate) fn over(settings: &[Setting], said: &Table) -> Table {
    let mut whole = defaults(settings);
    for (name, value) in said {
        let kind = settings.iter().find(|setting| setting.name == name).map(|setting| setting.kind);
        let within = |inner, value: &Value| match value {
            Value::Table(table) => Value::Table(over(inner, table)),
            other => other.clone(),
        };
        let value = match (kind, value) {
            (Some(Kind::Table(inner)), value) => within(inner, value),
            (Some(Kind::Tables(inner)), Value::Array(list)) => {
                Value::Array(list.iter().map(|one| within(inner, one)).collect())
            }
            (_, value) => value.clone(),
        };
        whole.insert(name.clone(), value);
    }
    whole
}

/// The struct of these settings at their defaults.
pub(crate) fn at_defaults<T: DeserializeOwned>(settings: &[Setting]) -> T {
    let read = defaults(settings).try_into();
    read.unwrap_or_else(|error| unreachable!("a default is no value of its setting: {error}"))
}

macro_rules! kinds {
    ($($name:ident($($argument:ident: $type:ty),*) => $kind:expr, $about:literal;)+) => {
        $(
            #[doc = $about]
            pub(crate) const fn $name($($argument: $type),*) -> Setting {
                Setting::new($kind)
            }
        )+
    };
}

kinds! {
    text() => Kind::Text, "A setting that is text.";
    secret() => Kind::Secret, "A setting that is not shown.";
    address() => Kind::Address, "A setting that is the address of another server.";
    word(words: &'static [&'static str]) => Kind::Word(words), "A setting that is one of some words.";
    words(words: &'static [&'static str]) => Kind::Words(words), "A setting that is a list of some words.";
    number(min: u64, max: u64) => Kind::Number(min, max), "A setting that is a whole number.";
    ratio() => Kind::Ratio, "A setting that is a number from 0 to 1.";
    switch() => Kind::Switch, "A setting that is `true` or `false`.";
    list() => Kind::List, "A setting that is a list of texts.";
    secrets() => Kind::Secrets, "A setting that is a list of texts that are not shown.";
    tables(settings: &'static [Setting]) => Kind::Tables(settings), "A list of tables of settings.";
    table(settings: &'static [Setting]) => Kind::Table(settings), "A table of settings.";
}

/// Defines a struct of settings: what stands in front of a field is its description, behind `=` is its
/// default as TOML, behind `=>` are its kind and what else is known of it. What is not read from the
/// configuration stands behind `beside`.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $struct:ident {
            $(
                $(#[doc = $about:literal])+
                $(#[serde($($serde:tt)*)])*
                $name:ident: $type:ty $(= $default:expr)? => $setting:expr;
            )+
        }
        $(beside {$($(#[$beside_meta:meta])* $beside:ident: $beside_type:ty,)+})?
    ) => {
        $(#[$meta])*
        pub struct $struct {
            $(
                $(#[doc = $about])+
                $(#[serde($($serde)*)])*
                pub $name: $type,
            )+
            $($($(#[$beside_meta])* pub $beside: $beside_type,)+)?
        }

        impl $struct {
            /// All of them, in the order in which they are told.
            pub(crate) const SETTINGS: &'static [$crate::config::setting::Setting] = &[
                $($crate::config::setting::Setting {
                    name: stringify!($name),
                    about: concat!($($about),+),
                    default: $crate::config::setting::settings!(@default $($default)?),
                    ..$setting
                },)+
            ];
        }
    };
    (@default) => { None };
    (@default $default:expr) => { Some(stringify!($default)) };
}

pub(crate) use settings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn each_has_a_description_and_a_default_or_a_sample_that_its_kind_allows() {
        fn look(settings: &[Setting], place: &str) {
            for setting in settings {
                let at = format!("{place}{}", setting.name);
                assert!(setting.about.trim().ends_with('.'), "{at}: {}", setting.about);
                for text in setting.default.iter().chain([&setting.sample]).filter(|text| !text.is_empty()) {
                    let value = value(text).unwrap_or_else(|| panic!("{at}: {text} is not TOML"));
                    assert_eq!(setting.problem(&value), None, "{at}");
                }
                match setting.kind {
                    Kind::Tables(inner) | Kind::Table(inner) => look(inner, &format!("{at}.")),
                    _ => assert!(setting.default.is_some() || !setting.sample.is_empty(), "{at}"),
                }
            }
        }
        look(keys::all(), "");
    }

    #[test]
    fn a_value_of_another_kind_is_told_without_its_text() {
        for (setting, value, problem) in [
            (number(1, 9), Value::from(0), "must be from 1 to 9, is 0"),
            (number(1, 9), Value::from(-1), "must be from 1 to 9, is -1"),
            (number(1, 9), Value::from("hush"), "must be a whole number without quotes, is text"),
            (number(1, 9), Value::from(1.5), "must be a whole number without quotes, is 1.5"),
            (ratio(), Value::from(2), "must be a number from 0 to 1 without quotes, is 2"),
            (ratio(), Value::from("1"), "must be a number from 0 to 1 without quotes, is text"),
            (secret(), Value::from(3), "must be text in quotes, is 3"),
            (switch(), Value::from("true"), "must be true or false without quotes, is text"),
            (list(), Value::from("a"), "must be a list of texts in quotes, is text"),
            (list(), Value::from(vec![1]), "must be a list of texts in quotes, is a list"),
            (word(&["text", "json"]), Value::from("jsn"), "must be text, json; did you mean `json`?"),
            (words(&["h2", "http/1.1"]), Value::from(vec!["http1"]), "must be h2, http/1.1"),
            (tables(&[]), Value::from(vec![1]), "must be a list of tables, is a list"),
            (table(&[]), Value::from(1), "must be a table, is 1"),
        ] {
            assert_eq!(setting.problem(&value).as_deref(), Some(problem));
        }
    }
}
