//! Where each key of a file stands.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Source;

/// Finds lines and columns in a text.
pub(super) struct Lines<'a> {
    text: &'a str,
    path: &'a Path,
    /// Where each line begins, in bytes.
    begins: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Of the text of this file.
    pub(super) fn new(text: &'a str, path: &'a Path) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, path, begins: [0].into_iter().chain(after_breaks).collect() }
    }

    /// The place of a byte.
    pub(super) fn place(&self, at: usize) -> Source {
        let line = self.begins.partition_point(|begin| *begin <= at).max(1);
        let begin = self.begins.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(begin..at).map_or(0, |before| before.chars().count()) + 1;
        Source::File { path: self.path.to_owned(), line, column }
    }

    /// The places of all keys and of all parts of lists: `slow.policy`, `rules[0].channel`.
    pub(super) fn places(&self, table: &DeTable<'_>) -> Vec<(String, Source)> {
        let mut places = Vec::new();
        self.of_table(table, "", &mut places);
        places
    }

    fn of_table(&self, table: &DeTable<'_>, before: &str, places: &mut Vec<(String, Source)>) {
        for (key, value) in table {
            let path = format!("{before}{}", key.get_ref());
            places.push((path.clone(), self.place(key.span().start)));
            self.within(value.get_ref(), &path, places);
        }
    }

    fn within(&self, value: &DeValue<'_>, path: &str, places: &mut Vec<(String, Source)>) {
        match value {
            DeValue::Table(inner) => self.of_table(inner, &format!("{path}."), places),
            DeValue::Array(list) => {
                for (index, one) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    places.push((path.clone(), self.place(one.span().start)));
                    self.within(one.get_ref(), &path, places);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line_and_column() {
        let text = "a = 1\n\n[t]\n\u{e4}\u{e4} = 2 # x\nb.c = 3\nd = [\n  1, { e = 2 },\n]\n[[l]]\nf = 1\n[[l]]\nf = 2\n";
        let text = text.replace("\u{e4}\u{e4} =", "\"\u{e4}\u{e4}\" =");
        let table = DeTable::parse(&text).unwrap();
        let places = Lines::new(&text, Path::new("f")).places(table.get_ref());
        for (key, place) in [
            ("a", "f:1:1"),
            ("t", "f:3:2"),
            ("t.\u{e4}\u{e4}", "f:4:1"),
            ("t.b.c", "f:5:3"),
            ("t.d[0]", "f:7:3"),
            ("t.d[1].e", "f:7:8"),
            ("l[0].f", "f:10:1"),
            ("l[1]", "f:11:1"),
            ("l[1].f", "f:12:1"),
        ] {
            let found = places.iter().find(|(known, _)| known == key).map(|(_, place)| place.to_string());
            assert_eq!(found.as_deref(), Some(place), "{key}: {places:?}");
        }
        assert_eq!(Lines::new("ab\n\u{e4}c", Path::new("f")).place(5).to_string(), "f:2:2");
    }
}
