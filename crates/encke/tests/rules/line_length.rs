//! No line is longer than 110 characters, in code, scripts and documentation.
//!
//! Excepted are kinds of lines, not files: in Markdown a line of a table and what stands in a fence; anywhere
//! a line that is little else than one string literal, one code span or one URL, since it cannot be broken.

use crate::{Finding, assert_none, text, tree};

const RULE: &str = "line-length";
/// Characters, not bytes.
const CHARS_MAX: usize = 110;
/// How many characters may stand around a literal that is too long for a line, without the indentation.
const AROUND_LITERAL_MAX: usize = 40;
/// The endings of the files that are read, besides the scripts.
const ENDINGS: [&str; 6] = [".rs", ".md", ".js", ".ts", ".py", ".sh"];

/// The delimiters of string literals in a file of this kind.
fn quotes(file: &str) -> &'static [char] {
    match file.rsplit_once('.').map(|(_, ending)| ending) {
        Some("rs") => &['"'],
        Some("md") => &['`'],
        Some("py") => &['"', '\''],
        _ => &['"', '\'', '`'],
    }
}

/// The characters of the longest string literal, with its delimiters. One that does not end here reaches to
/// the end of the line.
fn longest_literal(line: &str, quotes: &[char]) -> usize {
    if let Some(from) = line.find("r#\"") {
        let end = line.rfind("\"#").filter(|end| *end > from).map_or(line.len(), |end| end + 2);
        return line[from..end].chars().count();
    }
    let (mut longest, mut open, mut escaped) = (0, None, false);
    for (at, c) in line.chars().enumerate() {
        match open {
            None if quotes.contains(&c) => open = Some((c, at)),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some((quote, from)) if c == quote => {
                longest = longest.max(at + 1 - from);
                open = None;
            }
            _ => {}
        }
    }
    open.map_or(longest, |(_, from)| longest.max(line.chars().count() - from))
}

fn longest_url(line: &str) -> usize {
    let urls = line.split_whitespace().filter(|word| word.contains("://"));
    urls.map(|word| word.chars().count()).max().unwrap_or(0)
}

/// Whether the line is little else than one thing that cannot be broken.
fn is_unbreakable(line: &str, quotes: &[char]) -> bool {
    let line = line.trim();
    let quotes = if text::is_comment(line) && quotes != ['`'] { &[] } else { quotes };
    let longest = longest_literal(line, quotes).max(longest_url(line));
    longest > 0 && line.chars().count() - longest <= AROUND_LITERAL_MAX
}

fn check(file: &str, content: &str) -> Vec<Finding> {
    let is_markdown = file.ends_with(".md");
    let quotes = quotes(file);
    let lines: Vec<(usize, &str)> = if is_markdown {
        text::outside_fences(content).filter(|(_, line)| !line.trim_start().starts_with('|')).collect()
    } else {
        content.lines().enumerate().map(|(index, line)| (index + 1, line)).collect()
    };
    let long = lines.into_iter().map(|(number, line)| (number, line, line.chars().count()));
    let wrong = long.filter(|(_, line, chars)| *chars > CHARS_MAX && !is_unbreakable(line, quotes));
    let finding = |(number, _, chars): (usize, &str, usize)| Finding {
        file: file.to_owned(),
        line: number,
        rule: RULE,
        what: format!("{chars} characters; at most {CHARS_MAX}"),
    };
    wrong.map(finding).collect()
}

#[test]
fn no_line_is_too_long() {
    let mut files = tree::files(&ENDINGS);
    files.extend(tree::scripts());
    let found: Vec<Finding> = files.iter().flat_map(|file| check(&file.path, &file.text)).collect();
    assert_none(&found);
}

#[test]
fn a_line_that_is_too_long_is_found() {
    let code = format!("{}\n{}\n", "ü".repeat(CHARS_MAX), "f(a); ".repeat(19));
    for file in ["a.rs", "a.md", "a.js", "a.py", "a.sh", "tests/run"] {
        let found = check(file, &code);
        assert_eq!(found.len(), 1, "{file}");
        assert_eq!((found[0].file.as_str(), found[0].line, found[0].rule), (file, 2, RULE));
    }
    // Words are broken, also those in quotes, and a comment is no literal.
    let words = "words ".repeat(20);
    for line in [
        format!("// It's {words}"),
        format!("/// \"{words}\""),
        format!("let text = (\"{}\", \"{}\");", "a".repeat(60), "b".repeat(50)),
        format!("take({}, \"{}\");", "argument, ".repeat(5), "a".repeat(60)),
    ] {
        assert_eq!(check("a.rs", &line).len(), 1, "{line}");
    }
    assert_eq!(check("a.md", &format!("It's `code` {words}")).len(), 1);
}

#[test]
fn what_cannot_be_broken_may_be_long() {
    let long = "a".repeat(CHARS_MAX);
    for line in [
        format!("        \"{long} \\\" {long}\","),
        format!("    const TEXT: &str = \"{long}\";"),
        format!("    \"{long}\\"),
        format!("    format!(r#\"{{\"a\": \"{long}\"}}\"#),"),
        format!("// See https://example.com/{long}"),
    ] {
        assert_eq!(check("a.rs", &line), [], "{line}");
    }
    assert_eq!(check("a.js", &format!("test('it`s {long}', async () => {{")), []);
    let markdown = format!("| {long} |\n```\n{long}\n```\n- [a](https://example.com/{long})\n");
    assert_eq!(check("a.md", &markdown), []);
    let behind = format!("{markdown}{long}b\n");
    assert_eq!(check("a.md", &behind).len(), 1, "a fence ends");
}
