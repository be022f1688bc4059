//! Numbers that look random, from a seed, so that a run can be had again.

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug)]
pub struct Choice(pub u64);

impl Choice {
    /// The next one, below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from((u128::from(mixed) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}
