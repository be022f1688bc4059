//! Sizes by which the store works. The defaults are for servers; tests make everything small.

/// Sizes of the store's files.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// How long a segment is, in bytes: 4 KiB to 1 GiB. It is reserved when the segment begins.
    pub segment_bytes: u64,
    /// How much is written, in bytes, before what is in memory is written again as a checkpoint; more if that
    /// is more. It bounds what an opening reads.
    pub checkpoint_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20, checkpoint_bytes: 64 << 20 }
    }
}
