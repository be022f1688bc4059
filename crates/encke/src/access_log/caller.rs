//! Who has sent a request, as far as that is found out while it is answered.

use std::sync::{Arc, OnceLock};

/// An extension of a request: the name of a key or of a user. Its extractor says it; who has put it there
/// reads it when the request is answered.
#[derive(Clone, Debug, Default)]
pub struct Caller(Arc<OnceLock<Box<str>>>);

impl Caller {
    /// Says who it is. The first who says it is believed.
    pub fn is(&self, name: &str) {
        self.0.get_or_init(|| name.into());
    }

    /// The name, if it was found out.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.get().map(|name| &**name)
    }
}
