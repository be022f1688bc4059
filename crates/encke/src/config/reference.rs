//! The reference of all settings, as a page of the documentation.

use super::keys::{self, DIALECTS, variable};
use super::setting::{Kind, Setting};

const HEAD: &str = "# Configuration
Every setting of the server. This page is made from their definition by `encke config reference`.

A setting stands in the file that `serve --config FILE` (or `ENCKE_CONFIG`) names, in TOML, or in the
environment, under the name below its key. Lists have commas between their parts there, tables are a TOML
value. The command line wins over the environment, that over the file, that over the default.
`encke config example` prints a file with everything, `encke config show` what is in force and where each
value came from, and `encke check-config FILE` finds all mistakes of a file. A number's unit is in its name:
`_s` are seconds. What \"reloads\" is taken over on SIGHUP; all else needs a restart.
";

/// The page for a server that knows these dialects.
pub(crate) fn reference(dialects: &[&str]) -> String {
    let mut text = HEAD.to_owned();
    let is_table = |setting: &&Setting| matches!(setting.kind, Kind::Table(_));
    section(&mut text, "The server", "", keys::all().iter().filter(|setting| !is_table(setting)), "");
    for setting in keys::all() {
        match setting.kind {
            Kind::Table(_) if setting.name == DIALECTS => {
                text.push_str(&format!("\n## `[{DIALECTS}]`\n{}\n\n", setting.about.trim()));
                text.push_str("| key | values |\n|---|---|\n");
                for name in dialects {
                    let name = variable_cell(name, &format!("{DIALECTS}.{name}"));
                    text.push_str(&format!("| {name} | `true`, `false` |\n"));
                }
            }
            Kind::Table(inner) => {
                let (title, before) = (format!("`[{}]`", setting.name), format!("{}.", setting.name));
                section(&mut text, &title, setting.about, inner.iter(), &before);
                lists(&mut text, inner, &before);
            }
            _ => {}
        }
    }
    lists(&mut text, keys::all(), "");
    text
}

/// The tables of each list, whose settings have no variables of their own.
fn lists(text: &mut String, settings: &'static [Setting], before: &str) {
    for setting in settings {
        let Kind::Tables(inner) = setting.kind else { continue };
        let title = format!("`[[{before}{}]]`", setting.name);
        head(text, &title, setting.about);
        inner.iter().for_each(|one| row(text, &format!("`{}`", one.name), one, setting.reloads));
    }
}

fn section(
    text: &mut String,
    title: &str,
    about: &str,
    settings: impl Iterator<Item = &'static Setting>,
    before: &str,
) {
    head(text, title, about);
    for setting in settings {
        let key = variable_cell(setting.name, &format!("{before}{}", setting.name));
        row(text, &key, setting, setting.reloads);
    }
}

fn head(text: &mut String, title: &str, about: &str) {
    text.push_str(&format!("\n## {title}\n"));
    if !about.is_empty() {
        let words: Vec<&str> = about.split_whitespace().collect();
        let mut width = 0;
        for word in words {
            let space = if width == 0 {
                ""
            } else if width + word.chars().count() > 109 {
                "\n"
            } else {
                " "
            };
            width = if space == " " { width + 1 } else { 0 } + word.chars().count();
            text.push_str(space);
            text.push_str(word);
        }
        text.push('\n');
    }
    text.push_str("\n| key | default | values | reloads | what it is |\n|---|---|---|---|---|\n");
}

fn variable_cell(name: &str, key: &str) -> String {
    format!("`{name}` `{}`", variable(key))
}

fn row(text: &mut String, key: &str, setting: &Setting, reloads: bool) {
    let default = match setting.default_value() {
        Some(value) => format!("`{value}`"),
        None => setting.unset.to_owned(),
    };
    let (values, reloads) = (setting.values(), if reloads { "yes" } else { "" });
    let about = setting.about.trim().replace('|', "\\|");
    text.push_str(&format!("| {key} | {default} | {values} | {reloads} | {about} |\n"));
}
