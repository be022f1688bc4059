//! `[[rules]]`: who may do what in the public channels that a pattern fits.

use encke_proto::{ChannelPattern, ChannelPatternError, ChannelRule, ChannelRules, Who};
use serde::Deserialize;

use super::Config;

/// A rule for the public channels that a pattern fits. Where there is any rule, what none allows is
/// forbidden to clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// The pattern: `*` stands for any run of characters, `{user}` for the id of a user. Users' own channels
    /// need no rule.
    pub channel: String,
    /// Who may follow: `anyone`, `users`, `owner`, `token`, or no client, which is the default.
    #[serde(default)]
    pub subscribe: Who,
    /// Who may publish. Default: no client.
    #[serde(default)]
    pub publish: Who,
    /// Who may see who follows. Default: no client.
    #[serde(default)]
    pub presence: Who,
    /// Who may read the history: what was published before one follows, and while one was away for long.
    /// Default: as `subscribe`.
    pub history: Option<Who>,
    /// The most bytes of the data of a message that a client publishes, 1 to 65,536. Default: as many as a
    /// body may have.
    pub message_max_bytes: Option<u64>,
    /// The most sessions of a node that may follow such a channel at once, 1 to 10,000,000. Default: no
    /// bound.
    pub followers_max: Option<u64>,
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
