//! `encke store check`

use encke_engine::log;

use super::Place;
use crate::cli::{CliError, output};

/// Read every record of the store, and name what is damaged
///
/// Changes nothing, and may run beside a server. Exit status 1 when something is damaged.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let report = log::check(&args.place.directory()?)?;
    for damage in &report.damages {
        output::line(damage)?;
    }
    let torn = if report.torn { ", a last write that is not whole and was never answered" } else { "" };
    output::line(&format!(
        "{} segments, {} bytes, {} frames, {} records, {} messages, {} damaged{torn}",
        report.segments,
        report.bytes,
        report.frames,
        report.records,
        report.messages,
        report.damages.len()
    ))?;
    if report.damages.is_empty() { Ok(()) } else { Err(CliError::StoreDamaged) }
}
