//! The earlier epochs of a channel whose positions are still valid in the present one, and how a position is
//! carried over. Epochs themselves are in `position.rs`.

use crate::{Epoch, Offset, Position};

/// From which epochs a channel's present one goes on, the newest first: a log that changed its epoch without
/// losing everything still knows which of the old positions it kept.
///
/// An engine that may have lost the end of a log (a replica took over, a disk came back) begins a new epoch,
/// since an offset behind the end may be given again to something else. A session that stands at or before
/// that end stands in both epochs at the same place, and need not hear of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Option<Box<[Position]>>);

impl Lineage {
    /// The most epochs that are remembered. A session that comes with an older one is told of a gap.
    pub const MAX: usize = 16;

    /// The epochs that the present one goes on from, the newest first, each with the last offset that was
    /// kept of it. Those past [`Lineage::MAX`] are forgotten.
    #[must_use]
    pub fn new(forks: Vec<Position>) -> Self {
        let mut forks = forks;
        forks.truncate(Self::MAX);
        Self((!forks.is_empty()).then(|| forks.into_boxed_slice()))
    }

    /// The forks, the newest first.
    #[must_use]
    pub fn forks(&self) -> &[Position] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The last offset of `epoch` that is the same message in the present one; none when they have nothing to
    /// do with each other.
    #[must_use]
    pub fn shared(&self, epoch: Epoch) -> Option<Offset> {
        let mut kept = Offset::MAX;
        for fork in self.forks() {
            // What a later loss took is gone, however much an earlier one had left.
            kept = kept.min(fork.offset);
            if fork.epoch == epoch {
                return Some(kept);
            }
        }
        None
    }

    /// Where `at`, a position of an earlier epoch, stands in the present one, `now`: none when what stood
    /// there is not in this log.
    #[must_use]
    pub fn carry(&self, at: Position, now: Epoch) -> Option<Position> {
        if at.epoch == now {
            return Some(at);
        }
        let shared = self.shared(at.epoch)?;
        (at.offset <= shared).then_some(Position { epoch: now, offset: at.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, offset: Offset) -> Position {
        Position { epoch: Epoch(epoch), offset }
    }

    #[test]
    fn a_position_is_carried_over_every_loss_that_came_behind_it() {
        let lineage = Lineage::new(vec![at(3, 40), at(2, 70), at(1, 50)]);
        let now = Epoch(4);
        assert_eq!(lineage.carry(at(4, 99), now), Some(at(4, 99)));
        assert_eq!(lineage.carry(at(3, 40), now), Some(at(4, 40)));
        assert_eq!(lineage.carry(at(3, 41), now), None);
        // The loss from 3 to 4 took what the one from 2 to 3 had left.
        assert_eq!((lineage.shared(Epoch(2)), lineage.shared(Epoch(1))), (Some(40), Some(40)));
        assert_eq!(lineage.carry(at(1, 45), now), None);
        assert_eq!(lineage.carry(at(9, 1), now), None);
        assert_eq!(Lineage::default().carry(at(1, 0), now), None);
    }

    #[test]
    fn only_so_many_epochs_are_remembered() {
        let lineage = Lineage::new((1..=40).rev().map(|epoch| at(epoch, 5)).collect());
        assert_eq!(lineage.forks().len(), Lineage::MAX);
        assert_eq!((lineage.shared(Epoch(40)), lineage.shared(Epoch(1))), (Some(5), None));
    }
}
