//! What is copied for subscribers to patterns: each message of a channel to the logs of the patterns that it
//! fits, as such a subscriber receives it.

use encke_proto::{ChannelName, JsonText, codec::bayeux};

use crate::copies::{Copies, MessageCopy};

/// The copies of this dialect.
#[derive(Debug)]
pub(super) struct GlobCopies;

impl Copies for GlobCopies {
    fn holds(&self, channel: &ChannelName) -> bool {
        bayeux::is_glob(channel.as_str())
    }

    fn copy(&self, channel: &ChannelName, data: &JsonText) -> Option<MessageCopy> {
        let logs = bayeux::glob_logs(channel.as_str());
        let channels: Vec<ChannelName> = logs.filter_map(|log| ChannelName::public(&log).ok()).collect();
        if channels.is_empty() {
            return None;
        }
        Some(MessageCopy { channels, data: bayeux::copy(channel.as_str(), data.get())? })
    }
}
