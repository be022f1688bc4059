//! Channels and the patterns by which they are subscribed to (specification section 2.3), and the logs that
//! patterns are read from.
//!
//! A channel is the log of its name. A pattern is one more log: what is published to `/a/b` is copied to
//! `/a/**` and `/**`, so that a follower of a pattern has one position in one log, however many channels it
//! fits. `/a/*` is read from `/a/**`, of which it is a part.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_MAX_BYTES;

/// The most segments of a channel: each but the last is one more log that a message is copied to.
pub const SEGMENTS_MAX: usize = 12;
/// The longest name of a channel, in bytes: the log of a pattern that it fits may need one more.
const CHANNEL_MAX_BYTES: usize = NAME_MAX_BYTES - 1;

/// Why a text names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the name of a channel")]
pub struct ChannelFault;

/// What a message is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// `/meta/…`: to the server, about the session.
    Meta(&'a str),
    /// `/service/…`: to a service, never to other clients.
    Service(&'a str),
    /// To all who subscribed.
    Broadcast(&'a str),
}

impl<'a> Channel<'a> {
    /// Reads the name of a channel. A pattern is none.
    ///
    /// # Errors
    /// [`ChannelFault`].
    pub fn parse(text: &'a str) -> Result<Self, ChannelFault> {
        let is_reserved = matches!(text, "/meta" | "/service");
        if !has_segments(text) || text.len() > CHANNEL_MAX_BYTES || text.contains('*') || is_reserved {
            return Err(ChannelFault);
        }
        Ok(if text.starts_with("/meta/") {
            Self::Meta(text)
        } else if text.starts_with("/service/") {
            Self::Service(text)
        } else {
            Self::Broadcast(text)
        })
    }
}

/// Whether this is made of segments that are not empty, each behind a slash, of the characters that CometD
/// takes (it takes more than the specification).
fn has_segments(text: &str) -> bool {
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" !#$()*+-._@{~}".contains(&byte))
    };
    text.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_segment) && rest.split('/').count() <= SEGMENTS_MAX)
}

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern: the name of a channel, or one whose last segment is `*` (one segment) or `**` (one or
    /// more).
    ///
    /// # Errors
    /// [`ChannelFault`]. `/meta/…` is none either.
    pub fn parse(text: &str) -> Result<Self, ChannelFault> {
        let stem = text.strip_suffix("/**").or_else(|| text.strip_suffix("/*"));
        let is_pattern = match stem {
            // A log's name may be as long as any.
            Some(stem) => {
                stem.len() + "/**".len() <= NAME_MAX_BYTES && !stem.contains('*') && has_segments(text)
            }
            None => Channel::parse(text).is_ok(),
        };
        if !is_pattern || text.starts_with("/meta/") {
            return Err(ChannelFault);
        }
        Ok(Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of services, which are no channels that are followed.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.0.starts_with("/service/")
    }

    /// Whether a channel fits it.
    #[must_use]
    pub fn fits(&self, channel: &str) -> bool {
        if let Some(stem) = self.0.strip_suffix("**") {
            channel.strip_prefix(stem).is_some_and(|rest| !rest.is_empty())
        } else if let Some(stem) = self.0.strip_suffix('*') {
            channel.strip_prefix(stem).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
        } else {
            *self.0 == *channel
        }
    }

    /// The log that it is read from.
    #[must_use]
    pub fn log(&self) -> String {
        let text = self.as_str();
        if text.ends_with("/*") { format!("{text}*") } else { text.to_owned() }
    }

    /// Whether all that fits it is in the log of this name.
    #[must_use]
    pub fn is_within(&self, log: &str) -> bool {
        self.log() == log
            || (log.strip_suffix("**"))
                .is_some_and(|stem| self.0.starts_with(stem) && self.0.len() > stem.len())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Pattern {
    type Error = ChannelFault;

    fn try_from(text: String) -> Result<Self, ChannelFault> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.into()
    }
}

/// Whether this names the log of a pattern: nothing but copies is appended there.
#[must_use]
pub fn is_glob(log: &str) -> bool {
    log.starts_with('/') && log.ends_with('*')
}

/// The logs of patterns to which a message of this channel is copied, the narrowest first. None for names
/// that are no channels of Bayeux, and for services.
pub fn glob_logs(channel: &str) -> impl Iterator<Item = String> {
    let name = match Channel::parse(channel) {
        Ok(Channel::Broadcast(name)) => name,
        _ => "",
    };
    name.rmatch_indices('/').map(move |(at, _)| format!("{}/**", &name[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_the_specification_and_cometd_say() {
        let of = Channel::parse;
        assert_eq!(of("/chat/7"), Ok(Channel::Broadcast("/chat/7")));
        assert_eq!(of("/meta/connect"), Ok(Channel::Meta("/meta/connect")));
        assert_eq!(of("/service/echo"), Ok(Channel::Service("/service/echo")));
        assert_eq!(of("/metal/x"), Ok(Channel::Broadcast("/metal/x")));
        for name in ["/a b", "/!#$()+-._@{~}", "/a.b/c"] {
            assert_eq!(of(name), Ok(Channel::Broadcast(name)));
        }
        let long = format!("/{}", "a".repeat(NAME_MAX_BYTES));
        let deep = "/a".repeat(SEGMENTS_MAX + 1);
        for name in
            ["", "/", "a", "a/b", "//a", "/a/", "/a//b", "/ü", "/a\n", "/a\"", "/a/*", "/meta", &long, &deep]
        {
            assert_eq!(of(name), Err(ChannelFault), "{name}");
        }
        assert!(of(&"/a".repeat(SEGMENTS_MAX)).is_ok());
    }

    #[test]
    fn globs_are_trailing_and_never_fit_their_own_stem() {
        let fits = |pattern: &str, channel: &str| Pattern::parse(pattern).unwrap().fits(channel);
        for (pattern, channel) in [
            ("/a/b", "/a/b"),
            ("/a/*", "/a/b"),
            ("/a/**", "/a/b"),
            ("/a/**", "/a/b/c"),
            ("/**", "/a"),
            ("/**", "/a/b/c"),
            ("/*", "/a"),
        ] {
            assert!(fits(pattern, channel), "{pattern} {channel}");
        }
        for (pattern, channel) in [
            ("/a/b", "/a/bc"),
            ("/a/b", "/a"),
            ("/a/*", "/a"),
            ("/a/*", "/a/b/c"),
            ("/a/*", "/ab"),
            ("/a/**", "/a"),
            ("/a/**", "/ab/c"),
            ("/*", "/a/b"),
        ] {
            assert!(!fits(pattern, channel), "{pattern} {channel}");
        }
        for pattern in
            ["", "/", "*", "**", "/a*", "/a/***", "/*/a", "/a/*/b", "/**/*", "/meta/*", "/meta/**", "/meta/x"]
        {
            assert_eq!(Pattern::parse(pattern), Err(ChannelFault), "{pattern}");
        }
        assert!(Pattern::parse("/service/**").unwrap().is_service());
    }

    #[test]
    fn what_fits_a_pattern_is_in_its_log() {
        let logs = |channel: &str| glob_logs(channel).collect::<Vec<_>>();
        assert_eq!(logs("/a/b/c"), ["/a/b/**", "/a/**", "/**"]);
        assert_eq!(logs("/a"), ["/**"]);
        for none in ["a", "/meta/x", "/service/x", "/a/**", "/ü", ""] {
            assert!(logs(none).is_empty(), "{none}");
        }
        for pattern in ["/a/b", "/a/*", "/a/**", "/*", "/**", "/a/b/c", "/x"] {
            let pattern = Pattern::parse(pattern).unwrap();
            for channel in ["/a", "/a/b", "/a/b/c", "/x", "/x/y"] {
                let log = pattern.log();
                let is_there = log == channel || logs(channel).contains(&log);
                assert!(!pattern.fits(channel) || is_there, "{pattern} {channel}");
            }
        }
        let within = |pattern: &str, log: &str| Pattern::parse(pattern).unwrap().is_within(log);
        assert!(within("/a/*", "/a/**") && within("/a/b", "/a/**") && within("/a/**", "/**"));
        assert!(!within("/a", "/a/**") && !within("/**", "/a/**") && !within("/a/b", "/a/b/**"));
        assert!(within("/a", "/a") && !within("/a/b", "/a"));
    }
}
