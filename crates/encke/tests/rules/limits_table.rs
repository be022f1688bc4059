//! The table of limits in `docs/SECURITY.md` is whole and true: every number of the configuration that bounds
//! something is in it with its default, and so is every bound on what comes from outside; each row names a
//! test that is there. So does each row of the ways in which servers break clients of Bayeux.

use std::collections::BTreeMap;

use crate::{Finding, assert_none, tree, tree::Source};

const RULE: &str = "limits-table";
pub const TABLE: &str = "docs/SECURITY.md";
/// What the first line of the table begins with.
const HEAD: &str = "| limit | default | unit |";
const REFERENCE: &str = "docs/CONFIGURATION.md";
const CONSTANTS: &str = "crates/encke-proto/src/limits.rs";
const EXAMPLE: &str = "crates/encke/encke.example.toml";
/// Numbers of the configuration that bound nothing.
const NO_LIMITS: [&str; 3] = ["tls_redirect_port", "tls_hsts_s", "traces.ratio"];

/// A row of the table.
struct Row<'a> {
    line: usize,
    default: &'a str,
    /// The name of a setting or of a constant.
    name: &'a str,
    /// `file::function` of each test.
    tests: Vec<&'a str>,
}

/// What stands in backticks.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn rows(text: &str) -> Vec<Row<'_>> {
    lines_of(text, HEAD)
        .filter_map(|(number, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [_, default, _, name, tests] = cells[..] else { return None };
            let name = quoted(name).first().copied().unwrap_or_default();
            Some(Row { line: number, default, name, tests: quoted(tests) })
        })
        .collect()
}

/// The keys of settings that are numbers, in the reference. Those of lists have no variable and are no
/// limits.
fn settings(reference: &str) -> Vec<String> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in reference.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let name = title.strip_prefix("`[").and_then(|rest| rest.strip_suffix("]`"));
            table = name.map(|name| format!("{name}.")).unwrap_or_default();
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let is_number =
            cells.get(2).is_some_and(|values| values.as_bytes().first().is_some_and(u8::is_ascii_digit));
        let has_variable = cells.first().is_some_and(|key| key.contains("`ENCKE_"));
        if let (true, true, Some(name)) = (is_number, has_variable, quoted(line).first()) {
            found.push(format!("{table}{name}"));
        }
    }
    found.retain(|key| !NO_LIMITS.contains(&key.as_str()));
    found
}

/// The constants, by name.
fn constants(text: &str) -> Vec<&str> {
    let public = text.lines().filter_map(|line| line.strip_prefix("pub const "));
    public.filter_map(|rest| rest.split(':').next()).collect()
}

/// The defaults that the example of a configuration has, by key.
fn defaults(example: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once(" = ")
            && value.bytes().all(|byte| byte.is_ascii_digit())
        {
            found.insert(format!("{section}{key}"), value.to_owned());
        }
    }
    found
}

/// The number that a cell begins with, without commas.
fn number(cell: &str) -> String {
    let digits = cell.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
    digits.filter(char::is_ascii_digit).collect()
}

/// What the first line of the table of ways begins with in which servers break clients of Bayeux.
const WAYS_HEAD: &str = "| what a server does | and the client |";
/// Where that stands.
const WAYS: &str = "docs/BAYEUX.md";

/// The lines of a table behind its head, with their numbers.
pub fn lines_of<'a>(text: &'a str, head: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = text.lines().enumerate().skip_while(move |(_, line)| !line.starts_with(head));
    lines.take_while(|(_, line)| line.starts_with('|')).skip(2).map(|(index, line)| (index + 1, line))
}

/// What is wrong with a table of which each row names tests, or files that hold some: one is not there.
fn check_named(
    (file, table, head): (&str, &str, &str),
    sources: &[Source],
    is_file: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in lines_of(table, head) {
        let named = quoted(text.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default());
        let gone = named.iter().filter(|name| !is_there(name, sources) && !is_file(name));
        let mut said: Vec<String> = gone.map(|name| format!("there is no test {name}")).collect();
        if named.is_empty() {
            said.push("it names no test".to_owned());
        }
        let finding = |what| Finding { file: file.to_owned(), line, rule: RULE, what };
        found.extend(said.into_iter().map(finding));
    }
    found
}

/// Whether a test of this name is in a file, or a folder, of that name.
pub fn is_there(test: &str, sources: &[Source]) -> bool {
    let Some((module, function)) = test.split_once("::") else { return false };
    let (file, folder, begins) = (format!("/{module}.rs"), format!("/{module}/"), format!("fn {function}("));
    let mut named =
        sources.iter().filter(|source| source.path.ends_with(&file) || source.path.contains(&folder));
    named.any(|source| source.text.contains(&begins))
}

fn check(
    table: &str,
    wanted: &[&str],
    defaults: &BTreeMap<String, String>,
    sources: &[Source],
) -> Vec<Finding> {
    let finding = |line, what| Finding { file: TABLE.to_owned(), line, rule: RULE, what };
    let rows = rows(table);
    let missing = wanted.iter().filter(|name| rows.iter().all(|row| row.name != **name));
    let mut found: Vec<_> = missing.map(|name| finding(1, format!("no row for {name}"))).collect();
    for row in &rows {
        if let Some(default) = defaults.get(row.name)
            && number(row.default) != *default
        {
            found.push(finding(row.line, format!("the default of {} is {default}", row.name)));
        }
        if row.tests.is_empty() {
            found.push(finding(row.line, "it names no test".to_owned()));
        }
        let gone = row.tests.iter().filter(|test| !is_there(test, sources));
        found.extend(gone.map(|test| finding(row.line, format!("there is no test {test}"))));
    }
    found
}

#[test]
fn every_limit_is_in_the_table_with_its_default_and_a_test() {
    let read = |path: &str| std::fs::read_to_string(tree::root().join(path)).unwrap();
    let (table, reference, limits) = (read(TABLE), read(REFERENCE), read(CONSTANTS));
    let settings = settings(&reference);
    let wanted: Vec<&str> = settings.iter().map(String::as_str).chain(constants(&limits)).collect();
    assert!(wanted.len() > 40, "only {} limits were found", wanted.len());
    let defaults = defaults(&read(EXAMPLE));
    assert!(defaults.len() > 20, "only {} defaults were found", defaults.len());
    assert_none(&check(&table, &wanted, &defaults, &tree::files(&[".rs"])));
}

#[test]
fn every_way_to_break_a_client_names_tests_that_are_there() {
    let is_file = |name: &str| tree::root().join(name).is_file();
    let table = std::fs::read_to_string(tree::root().join(WAYS)).unwrap();
    assert!(lines_of(&table, WAYS_HEAD).count() >= 23, "the table is not found");
    assert_none(&check_named((WAYS, &table, WAYS_HEAD), &tree::files(&[".rs"]), is_file));
}

#[test]
fn a_row_without_a_test_is_found() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let sources = [source("crates/a/tests/slow.rs", "#[test]\nfn it_ends() {}\n")];
    for (shown, what) in [
        ("`slow::it_ends`, `tests/slow`", None),
        ("`slow::it_end`", Some("there is no test slow::it_end")),
        ("`tests/fast`", Some("there is no test tests/fast")),
        ("it is so", Some("it names no test")),
    ] {
        let table = format!("{WAYS_HEAD} shown by |\n|---|---|---|\n| one | `ends` | {shown} |\n");
        let found = check_named((WAYS, &table, WAYS_HEAD), &sources, |name| name == "tests/slow");
        assert_eq!(found.first().map(|finding| finding.what.as_str()), what, "{shown}");
    }
}

#[test]
fn what_the_table_lacks_is_found() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let sources = [source("crates/a/tests/slow.rs", "#[test]\nfn it_ends() {}\n")];
    let defaults = defaults("a = 1000\n#b = 2\n[slow]\nc = 3\n");
    let table = |row: &str| {
        format!("text\n\n{HEAD} setting | test |\n|---|---|---|---|---|\n{row}\n\n| no | row |\n")
    };
    let look = |row: &str, wanted: &[&str]| -> Vec<(usize, String)> {
        let found = check(&table(row), wanted, &defaults, &sources);
        found.into_iter().map(|finding| (finding.line, finding.what)).collect()
    };
    let good = "| it | 1,000 | s | `a` | `slow::it_ends` |";
    assert_eq!(look(good, &["a"]), []);
    assert_eq!(look(good, &["a", "slow.c"]), [(1, "no row for slow.c".to_owned())]);
    for (row, what) in [
        ("| it | 1,001 | s | `a` | `slow::it_ends` |", "the default of a is 1000"),
        ("| it | 4 | s | `slow.c` | `slow::it_ends` |", "the default of slow.c is 3"),
        ("| it | 1,000 | s | `a` | `slow::it_end` |", "there is no test slow::it_end"),
        ("| it | 1,000 | s | `a` | `fast::it_ends` |", "there is no test fast::it_ends"),
        ("| it | 1,000 | s | `a` | it is so |", "it names no test"),
    ] {
        assert_eq!(look(row, &[]), [(5, what.to_owned())], "{row}");
    }
    let reference = "## The server\n| `a` `ENCKE_A` | `1` | 1 to 9 s |  | x |\n\
                     | `b` `ENCKE_B` | `1` | text |  | x |\n\
                     ## `[slow]`\n| `c` `ENCKE_SLOW_C` | `3` | 0 to 4 |  | x |\n\
                     ## `[[l]]`\n| `d` | `1` | 1 to 2 |  | x |";
    assert_eq!(settings(reference), ["a", "slow.c"]);
    assert_eq!(constants("/// x\npub const A_MAX: usize = 1;\nconst B: u8 = 2;\n"), ["A_MAX"]);
}
