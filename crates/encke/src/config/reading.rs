//! What was said becomes a configuration: each wrong value is told and left out, so that all mistakes are
//! found at once.

use std::collections::BTreeMap;

use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

use super::keys::{self, DIALECTS};
use super::mistake::Sources;
use super::setting::{Kind, Setting, over, switch, value};
use super::{Config, Mistake, nearest, unknown};

/// The most mistakes that are told at once.
const MISTAKES_MAX: usize = 100;

/// Reads what was said and finds its mistakes.
pub(super) struct Reading<'a> {
    sources: &'a Sources,
    dialects: &'a [&'static str],
    mistakes: Vec<Mistake>,
    /// The required values that were left out, by their paths.
    left_out: Vec<String>,
    /// Which parts of a list were left out, by the list's path, in the order of the file.
    parts_left_out: BTreeMap<String, Vec<usize>>,
}

impl<'a> Reading<'a> {
    /// Of what was said in these places, for a server that knows these dialects.
    pub(super) fn new(sources: &'a Sources, dialects: &'a [&'static str]) -> Self {
        let (mistakes, left_out, parts_left_out) = Default::default();
        Self { sources, dialects, mistakes, left_out, parts_left_out }
    }

    /// The configuration, with defaults in the place of what is wrong, and the mistakes. No configuration if
    /// there are too many mistakes.
    pub(super) fn read(mut self, said: &Table) -> (Option<Config>, Vec<Mistake>) {
        let mut said = said.clone();
        self.keep_good(&mut said, keys::all(), "");
        for _ in 0..MISTAKES_MAX {
            let whole = Value::Table(over(keys::all(), &said));
            match serde_path_to_error::deserialize::<_, Config>(whole) {
                Ok(config) => return (Some(config), self.mistakes),
                Err(error) => {
                    let problem = error.inner().message().lines().next().unwrap_or("not understood");
                    if !self.leave_out(&mut said, error.path(), problem) {
                        break;
                    }
                }
            }
        }
        (None, self.mistakes)
    }

    /// Leaves out what is no setting, and what is of another kind than its setting.
    fn keep_good(&mut self, table: &mut Table, settings: &[Setting], before: &str) {
        table.retain(|name, value| {
            let path = format!("{before}{name}");
            let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
                return self.keep_dialect(&path, value);
            };
            let problem = setting.problem(value);
            let is_good = problem.is_none();
            if let Some(problem) = problem {
                self.tell(&path, problem);
                self.left_out.push(path.clone());
            }
            match (setting.kind, value) {
                (Kind::Table(inner), Value::Table(value)) => {
                    self.keep_good(value, inner, &format!("{path}."));
                }
                (Kind::Tables(inner), Value::Array(list)) => {
                    for (index, one) in list.iter_mut().enumerate() {
                        if let Value::Table(one) = one {
                            self.keep_good(one, inner, &format!("{path}[{index}]."));
                        }
                    }
                }
                _ => {}
            }
            is_good
        });
    }

    /// Tells of a key that is no setting, unless it is the name of a dialect.
    fn keep_dialect(&mut self, path: &str, value: &Value) -> bool {
        let dialect = path.strip_prefix(DIALECTS).and_then(|rest| rest.strip_prefix('.'));
        let problem = match dialect {
            Some(name) if self.dialects.contains(&name) => switch().problem(value),
            Some(_) => Some(format!("is no such key: the dialects are {}", self.dialects.join(", "))),
            None => {
                let key = Mistake::at(path, self.sources, String::new()).key;
                let hint = unknown::meant(&key).map(|meant| nearest::hint(&meant)).unwrap_or_default();
                Some(format!("is no such key{hint}"))
            }
        };
        let is_good = problem.is_none();
        if let Some(problem) = problem {
            self.tell(path, problem);
        }
        is_good
    }

    /// Tells what cannot be read, and leaves it out or completes it; whether anything was changed by that.
    fn leave_out(&mut self, said: &mut Table, path: &Path, problem: &str) -> bool {
        if let Some(name) = problem.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return self.complete(said, path, name);
        }
        let told = self.path_in_file(path);
        self.tell(&told, format!("{problem}{}", nearest::hint_of(problem)));
        self.left_out.push(told);
        let Some((last, before)) = segments(path).split_last().map(|(last, before)| (*last, before.to_vec()))
        else {
            return false;
        };
        match (find(said, &before), last) {
            (Some(Place::Table(table)), Segment::Map { key }) => table.remove(key).is_some(),
            (Some(Place::List(list)), Segment::Seq { index }) if *index < list.len() => {
                list.remove(*index);
                let path = written(&before);
                let removed = self.parts_left_out.entry(path).or_default();
                removed.push(original(removed, *index));
                removed.sort_unstable();
                true
            }
            _ => false,
        }
    }

    /// Puts a value in the place of one that is required, and tells that it is missing unless it was wrong.
    fn complete(&mut self, said: &mut Table, path: &Path, name: &str) -> bool {
        let told = format!("{}.{name}", self.path_in_file(path));
        if !self.left_out.contains(&told) {
            self.tell(&told, "is missing".to_owned());
        }
        let key = Mistake::at(&told, self.sources, String::new()).key;
        let sample = sample(&key);
        match (find(said, &segments(path)), sample) {
            (Some(Place::Table(table)), Some(sample)) => table.insert(name.to_owned(), sample).is_none(),
            _ => false,
        }
    }

    /// The path with the places that parts of lists had before any was left out.
    fn path_in_file(&self, path: &Path) -> String {
        let mut text = String::new();
        for segment in segments(path) {
            match segment {
                Segment::Seq { index } => {
                    let removed = self.parts_left_out.get(&text).map_or(&[][..], Vec::as_slice);
                    text.push_str(&format!("[{}]", original(removed, *index)));
                }
                other => push(&mut text, other),
            }
        }
        text
    }

    fn tell(&mut self, path: &str, problem: String) {
        self.mistakes.push(Mistake::at(path, self.sources, problem));
    }
}

/// A value that is good for a required setting of a list of tables.
fn sample(key: &str) -> Option<Value> {
    let (list, name) = key.rsplit_once('.')?;
    let (_, setting) = keys::each().find(|(known, _)| known == list)?;
    let Kind::Tables(settings) = setting.kind else { return None };
    settings.iter().find(|setting| setting.name == name).and_then(|setting| value(setting.sample))
}

/// The steps from the whole to a place.
fn segments(path: &Path) -> Vec<&Segment> {
    path.iter().filter(|step| matches!(step, Segment::Seq { .. } | Segment::Map { .. })).collect()
}

/// Steps as they are written: `rules[0].channel`.
fn written(segments: &[&Segment]) -> String {
    let mut text = String::new();
    segments.iter().for_each(|segment| push(&mut text, segment));
    text
}

fn push(text: &mut String, segment: &Segment) {
    match segment {
        Segment::Seq { index } => text.push_str(&format!("[{index}]")),
        Segment::Map { key } if text.is_empty() => text.push_str(key),
        Segment::Map { key } => text.push_str(&format!(".{key}")),
        _ => {}
    }
}

/// The place that a part of a list had before those at these places were left out.
fn original(removed: &[usize], index: usize) -> usize {
    removed.iter().fold(index, |index, removed| if *removed <= index { index + 1 } else { index })
}

/// What has further parts.
enum Place<'a> {
    Table(&'a mut Table),
    List(&'a mut Vec<Value>),
}

fn find<'a>(table: &'a mut Table, path: &[&Segment]) -> Option<Place<'a>> {
    let mut place = Place::Table(table);
    for step in path {
        let value = match (place, step) {
            (Place::Table(table), Segment::Map { key }) => table.get_mut(key)?,
            (Place::List(list), Segment::Seq { index }) => list.get_mut(*index)?,
            _ => return None,
        };
        place = match value {
            Value::Table(table) => Place::Table(table),
            Value::Array(list) => Place::List(list),
            _ => return None,
        };
    }
    Some(place)
}
