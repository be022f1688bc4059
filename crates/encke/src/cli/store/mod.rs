//! `encke store`: looks into the log store, copies it, brings it back, or makes it of another. None of it
//! needs a running server; check, dump and backup can be done beside one.

mod backup;
mod check;
mod dump;
#[cfg(feature = "sqlite-import")]
mod import;
mod restore;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, server::local_config};
use crate::wire::descriptors;

/// The directory of the store in the data directory, see `engines.rs`.
const DIRECTORY: &str = "log";

/// Look into the log store of the data directory, copy it, or bring it back
///
/// The store is the directory `log` in the data directory. No command needs a running server; check, dump and
/// backup may run beside one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Dump(dump::Args),
    Backup(backup::Args),
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

/// The words for a number of bytes that were copied.
fn copied(bytes: u64, to: &Path) -> String {
    format!("{bytes} bytes in {}", to.display())
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
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
