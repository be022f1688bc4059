//! What was said of each key, by whichever layer wins: kept so that a configuration that is read again can be
//! compared.

use std::{collections::BTreeSet, fmt};

use toml::{Table, Value};

use super::mistake::Sources;
use super::{Config, Mistake, keys, setting};

/// What was said of each key, and where. Secrets are in it: it has no other text than its name.
#[derive(Clone, Default)]
pub struct Said {
    table: Table,
    sources: Sources,
}

impl Said {
    /// This was said in these places.
    pub(super) fn new(table: Table, sources: Sources) -> Self {
        Self { table, sources }
    }

    /// Where each key was said.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is wrong with the value at this path (`rules[0].channel`), and where that was said.
    #[must_use]
    pub fn mistake(&self, path: &str, problem: String) -> Mistake {
        Mistake::at(path, &self.sources, problem)
    }

    /// The keys, with their tables in front, of which the other says something else.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<String> = self.keys().chain(other.keys()).collect();
        keys.into_iter().filter(|key| differs(key, self.get(key), other.get(key))).collect()
    }

    /// Says of a key what the other says.
    pub fn take(&mut self, key: &str, other: &Self) {
        let value = other.get(key).cloned();
        let (outer, name) = parts(key);
        let table = match name {
            Some(_) => {
                let slot = self.table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
                let Value::Table(table) = slot else { return };
                table
            }
            None => &mut self.table,
        };
        let name = name.unwrap_or(outer);
        match value {
            Some(value) => drop(table.insert(name.to_owned(), value)),
            None => drop(table.remove(name)),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let (outer, name) = parts(key);
        let value = self.table.get(outer)?;
        name.map_or(Some(value), |name| value.get(name))
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        self.table.iter().flat_map(|(key, value)| match value {
            Value::Table(inner) => inner.keys().map(|name| format!("{key}.{name}")).collect(),
            _ => vec![key.clone()],
        })
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}

fn parts(key: &str) -> (&str, Option<&str>) {
    key.split_once('.').map_or((key, None), |(outer, name)| (outer, Some(name)))
}

/// Whether two values differ; what is not said differs from all but the default.
fn differs(key: &str, first: Option<&Value>, second: Option<&Value>) -> bool {
    match (first, second) {
        (Some(first), Some(second)) => first != second,
        (None, None) => false,
        (Some(value), None) | (None, Some(value)) => {
            let (outer, name) = parts(key);
            let value = match name {
                Some(name) => Value::Table(Table::from_iter([(name.to_owned(), value.clone())])),
                None => value.clone(),
            };
            let alone = Table::from_iter([(outer.to_owned(), value)]);
            let alone = setting::over(keys::all(), &alone).try_into::<Config>();
            alone.is_ok_and(|alone| format!("{alone:?}") != format!("{:?}", Config::default()))
        }
    }
}
