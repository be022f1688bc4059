//! `encke config`: what can be set, and what is in force.

use super::{CliError, output, serve};
use crate::{
    config::{Shown, example, reference, shown},
    dialects::Registry,
};

/// The configuration: an example with every setting, and what is in force
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke config example > encke.toml
  encke config show --config /etc/encke/encke.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a file with every setting at its default, and what it is in a comment
    Example,
    /// Print the reference of all settings, as docs/CONFIGURATION.md has it
    Reference,
    Show(ShowArgs),
}

/// Print every setting that is in force and where its value came from; secrets are masked
///
/// It takes what `encke serve` takes, and reads the same file and environment.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    serve: serve::Args,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let dialects = Registry::built_in().names();
    match args.command {
        Command::Example => output::text(&example(&dialects)),
        Command::Reference => output::text(&reference(&dialects)),
        Command::Show(args) => show(&args, &dialects),
    }
}

fn show(args: &ShowArgs, dialects: &[&str]) -> Result<(), CliError> {
    let config = args.serve.load()?;
    config.warnings.iter().for_each(|warning| output::note(&format!("note: {warning}")));
    let all = shown(&config, dialects);
    if !args.output.is_text() {
        return all.iter().try_for_each(output::json);
    }
    let row = |one: Shown| vec![one.key, one.value, one.from];
    output::Table::new(&["KEY", "VALUE", "FROM"]).print(&all.into_iter().map(row).collect::<Vec<_>>())
}
