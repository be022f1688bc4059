//! `encke store dump`

use encke_engine::{EngineError, log};

use super::Place;
use crate::cli::{CliError, output};

/// Print every record of the store as a line of JSON, in the order in which they were written
///
/// The lines hold the messages themselves. Changes nothing, needs no right to write, and may run beside a
/// server. Where a record is damaged it ends, with exit status 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let mut failed = None;
    let dumped = log::dump(&args.place.directory()?, |value| {
        output::json(&value).map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            EngineError::Unavailable(text)
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(dumped?),
    }
}
