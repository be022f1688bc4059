//! The ways of other servers, for clients that were written for them. Each is a codec in `encke-proto` and a
//! file here; sessions, cursors and logs are the same for all.

mod classic;

use std::sync::Arc;

use axum::Router;

use crate::{app::App, config::Config};

/// The routes of those dialects that are spoken.
pub(crate) fn routes(config: &Config) -> Router<Arc<App>> {
    if config.classic_dialect() { classic::routes() } else { Router::new() }
}
