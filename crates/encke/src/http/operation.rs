//! The addresses that operators and probes need, in any state of the server.

/// Whether operators and probes need this address, so that it is served when the server is full: the server
/// API and what tells how the process is.
#[must_use]
pub fn is_operation(path: &str) -> bool {
    path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// Marks a request that came in one of the places that are kept for operators, and does not belong there. Its answer
/// is still one that the pages of allowed origins may read.
#[derive(Clone, Copy, Debug)]
pub struct Full;
