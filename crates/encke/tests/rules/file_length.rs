//! No file of Rust or JavaScript is longer than 700 lines.

use crate::{Finding, assert_none, exceptions::Exceptions, tree};

const RULE: &str = "file-length";
const LINES_MAX: usize = 700;

fn check(file: &str, text: &str, exceptions: &mut Exceptions) -> Option<Finding> {
    let lines = text.lines().count();
    let wrong = lines > LINES_MAX && !exceptions.allow(file, lines);
    let what = format!("{lines} lines; at most {LINES_MAX}");
    wrong.then(|| Finding { file: file.to_owned(), line: LINES_MAX + 1, rule: RULE, what })
}

#[test]
fn no_file_is_too_long() {
    let mut exceptions = Exceptions::of(RULE);
    let files = tree::files(&[".rs", ".js"]);
    let mut found: Vec<Finding> =
        files.iter().filter_map(|file| check(&file.path, &file.text, &mut exceptions)).collect();
    found.extend(exceptions.left_over());
    assert_none(&found);
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let mut exceptions = Exceptions::parse(String::new(), RULE, "long.rs 702\n");
    assert_eq!(check("a.rs", &"\n".repeat(LINES_MAX), &mut exceptions), None);
    let found = check("a.rs", &"\n".repeat(LINES_MAX + 1), &mut exceptions).unwrap();
    assert_eq!((found.file.as_str(), found.line, found.rule), ("a.rs", 701, RULE));
    assert_eq!(check("long.rs", &"\n".repeat(702), &mut exceptions), None);
    assert!(check("long.rs", &"\n".repeat(703), &mut exceptions).is_some(), "an exception does not grow");
}
