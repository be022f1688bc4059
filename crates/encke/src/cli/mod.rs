//! The command line: what the program takes, one file a command, and what it ends with.
//!
//! Exit status: 0 done, 1 any failure that has no status of its own, 2 bad usage, 64 bad configuration (the
//! key is named), 69 the server cannot be reached. Errors are one line on stderr that begins with `encke: `;
//! mistakes of a configuration are one line each.

mod cancel;
mod channels;
mod check_config;
mod check_url;
mod close;
mod completions;
mod config;
mod delete;
#[cfg(test)]
mod documented;
mod error;
mod history;
mod hooks;
mod listen;
mod matching;
mod message;
mod named_files;
mod nodes;
mod output;
mod publish;
mod push;
mod push_stream;
mod pushes;
mod receipts;
mod revoke;
mod serve;
mod server;
mod sessions;
mod status;
#[cfg(feature = "log")]
mod store;
mod token;
mod users;
mod who;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::config::ConfigError;

pub use error::CliError;

/// A Comet server: push messages and pages to the users you name.
#[derive(Debug, Parser)]
#[command(
    name = "encke",
    version,
    after_help = "Examples:
  encke serve --dev
  encke listen --user alice
  encke push --to alice --url https://example.com/
  encke push --to alice bob --data '{\"text\":\"hello\"}' --wait

Exit status: 0 done, 1 other failure, 2 bad usage, 64 bad configuration, 69 server unreachable.
The commands read ENCKE_URL and ENCKE_API_KEY. Where their output is no terminal, it is one
JSON object a line."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Push(push::Args),
    Publish(publish::Args),
    Listen(listen::Args),
    Who(who::Args),
    Users(users::Args),
    Sessions(sessions::Args),
    Nodes(nodes::Args),
    Status(status::Args),
    Hooks(hooks::Args),
    Close(close::Args),
    Revoke(revoke::Args),
    Receipts(receipts::Args),
    Pushes(pushes::Args),
    Cancel(cancel::Args),
    CheckUrl(check_url::Args),
    Channels(channels::Args),
    History(history::Args),
    Delete(delete::Args),
    Token(token::Args),
    #[cfg(feature = "log")]
    Backup(store::backup::Args),
    #[cfg(feature = "log")]
    Restore(store::restore::Args),
    #[cfg(feature = "log")]
    Store(store::Args),
    CheckConfig(check_config::Args),
    Config(config::Args),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // A help text that cannot be written is not read.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(CliError::Usage(usage(&error))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has what it wanted, as in `encke listen | head`.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                CliError::Config(ConfigError::Mistakes(mistakes)) => mistakes.iter().for_each(output::note),
                error => output::note(error),
            }
            ExitCode::from(error.status())
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Push(args) => block_on(push::run(args)),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Listen(args) => block_on(listen::run(args)),
        Command::Users(args) => block_on(users::run(args)),
        Command::Who(args) => block_on(who::run(args)),
        Command::Sessions(args) => block_on(sessions::run(args)),
        Command::Nodes(args) => block_on(nodes::run(args)),
        Command::Status(args) => block_on(status::run(args)),
        Command::Hooks(args) => block_on(hooks::run(args)),
        Command::Close(args) => block_on(close::run(args)),
        Command::Revoke(args) => block_on(revoke::run(args)),
        Command::Receipts(args) => block_on(receipts::run(args)),
        Command::Pushes(args) => block_on(pushes::run(args)),
        Command::CheckUrl(args) => block_on(check_url::run(args)),
        Command::Cancel(args) => block_on(cancel::run(args)),
        Command::Channels(args) => block_on(channels::run(args)),
        Command::History(args) => block_on(history::run(args)),
        Command::Delete(args) => block_on(delete::run(args)),
        Command::Token(args) => token::run(args),
        #[cfg(feature = "log")]
        Command::Backup(args) => block_on(async { store::run(args.into()) }),
        #[cfg(feature = "log")]
        Command::Restore(args) => block_on(async { store::run(args.into()) }),
        #[cfg(feature = "log")]
        Command::Store(args) => block_on(async { store::run(args) }),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::man(&args),
    }
}

/// The commands that ask a server do one thing at a time, so one thread is enough.
fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?
        .block_on(command)
}

/// What is wrong with the arguments, in one line: the first paragraph of what the parser has to say.
fn usage(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; see `encke --help`".to_owned();
    }
    let text = error.render().to_string();
    let first: Vec<_> = text
        .trim_start_matches("error: ")
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    format!("{}; see --help", first.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_with_the_arguments_is_said_in_one_line() {
        let words = |args: &[&str]| usage(&Cli::try_parse_from(args).unwrap_err());
        assert_eq!(
            words(&["encke", "listen"]),
            "the following required arguments were not provided: --user <USER>; see --help"
        );
        assert!(words(&["encke", "serv"]).contains("'serv'"));
        assert!(words(&["encke", "push", "--all"]).contains("--url"));
        assert_eq!(words(&["encke"]), "a command is missing; see `encke --help`");
    }
}
