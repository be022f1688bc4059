//! The names of the logs that events stand in and are delivered from. All are internal channels.

use encke_engine::EVENT_LOG;
use encke_proto::ChannelName;

/// The logs of one teller of facts, and of one reader of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogNames {
    /// What stands in front of all names; nothing for what the application's one endpoint is told.
    of: String,
    /// What tells the reader from others of the same facts; nothing for the first.
    reader: &'static str,
}

impl LogNames {
    /// Those of a part of a dialect, which no other has. It holds letters, digits, `-`, `_` and `/`.
    #[must_use]
    pub fn of_dialect(part: &str) -> Self {
        Self { of: format!("{part}/"), reader: "" }
    }

    /// Those of another reader of the same facts.
    #[must_use]
    pub fn read_by(&self, reader: &'static str) -> Self {
        Self { of: self.of.clone(), reader }
    }

    /// The log of facts. Engines keep what has such a name for days.
    pub(super) fn facts(&self) -> ChannelName {
        ChannelName::internal(&format!("{}{EVENT_LOG}", self.of))
    }

    /// The log of cursors.
    pub(super) fn cursor(&self) -> ChannelName {
        ChannelName::internal(&format!("{}hooks/{}cursor", self.of, self.reader))
    }

    /// What the names of snapshots begin with.
    pub(super) fn snapshots(&self) -> String {
        format!("{}hooks/{}snapshots/", self.of, self.reader)
    }
}
