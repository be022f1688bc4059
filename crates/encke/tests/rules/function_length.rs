//! No function of Rust is longer than 70 lines, from its `fn` to its closing brace.
//!
//! It reads lines, not syntax, and relies on what rustfmt makes of them: a function ends at the first brace
//! that stands as far to the left as its beginning. A line of a raw string can look like that brace; then the
//! function is taken for shorter than it is.

use crate::{Finding, assert_none, exceptions::Exceptions, tree};

const RULE: &str = "function-length";
const LINES_MAX: usize = 70;
/// What may stand before `fn`.
const QUALIFIERS: [&str; 8] =
    ["pub ", "pub(crate) ", "pub(super) ", "default ", "const ", "async ", "unsafe ", "extern \"C\" "];

/// The name of the function that begins in this line.
fn function_in(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while let Some(more) = QUALIFIERS.iter().find_map(|qualifier| rest.strip_prefix(qualifier)) {
        rest = more;
    }
    let name = rest.strip_prefix("fn ")?;
    Some(&name[..name.find(|c: char| !c.is_alphanumeric() && c != '_')?])
}

/// How many lines the function has that begins in the first of these.
fn length(lines: &[&str]) -> usize {
    let first = lines[0];
    if first.ends_with('}') || first.ends_with(';') {
        return 1;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let ends = |line: &&str| {
        let Some(rest) = line.strip_prefix(indent) else { return false };
        // The second is a function without a body, in a trait.
        rest.starts_with('}') || (rest.starts_with(')') && rest.ends_with(';'))
    };
    lines.iter().skip(1).position(ends).map_or(lines.len(), |at| at + 2)
}

fn check(file: &str, text: &str, exceptions: &mut Exceptions) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_in(line) else { continue };
        let length = length(&lines[index..]);
        if length > LINES_MAX && !exceptions.allow(&format!("{file} {name}"), length) {
            let what = format!("`{name}` has {length} lines; at most {LINES_MAX}");
            found.push(Finding { file: file.to_owned(), line: index + 1, rule: RULE, what });
        }
    }
    found
}

#[test]
fn no_function_is_too_long() {
    let mut exceptions = Exceptions::of(RULE);
    let files = tree::files(&[".rs"]);
    let mut found: Vec<Finding> =
        files.iter().flat_map(|file| check(&file.path, &file.text, &mut exceptions)).collect();
    found.extend(exceptions.left_over());
    assert_none(&found);
}

#[test]
fn a_function_that_is_too_long_is_found() {
    let mut exceptions = Exceptions::parse(String::new(), RULE, "old.rs work 71\n");
    let file = |body: usize| {
        let body = "        {\n        }\n".repeat(body / 2);
        format!(
            "impl A {{\n    pub(crate) async fn work<T>(\n        a: T,\n    ) {{\n{body}    }}\n\n    fn short() {{}}\n}}\n"
        )
    };
    assert_eq!(check("a.rs", &file(66), &mut exceptions), []);
    let found = check("a.rs", &file(68), &mut exceptions);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].file.as_str(), found[0].line, found[0].rule), ("a.rs", 2, RULE));
    assert!(found[0].what.contains("`work` has 72 lines"), "{}", found[0].what);
    assert_eq!(check("old.rs", &file(68), &mut exceptions).len(), 1, "an exception does not grow");
}

#[test]
fn what_has_no_body_has_no_length() {
    let declared = format!(
        "trait A {{\n    fn one(&self);\n    fn two(\n        &self,\n    ) -> u8;\n{}}}\n",
        "    // More.\n".repeat(80)
    );
    assert_eq!(check("a.rs", &declared, &mut Exceptions::parse(String::new(), RULE, "")), []);
    for (line, name) in [
        ("fn a() {", Some("a")),
        ("    pub const unsafe fn b<T>(", Some("b")),
        ("// fn c()", None),
        ("let f: fn (u8);", None),
    ] {
        assert_eq!(function_in(line), name, "{line}");
    }
}
