//! Every command line of `encke` in the documents, read by the program's own parser: what they say can be
//! typed. What it does is for the tests of each command.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Parser, error::ErrorKind};

use super::Cli;

/// A command line in a document.
struct Written {
    /// Where it stands.
    at: String,
    words: Vec<String>,
    /// Whether it is in the midst of a sentence, and may be the name of a command alone.
    is_mention: bool,
}

/// The documents of users and operators.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let clients = ["clients/js", "clients/python", "clients/node", "clients/go", "clients/php"];
    let folders = ["", "docs", "docs/start", "packaging", "crates/encke-client"].into_iter().chain(clients);
    let files = folders.map(|folder| root.join(folder)).flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut documents: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    // What a changelog says may be as it was.
    let is_current = |path: &Path| {
        path.extension().is_some_and(|extension| extension == "md") && !path.ends_with("CHANGELOG.md")
    };
    documents.retain(|path| is_current(path));
    documents.sort();
    documents
}

/// The command lines of a document: lines of code, and code within sentences.
fn written(path: &Path) -> Vec<Written> {
    let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let (mut all, mut is_code) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let spans: Vec<&str> =
            if is_code { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for span in spans {
            let words = words(span);
            let behind = words.iter().position(|word| !is_before_a_command(word)).unwrap_or(words.len());
            if words.get(behind).is_some_and(|word| word == "encke") && words.len() > behind + 1 {
                let at = format!("{}:{}", path.display(), number + 1);
                all.push(Written { at, words: words[behind..].to_vec(), is_mention: !is_code });
            }
        }
    }
    all
}

/// A prompt, a variable that is set for the command, or who runs it.
fn is_before_a_command(word: &str) -> bool {
    let variable = word.split_once('=').map_or("", |(name, _)| name);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    word == "$" || word == "sudo" || is_name(variable)
}

/// The words of a command as a shell has them, up to its end. What may be left out is there.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for char in line.chars() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(char),
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '#' | '|' | '>' | ';' | '&') if word.is_none() => break,
            (None, '[' | ']') => {}
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_line_of_the_documents_can_be_typed() {
    let all: Vec<Written> = documents().iter().flat_map(|path| written(path)).collect();
    assert!(all.len() > 30, "only {} were found", all.len());
    let wrong = all.iter().filter_map(|one| {
        let error = Cli::try_parse_from(&one.words).err()?;
        let is_name_alone = one.is_mention
            && matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
        (!is_name_alone).then(|| format!("{}: {:?}: {error}", one.at, one.words))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_is_taken_apart_as_a_shell_does() {
    let line = r#"$ ENCKE_URL=x encke push --data '{"a": "b c"}' --to a [b] # a comment | and more"#;
    let expected = ["$", "ENCKE_URL=x", "encke", "push", "--data", r#"{"a": "b c"}"#, "--to", "a", "b"];
    assert_eq!(words(line), expected);
    assert_eq!(words("encke who | head"), ["encke", "who"]);
}
