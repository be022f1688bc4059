//! Words that name something otherwise than the rest of the code does, each with what to say instead: as
//! names in Rust, as names of files, and in comments and documentation.

use crate::{Finding, assert_none, text, tree};

const RULE: &str = "banned-names";

/// Where a name may not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As a part of any name: `letter` is found in `first_letter` and in `LetterBox`.
    Part,
    /// As a whole name, its case included: `Pass` is not found in `pass`.
    Whole,
    /// As the name of a file or a folder of the server.
    File,
}
use Place::{File, Part, Whole};

/// The name, what to say instead, and where it may not stand.
const NAMES: [(&str, &str, Place); 60] = [
    ("errand", "inline request", Part),
    ("errands", "inline requests", Part),
    ("desk", "engine I/O", Part),
    ("Wish", "EngineRequest", Whole),
    ("notes", "pending marks", File),
    ("letter", "command (shards), node message (cluster)", Part),
    ("letters", "commands (shards), node messages (cluster)", Part),
    ("postbox", "node RPC, inbox", Part),
    ("post", "node_rpc", File),
    ("Ears", "EngineEvents", Whole),
    ("gate", "connection limit", Part),
    ("Pass", "Permit", Whole),
    ("door", "listener, accept", Part),
    ("bell", "waker", Part),
    ("alarm", "shard waker", Part),
    ("line", "sink (socket or body)", File),
    ("Lent", "sink", Whole),
    ("stray", "handoff", Part),
    ("library", "hyper server", File),
    ("holder", "hyper bridge", Part),
    ("lead_away", "hand to hyper", Part),
    ("Exchange", "TransportContext", Whole),
    ("Pace", "HoldKind", Whole),
    ("patience", "timeouts, a deadline", Part),
    ("talk", "duplex", File),
    ("spoken", "ws commands", File),
    ("clerk", "CommandHandler, ordered calls", Part),
    ("turns", "wakeup coalescing", File),
    ("pacing", "broadcast pacing", File),
    ("slice", "send batch", File),
    ("spread", "reconnect jitter, multi-partition append", File),
    ("chance", "random pool", File),
    ("few", "one-or-many", File),
    ("plain", "int hasher", File),
    ("moving", "handover", File),
    ("give_up", "release, giving in to a limit: name the limit", Part),
    ("bury", "mark closed", Part),
    ("buried", "marked closed", Part),
    ("grave", "closed mark", Part),
    ("graves", "closed marks", Part),
    ("people", "user locations, users", Part),
    ("roster", "membership", Part),
    ("census", "membership", Part),
    ("Life", "Incarnation", Whole),
    ("fleet", "topology", Part),
    ("agenda", "expiry index", Part),
    ("who", "extractors", File),
    ("drain", "discard body", File),
    ("api", "server_api, client_api", File),
    ("control", "client_api", File),
    ("farewell", "CloseNotice", Part),
    ("tide", "phase", Part),
    ("lie", "mutation", Part),
    ("scene", "run", Part),
    ("party", "peer", Part),
    ("town", "cluster", Part),
    ("House", "Node", Whole),
    ("whoever", "session, client, caller, shard", Part),
    ("nobody", "no session, no client, none", Part),
    ("somebody", "session, client, caller, user", Part),
];

/// What comments and documentation may not say, and what to say instead.
const WORDS: [(&str, &str); 4] = [
    ("whoever", "session, client, caller, shard"),
    ("nobody", "no session, no client, none"),
    ("somebody", "session, client, caller, user"),
    ("everybody", "all users, all clients"),
];

/// The words of a name, in lower case: `first_letter` and `FirstLetter` have two each.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    parts
}

/// Whether `name` is banned at this place, and what to say instead.
fn instead(name: &str, is_file: bool) -> Option<&'static str> {
    let parts = parts(name).join("_");
    let has = |banned: &str| format!("_{parts}_").contains(&format!("_{banned}_"));
    let is_banned = |(banned, _, place): &&(&str, &str, Place)| match place {
        Part => has(banned),
        Whole => name == *banned,
        File => is_file && name.eq_ignore_ascii_case(banned),
    };
    NAMES.iter().find(is_banned).map(|(_, instead, _)| *instead)
}

/// Files whose name is the field's own word there: the command `encke who`.
const FILES_ALLOWED: [&str; 1] = ["crates/encke/src/cli/who.rs"];

fn finding(file: &str, line: usize, what: String) -> Finding {
    Finding { file: file.to_owned(), line, rule: RULE, what }
}

/// The names of folders and of the file.
fn check_path(file: &str) -> Option<Finding> {
    if !file.ends_with(".rs") || FILES_ALLOWED.contains(&file) {
        return None;
    }
    let (of, below) = file.split_once("/src/")?;
    let mut stems = below.trim_end_matches(".rs").split('/');
    stems.find_map(|stem| {
        let instead = instead(stem, of == "crates/encke")?;
        Some(finding(file, 1, format!("a file or folder `{stem}`: say {instead}")))
    })
}

/// The names in code.
fn check_code(file: &str, line: usize, code: &str) -> Option<Finding> {
    let code = text::without_literals(code);
    let names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    names.filter(|name| !name.is_empty()).find_map(|name| {
        let instead = instead(name, false)?;
        Some(finding(file, line, format!("`{name}`: say {instead}")))
    })
}

/// The words of a comment, or of documentation.
fn check_words(file: &str, line: usize, text: &str) -> Option<Finding> {
    text.split(|c: char| !c.is_alphanumeric()).find_map(|word| {
        let (word, instead) = WORDS.iter().find(|(banned, _)| word.eq_ignore_ascii_case(banned))?;
        Some(finding(file, line, format!("\"{word}\": say {instead}")))
    })
}

fn check(file: &str, content: &str) -> Vec<Finding> {
    let mut found: Vec<Finding> = check_path(file).into_iter().collect();
    if file.ends_with(".md") {
        let outside = text::outside_fences(content);
        // What stands in a code span is a value or a name of something else.
        found.extend(outside.filter_map(|(line, text)| {
            text.split('`').step_by(2).find_map(|words| check_words(file, line, words))
        }));
        return found;
    }
    let is_rust = file.ends_with(".rs");
    let marks: &[&str] =
        if is_rust || file.ends_with("js") || file.ends_with("ts") { &["//"] } else { &["# "] };
    for (index, line) in content.lines().enumerate() {
        let (code, comment) = text::split_comment(line, marks);
        found.extend(check_words(file, index + 1, comment));
        if is_rust {
            found.extend(check_code(file, index + 1, code));
        }
    }
    found
}

#[test]
fn names_and_words_are_those_of_the_field() {
    let mut files = tree::files(&[".rs", ".md", ".js", ".ts", ".py", ".sh"]);
    files.extend(tree::scripts());
    let found: Vec<Finding> = files.iter().flat_map(|file| check(&file.path, &file.text)).collect();
    assert_none(&found);
}

#[test]
fn a_name_that_is_banned_is_found() {
    for (line, name, instead) in [
        ("struct Postbox;", "Postbox", "node RPC"),
        ("let first_letter = 1;", "first_letter", "command"),
        ("fn a(FirstLetter: u8) {}", "FirstLetter", "command"),
        ("const LETTER_MAX_BYTES: usize = 1;", "LETTER_MAX_BYTES", "command"),
        ("fn give_up() {}", "give_up", "release"),
        ("struct Pass(u8);", "Pass", "Permit"),
        ("fn nobody_waits() {}", "nobody_waits", "no session"),
    ] {
        let found = check("crates/a/src/b.rs", &format!("//! A file.\n{line}\n"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert_eq!((found[0].file.as_str(), found[0].line, found[0].rule), ("crates/a/src/b.rs", 2, RULE));
        assert!(found[0].what.contains(&format!("`{name}`: say {instead}")), "{}", found[0].what);
    }
    for file in ["crates/a/src/errand.rs", "crates/encke/src/talk.rs", "crates/encke/src/control/close.rs"] {
        assert_eq!(check(file, "//! A file.\n").len(), 1, "{file}");
    }
    assert_eq!(check("crates/a/src/control.rs", "//! A file.\n"), [], "the server's files alone");
}

#[test]
fn a_word_that_is_banned_is_found_in_comments_and_documentation() {
    for (file, line) in [
        ("a.rs", "    // Whoever comes first."),
        ("a.rs", "let a = 1; // For nobody."),
        ("a.md", "| a | somebody else |"),
        ("a.js", " * Everybody is told."),
        ("tests/run", "true # Nobody waits."),
    ] {
        let found = check(file, line);
        assert_eq!(found.len(), 1, "{file}: {line}");
        assert_eq!((found[0].file.as_str(), found[0].line, found[0].rule), (file, 1, RULE));
    }
}

#[test]
fn what_only_looks_like_a_banned_name_may_stand() {
    for line in [
        "let pass = compass(lettering);",
        "let text = \"nobody, a letter\";",
        "let line = after(\"//\");",
        "fn believe() {}",
    ] {
        assert_eq!(check("crates/a/src/b.rs", line), [], "{line}");
    }
    assert_eq!(check("crates/encke/src/cli/who.rs", "//! A command.\n"), []);
    assert_eq!(check("a.md", "```\nnobody\n```\n"), []);
    assert_eq!(check("a.md", "| `nobody` | `a` |\n"), []);
    assert_eq!(check("a.md", "| `a` | nobody | `b` |\n").len(), 1);
}
