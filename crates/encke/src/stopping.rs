//! Whether the server stops: said once, seen by all that refuse requests then. Cheap to clone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the server stops.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// It does, from now on.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it does.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
