//! Which modules a file of Rust imports from. Reads `use` lines and paths that begin with `crate::`, not
//! syntax.

use std::collections::BTreeSet;

/// An import: the line, and the path from the crate's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The line on which the statement begins, counted from 1.
    pub line: usize,
    /// The path, without `crate`.
    pub path: Vec<String>,
}

/// The path of a file's module in its crate; none when it is not part of the crate's sources, or holds tests.
pub fn module_of(file: &str) -> Option<(String, Vec<String>)> {
    let (krate, rest) = file.strip_prefix("crates/")?.split_once("/src/")?;
    let mut path: Vec<String> = rest.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        path.pop();
    }
    (!path.iter().any(|name| name == "tests")).then(|| (krate.to_owned(), path))
}

/// What the module at `module` imports from its own crate; its unit tests may import what they like.
pub fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let begins = text[..at].lines().next_back().unwrap_or_default().trim();
        if !(begins.is_empty() || text[..at].ends_with('\n') || begins.starts_with("pub")) {
            continue;
        }
        let Some((statement, _)) = text[at + 4..].split_once(';') else { continue };
        let line = text[..at].matches('\n').count() + 1;
        let mut paths = Vec::new();
        expand(&mut Vec::new(), statement, &mut paths);
        found
            .extend(paths.iter().filter_map(|path| absolute(path, module)).map(|path| Import { line, path }));
    }
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let is_use = text[..at].ends_with("use ");
        if is_use
            || before.is_alphanumeric()
            || before == '_'
            || text[..at].lines().next_back().is_some_and(|l| l.trim_start().starts_with("//"))
        {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if rest[name.len()..].starts_with("::") {
            found.push(Import { line: text[..at].matches('\n').count() + 1, path: vec![name] });
        }
    }
    found
}

/// The paths of a tree such as `a::{b, c::{d, e}}`.
fn expand(prefix: &mut Vec<String>, tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    if let Some(inner) = tree.strip_prefix('{') {
        let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[start..at].trim().is_empty() {
                        expand(prefix, &inner[start..at], paths);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    match tree.split_once("::") {
        Some((name, rest)) => {
            prefix.push(name.to_owned());
            expand(prefix, rest, paths);
            prefix.pop();
        }
        None => {
            let name = tree.split(" as ").next().unwrap_or_default().trim();
            paths.push(prefix.iter().cloned().chain([name.to_owned()]).collect());
        }
    }
}

/// The path from the crate's root; none for what other crates have.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("self") => Some([module, &path[1..]].concat()),
        Some("super") => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let base = module.get(..module.len().checked_sub(ups)?)?;
            Some([base, &path[ups..]].concat())
        }
        _ => None,
    }
}

/// The module that a path leads to, among those that there are.
pub fn target(path: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<String> {
    let mut length = path.len();
    while length > 0 && !modules.contains(&path[..length]) {
        length -= 1;
    }
    path[..length].to_vec()
}

#[test]
fn imports_are_read_as_they_are_written() {
    let text = "//! crate::not::this\nuse std::io;\nuse crate::{\n    a::{B, c::D as E},\n    f,\n};\npub(crate) use super::g::H;\n\
                fn i() { crate::j::k(); }\n#[cfg(test)]\nmod tests { use crate::l; }\n";
    let module = ["m".to_owned(), "n".to_owned()];
    let found: Vec<(usize, String)> =
        imports(text, &module).into_iter().map(|one| (one.line, one.path.join("::"))).collect();
    let expected = [(3, "a::B"), (3, "a::c::D"), (3, "f"), (7, "m::g::H"), (8, "j")]
        .map(|(line, path)| (line, path.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(module_of("crates/encke/src/a/b.rs"), Some(("encke".into(), vec!["a".into(), "b".into()])));
    assert_eq!(module_of("crates/encke/src/a/mod.rs"), Some(("encke".into(), vec!["a".into()])));
    assert_eq!(
        (module_of("crates/encke/tests/a.rs"), module_of("crates/encke/src/a/tests.rs")),
        (None, None)
    );
}
