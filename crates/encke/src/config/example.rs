//! The example: a file with every setting at its default, and what it is in a comment.

use super::keys::{self, DIALECTS};
use super::setting::{Kind, Setting};

/// The longest line of a comment, in characters.
const LINE_MAX: usize = 110;
/// What a line begins with whose setting has no default that could stand there.
const UNSET: &str = "#= ";

const HEAD: &str = "Every setting of Encke with its default. Lines that begin with \"#=\" have no \
    default that could stand there. Each is also an environment variable: ENCKE_ and the key in capitals, \
    its table in front (ENCKE_RETENTION_DEFAULT_MAX_MESSAGES). The command line wins over the environment, \
    that over this file, that over the default. `encke check-config FILE` finds mistakes, \
    `encke config show` says what is in force.";

/// The example for a server that knows these dialects.
pub(crate) fn example(dialects: &[&str]) -> String {
    let mut text = String::new();
    comment(&mut text, HEAD);
    let is_simple = |setting: &&Setting| !matches!(setting.kind, Kind::Table(_) | Kind::Tables(_));
    for setting in keys::all().iter().filter(is_simple) {
        text.push('\n');
        one(&mut text, setting, "");
    }
    for setting in keys::all() {
        match setting.kind {
            Kind::Table(_) if setting.name == DIALECTS => {
                text.push('\n');
                comment(&mut text, setting.about);
                text.push_str(&format!("[{DIALECTS}]\n"));
                dialects.iter().for_each(|name| text.push_str(&format!("{UNSET}{name} = true\n")));
            }
            Kind::Table(inner) => table(&mut text, setting, inner),
            Kind::Tables(inner) => list(&mut text, setting, inner, ""),
            _ => {}
        }
    }
    text
}

fn table(text: &mut String, setting: &Setting, inner: &[Setting]) {
    text.push('\n');
    comment(text, setting.about);
    text.push_str(&format!("[{}]\n", setting.name));
    for one_inner in inner {
        match one_inner.kind {
            Kind::Tables(settings) => list(text, one_inner, settings, &format!("{}.", setting.name)),
            _ => one(text, one_inner, ""),
        }
    }
}

fn list(text: &mut String, setting: &Setting, inner: &[Setting], before: &str) {
    text.push('\n');
    comment(text, setting.about);
    text.push_str(&format!("{UNSET}[[{before}{}]]\n", setting.name));
    inner.iter().for_each(|setting| one(text, setting, UNSET));
}

/// One setting, with its bounds in its comment; `before` stands in front of its line.
fn one(text: &mut String, setting: &Setting, before: &str) {
    let mut about = setting.about.trim().to_owned();
    if let Kind::Number(..) | Kind::Ratio | Kind::Word(_) | Kind::Words(_) = setting.kind {
        about.push_str(&format!(" Values: {}.", setting.values().replace('`', "")));
    }
    let (before, value) = match setting.default_value() {
        Some(default) => (before, default.to_string()),
        None => {
            about.push_str(&format!(" When not said: {}.", setting.unset));
            (UNSET, setting.sample.to_owned())
        }
    };
    comment(text, &about);
    text.push_str(&format!("{before}{} = {value}\n", setting.name));
}

/// Words in lines of a comment.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_MAX {
            text.push_str(&line);
            text.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
