//! Patterns of channel names that may name the user: `*` stands for any run of characters, `{user}` for the
//! id of one user, everything else for itself.

use crate::{UserId, pattern};

/// What stands for the id of a user.
const USER: &str = "{user}";

/// A pattern of channel names. With `{user}` in it, it also says whose a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPattern {
    text: Box<str>,
    /// Where `{user}` stands.
    user_at: Option<usize>,
    /// The same with a `*` in that place.
    any_user: Box<str>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelPatternError {
    /// It is empty or longer than 255 bytes.
    #[error("must have 1 to 255 bytes")]
    Length,
    /// It is for users' own channels, to which no rule applies.
    #[error("is for public channels, which do not begin with @")]
    Own,
    /// A brace that belongs to no `{user}`, or a second `{user}`.
    #[error("may hold {{user}} once, and no other braces")]
    Braces,
    /// A `*` that leaves open where the id of the user begins or ends.
    #[error("may hold one * beside {{user}}, with other characters between the two")]
    Ambiguous,
}

impl ChannelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`ChannelPatternError`].
    pub fn parse(text: &str) -> Result<Self, ChannelPatternError> {
        if !(1..=255).contains(&text.len()) {
            return Err(ChannelPatternError::Length);
        }
        if text.starts_with('@') {
            return Err(ChannelPatternError::Own);
        }
        let user_at = text.find(USER);
        if text.replacen(USER, "", 1).contains(['{', '}']) {
            return Err(ChannelPatternError::Braces);
        }
        if let Some(at) = user_at {
            let (before, after) = (&text[..at], &text[at + USER.len()..]);
            let is_adjacent = before.ends_with('*') || after.starts_with('*');
            if is_adjacent || before.matches('*').count() + after.matches('*').count() > 1 {
                return Err(ChannelPatternError::Ambiguous);
            }
        }
        Ok(Self { text: text.into(), user_at, any_user: text.replacen(USER, "*", 1).into() })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a channel fits. `{user}` stands for any run of characters here, so that what is not this
    /// user's, or no user's at all, does not fall through to a rule that is meant for all.
    #[must_use]
    pub fn fits(&self, channel: &str) -> bool {
        pattern::fits(&self.any_user, channel)
    }

    /// Whether a channel fits and is this user's. A channel is at most one user's.
    #[must_use]
    pub fn is_owned(&self, channel: &str, user: &UserId) -> bool {
        self.owner_in(channel) == Some(user.as_str())
    }

    /// What stands in the place of `{user}`. It depends on the channel alone, so no two users find themselves
    /// in the same one: with a `*` behind it, the id ends before the first text that stands between the two;
    /// with a `*` in front, it begins behind the last.
    fn owner_in<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let at = self.user_at?;
        let (before, after) = (&self.text[..at], &self.text[at + USER.len()..]);
        let owner = if let Some((head, between)) = before.split_once('*') {
            let rest = channel.strip_prefix(head)?.strip_suffix(after)?;
            rest.rsplit_once(between)?.1
        } else if let Some((between, tail)) = after.split_once('*') {
            let rest = channel.strip_prefix(before)?.strip_suffix(tail)?;
            rest.split_once(between)?.0
        } else {
            channel.strip_prefix(before)?.strip_suffix(after)?
        };
        (!owner.is_empty()).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        ChannelPattern::parse(text).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn a_user_is_taken_as_it_is_written() {
        let inbox = pattern("inbox-{user}");
        for name in ["alice", "a*", "*", "{user}", "a-b", "inbox-", "ü", "a.b+c"] {
            let channel = format!("inbox-{name}");
            assert!(inbox.fits(&channel) && inbox.is_owned(&channel, &user(name)), "{name}");
            assert!(!inbox.is_owned("inbox-bob", &user(name)), "{name}");
        }
        assert!(inbox.fits("inbox-bob"), "another user's channel fits, and is no one else's");
        assert!(inbox.fits("inbox-") && !inbox.is_owned("inbox-", &user("a")), "it is of no user");
        for channel in ["inbox", "xinbox-alice", "Inbox-alice"] {
            assert!(!inbox.fits(channel), "{channel}");
        }
        assert!(!inbox.is_owned("inbox-alice", &user("Alice")));
    }

    #[test]
    fn a_star_leaves_no_doubt_whose_a_channel_is() {
        for (text, channel, owner) in [
            ("room:{user}:*", "room:alice:1", "alice"),
            ("room:{user}:*", "room:a:b:c", "a"),
            ("room:{user}:*:x", "room:alice:1:x", "alice"),
            ("*/{user}", "a/b/alice", "alice"),
            ("x*/{user}.y", "xa/b/alice.y", "alice"),
            ("{user}aa*", "baaa", "b"),
            ("{user}", "alice", "alice"),
        ] {
            let pattern = pattern(text);
            assert!(pattern.fits(channel) && pattern.is_owned(channel, &user(owner)), "{text} {channel}");
        }
        assert!(!pattern("{user}aa*").is_owned("baaa", &user("ba")));
        assert!(pattern("room:{user}:*").fits("room::1"));
        assert!(!pattern("room:{user}:*").fits("room:alice"));
    }

    /// Whatever the pattern and the channel, no two users own the same.
    #[test]
    fn a_channel_has_at_most_one_owner() {
        let alphabet = ["a", "b", "-"];
        let texts = |length: usize| {
            (0..alphabet.len().pow(u32::try_from(length).unwrap())).map(move |number| {
                (0..length)
                    .map(|at| alphabet[number / alphabet.len().pow(u32::try_from(at).unwrap()) % 3])
                    .collect::<String>()
            })
        };
        let users: Vec<UserId> = (1..4).flat_map(texts).map(|name| user(&name)).collect();
        let patterns = ["{user}", "a{user}", "{user}-*", "{user}aa*", "*-{user}", "a*b{user}", "b{user}a*-"];
        for text in patterns {
            let pattern = pattern(text);
            for channel in (1..7).flat_map(texts) {
                let owners = users.iter().filter(|user| pattern.is_owned(&channel, user)).count();
                assert!(owners <= 1, "{text} {channel}");
                assert!(owners == 0 || pattern.fits(&channel), "{text} {channel}");
            }
            for user in &users {
                // Whatever the id, what an application makes of it does not fall through.
                let own = text.replace("{user}", user.as_str()).replace('*', "x");
                assert!(pattern.fits(&own), "{text} {own}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, error) in [
            ("", ChannelPatternError::Length),
            ("@*", ChannelPatternError::Own),
            ("inbox-{users}", ChannelPatternError::Braces),
            ("inbox-{user", ChannelPatternError::Braces),
            ("{user}-{user}", ChannelPatternError::Braces),
            ("{user}*", ChannelPatternError::Ambiguous),
            ("*{user}", ChannelPatternError::Ambiguous),
            ("*-{user}-*", ChannelPatternError::Ambiguous),
            ("{user}-*-*", ChannelPatternError::Ambiguous),
        ] {
            assert_eq!(ChannelPattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(ChannelPattern::parse(&"x".repeat(256)), Err(ChannelPatternError::Length));
    }
}
