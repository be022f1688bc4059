//! Where logs begin whose names were deleted before: behind every offset that the deleted log gave.
//!
//! A cursor names an epoch and an offset, and the epoch is that of all logs. So a log that is made anew under
//! a deleted name must not give an offset twice. What is remembered for that is a number for each class of
//! names and not the names, so it is bounded, and a name that was deleted is not kept.

use std::collections::BTreeMap;

use encke_proto::{ChannelName, Offset};

/// For each class of names that something was deleted of, the offset behind which its logs begin. At most
/// 65,536 numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetFloors(BTreeMap<u16, Offset>);

impl OffsetFloors {
    /// The class of a name: its FNV-1a hash, folded. It is stored, so it must not change.
    pub(crate) fn class(name: &ChannelName) -> u16 {
        let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16
    }

    /// Behind which offset a log of this name begins if there is none.
    pub(crate) fn of(&self, name: &ChannelName) -> Offset {
        // Looked up for every new log; nearly always nothing was deleted.
        if self.0.is_empty() { 0 } else { self.0.get(&Self::class(name)).copied().unwrap_or(0) }
    }

    /// Logs of this class begin behind `offset`, or later.
    pub(crate) fn raise(&mut self, class: u16, offset: Offset) {
        let floor = self.0.entry(class).or_default();
        *floor = offset.max(*floor);
    }

    /// All of them by class.
    #[cfg(feature = "log")]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u16, Offset)> {
        self.0.iter().map(|(class, floor)| (*class, *floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises_and_holds_for_its_class_alone() {
        let name = |text: &str| ChannelName::any(text).expect("this is a name");
        let mut floors = OffsetFloors::default();
        assert_eq!(floors.of(&name("a")), 0);
        for (offset, expected) in [(5, 5), (3, 5), (9, 9)] {
            floors.raise(OffsetFloors::class(&name("a")), offset);
            assert_eq!(floors.of(&name("a")), expected);
        }
        assert_eq!(floors.of(&name("b")), 0);
    }

    #[test]
    fn classes_are_even_and_never_change() {
        let name = |index: u32| ChannelName::any(&format!("@user-{index}")).expect("this is a name");
        let mut counts = vec![0_u32; 1 << 16];
        (0..1 << 18).for_each(|index| counts[usize::from(OffsetFloors::class(&name(index)))] += 1);
        assert!(counts.iter().all(|count| *count < 32), "four in each on average");
        let fixed = ["a", "@alice", "news"].map(|text| ChannelName::any(text).expect("this is a name"));
        assert_eq!(fixed.each_ref().map(OffsetFloors::class), [6562, 52_741, 31_727]);
    }
}
