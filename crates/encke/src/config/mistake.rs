//! One mistake of a configuration: what is wrong, at which key, and where that was said.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This place in a file; line and column are counted from 1, the column in characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// This environment variable.
    Env(String),
    /// This option of the command line.
    Option(&'static str),
    /// It was not set.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Option(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Where each key was said. Those within lists have their place in front: `rules[0].channel`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Where this key was said; if nothing is known of it, where what it is in was.
    pub(crate) fn of(&self, path: &str) -> Source {
        let mut path = path;
        loop {
            if let Some(source) = self.0.get(path) {
                return source.clone();
            }
            let Some(end) = path.rfind(['.', '[']) else { return Source::Default };
            path = &path[..end];
        }
    }

    /// Whether something was said of this key.
    pub(crate) fn have(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Takes over that a key was said, instead of where it was before.
    pub(crate) fn put(&mut self, path: &str, source: Source) {
        let is_inner = |known: &str| {
            known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        };
        if !matches!(source, Source::File { .. }) {
            self.0.retain(|known, _| !is_inner(known));
        }
        self.0.insert(path.to_owned(), source);
    }
}

/// What is wrong with a configuration in one place. Its text is one line: where, which key, and what is wrong
/// with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with its table in front; empty where the file as a whole is wrong.
    pub key: String,
    /// Where it stands.
    pub from: Source,
    /// What is wrong.
    pub problem: String,
}

impl Mistake {
    /// One of the value at this path (`rules[0].channel`).
    pub(crate) fn at(path: &str, sources: &Sources, problem: String) -> Self {
        let mut key = String::with_capacity(path.len());
        let mut is_place = false;
        for c in path.chars() {
            is_place = c == '[' || (is_place && c != ']');
            if !is_place && c != ']' {
                key.push(c);
            }
        }
        Self { key, from: sources.of(path), problem }
    }
}

impl Mistake {
    /// By what mistakes are sorted: those of files come first, by their places.
    pub(super) fn order(&self) -> (u8, usize, usize, String) {
        match &self.from {
            Source::File { line, column, .. } => (0, *line, *column, self.key.clone()),
            Source::Env(name) => (1, 0, 0, name.clone()),
            Source::Option(name) => (2, 0, 0, (*name).to_owned()),
            Source::Default => (3, 0, 0, self.key.clone()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from != Source::Default {
            write!(f, "{}: ", self.from)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}
