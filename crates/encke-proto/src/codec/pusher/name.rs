//! Names: channels with what their prefixes promise, events, socket ids, and the log of a channel.

use crate::{ChannelName, NameError, UserId};

/// The longest name of a channel, in bytes.
pub const CHANNEL_MAX_BYTES: usize = 164;
/// The longest name of an event, in bytes.
pub const EVENT_MAX_BYTES: usize = 200;
/// What begins the channel of a signed-in user, with the user's id behind it.
pub const USER_CHANNEL: &str = "#server-to-user-";
/// What begins the log that says when a user comes online and goes offline. No client can name it.
pub const ONLINE: &str = "#online-";
/// What begins the log of what is for one connection alone, where that takes no frames at any time. No
/// client can name it.
pub const FRAMES: &str = "#frames-";
/// What begins the name of each log of the dialect.
const LOGS: &str = "pusher:";
/// The longest id of an application, in bytes: with it and the longest channel, a log's name is one.
const APP_ID_MAX_BYTES: usize = 64;

/// Why a name of a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelFault {
    /// A name has at least one character.
    #[error("the name of a channel must not be empty")]
    Empty,
    /// Longer than [`CHANNEL_MAX_BYTES`].
    #[error("the name of a channel has at most {CHANNEL_MAX_BYTES} characters")]
    TooLong,
    /// Something else than letters, digits and `_-=@,.;`.
    #[error("the name of a channel has letters, digits and _-=@,.; only")]
    Character,
}

/// What the prefix of a channel promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// Anyone may subscribe who has the application's key.
    Public,
    /// The application's backend says who may.
    Private,
    /// The same; what is said in it only its subscribers can read.
    Encrypted,
    /// The same as private; its subscribers see each other.
    Presence,
    /// What is for one user who has signed in.
    User,
}

/// A channel as clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its prefix promises.
    pub kind: ChannelKind,
    /// Whether a new subscriber is sent the last event.
    pub is_cache: bool,
}

impl<'a> Channel<'a> {
    /// Reads the name of a channel.
    ///
    /// # Errors
    /// [`ChannelFault`] says which rule it breaks.
    pub fn parse(name: &'a str) -> Result<Self, ChannelFault> {
        if name.is_empty() {
            return Err(ChannelFault::Empty);
        }
        if let Some(user) = name.strip_prefix(USER_CHANNEL) {
            let fits = !user.is_empty() && user.len() <= super::USER_ID_MAX_BYTES;
            return if fits {
                Ok(Self { name, kind: ChannelKind::User, is_cache: false })
            } else {
                Err(ChannelFault::TooLong)
            };
        }
        if name.len() > CHANNEL_MAX_BYTES {
            return Err(ChannelFault::TooLong);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte)) {
            return Err(ChannelFault::Character);
        }
        let prefixes = [
            ("private-encrypted-", ChannelKind::Encrypted),
            ("private-", ChannelKind::Private),
            ("presence-", ChannelKind::Presence),
        ];
        let found = prefixes.into_iter().find_map(|(prefix, kind)| Some((name.strip_prefix(prefix)?, kind)));
        let (rest, kind) = found.unwrap_or((name, ChannelKind::Public));
        Ok(Self { name, kind, is_cache: rest.starts_with("cache-") })
    }

    /// Whether a subscriber needs the backend's signature.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        matches!(self.kind, ChannelKind::Private | ChannelKind::Encrypted | ChannelKind::Presence)
    }

    /// Whether subscribers may send events.
    #[must_use]
    pub fn takes_client_events(&self) -> bool {
        matches!(self.kind, ChannelKind::Private | ChannelKind::Presence)
    }

    /// The user whose channel it is, if it is one's.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.name.strip_prefix(USER_CHANNEL)
    }
}

/// Whether this may be the name of an event.
#[must_use]
pub fn is_event(name: &str) -> bool {
    !name.is_empty() && name.len() <= EVENT_MAX_BYTES
}

/// Whether this is the id of an application: 1 to 64 letters, digits, `-` and `_`.
#[must_use]
pub fn is_app_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !id.is_empty() && id.len() <= APP_ID_MAX_BYTES && id.bytes().all(fits)
}

/// Whether this has the form of a socket id: two numbers with a dot between.
#[must_use]
pub fn is_socket_id(text: &str) -> bool {
    let is_number = |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(first, second)| is_number(first) && is_number(second))
}

/// The log of a channel of an application: `pusher:APP:CHANNEL`. Neither an id of an application nor the name
/// of a channel holds a colon, so that no two share a log.
///
/// # Errors
/// [`NameError`], when an id of a user in it is none to be in a name.
pub fn log_of(app: &str, channel: &str) -> Result<ChannelName, NameError> {
    ChannelName::public(&[LOGS, app, ":", channel].concat())
}

/// The pattern of all logs of an application.
#[must_use]
pub fn pattern_of(app: &str) -> String {
    [LOGS, app, ":*"].concat()
}

/// Whether this log is no channel's, but one that the dialect keeps for itself; and `user`, if one is given,
/// is a connection of its application.
#[must_use]
pub fn is_internal(log: &ChannelName, user: Option<&UserId>) -> bool {
    let Some((app, name)) = log.as_str().strip_prefix(LOGS).and_then(|log| log.split_once(':')) else {
        return false;
    };
    let is_of_app = |user: &UserId| {
        let of_app = user.as_str().strip_prefix(LOGS).and_then(|user| user.strip_prefix(app));
        of_app.is_some_and(|socket_id| socket_id.starts_with(':'))
    };
    (name.starts_with(FRAMES) || name.starts_with(ONLINE)) && user.is_none_or(is_of_app)
}

/// The channel whose log this is, if it is one's.
#[must_use]
pub fn channel_of(log: &str) -> Option<&str> {
    app_and_channel(log).map(|(_, channel)| channel)
}

/// The same, behind the id of the application whose it is.
#[must_use]
pub fn app_and_channel(log: &str) -> Option<(&str, &str)> {
    log.strip_prefix(LOGS)?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_what_a_channel_is() {
        let read = |name: &str| Channel::parse(name).map(|Channel { kind, is_cache, .. }| (kind, is_cache));
        for (name, kind, is_cache) in [
            ("news", ChannelKind::Public, false),
            ("cache-news", ChannelKind::Public, true),
            ("private-a", ChannelKind::Private, false),
            ("private-cache-a", ChannelKind::Private, true),
            ("private-encrypted-a", ChannelKind::Encrypted, false),
            ("private-encrypted-cache-a", ChannelKind::Encrypted, true),
            ("presence-a", ChannelKind::Presence, false),
            ("presence-cache-a", ChannelKind::Presence, true),
            ("#server-to-user-ü 1", ChannelKind::User, false),
            ("presence", ChannelKind::Public, false),
        ] {
            assert_eq!(read(name), Ok((kind, is_cache)), "{name}");
        }
        assert_eq!(read(""), Err(ChannelFault::Empty));
        assert_eq!(read(&"x".repeat(165)), Err(ChannelFault::TooLong));
        assert!(read(&"x".repeat(164)).is_ok());
        assert_eq!(read("#server-to-user-"), Err(ChannelFault::TooLong));
        for name in ["a:b", "a b", "#online-a", "ü", "a/b", "a\n"] {
            assert_eq!(read(name), Err(ChannelFault::Character), "{name}");
        }
    }

    #[test]
    fn no_two_channels_share_a_log() {
        let log = log_of("1", "presence-a").unwrap();
        assert_eq!((log.as_str(), channel_of(log.as_str())), ("pusher:1:presence-a", Some("presence-a")));
        let user = format!("{USER_CHANNEL}{}", "u".repeat(128));
        assert!(log_of(&"a".repeat(64), &user).is_ok() && log_of("a", "#online-\u{200b}").is_err());
        assert!(is_app_id("app_1-x") && !is_app_id("a:b") && !is_app_id(""));
        assert!(!is_app_id(&"a".repeat(65)));
    }

    #[test]
    fn a_socket_id_is_two_numbers() {
        assert!(is_socket_id("123.456"));
        for text in ["", "1", "1.", ".1", "1.2.3", "a.1", "1.2\n", "123456789012345678901.1"] {
            assert!(!is_socket_id(text), "{text}");
        }
    }
}
