//! No modules that stand side by side in a crate import each other in a circle.
//!
//! A module and those within it count as one: they may share what is private to them. The top modules of
//! `crates/encke` have an order of their own, for which there is another rule (`layers.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Finding, assert_none,
    exceptions::Exceptions,
    imports::{imports, module_of, target},
    tree::{self, Source},
};

const RULE: &str = "import-cycle";

/// An arrow between two modules of one parent: where it is drawn.
type Arrows = BTreeMap<(String, String), (String, usize)>;

fn check(files: &[Source], exceptions: &mut Exceptions) -> Vec<Finding> {
    let mut modules: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
    let known: Vec<(&Source, String, Vec<String>)> = files
        .iter()
        .filter_map(|file| module_of(&file.path).map(|(krate, path)| (file, krate, path)))
        .collect();
    for (_, krate, path) in &known {
        modules.entry(krate.clone()).or_default().insert(path.clone());
    }
    let mut parents: BTreeMap<String, Arrows> = BTreeMap::new();
    for (file, krate, path) in &known {
        for import in imports(&file.text, path) {
            let to = target(&import.path, &modules[krate]);
            let shared = path.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (path.get(shared), to.get(shared)) {
                let parent = [std::slice::from_ref(krate), &path[..shared]].concat().join("::");
                let arrow = (from.clone(), to.clone());
                parents.entry(parent).or_default().entry(arrow).or_insert((file.path.clone(), import.line));
            }
        }
    }
    let mut found = Vec::new();
    for (parent, arrows) in parents.iter().filter(|(parent, _)| *parent != "encke") {
        for ((from, to), (file, line)) in arrows {
            if reaches(arrows, to, from) && !exceptions.allow(&format!("{parent} {from} {to}"), 1) {
                let what = format!("`{from}` imports from `{to}`, which imports from it, in {parent}");
                found.push(Finding { file: file.clone(), line: *line, rule: RULE, what });
            }
        }
    }
    found
}

/// Whether arrows lead from one module to another.
fn reaches(arrows: &Arrows, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module.clone()) {
            next.extend(arrows.keys().filter(|(a, _)| *a == module).map(|(_, b)| b.clone()));
        }
    }
    false
}

#[test]
fn no_modules_import_in_a_circle() {
    let mut exceptions = Exceptions::of(RULE);
    let mut found = check(&tree::files(&[".rs"]), &mut exceptions);
    found.extend(exceptions.left_over());
    assert_none(&found);
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let mut files = vec![
        file("crates/a/src/lib.rs", "use crate::x::X;\n"),
        file("crates/a/src/x.rs", "use crate::y::Y;\n"),
        file("crates/a/src/x/inner.rs", "use super::Private;\n"),
        file("crates/a/src/y.rs", "use crate::z;\n"),
        file("crates/a/src/z.rs", ""),
    ];
    assert_eq!(check(&files, &mut Exceptions::parse(String::new(), RULE, "")), []);
    files[4].text = "\nuse crate::x::inner::Inner;\n".into();
    let found = check(&files, &mut Exceptions::parse(String::new(), RULE, ""));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!((found[2].file.as_str(), found[2].line, found[2].rule), ("crates/a/src/z.rs", 2, RULE));
    assert!(check(&files, &mut Exceptions::parse(String::new(), RULE, "a x y\na y z\na z x\n")).is_empty());
}
