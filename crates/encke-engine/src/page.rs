//! What a read asks for: direction, limits, and the summary of a log. The page that answers it is in
//! `encke-proto`, since the hub takes it too.

use encke_proto::{ChannelName, Epoch, Offset};

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Forwards, from the first kept message with a higher offset.
    After(Offset),
    /// Backwards: the last messages with a lower offset, still in rising order.
    Before(Offset),
    /// Nothing: only where the log begins and ends.
    Head,
}

/// How much to read at most. At least one message is returned if there is one, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Messages.
    pub messages: usize,
    /// Bytes of message bodies, roughly.
    pub bytes: usize,
}

/// A channel and the extent of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// The channel.
    pub channel: ChannelName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The oldest offset that is kept.
    pub tail: Offset,
    /// The newest offset.
    pub head: Offset,
}
