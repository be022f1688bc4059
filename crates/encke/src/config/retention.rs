//! How much of the logs is kept.

use encke_engine::Retention;
use serde::Deserialize;

use super::setting::{number, settings, text};

/// What is kept of a public channel when nothing is said: 1,000 messages, 16 MiB, a day.
pub(crate) const PUBLIC: Retention = Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 86_400 };
/// What is kept of a user's own channel when nothing is said; the age follows `push_ttl_s`.
pub(crate) const OWN: Retention = Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 604_800 };

/// The longest age that can be said, in seconds: ten years.
const AGE_MAX_S: u64 = 315_360_000;

settings! {
    /// Bounds on what is kept; whatever is over any of them goes. One that is not said is taken from what is
    /// more general.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct RetentionSection {
        /// Messages of a channel.
        max_messages: Option<u64> => number(1, 1_000_000_000).unset("1000").sample("1000").reloads();
        /// Bytes of the messages of a channel.
        max_bytes: Option<u64> => number(65_536, 1 << 40).unset("16777216").sample("16777216").reloads();
        /// How long a message is kept. That of users' own channels is push_ttl_s when it is not said, and
        /// never less.
        max_age_s: Option<u64>
            => number(1, AGE_MAX_S).unset("86400, or push_ttl_s").sample("604800").reloads();
    }
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

settings! {
    /// Bounds for the public channels that a pattern fits.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct RetentionRule {
        /// The pattern; `*` stands for any run of characters. Users' own channels have `retention_users`
        /// instead.
        channel: String => text().unset("required").sample("\"news*\"");
        /// As in `retention_default`.
        max_messages: Option<u64> => number(1, 1_000_000_000).unset(AS_DEFAULT).sample("10000");
        /// As in `retention_default`.
        max_bytes: Option<u64> => number(65_536, 1 << 40).unset(AS_DEFAULT).sample("16777216");
        /// As in `retention_default`.
        max_age_s: Option<u64> => number(1, AGE_MAX_S).unset(AS_DEFAULT).sample("604800");
    }
}

/// What holds where a rule says nothing.
const AS_DEFAULT: &str = "as retention_default";

impl RetentionRule {
    pub(crate) fn keep(&self) -> RetentionSection {
        RetentionSection {
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            max_age_s: self.max_age_s,
        }
    }
}
