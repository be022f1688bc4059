//! The mark of one user, as its record says it.

use encke_proto::{Epoch, Offset};

use super::{fault::Fault, record::Extent, stored::Stored};

/// How far a user was handed and shown what was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) epoch: Epoch,
    pub(super) handed: Offset,
    pub(super) shown: Offset,
}

impl Default for Marked {
    fn default() -> Self {
        Self { epoch: Epoch(0), handed: 0, shown: 0 }
    }
}

impl Marked {
    pub(super) fn parse(stored: &Stored) -> Result<Self, Fault> {
        let mut words = stored.head.split(' ');
        let mut parse = || {
            let epoch = words.next()?.parse().ok()?;
            Some(Self { epoch, handed: words.next()?.parse().ok()?, shown: words.next()?.parse().ok()? })
        };
        parse().ok_or_else(|| Fault::damaged("how far a user was handed is not understood"))
    }

    pub(super) fn text(self) -> String {
        format!("{} {} {}", self.epoch, self.handed, self.shown)
    }

    /// Whether what was stored at this place is behind what was handed.
    pub(super) fn was_handed(&self, epoch: Epoch, offset: Offset) -> bool {
        // Offsets go on from one epoch to the next, for what is left.
        epoch <= self.epoch && offset <= self.handed
    }

    /// The same in the epoch of a log: what was handed of what the log still holds.
    pub(super) fn carried(self, extent: &Extent) -> Self {
        if self.epoch == extent.epoch {
            return self;
        }
        let shared = extent.lineage().shared(self.epoch).unwrap_or(0);
        Self { epoch: extent.epoch, handed: self.handed.min(shared), shown: self.shown.min(shared) }
    }
}
