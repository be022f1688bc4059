//! The names of all settings, and those that settings had.

use super::Config;
use super::setting::{Kind, Setting};

/// All settings, in the order in which they are told.
pub(crate) const fn all() -> &'static [Setting] {
    Config::SETTINGS
}

/// Every key that a value is said of by itself, its table in front of a dot, with its setting.
pub(crate) fn each() -> impl Iterator<Item = (String, &'static Setting)> {
    all().iter().flat_map(|setting| match setting.kind {
        Kind::Table(inner) => {
            inner.iter().map(|one| (format!("{}.{}", setting.name, one.name), one)).collect()
        }
        _ => vec![(setting.name.to_owned(), setting)],
    })
}

/// Whether a change of this key, or of all keys in this table, is taken over while the server runs.
pub(crate) fn reloads(key: &str) -> bool {
    let in_table = |known: &str| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let mut them = each().filter(|(known, _)| known == key || in_table(known)).peekable();
    them.peek().is_some() && them.all(|(_, setting)| setting.reloads)
}

/// The keys of former versions that have no effect any more, and what has become of each. A server still
/// starts with one, and warns of it: an upgrade is no reason to be down.
pub(crate) const REMOVED: &[(&str, &str)] = &[
    ("turn_us", "no worker lets work gather before it does it any more, whatever the load"),
    (
        "sqlite_gather_ms",
        "there is no engine `sqlite` any more, and the engine `log` waits for no other writes",
    ),
];

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ENCKE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The table whose keys are the names of dialects, each a [`Kind::Switch`].
pub(crate) const DIALECTS: &str = "dialects";
