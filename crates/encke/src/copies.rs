//! Further logs that a message is copied to, for dialects whose clients follow many channels by one pattern:
//! a pattern has one log, and so one position. What is copied where, the dialect says.

use std::fmt;

use encke_proto::{ChannelName, JsonText};

/// A message once more, for other logs than its own.
#[derive(Debug)]
pub struct MessageCopy {
    /// Which logs, each once.
    pub channels: Vec<ChannelName>,
    /// What it says there: the channel that it was published to, too, as the log does not tell.
    pub data: JsonText,
}

/// What a dialect copies.
pub trait Copies: Sync + fmt::Debug {
    /// Whether nothing but copies may stand in the log of this name.
    fn holds(&self, channel: &ChannelName) -> bool;

    /// The copy of a message of this channel, if there is to be one.
    fn copy(&self, channel: &ChannelName, data: &JsonText) -> Option<MessageCopy>;
}
