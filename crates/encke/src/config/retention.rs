//! How much of the logs is kept.

use encke_engine::Retention;
use serde::Deserialize;

/// What is kept of a public channel when nothing is said: 1,000 messages, 16 MiB, a day.
pub(crate) const PUBLIC: Retention = Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 86_400 };
/// What is kept of a user's own channel when nothing is said; the age follows `push_ttl_s`.
pub(crate) const OWN: Retention = Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 604_800 };

/// Bounds on what is kept; whatever is over any of them goes. One that is not said is taken from what is more
/// general.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSection {
    /// Messages, 1 to 1,000,000,000. Default 1,000.
    pub max_messages: Option<u64>,
    /// Bytes of messages, 65,536 to 1 TiB. Default 16,777,216 (16 MiB).
    pub max_bytes: Option<u64>,
    /// Seconds, 1 to 315,360,000 (ten years). Default 86,400 (a day).
    pub max_age_s: Option<u64>,
}

impl RetentionSection {
    /// These bounds, and `general` where nothing is said.
    pub(crate) fn over(self, general: Retention) -> Retention {
        Retention {
            max_messages: self.max_messages.unwrap_or(general.max_messages),
            max_bytes: self.max_bytes.unwrap_or(general.max_bytes),
            max_age_s: self.max_age_s.unwrap_or(general.max_age_s),
        }
    }
}

/// Bounds for the public channels that a pattern fits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// The pattern; `*` stands for any run of characters. Users' own channels have `retention_users` instead.
    pub channel: String,
    /// As in [`RetentionSection`]; when not said, as in `retention_default`.
    pub max_messages: Option<u64>,
    /// As in [`RetentionSection`]; when not said, as in `retention_default`.
    pub max_bytes: Option<u64>,
    /// As in [`RetentionSection`]; when not said, as in `retention_default`.
    pub max_age_s: Option<u64>,
}

impl RetentionRule {
    pub(crate) fn keep(&self) -> RetentionSection {
        RetentionSection {
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            max_age_s: self.max_age_s,
        }
    }
}
