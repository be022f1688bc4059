//! `encke store import`

use std::path::PathBuf;

use encke_engine::log;

use super::DIRECTORY;
use crate::cli::{CliError, output, server::local_config};

/// Make a log store of what the former engine `sqlite` has left in the data directory
///
/// Offsets and the epoch stay, so clients go on from their cursors; users, receipts and idempotency keys come
/// along. The server must be stopped. The old files are not changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's data directory [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's configuration file
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let data = match args.data {
        Some(data) => data,
        None => local_config(args.config)?.data,
    };
    let report = log::import_sqlite(&data, &data.join(DIRECTORY))?;
    output::line(&format!(
        "{} channels and users, {} messages, {} keys; encke.sqlite3 and what belongs to it can be removed",
        report.logs, report.messages, report.keys
    ))
}
