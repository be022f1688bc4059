//! The table of attacks in `docs/SECURITY.md` is whole and true: each row names tests that are there, each
//! threat has a test that is named after it, and tests that are named after one stand in its row.

use std::collections::BTreeSet;

use crate::{
    Finding, assert_none,
    limits_table::{TABLE, is_there, lines_of, quoted},
    tree,
    tree::Source,
};

const RULE: &str = "attacks-table";
/// What the first line of the table begins with.
const HEAD: &str = "| threat | attack | what becomes of it |";
/// Threats are numbered from 1.
const THREATS: u32 = 33;

/// A row of the table.
struct Row<'a> {
    line: usize,
    threats: Vec<u32>,
    /// `file::function` of a test, or a file that holds some.
    named: Vec<&'a str>,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    lines_of(table, HEAD).filter_map(row).collect()
}

fn row((line, text): (usize, &str)) -> Option<Row<'_>> {
    let cells = text.trim_matches('|');
    let threats = cells.split('|').next()?.split(',').filter_map(|one| one.trim().strip_prefix('T'));
    let threats = threats.filter_map(|one| one.parse().ok()).collect();
    Some(Row { line, threats, named: quoted(cells.rsplit('|').next()?) })
}

/// The threats that a function is named after: `t28_t29_names`.
fn threats_of(function: &str) -> Vec<u32> {
    let numbers = function.split('_').map_while(|part| part.strip_prefix('t')?.parse().ok());
    numbers.collect()
}

/// The functions of a file that are named after threats.
fn named_after_threats(source: &Source) -> impl Iterator<Item = &str> {
    let functions = source.text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?.split('(').next()
    });
    functions.filter(|function| !threats_of(function).is_empty())
}

fn check(table: &str, threats: u32, sources: &[Source], is_file: impl Fn(&str) -> bool) -> Vec<Finding> {
    let finding = |line, what| Finding { file: TABLE.to_owned(), line, rule: RULE, what };
    let rows = rows(table);
    let mut found = Vec::new();
    let mut shown = BTreeSet::new();
    for row in &rows {
        let gone = row.named.iter().filter(|name| !is_there(name, sources) && !is_file(name));
        found.extend(gone.map(|name| finding(row.line, format!("there is no test {name}"))));
        if row.named.is_empty() {
            found.push(finding(row.line, "it names no test".to_owned()));
        }
        if row.threats.is_empty() || row.threats.iter().any(|threat| !(1..=threats).contains(threat)) {
            found.push(finding(row.line, format!("its threats are not of T1 to T{threats}")));
        }
        let functions = row.named.iter().filter_map(|name| Some(name.split_once("::")?.1));
        shown.extend(functions.flat_map(threats_of).filter(|threat| row.threats.contains(threat)));
    }
    let without = (1..=threats).filter(|threat| !shown.contains(threat));
    found.extend(without.map(|threat| finding(1, format!("T{threat} has no test that is named after it"))));
    for source in sources {
        for function in named_after_threats(source) {
            let stands = |threat: &u32| {
                let mut own = rows.iter().filter(|row| row.threats.contains(threat));
                own.any(|row| row.named.iter().any(|name| name.ends_with(&format!("::{function}"))))
            };
            if !threats_of(function).iter().all(stands) {
                found.push(finding(1, format!("{function} of {} stands in no such row", source.path)));
            }
        }
    }
    found
}

#[test]
fn every_threat_has_a_test_that_is_there() {
    let table = std::fs::read_to_string(tree::root().join(TABLE)).unwrap();
    let is_file = |name: &str| tree::root().join(name).is_file();
    assert_none(&check(&table, THREATS, &tree::files(&[".rs"]), is_file));
}

#[test]
fn a_threat_without_a_test_is_found() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let text = "#[test]\nfn t1_it_ends() {}\n#[test]\nfn it_waits() {}\n";
    let sources = [source("crates/a/tests/slow.rs", text)];
    for (row, what) in [
        ("T1 | one | it `ends` | `slow::t1_it_ends`, `tests/slow`", None),
        ("T1 | one | it ends | `slow::t1_it_ends`, `slow::it_wait`", Some("there is no test slow::it_wait")),
        ("T1 | one | it ends | `slow::t1_it_ends`, `tests/fast`", Some("there is no test tests/fast")),
        ("T1 | one | it ends | it is so", Some("it names no test")),
        ("T1 | one | it ends | `slow::it_waits`", Some("T1 has no test that is named after it")),
        ("T1, T2 | one | it ends | `slow::t1_it_ends`", Some("its threats are not of T1 to T1")),
        ("- | one | it ends | `slow::t1_it_ends`", Some("its threats are not of T1 to T1")),
    ] {
        let table = format!("{HEAD} shown by |\n|---|---|---|---|\n| {row} |\n");
        let found = check(&table, 1, &sources, |name| name == "tests/slow");
        assert_eq!(found.first().map(|finding| finding.what.as_str()), what, "{row}");
    }
    let table =
        format!("{HEAD} shown by |\n|---|---|---|---|\n| T1 | one | it ends | `slow::t1_it_ends` |\n");
    let more = [source("crates/a/tests/slow.rs", text), source("crates/b.rs", "    async fn t1_t2_x() {}\n")];
    let found = check(&table, 1, &more, |_| false);
    assert_eq!(found[0].what, "t1_t2_x of crates/b.rs stands in no such row");
}
