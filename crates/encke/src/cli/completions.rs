//! `encke completions` and `encke man`: what shells and `man` know of the commands, made from their
//! definition.

use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError, output};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke completions bash > /etc/bash_completion.d/encke
  encke completions zsh > ~/.zfunc/_encke
  encke completions fish > ~/.config/fish/completions/encke.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = shell)]
    shell: Shell,
}

/// Print the manual page, or write those of all commands into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke man | man -l -
  encke man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a page for each command here: encke.1, encke-push.1, …
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Reads one of the shells whose completions are tested.
fn shell(name: &str) -> Result<Shell, String> {
    match name {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("must be bash, zsh or fish".to_owned()),
    }
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "encke", &mut text);
    output::text(&String::from_utf8_lossy(&text))
}

pub(crate) fn man(args: &ManArgs) -> Result<(), CliError> {
    let Some(dir) = &args.dir else {
        return output::text(&page(Cli::command())?);
    };
    let unwritten = |error| CliError::Unwritten { path: dir.clone(), error };
    std::fs::create_dir_all(dir).map_err(unwritten)?;
    for command in pages(Cli::command()) {
        let file = format!("{}.1", command.get_display_name().unwrap_or("encke"));
        std::fs::write(dir.join(file), page(command)?).map_err(unwritten)?;
    }
    Ok(())
}

/// A command and all below it, each under its whole name.
fn pages(mut command: Command) -> Vec<Command> {
    // Without it the names of commands below have none of what is above.
    command.build();
    let mut all = vec![command];
    let mut next = 0;
    while let Some(command) = all.get(next) {
        let inner = command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help");
        let inner: Vec<Command> = inner.cloned().collect();
        all.extend(inner);
        next += 1;
    }
    all
}

fn page(command: Command) -> Result<String, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(CliError::Output)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
