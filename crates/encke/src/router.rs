//! The table of routes: everything but the two that are held, which the connection table answers before a request gets here.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// The service for every request that does not wait.
pub fn router(app: Arc<App>) -> Router {
    Router::new().with_state(app)
}
