//! The parts of a text that rules look at: what stands outside the fences of Markdown, and what is a comment.

/// The lines of Markdown that are text, with their numbers: without what stands in fences.
pub fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// Whether the whole line is a comment of Rust, JavaScript or a script.
pub fn is_comment(line: &str) -> bool {
    ["//", "/*", "* ", "# ", "#!"].iter().any(|mark| line.trim_start().starts_with(mark))
}

/// The comment in this line, if there is one, and what stands before it. A mark within a string literal is
/// none.
pub fn split_comment<'a>(line: &'a str, marks: &[&str]) -> (&'a str, &'a str) {
    if is_comment(line) {
        return ("", line);
    }
    let mut open = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match open {
            None if marks.iter().any(|mark| line[at..].starts_with(mark)) => return line.split_at(at),
            None if matches!(c, '"' | '`') => open = Some(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(quote) if c == quote => open = None,
            _ => {}
        }
    }
    (line, "")
}

/// The line without what stands in string literals that begin in it.
pub fn without_literals(line: &str) -> String {
    let (mut out, mut is_open, mut escaped) = (String::new(), false, false);
    let mut before = ' ';
    for c in line.chars() {
        if !is_open {
            out.push(c);
            // A quotation mark may be a character.
            is_open = c == '"' && before != '\'';
        } else if escaped {
            escaped = false;
        } else if c == '"' {
            is_open = false;
        } else {
            escaped = c == '\\';
        }
        before = c;
    }
    out
}

#[test]
fn a_comment_is_told_from_a_literal() {
    for (line, code, comment) in [
        ("    // All of it.", "", "    // All of it."),
        ("let a = 1; // Behind.", "let a = 1; ", "// Behind."),
        ("let a = \"http://a\"; // \"b\"", "let a = \"http://a\"; ", "// \"b\""),
        ("let a = \"\\\"//\";", "let a = \"\\\"//\";", ""),
    ] {
        assert_eq!(split_comment(line, &["//"]), (code, comment), "{line}");
    }
    assert_eq!(split_comment("a=1 # One.", &["# "]), ("a=1 ", "# One."));
}
