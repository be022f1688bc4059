//! `encke check-config`

use std::path::PathBuf;

use super::{CliError, output, serve};
use crate::{
    auth::KeySet,
    config::{Layers, unknown_variables},
    dialects::Registry,
};

/// Check a configuration file: prints ok, or names the key that is wrong
///
/// What is in the environment is not looked at, but for its names: a variable that begins with ENCKE_ and is
/// no setting is noted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    let dialects = Registry::built_in().names();
    // Others set some too: they are no mistake of the file's.
    let unknown = unknown_variables(serve::variables(), &dialects);
    let config = Layers::new(dialects).file(&args.file)?.load()?;
    KeySet::load(&config)?;
    output::line("ok")?;
    for problem in &unknown {
        output::note(&format!("note: {problem}"));
    }
    for warning in &config.warnings {
        output::note(&format!("note: {warning}"));
    }
    let has_keys = config.has_api_key() && config.has_token_keys();
    if !config.dev && !has_keys {
        output::note(
            &"note: not both api_key and token_secret are in this file; the server then needs them in ENCKE_API_KEY and ENCKE_TOKEN_SECRET",
        );
    }
    Ok(())
}
