//! `[dialects]`: which protocols of other servers are spoken. Which there are, the registry of dialects
//! knows.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is said of dialects, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Dialects(BTreeMap<String, bool>);

impl Dialects {
    /// Whether a dialect is to be spoken, if that is said.
    #[must_use]
    pub fn says(&self, name: &str) -> Option<bool> {
        self.0.get(name).copied()
    }

    /// Says it.
    pub fn set(&mut self, name: &str, is_on: bool) {
        self.0.insert(name.to_owned(), is_on);
    }

    /// All of which something is said.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
