//! What a client may do with a channel: by its token and by the rules of the configuration. Every place at
//! which a client names a channel asks here, before the hub does.

use std::sync::{Arc, PoisonError, RwLock};

use encke_proto::{Action, Caller, ChannelName, ChannelRules, ErrorCode, Grant, Refusal};

use super::Identity;

/// The rules that are in use.
#[derive(Debug, Default)]
pub struct ChannelAccess(RwLock<Arc<ChannelRules>>);

impl ChannelAccess {
    /// With these rules.
    #[must_use]
    pub fn new(rules: ChannelRules) -> Self {
        Self(RwLock::new(Arc::new(rules)))
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> Arc<ChannelRules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place.
    pub fn set_rules(&self, rules: Arc<ChannelRules>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Whether a user with a verified token may do something with a channel. The own channel may be followed
    /// always, another user's never; a public one as its rule and the token allow.
    ///
    /// # Errors
    /// [`ErrorCode::ChannelForbidden`].
    pub fn check(&self, identity: &Identity, action: Action, channel: &ChannelName) -> Result<(), Refusal> {
        if channel.is_own_of(&identity.user) && action == Action::Subscribe {
            return Ok(());
        }
        let granted = match action {
            Action::Publish => &identity.grants.publish,
            Action::Subscribe | Action::Presence | Action::History => &identity.grants.channels,
        };
        self.allow(action, Caller { user: Some(&identity.user), granted }, channel)
    }

    /// The same for a client that proves no identity.
    ///
    /// # Errors
    /// [`ErrorCode::ChannelForbidden`].
    pub fn check_anonymous(&self, action: Action, channel: &ChannelName) -> Result<(), Refusal> {
        self.allow(action, Caller { user: None, granted: &Grant::all() }, channel)
    }

    /// Whether a user may go back in a public channel that it follows. Without rules every follower may.
    #[must_use]
    pub fn may_read(&self, identity: &Identity, channel: &ChannelName) -> bool {
        self.rules().is_empty() || self.check(identity, Action::History, channel).is_ok()
    }

    /// Whether a client may publish a message with so many bytes of data to a public channel.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`].
    pub fn check_size(&self, channel: &ChannelName, bytes: usize) -> Result<(), Refusal> {
        let rules = self.rules();
        let max = rules.rule_for(channel.as_str()).and_then(|rule| rule.message_max_bytes);
        match max {
            Some(max) if bytes as u64 > max => Err(Refusal::new(
                ErrorCode::TooLarge,
                format!("a message to {channel} may have at most {max} bytes of data"),
            )),
            _ => Ok(()),
        }
    }

    /// How many messages a second clients may publish to a public channel, if its rule bounds that.
    #[must_use]
    pub fn messages_per_s(&self, channel: &ChannelName) -> Option<u64> {
        self.rules().rule_for(channel.as_str()).and_then(|rule| rule.messages_per_s)
    }

    fn allow(&self, action: Action, caller: Caller<'_>, channel: &ChannelName) -> Result<(), Refusal> {
        let rules = self.rules();
        if rules.allow(action, caller, channel.as_str()) {
            return Ok(());
        }
        let by = if rules.is_empty() {
            "the token does not grant"
        } else {
            "the rules and the token do not grant"
        };
        Err(Refusal::new(ErrorCode::ChannelForbidden, format!("{by} {} {channel}", action.doing())))
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::UserId;

    use super::*;
    use crate::auth::Claims;

    #[test]
    fn a_user_has_the_own_channel_the_granted_ones_and_no_other() {
        let claims = Claims {
            user: UserId::new("alice").unwrap(),
            expires_s: 1,
            issued_s: None,
            jti: None,
            channels: Grant::all(),
            publish: Grant::of(vec!["room:*".into()]),
        };
        let (identity, access) = (Identity::new(claims, false), ChannelAccess::default());
        let may = |action, name| access.check(&identity, action, &ChannelName::any(name).unwrap()).is_ok();
        for (action, name, is_allowed) in [
            (Action::Subscribe, "@alice", true),
            (Action::Subscribe, "news", true),
            (Action::Subscribe, "@bob", false),
            (Action::Publish, "room:1", true),
            (Action::Publish, "news", false),
            (Action::Publish, "@alice", false),
            (Action::History, "@alice", false),
            (Action::History, "news", false),
            (Action::Presence, "news", false),
        ] {
            assert_eq!(may(action, name), is_allowed, "{action:?} {name}");
        }
    }
}
