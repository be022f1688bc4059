//! `encke restore`

use std::path::PathBuf;

use encke_engine::{EngineError, log};

use super::{JsonArgs, Place, print_copied};
use crate::cli::{CliError, output};

/// Put a copy in the place of the store, which must not be there any more
///
/// Stop the server, and move the directory `log` in its data directory away. Each file of the copy is
/// compared with what the copy says of it; a copy that is not finished or was changed is refused. The server
/// that opens the store begins a new epoch: clients that come back are told a gap, and none mistakes a
/// position that is given out again for one that it has.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mv /var/lib/encke/log /var/lib/encke/log.old
  encke restore --data /var/lib/encke /backup/2026-11-28")]
pub(crate) struct Args {
    /// The directory of a copy that `encke backup` made
    #[arg(value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let directory = args.place.directory()?;
    let copy = match log::restore(&args.from, &directory) {
        Err(EngineError::Damaged(what)) => return Err(CliError::CopyDamaged(what)),
        copy => copy?,
    };
    if copy.of_damaged {
        output::note(&"the copy was made of a damaged store; `encke store check` says what is damaged");
    }
    print_copied(copy.bytes, &directory, &args.json)
}
