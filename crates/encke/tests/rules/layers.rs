//! The modules of `crates/encke` import downwards only, in the order that `docs/ARCHITECTURE.md` draws.

use std::collections::HashMap;

use crate::{
    Finding, assert_none,
    imports::{imports, module_of},
    tree,
};

const RULE: &str = "layers";
const DRAWN_IN: &str = "docs/ARCHITECTURE.md";
const FENCE: &str = "```layers\n";

/// The layer of each module, from the top. Modules of one line do not import each other either.
fn layers(text: &str) -> HashMap<String, usize> {
    let (_, drawn) = text.split_once(FENCE).unwrap();
    let (drawn, _) = drawn.split_once("\n```").unwrap();
    let mut layers = HashMap::new();
    for (layer, line) in drawn.lines().enumerate() {
        for module in line.split_whitespace() {
            assert!(layers.insert(module.to_owned(), layer).is_none(), "{module} is drawn twice");
        }
    }
    layers
}

fn check(file: &str, text: &str, layers: &HashMap<String, usize>) -> Vec<Finding> {
    let Some(("encke", path)) = module_of(file).as_ref().map(|(krate, path)| (krate.as_str(), path.clone()))
    else {
        return Vec::new();
    };
    let Some(own) = path.first() else { return Vec::new() };
    let finding = |line, what| Finding { file: file.to_owned(), line, rule: RULE, what };
    let Some(from) = layers.get(own) else {
        return vec![finding(1, format!("`{own}` is not drawn in {DRAWN_IN}"))];
    };
    let mut found = Vec::new();
    for import in imports(text, &path) {
        let Some(other) = import.path.first().filter(|other| *other != own) else { continue };
        let Some(to) = layers.get(other) else { continue };
        if to <= from {
            found
                .push(finding(import.line, format!("`{own}` imports from `{other}`, which is not below it")));
        }
    }
    found
}

#[test]
fn modules_import_downwards() {
    let drawn = layers(&std::fs::read_to_string(tree::root().join(DRAWN_IN)).unwrap());
    let files = tree::files(&[".rs"]);
    let found: Vec<Finding> = files.iter().flat_map(|file| check(&file.path, &file.text, &drawn)).collect();
    assert_none(&found);
}

#[test]
fn an_import_upwards_is_found() {
    let drawn = layers("# Architecture\n```layers\ntop\nleft right\nbottom\n```\n");
    let of = |file: &str, text: &str| check(file, text, &drawn);
    assert_eq!(of("crates/encke/src/top.rs", "use crate::{left::A, bottom::B};\n"), []);
    assert_eq!(of("crates/other/src/bottom.rs", "use crate::top::A;\n"), []);
    for (file, text, line) in [
        ("crates/encke/src/bottom/a.rs", "//! A.\nuse crate::top::A;\n", 2),
        ("crates/encke/src/left.rs", "\n\nuse crate::right;\n", 3),
        ("crates/encke/src/bottom.rs", "fn a() {\n    crate::left::b();\n}\n", 2),
        ("crates/encke/src/unknown.rs", "", 1),
    ] {
        let found = of(file, text);
        assert_eq!(
            (found.len(), found[0].line, found[0].rule, found[0].file.as_str()),
            (1, line, RULE, file)
        );
    }
}
