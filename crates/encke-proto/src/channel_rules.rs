//! Rules for public channels: who may do what in those that a pattern fits. The first pattern that fits
//! decides; where there are rules and none fits, nothing is allowed. What a rule allows, a token may narrow
//! and never widen.

use serde::Deserialize;

use crate::{ChannelName, ChannelPattern, Grant, UserId};

/// Whom a rule allows something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Every client, also one that proves no identity.
    Anyone,
    /// Every client with a verified identity.
    Users,
    /// The user whose id stands in the place of `{user}`.
    Owner,
    /// Those whose token grants it by name.
    Token,
    /// No client.
    #[default]
    #[serde(rename = "nobody")]
    None,
}

/// What a client does with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Follow it.
    Subscribe,
    /// Publish to it.
    Publish,
    /// See who follows it.
    Presence,
    /// Read what was published.
    History,
}

impl Action {
    /// What it is, for refusals: "subscribing to".
    #[must_use]
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribing to",
            Self::Publish => "publishing to",
            Self::Presence => "the presence of",
            Self::History => "the history of",
        }
    }
}

/// A client that asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its user, by a token; none of a client that proves no identity, as in some dialects.
    pub user: Option<&'a UserId>,
    /// What its token grants for this.
    pub granted: &'a Grant,
}

/// What holds for the channels that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// Which channels.
    pub channel: ChannelPattern,
    /// Who may follow them.
    pub subscribe: Who,
    /// Who may publish to them.
    pub publish: Who,
    /// Who may see who follows them.
    pub presence: Who,
    /// Who may read their history: what was published before one follows, and while one was away for long.
    pub history: Who,
    /// The most bytes of a message's data that a client may publish, as compact JSON.
    pub message_max_bytes: Option<u64>,
    /// How many messages a second clients may publish to a channel, all together on one node.
    pub messages_per_s: Option<u64>,
    /// The most sessions of one node that may follow a channel.
    pub followers_max: Option<u64>,
}

impl ChannelRule {
    /// Whom this rule allows an action.
    #[must_use]
    pub fn who(&self, action: Action) -> Who {
        match action {
            Action::Subscribe => self.subscribe,
            Action::Publish => self.publish,
            Action::Presence => self.presence,
            Action::History => self.history,
        }
    }

    fn allows(&self, action: Action, caller: Caller<'_>, channel: &str) -> bool {
        let is_granted = || caller.granted.allows(channel);
        let is_within = || caller.granted.is_unsaid() || is_granted();
        match self.who(action) {
            Who::Anyone => is_within(),
            Who::Users => caller.user.is_some() && is_within(),
            Who::Owner => caller.user.is_some_and(|user| self.channel.is_owned(channel, user)) && is_within(),
            Who::Token => caller.user.is_some() && is_granted(),
            Who::None => false,
        }
    }
}

/// All rules, in order. Without any the token alone decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRules {
    rules: Vec<ChannelRule>,
    /// A channel that no client may do anything with.
    closed: Option<ChannelName>,
}

impl ChannelRules {
    /// These, of which the first that fits decides.
    #[must_use]
    pub fn new(rules: Vec<ChannelRule>) -> Self {
        Self { rules, closed: None }
    }

    /// The same, with a channel that is closed to all clients, also where there are no rules.
    #[must_use]
    pub fn closing(self, closed: Option<ChannelName>) -> Self {
        Self { closed, ..self }
    }

    /// The channel that is closed to all clients.
    #[must_use]
    pub fn closed(&self) -> Option<&ChannelName> {
        self.closed.as_ref()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule for a public channel.
    #[must_use]
    pub fn rule_for(&self, channel: &str) -> Option<&ChannelRule> {
        self.rules.iter().find(|rule| rule.channel.fits(channel))
    }

    /// Whether the clients that may read one channel may read the other: the same rule decides on both, and
    /// not by the user that it names.
    #[must_use]
    pub fn govern_alike(&self, one: &str, other: &str) -> bool {
        let index = |channel: &str| self.rules.iter().position(|rule| rule.channel.fits(channel));
        let (at, other_at) = (index(one), index(other));
        let is_of_users =
            at.and_then(|at| self.rules.get(at)).is_some_and(|rule| rule.subscribe == Who::Owner);
        at == other_at && !is_of_users
    }

    /// Whether a client may do something with a public channel. Without rules its token decides on following
    /// and publishing, and nothing else is allowed.
    #[must_use]
    pub fn allow(&self, action: Action, caller: Caller<'_>, channel: &str) -> bool {
        let is_closed = self.closed.as_ref().is_some_and(|closed| closed.as_str() == channel);
        if is_closed || channel.starts_with('@') {
            return false;
        }
        if self.is_empty() {
            let is_by_token = matches!(action, Action::Subscribe | Action::Publish);
            return is_by_token && caller.granted.allows(channel);
        }
        self.rule_for(channel).is_some_and(|rule| rule.allows(action, caller, channel))
    }

    /// Whether a session that follows a channel may go on under these rules in the place of others. What its
    /// token granted is not known any more, so where it decides now and did not before, it may not: its
    /// client subscribes again if it is granted.
    #[must_use]
    pub fn keep(&self, former: &Self, user: &UserId, channel: &str) -> bool {
        let by_token = |rules: &Self| match rules.rule_for(channel) {
            Some(rule) => rule.subscribe == Who::Token,
            None => rules.is_empty(),
        };
        let all = Grant::all();
        let caller = Caller { user: Some(user), granted: &all };
        self.allow(Action::Subscribe, caller, channel) && (!by_token(self) || by_token(former))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: [Who; 5] = [Who::Anyone, Who::Users, Who::Owner, Who::Token, Who::None];
    const ACTIONS: [Action; 4] = [Action::Subscribe, Action::Publish, Action::Presence, Action::History];

    fn rule(channel: &str, who: Who) -> ChannelRule {
        ChannelRule {
            channel: ChannelPattern::parse(channel).unwrap(),
            subscribe: who,
            publish: who,
            presence: who,
            history: who,
            message_max_bytes: None,
            messages_per_s: None,
            followers_max: None,
        }
    }

    fn rules(list: &[(&str, Who)]) -> ChannelRules {
        ChannelRules::new(list.iter().map(|(channel, who)| rule(channel, *who)).collect())
    }

    fn grant(patterns: &[&str]) -> Grant {
        Grant::of(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    fn may(rules: &ChannelRules, user: &str, granted: &Grant, channel: &str) -> bool {
        let user = UserId::new(user).unwrap();
        rules.allow(Action::Subscribe, Caller { user: Some(&user), granted }, channel)
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_none_is_no() {
        let rules = rules(&[("news.secret", Who::None), ("news.*", Who::Users), ("in-{user}", Who::Owner)]);
        let unsaid = Grant::none();
        assert!(may(&rules, "alice", &unsaid, "news.a"));
        assert!(!may(&rules, "alice", &Grant::all(), "news.secret"));
        assert!(!may(&rules, "alice", &Grant::all(), "other"), "deny by default");
        assert!(may(&rules, "alice", &unsaid, "in-alice"));
        assert!(!may(&rules, "alice", &Grant::all(), "in-bob"));
    }

    #[test]
    fn a_channel_of_another_user_does_not_fall_through() {
        let rules = rules(&[("in-{user}", Who::Owner), ("*", Who::Anyone)]);
        assert!(!may(&rules, "alice", &Grant::all(), "in-bob"));
        assert!(may(&rules, "alice", &Grant::all(), "news"));
    }

    /// Of all that a rule and a token may say, the narrower wins.
    #[test]
    fn a_token_narrows_what_a_rule_allows_and_never_widens_it() {
        let user = UserId::new("alice").unwrap();
        let grants = [Grant::none(), grant(&[]), grant(&["in-*"]), grant(&["x"]), Grant::all()];
        let all = Grant::all();
        for who in EACH {
            let rules = rules(&[("in-{user}", who)]);
            for (channel, action) in
                ["in-alice", "in-bob", "x", "@alice"].into_iter().flat_map(|c| ACTIONS.map(|a| (c, a)))
            {
                for granted in &grants {
                    for is_verified in [true, false] {
                        let caller = Caller { user: Some(&user).filter(|_| is_verified), granted };
                        let is_allowed = rules.allow(action, caller, channel);
                        let widest = Caller { granted: &all, ..caller };
                        assert!(!is_allowed || rules.allow(action, widest, channel));
                        let is_within = granted.is_unsaid() || granted.allows(channel);
                        let fits = channel.starts_with("in-");
                        let expected = fits
                            && is_within
                            && match who {
                                Who::Anyone => true,
                                Who::Users => is_verified,
                                Who::Owner => is_verified && channel == "in-alice",
                                Who::Token => is_verified && granted.allows(channel),
                                Who::None => false,
                            };
                        assert_eq!(is_allowed, expected, "{who:?} {channel} {action:?} {granted:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_rules_the_token_decides_as_ever() {
        let (none, user) = (ChannelRules::default(), UserId::new("alice").unwrap());
        for granted in [Grant::none(), grant(&["news"]), Grant::all()] {
            for action in ACTIONS {
                let caller = Caller { user: Some(&user), granted: &granted };
                let expected =
                    matches!(action, Action::Subscribe | Action::Publish) && granted.allows("news");
                assert_eq!(none.allow(action, caller, "news"), expected, "{granted:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_closed_channel_is_closed_with_and_without_rules() {
        let closed = ChannelName::public("audit").unwrap();
        for rules in [ChannelRules::default(), rules(&[("*", Who::Anyone)])] {
            let rules = rules.closing(Some(closed.clone()));
            assert!(!may(&rules, "alice", &Grant::all(), "audit"));
            assert!(may(&rules, "alice", &Grant::all(), "audit2"));
        }
    }

    #[test]
    fn a_session_keeps_what_the_new_rules_allow_for_sure() {
        let user = UserId::new("alice").unwrap();
        for (former, new, is_kept) in [
            (None, Some(Who::Token), true),
            (None, Some(Who::None), false),
            (None, Some(Who::Owner), true),
            (Some(Who::Users), Some(Who::Token), false),
            (Some(Who::Token), Some(Who::Token), true),
            (Some(Who::Token), Some(Who::Users), true),
            (Some(Who::Owner), None, false),
            (Some(Who::Token), None, true),
        ] {
            let of =
                |who: Option<Who>| who.map_or_else(ChannelRules::default, |who| rules(&[("in-{user}", who)]));
            assert_eq!(of(new).keep(&of(former), &user, "in-alice"), is_kept, "{former:?} {new:?}");
        }
        let owner = rules(&[("in-{user}", Who::Owner)]);
        assert!(!owner.keep(&ChannelRules::default(), &user, "in-bob"));
    }
}
