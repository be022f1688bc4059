//! Every file of Rust begins with `//!`, which says what it is and what it is not.

use crate::{Finding, assert_none, tree};

const RULE: &str = "module-docs";

fn check(file: &str, text: &str) -> Option<Finding> {
    let begins = text.lines().next().is_some_and(|line| line.starts_with("//! "));
    let what = "begins without //!".to_owned();
    (!begins).then(|| Finding { file: file.to_owned(), line: 1, rule: RULE, what })
}

#[test]
fn every_file_says_what_it_is() {
    let files = tree::files(&[".rs"]);
    let found: Vec<Finding> = files.iter().filter_map(|file| check(&file.path, &file.text)).collect();
    assert_none(&found);
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_found() {
    assert_eq!(check("a.rs", "//! Says it.\nuse std::io;\n"), None);
    for text in
        ["", "use std::io;\n//! Too late.\n", "//!\n", "// No documentation.\n", "\n//! Not the beginning.\n"]
    {
        let found = check("a.rs", text).unwrap();
        assert_eq!((found.file.as_str(), found.line, found.rule), ("a.rs", 1, RULE), "{text:?}");
    }
}
