//! `encke store backup`

use std::path::PathBuf;

use encke_engine::log;

use super::{Place, copied};
use crate::cli::{CliError, output};

/// Copy the store into a new directory, also while the server runs
///
/// The copy is the store as it was at some moment. Whatever opens it begins a new epoch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the copy goes: a directory that is not there, or is empty
    to: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let bytes = log::backup(&args.place.directory()?, &args.to)?;
    output::line(&copied(bytes, &args.to))
}
