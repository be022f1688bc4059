//! All that a token allows, for both ways.

use encke_proto::Grant;

/// All that a token allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Public channels to subscribe to.
    pub channels: Grant,
    /// Public channels to publish to.
    pub publish: Grant,
}

impl Grants {
    /// Roughly the bytes that they occupy.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let patterns = self.channels.patterns().iter().chain(self.publish.patterns());
        size_of::<Self>() + patterns.map(|pattern| size_of::<String>() + pattern.len()).sum::<usize>()
    }
}
