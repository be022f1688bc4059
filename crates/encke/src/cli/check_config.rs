//! `encke check-config`

use std::path::PathBuf;

use super::{CliError, output};
use crate::{auth::KeySet, config::Layers, dialects::Registry};

/// Check a configuration file: prints ok, or names the key that is wrong
///
/// Only the file is looked at, not the environment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    let config = Layers::new(Registry::built_in().names()).file(&args.file)?.load()?;
    KeySet::load(&config)?;
    output::line("ok")?;
    for warning in &config.warnings {
        output::note(&format!("note: {warning}"));
    }
    if !config.dev && (config.api_key.is_none() || !config.has_token_keys()) {
        output::note(
            &"note: not both api_key and token_secret are in this file; the server then needs them in ENCKE_API_KEY and ENCKE_TOKEN_SECRET",
        );
    }
    Ok(())
}
