//! How much of what is done with rights is written down.

use encke_proto::ChannelName;
use serde::{Deserialize, Deserializer, de::Error};

/// The target of audit lines, which `log` does not filter.
pub const AUDIT_TARGET: &str = "encke::audit";

/// What gets an audit line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditLevel {
    /// Nothing.
    Off,
    /// What cannot be taken back or ends sessions, and refusals of keys and tokens.
    #[default]
    Control,
    /// Pushes and publishes by backends too: a line for each request.
    All,
}

/// Reads the name of a public channel.
pub(super) fn channel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ChannelName>, D::Error> {
    let name = String::deserialize(deserializer)?;
    ChannelName::public(&name).map(Some).map_err(D::Error::custom)
}
