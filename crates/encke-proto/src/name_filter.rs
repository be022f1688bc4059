//! Which names of a list are asked for, by their text. Not which part of the list: pages are the list's own.

use serde::{Deserialize, Serialize};

/// Names that begin with one text and contain another, byte by byte: `A` is not `a`. The default matches all
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFilter {
    /// What the names begin with.
    pub prefix: String,
    /// What the names contain.
    pub contains: String,
}

impl NameFilter {
    /// Whether a name is one of them.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && name.contains(&self.contains)
    }

    /// Whether every name is.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.prefix.is_empty() && self.contains.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_have_to_be_there() {
        let filter =
            |prefix: &str, contains: &str| NameFilter { prefix: prefix.into(), contains: contains.into() };
        assert!(NameFilter::default().matches_all() && NameFilter::default().matches("alice"));
        assert!(filter("al", "ic").matches("alice") && filter("al", "al").matches("alice"));
        for (prefix, contains) in [("li", ""), ("", "x"), ("al", "x"), ("A", "")] {
            assert!(!filter(prefix, contains).matches("alice") && !filter(prefix, contains).matches_all());
        }
    }
}
