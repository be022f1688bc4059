//! What the commands print: lines of JSON for programs, aligned tables for terminals.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::CliError;

/// Whether a person reads the standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// How a command prints.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object a line, as is done anyway when the output is not a terminal
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Whether it prints for a terminal.
    pub(crate) fn is_text(&self) -> bool {
        is_terminal() && !self.json
    }
}

/// One line to stderr.
pub(crate) fn note(words: &impl Display) {
    // Words from a server may hold anything; a line break in them would make two lines out of one.
    let line: String = words.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // There is nowhere left to tell that stderr cannot be written.
    let _ = writeln!(std::io::stderr(), "encke: {line}");
}

/// One line to stdout, flushed, so that its reader has it at once.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// Some lines to stdout, each with its end.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// One line of JSON to stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    line(&serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?)
}

/// How many there are, as the server tells it: a number for persons, an object with `total` for programs.
pub(crate) fn total(output: &OutputArgs, total: Option<u64>) -> Result<(), CliError> {
    match total.filter(|_| output.is_text()) {
        Some(total) => line(&total.to_string()),
        None => json(&serde_json::json!({ "total": total })),
    }
}

/// One table on a terminal, printed by the page; the widths of the columns only grow.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), widths: head.iter().map(|name| name.len()).collect(), begun: false }
    }

    /// Prints rows, below the head if they are the first.
    pub(crate) fn print(&mut self, rows: &[Vec<String>]) -> Result<(), CliError> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.begun {
            self.begun = true;
            let head: Vec<_> = self.head.iter().map(|name| (*name).to_owned()).collect();
            line(&self.row(&head))?;
        }
        rows.iter().try_for_each(|row| line(&self.row(row)))
    }

    fn row(&self, cells: &[String]) -> String {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            text.extend(cell.chars().map(|c| if c.is_control() { ' ' } else { c }));
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count().min(*width)));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["USER", "N"]);
        table.widths = vec![6, 1];
        assert_eq!(table.row(&["\u{e4}lice".into(), "3".into()]), "\u{e4}lice   3");
        assert_eq!(table.row(&["bob\u{1b}".into(), String::new()]), "bob");
    }
}
