//! Every file of Rust begins with `//!`, which says what it is and what it is not.

use crate::{Finding, assert_none, exceptions::Exceptions, tree};

const RULE: &str = "module-docs";

fn check(file: &str, text: &str, exceptions: &mut Exceptions) -> Option<Finding> {
    let begins = text.lines().next().is_some_and(|line| line.starts_with("//! "));
    let wrong = !begins && !exceptions.allow(file, 1);
    let what = "begins without //!".to_owned();
    wrong.then(|| Finding { file: file.to_owned(), line: 1, rule: RULE, what })
}

#[test]
fn every_file_says_what_it_is() {
    let mut exceptions = Exceptions::of(RULE);
    let files = tree::files(&[".rs"]);
    let mut found: Vec<Finding> = files.iter().filter_map(|file| check(&file.path, &file.text, &mut exceptions)).collect();
    found.extend(exceptions.left_over());
    assert_none(&found);
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_found() {
    let mut exceptions = Exceptions::parse(String::new(), RULE, "old.rs\n");
    assert_eq!(check("a.rs", "//! Says it.\nuse std::io;\n", &mut exceptions), None);
    for text in ["", "use std::io;\n//! Too late.\n", "//!\n", "// No documentation.\n", "\n//! Not the beginning.\n"] {
        let found = check("a.rs", text, &mut exceptions).unwrap();
        assert_eq!((found.file.as_str(), found.line, found.rule), ("a.rs", 1, RULE), "{text:?}");
    }
    assert_eq!(check("old.rs", "", &mut exceptions), None);
}
