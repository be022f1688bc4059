//! `encke store check`

use std::path::PathBuf;

use encke_engine::log;

use super::{JsonArgs, Place};
use crate::cli::{CliError, output};

/// Read every record of the store, or of a copy, and name what is damaged
///
/// Nothing is found whole that `encke serve` would refuse. Changes nothing, needs no right to write, and may
/// run beside a server. Takes as much memory as the server has for its logs. Exit status 1 when something is
/// damaged.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory of a copy that `encke backup` made [default: the store]
    #[arg(value_name = "DIR", conflicts_with = "data")]
    copy: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let directory = match args.copy {
        Some(copy) => copy,
        None => args.place.directory()?,
    };
    let report = log::check(&directory)?;
    if args.json.json {
        output::json(&serde_json::json!({
            "segments": report.segments, "bytes": report.bytes, "frames": report.frames,
            "records": report.records, "messages": report.messages, "torn": report.torn,
            "damages": report.damages,
        }))?;
        return if report.damages.is_empty() { Ok(()) } else { Err(CliError::StoreDamaged) };
    }
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
