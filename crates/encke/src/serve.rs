//! SEAM: the server itself is put in here. This stands in its place so that the command line builds; only the two names below are used.

use crate::config::Config;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no server in this build.
    #[error("this build has no server in it")]
    NotBuilt,
}

/// Serves until it is told to stop (SIGINT, SIGTERM). Both keys in the configuration are there.
///
/// # Errors
/// [`ServeError`] says why it could not start or go on.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let _ = config;
    Err(ServeError::NotBuilt)
}
