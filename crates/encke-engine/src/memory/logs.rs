//! All logs of the memory engine, found by their names, and the names of those that lists show in their
//! order. What is in a log is in `log.rs`.

use std::{
    array,
    collections::{BTreeSet, HashMap, hash_map::Entry as Found},
    ops::Bound,
};

use encke_proto::{ChannelName, NameHashState};

use super::log::Log;

/// How many parts there are. What all callers wait for when a part grows is a 64th of what it would be.
const PARTS: usize = 64;

/// All logs. Bounded by what the state lets in.
#[derive(Debug)]
pub(super) struct Logs {
    /// A log is looked for with each append and each receipt, and there may be millions.
    parts: [HashMap<ChannelName, Log, NameHashState>; PARTS],
    /// The names of all but users' own.
    listed: BTreeSet<ChannelName>,
    count: usize,
}

impl Default for Logs {
    fn default() -> Self {
        Self { parts: array::from_fn(|_| HashMap::default()), listed: BTreeSet::new(), count: 0 }
    }
}

/// In which part a log is. Names differ most at their ends; in which place of a part it is, is known to no
/// client.
fn part(name: &ChannelName) -> usize {
    let ending = name.as_str().bytes().rev().take(4);
    ending.fold(0, |sum: usize, byte| sum * 31 + usize::from(byte)) % PARTS
}

impl Logs {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, name: &ChannelName) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &ChannelName) -> Option<&Log> {
        self.parts[part(name)].get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ChannelName) -> Option<&mut Log> {
        self.parts[part(name)].get_mut(name)
    }

    /// The log of this name, with the name as it is kept here: what stays shares its text. If there is none,
    /// it is what `begin` makes.
    pub(super) fn get_or_begin(
        &mut self,
        name: ChannelName,
        begin: impl FnOnce(&ChannelName) -> Log,
    ) -> (ChannelName, &mut Log) {
        match self.parts[part(&name)].entry(name) {
            Found::Occupied(found) => (found.key().clone(), found.into_mut()),
            Found::Vacant(place) => {
                let name = place.key().clone();
                self.count += 1;
                if !name.is_own() {
                    self.listed.insert(name.clone());
                }
                let log = place.insert(begin(&name));
                (name, log)
            }
        }
    }

    pub(super) fn remove(&mut self, name: &ChannelName) -> Option<Log> {
        let log = self.parts[part(name)].remove(name)?;
        self.count -= 1;
        self.listed.remove(name);
        Some(log)
    }

    /// All of them, in no order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ChannelName, &mut Log)> {
        self.parts.iter_mut().flatten()
    }

    /// All but users' own behind a name, in the order of their names.
    pub(super) fn listed(&self, after: Option<&ChannelName>) -> impl Iterator<Item = (&ChannelName, &Log)> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.listed.range::<ChannelName, _>((begin, Bound::Unbounded));
        names.filter_map(|name| Some((name, self.get(name)?)))
    }
}
