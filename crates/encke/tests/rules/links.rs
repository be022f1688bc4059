//! Links in the documentation lead somewhere: the file is there, and it has a heading of that name. Links to
//! other sites are not looked at.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{Finding, assert_none, text::outside_fences, tree};

const RULE: &str = "links";

/// The files whose links are checked.
fn is_documentation(path: &str) -> bool {
    let in_folder =
        path.starts_with("docs/") || (path.starts_with("clients/") && path.ends_with("/README.md"));
    path.ends_with(".md") && (in_folder || path == "README.md" || path == "CHANGELOG.md")
}

/// The line without what stands in backticks.
fn without_code(line: &str) -> String {
    // A backtick without its partner is a character like any other.
    let parts: Vec<&str> = line.split('`').collect();
    let paired = parts.len() - usize::from(parts.len().is_multiple_of(2));
    parts
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 2 == 0 || *index >= paired)
        .map(|(_, part)| *part)
        .collect()
}

/// Where the links of a line lead: `[text](target)`, `![text](target "title")` and `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut found = Vec::new();
    let mut rest = line.as_str();
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let Some(end) = end else { break };
        found.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        found.push(target.to_owned());
    }
    // What follows a space is a title.
    let bare = |target: &String| {
        target.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']).to_owned()
    };
    found.iter().map(bare).collect()
}

/// The names by which headings can be linked to, as the usual viewers of Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, line) in outside_fences(text) {
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if !(1..=6).contains(&level) || !heading.starts_with(' ') {
            continue;
        }
        let name = slug(heading);
        let again = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

fn slug(heading: &str) -> String {
    let mut text = heading.trim().to_owned();
    // Of a link, only its text.
    while let (Some(from), Some(length)) =
        (text.find("]("), text.find("](").and_then(|from| text[from..].find(')')))
    {
        text.replace_range(from..=from + length, "");
    }
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Checks the links of a file. `read` gives the text of another file by its path from the root, and an empty
/// one for a folder.
fn check(file: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text_of_line) in outside_fences(text) {
        for target in targets(text_of_line) {
            if let Some(what) = wrong_with(&target, file, text, read) {
                found.push(Finding { file: file.to_owned(), line, rule: RULE, what });
            }
        }
    }
    found
}

fn wrong_with(target: &str, file: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let linked = if path.is_empty() {
        if anchor.is_none() {
            return Some("a link without a target".to_owned());
        }
        text.to_owned()
    } else {
        match resolve(file, path).as_deref().and_then(read) {
            Some(linked) => linked,
            None => return Some(format!("{path} is not there")),
        }
    };
    let missing = anchor.filter(|anchor| !anchors(&linked).contains(*anchor))?;
    Some(format!("no heading #{missing} in {}", if path.is_empty() { file } else { path }))
}

/// A path from the root, for one from a file; none when it leads out of the repository.
fn resolve(file: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn read_from(root: &Path, path: &str) -> Option<String> {
    let path = root.join(path);
    // A picture is there, but has no headings.
    if path.is_dir() {
        Some(String::new())
    } else {
        fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[test]
fn every_link_leads_somewhere() {
    let root = tree::root();
    let files: Vec<_> =
        tree::files(&[".md"]).into_iter().filter(|file| is_documentation(&file.path)).collect();
    let links: usize =
        files.iter().flat_map(|file| outside_fences(&file.text)).map(|(_, line)| targets(line).len()).sum();
    assert!(links > 40, "only {links} links were found");
    let read = |path: &str| read_from(&root, path);
    let found: Vec<Finding> = files.iter().flat_map(|file| check(&file.path, &file.text, &read)).collect();
    assert_none(&found);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let read = |path: &str| match path {
        "docs/a.md" => {
            Some("# Title\n## Two words, `code`\n## Two words, code\n```\n# not one\n```\n".to_owned())
        }
        "docs/adr" => Some(String::new()),
        _ => None,
    };
    let good = "# Own\n[a](a.md) [b](./a.md#two-words-code) [c](../docs/a.md#two-words-code-1 \"title\") [d](#own) [e](adr/)\n\
        [f](https://example.com/#x) `[g](none.md)`\n```\n[h](none.md)\n```\n[i]: a.md#title\n";
    assert_eq!(check("docs/b.md", good, &read), []);
    for (line, what) in [
        ("[a](none.md)", "none.md is not there"),
        ("![a](none.png)", "none.png is not there"),
        ("[![a](none.png)](a.md)", "none.png is not there"),
        ("[a](a.md#none)", "no heading #none in a.md"),
        ("[a](a.md#not-one)", "no heading #not-one in a.md"),
        ("[a](#none)", "no heading #none in docs/b.md"),
        ("[a](../../etc/passwd)", "../../etc/passwd is not there"),
        ("[a]()", "a link without a target"),
        ("[a]: none.md", "none.md is not there"),
        ("a ` and [a](none.md)", "none.md is not there"),
    ] {
        let found = check("docs/b.md", &format!("Text.\n\n{line}\n"), &read);
        let expected = Finding { file: "docs/b.md".into(), line: 3, rule: RULE, what: what.into() };
        assert_eq!(found, [expected], "{line}");
    }
}
