//! What clients name is hashed under a random key, as the hash maps of the standard library do unless they
//! are given another hasher: then no client knows which names fall into one place of a table. A file with
//! another hasher is in a list, with the reason.

use crate::{Finding, assert_none, text, tree};

const RULE: &str = "keyed-hashing";

/// Hashers without a random key, and what gives one to a map.
const NAMES: [&str; 10] = [
    "DefaultHasher",
    "BuildHasherDefault",
    "IntHashState",
    "FxHashMap",
    "FxHashSet",
    "FnvHashMap",
    "AHashMap",
    "with_hasher",
    "with_capacity_and_hasher",
    "foldhash",
];

/// Where one may stand, and why.
const ALLOWED: [(&str, &str); 11] = [
    ("crates/encke-proto/src/int_hasher.rs", "it is defined there"),
    ("crates/encke-proto/src/lib.rs", "it is exported there"),
    ("crates/encke-engine/src/log/keys.rs", "of hashes under a random key"),
    ("crates/encke-engine/src/memory/pushes.rs", "of ids that the server makes"),
    ("crates/encke-hub/src/hub.rs", "of numbers of connections"),
    ("crates/encke-history/src/history.rs", "of what tests have made"),
    ("crates/encke/src/auth/remembered.rs", "of hashes under a random key"),
    ("crates/encke/src/pages/file.rs", "of the server's own files"),
    ("crates/encke/src/shards/mark_rounds.rs", "under the random key of the map before"),
    ("crates/encke/src/shards/shard/access.rs", "of places of connections"),
    ("crates/encke/src/shards/shard/receipts.rs", "of places of connections"),
];

fn check(file: &str, content: &str) -> Vec<Finding> {
    let is_source = file.starts_with("crates/") && file.contains("/src/") && !file.contains("/tests");
    if !is_source || ALLOWED.iter().any(|(allowed, _)| *allowed == file) {
        return Vec::new();
    }
    let found = content.lines().enumerate().filter_map(|(index, line)| {
        let code = text::without_literals(text::split_comment(line, &["//"]).0);
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let name = words.find(|word| NAMES.contains(word))?;
        let what = format!("`{name}` hashes without a random key: say in the list of this rule why it may");
        Some(Finding { file: file.to_owned(), line: index + 1, rule: RULE, what })
    });
    found.collect()
}

#[test]
fn t27_what_clients_name_is_hashed_under_a_random_key() {
    let files = tree::files(&[".rs"]);
    let found: Vec<Finding> = files.iter().flat_map(|file| check(&file.path, &file.text)).collect();
    assert_none(&found);
    for (path, _) in ALLOWED {
        let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is gone"));
        assert!(NAMES.iter().any(|name| file.text.contains(name)), "{path} needs no exception any more");
    }
}

#[test]
fn a_map_with_another_hasher_is_found() {
    let planted = "use std::hash::BuildHasherDefault;\nlet users = HashMap::with_hasher(State);\n";
    let found = check("crates/encke/src/rate_limits.rs", planted);
    assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(check("crates/encke/src/rate_limits.rs", "// no DefaultHasher\nHashMap::new()\n"), []);
}
