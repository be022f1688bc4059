//! `encke store restore`

use std::path::PathBuf;

use encke_engine::log;

use super::{Place, copied};
use crate::cli::{CliError, output};

/// Put a copy in the place of the store, which must not be there any more
///
/// The server that opens it begins a new epoch: clients that come back are told a gap, and none mistakes a
/// position that is given out again for one that it has.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with the copy
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let directory = args.place.directory()?;
    let bytes = log::restore(&args.from, &directory)?;
    output::line(&copied(bytes, &directory))
}
