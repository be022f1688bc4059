//! `[[rules]]`: who may do what in the public channels that a pattern fits.

use encke_proto::limits::BODY_MAX_BYTES;
use encke_proto::{ChannelPattern, ChannelPatternError, ChannelRule, ChannelRules, Who};
use serde::Deserialize;

use super::setting::{number, settings, text, word};
use super::{Config, rates::RATE_MAX};

/// Whom a rule may allow something.
const WHO: &[&str] = &["anyone", "users", "owner", "token", "nobody"];

settings! {
    /// A rule for the public channels that a pattern fits. Where there is any rule, what none allows is
    /// forbidden to clients.
    #[derive(Debug, Clone, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct RuleEntry {
        /// The pattern: `*` stands for any run of characters, `{user}` for the id of a user. Users' own
        /// channels need no rule.
        channel: String => text().unset("required").sample("\"inbox-{user}\"");
        /// Who may follow.
        #[serde(default)]
        subscribe: Who => word(WHO).unset("`nobody`").sample("\"owner\"");
        /// Who may publish.
        #[serde(default)]
        publish: Who => word(WHO).unset("`nobody`").sample("\"nobody\"");
        /// Who may see who follows.
        #[serde(default)]
        presence: Who => word(WHO).unset("`nobody`").sample("\"nobody\"");
        /// Who may read the history: what was published before one follows, and while one was away for long.
        history: Option<Who> => word(WHO).unset("as subscribe").sample("\"owner\"");
        /// The most bytes of the data of a message that a client publishes.
        message_max_bytes: Option<u64>
            => number(1, BODY_MAX_BYTES as u64).unset("as many as a body may have").sample("4096");
        /// How many messages a second clients may publish to such a channel, all together on a node; as many
        /// as come in `limits.burst_s` seconds may come at once.
        messages_per_s: Option<u64> => number(1, RATE_MAX).unset("no bound").sample("20");
        /// The most sessions of a node that may follow such a channel at once.
        followers_max: Option<u64> => number(1, 10_000_000).unset("no bound").sample("100");
    }
}

impl RuleEntry {
    /// The rule.
    ///
    /// # Errors
    /// [`ChannelPatternError`].
    pub fn rule(&self) -> Result<ChannelRule, ChannelPatternError> {
        Ok(ChannelRule {
            channel: ChannelPattern::parse(&self.channel)?,
            subscribe: self.subscribe,
            publish: self.publish,
            presence: self.presence,
            history: self.history.unwrap_or(self.subscribe),
            message_max_bytes: self.message_max_bytes,
            messages_per_s: self.messages_per_s,
            followers_max: self.followers_max,
        })
    }
}

impl Config {
    /// All rules for public channels, in their order, and the channel that is closed to all clients.
    #[must_use]
    pub fn channel_rules(&self) -> ChannelRules {
        // A pattern that is none was refused when the configuration was checked.
        let rules = self.rules.iter().filter_map(|entry| entry.rule().ok()).collect();
        ChannelRules::new(rules).closing(self.audit_channel.clone())
    }
}
