//! `encke check-config`

use std::path::PathBuf;

use super::{CliError, named_files, output, serve};
use crate::{
    config::{ConfigError, Layers, unknown_variables},
    dialects::Registry,
};

/// Check a configuration file: prints ok, or every mistake as FILE:LINE:COLUMN: KEY: what is wrong
///
/// The files that it names are looked at too. What is in the environment is not, but for its names: a
/// variable that begins with ENCKE_ and is no setting is noted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke check-config /etc/encke/encke.toml
  encke check-config new.toml && systemctl reload encke")]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    let dialects = Registry::built_in().names();
    // Others set some too: they are no mistake of the file's.
    let unknown = unknown_variables(serve::variables(), &dialects);
    let checked = Layers::new(dialects).file(&args.file)?.load_and_check(named_files::mistakes);
    let config = match checked {
        Err(ConfigError::Mistakes(mistakes)) => {
            mistakes.iter().try_for_each(|mistake| output::line(&mistake.to_string()))?;
            return Err(CliError::ConfigMistakes { file: args.file.clone(), mistakes });
        }
        other => other?,
    };
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
