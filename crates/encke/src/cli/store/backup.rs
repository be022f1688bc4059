//! `encke backup`

use std::path::PathBuf;

use encke_engine::{
    EngineError,
    log::{self, Damaged},
};

use super::{JsonArgs, Place, print_copied};
use crate::cli::{CliError, output};

/// Copy the store into a new directory, also while the server runs
///
/// All that was answered before is in the copy. Until it is whole, the directory is called DIR.partial; what
/// a copy that failed has left there is removed by the next. The copy says what it holds, in its file BACKUP,
/// which `encke store check` and `encke restore` compare with it. Takes as much memory as the server
/// has for its logs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke backup --data /var/lib/encke /backup/$(date +%F)")]
pub(crate) struct Args {
    /// Where the copy goes: a directory that is not there, or is empty
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Copy a damaged store, too; what is damaged is named, and the copy remembers it
    #[arg(long)]
    damaged: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let damaged = if args.damaged { Damaged::Copied } else { Damaged::Refused };
    let copy = match log::backup(&args.place.directory()?, &args.to, damaged) {
        Err(EngineError::Damaged(what)) => return Err(CliError::StoreNotCopied(what)),
        copy => copy?,
    };
    for damage in &copy.damages {
        output::note(&format!("the store is damaged: {damage}"));
    }
    print_copied(copy.bytes, &args.to, &args.json)
}
