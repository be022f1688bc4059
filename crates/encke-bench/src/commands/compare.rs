//! `encke-bench compare`

use std::io;

/// The same work for Encke and a peer, in turns
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Measures both.
///
/// # Errors
/// When either cannot be measured.
pub fn run(_: &Args) -> io::Result<()> {
    Ok(())
}
