//! `encke store`: looks into the log store, copies it, brings it back, or makes it of another. None of it
//! needs a running server; check, dump and backup can be done beside one.

pub(crate) mod backup;
mod check;
mod dump;
#[cfg(feature = "sqlite-import")]
mod import;
pub(crate) mod restore;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, output, server::local_config};
use crate::wire::descriptors;

/// The directory of the store in the data directory, see `engines.rs`.
const DIRECTORY: &str = "log";

/// Look into the log store of the data directory
///
/// The store is the directory `log` in the data directory. No command needs a running server; check and dump
/// may run beside one. `encke backup` copies it, `encke restore` brings it back.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Dump(dump::Args),
    /// The same as `encke backup`
    #[command(hide = true)]
    Backup(backup::Args),
    /// The same as `encke restore`
    #[command(hide = true)]
    Restore(restore::Args),
    #[cfg(feature = "sqlite-import")]
    Import(import::Args),
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The server's data directory [default: that of the configuration, or ./encke-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's configuration file
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn directory(self) -> Result<PathBuf, CliError> {
        let data = match self.data {
            Some(data) => data,
            None => local_config(self.config)?.data,
        };
        Ok(data.join(DIRECTORY))
    }
}

/// Whether JSON is printed.
#[derive(Debug, clap::Args)]
struct JsonArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints how many bytes were copied, and where to.
fn print_copied(bytes: u64, to: &Path, args: &JsonArgs) -> Result<(), CliError> {
    if args.json {
        return output::json(&serde_json::json!({ "bytes": bytes, "directory": to }));
    }
    output::line(&format!("{bytes} bytes in {}", to.display()))
}

impl From<backup::Args> for Args {
    fn from(args: backup::Args) -> Self {
        Self { command: Command::Backup(args) }
    }
}

impl From<restore::Args> for Args {
    fn from(args: restore::Args) -> Self {
        Self { command: Command::Restore(args) }
    }
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    crate::serve::survive_file_size_limit().map_err(CliError::Runtime)?;
    // What looks into a store opens all its segments at once, and a shell's limit is low.
    let _ = descriptors();
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
        #[cfg(feature = "sqlite-import")]
        Command::Import(args) => import::run(args),
    }
}
