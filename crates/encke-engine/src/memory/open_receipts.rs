//! The receipts of one log that can still change, and where their pushes stand. The pushes themselves are in
//! `pushes.rs`.

use std::collections::VecDeque;

use encke_proto::Offset;

/// Where a push stands among all that are kept. Once it is forgotten, another may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub(super) usize);

/// The receipts of one log that can still change, by their place in it: it is a user's own.
#[derive(Debug, Default)]
pub(super) struct OpenReceipts(pub(super) VecDeque<(Offset, Place)>);

impl OpenReceipts {
    /// A push is at this offset, which is behind all others.
    pub(super) fn push(&mut self, offset: Offset, place: Place) {
        self.0.push_back((offset, place));
    }

    /// Takes out the receipt at an offset. It is nearly always the first, and then nothing is moved.
    pub(super) fn take(&mut self, offset: Offset) {
        if let Ok(at) = self.0.binary_search_by_key(&offset, |(offset, _)| *offset) {
            self.0.remove(at);
        }
    }
}
