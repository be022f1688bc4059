//! Lists of places that do not keep a rule yet.

use std::{collections::BTreeMap, fs};

use crate::{Finding, tree::root};

/// A list of exceptions: what is excepted, and up to which number of lines.
#[derive(Debug)]
pub struct Exceptions {
    file: String,
    rule: &'static str,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    most: usize,
    used: bool,
}

impl Exceptions {
    /// Reads the list of a rule, `exceptions/RULE.txt`.
    pub fn of(rule: &'static str) -> Self {
        let file = format!("crates/encke/tests/rules/exceptions/{rule}.txt");
        let text = fs::read_to_string(root().join(&file)).unwrap();
        Self::parse(file, rule, &text)
    }

    /// Reads a list: one exception a line, its name and, where the rule counts something, the largest count.
    /// `#` begins a comment.
    pub fn parse(file: String, rule: &'static str, text: &str) -> Self {
        let mut entries = BTreeMap::new();
        for (index, line) in
            text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, most) = match line.rsplit_once(' ').map(|(name, most)| (name, most.parse())) {
                Some((name, Ok(most))) => (name, most),
                _ => (line, usize::MAX),
            };
            let entry = Entry { line: index + 1, most, used: false };
            assert!(entries.insert(name.to_owned(), entry).is_none(), "{file}: {name} is there twice");
        }
        Self { file, rule, entries }
    }

    /// Whether `name` is excepted with this count.
    pub fn allow(&mut self, name: &str, count: usize) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        entry.used = true;
        count <= entry.most
    }

    /// A finding for each line that nothing needs any more.
    pub fn left_over(&self) -> Vec<Finding> {
        let unused = self.entries.iter().filter(|(_, entry)| !entry.used);
        let finding = |(name, entry): (&String, &Entry)| Finding {
            file: self.file.clone(),
            line: entry.line,
            rule: self.rule,
            what: format!("{name} is no exception any more: take this line away"),
        };
        unused.map(finding).collect()
    }
}

#[test]
fn an_exception_that_is_not_needed_is_found() {
    let mut list = Exceptions::parse("list".into(), "rule", "# why\na.rs\n\nb.rs work 80\nc.rs\n");
    assert!(
        list.allow("a.rs", 1)
            && list.allow("b.rs work", 80)
            && !list.allow("b.rs work", 81)
            && !list.allow("d.rs", 1)
    );
    let left = list.left_over();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].file.as_str(), left[0].line, left[0].rule), ("list", 5, "rule"));
}
