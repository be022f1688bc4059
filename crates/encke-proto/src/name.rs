//! User ids and channel names, with the rules that names from outside are checked by. Whether a user may use
//! a channel is decided by `auth` in the server.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{DEVICE_NAME_MAX_BYTES, NAME_MAX_BYTES};

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name has at least one character.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than [`NAME_MAX_BYTES`].
    #[error("a name has at most {NAME_MAX_BYTES} bytes")]
    TooLong,
    /// Longer than [`DEVICE_NAME_MAX_BYTES`].
    #[error("the name of a device has at most {DEVICE_NAME_MAX_BYTES} bytes")]
    DeviceTooLong,
    /// Control characters would break lines, logs and terminals.
    #[error("a name must not hold control characters")]
    Control,
    /// Characters that cannot be seen let one name pass for another.
    #[error("a name must not hold invisible format characters")]
    Invisible,
    /// Names of blanks alone look like no name.
    #[error("a name must not be made of blanks alone")]
    Blank,
    /// Names that begin with `@` are users' own channels.
    #[error("a channel name must not begin with @")]
    Reserved,
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong);
    }
    // Nearly all names are of these alone.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let is_blank = text.bytes().all(|byte| byte == b' ');
        return if is_blank { Err(NameError::Blank) } else { Ok(()) };
    }
    for c in text.chars() {
        if c.is_control() {
            return Err(NameError::Control);
        }
        if is_invisible(c) {
            return Err(NameError::Invisible);
        }
    }
    if text.chars().all(char::is_whitespace) { Err(NameError::Blank) } else { Ok(()) }
}

/// Unicode's format characters (general category Cf), line and paragraph separators, and the fillers that are
/// drawn as nothing, the empty pattern of Braille among them.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00AD | 0x034F | 0x0600..=0x0605 | 0x061C | 0x06DD | 0x070F | 0x0890..=0x0891 | 0x08E2
        | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
        | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF)
}

macro_rules! name {
    ($name:ident) => {
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        // Maps are asked by the text alone, so a name is hashed as its text is.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

/// What stands before a user in the name of the user's own channel.
const OWN: char = '@';
/// What stands before the name of an internal channel. No name from outside holds it.
const INTERNAL: char = '\0';

/// A user, by the id that the application gave: 1 to 255 bytes of UTF-8 that can be seen.
// It holds the name of the user's own channel: both are asked for with every message, and there is one text
// for all who hold either.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

name!(UserId);

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserId").field(&self.as_str()).finish()
    }
}

impl UserId {
    /// Checks a user id from outside.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text)?;
        // Put together here, so that one allocation holds it in the end and none before.
        let mut own = [OWN as u8; OWN.len_utf8() + NAME_MAX_BYTES];
        let own = &mut own[..OWN.len_utf8() + text.len()];
        own[OWN.len_utf8()..].copy_from_slice(text.as_bytes());
        // Both parts are text.
        Ok(Self(std::str::from_utf8(own).unwrap_or_default().into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0[OWN.len_utf8()..]
    }

    /// The user's own channel, to which pushes are appended. It costs nothing: both share their text.
    #[must_use]
    pub fn channel(&self) -> ChannelName {
        ChannelName(Arc::clone(&self.0))
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A device of a user, by the name that its program gave it: 1 to 64 bytes of UTF-8 that can be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName(Arc<str>);

name!(DeviceName);

impl DeviceName {
    /// Checks the name of a device from outside.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > DEVICE_NAME_MAX_BYTES {
            return Err(NameError::DeviceTooLong);
        }
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A channel: an append-only log that sessions follow. Either public (1 to 255 bytes, not beginning with `@`)
/// or a user's own (`@` and the user).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

name!(ChannelName);

impl ChannelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks the name of a public channel from outside.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks; names that begin with `@` are [`NameError::Reserved`].
    pub fn public(text: &str) -> Result<Self, NameError> {
        check(text)?;
        if text.starts_with(OWN) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// Checks a name that may also be a user's own channel, as cursors and stores hold them.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn any(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(OWN) {
            Some(user) => {
                check(user)?;
                Ok(Self(text.into()))
            }
            None => Self::public(text),
        }
    }

    /// An internal channel: a log that the server keeps for itself. No client can name it, since its name
    /// holds what [`ChannelName::any`] refuses; and it stands before all other channels in their order.
    #[must_use]
    pub fn internal(name: &str) -> Self {
        Self(format!("{INTERNAL}{name}").into())
    }

    /// Behind this in the order of names come all channels that are not internal, and no internal one.
    #[must_use]
    pub fn last_internal() -> Self {
        Self::internal("\u{10ffff}")
    }

    /// Whether this is an internal channel.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with(INTERNAL)
    }

    /// Reads a name as a store holds it: any name, or that of an internal channel.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn stored(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(INTERNAL) {
            Some(name) => {
                check(name)?;
                Ok(Self(text.into()))
            }
            None => Self::any(text),
        }
    }

    /// The user whose own channel this is, if it is one. It costs nothing, as [`UserId::channel`].
    #[must_use]
    pub fn owner(&self) -> Option<UserId> {
        self.is_own().then(|| UserId(Arc::clone(&self.0)))
    }

    /// Whether this is the own channel of `user`.
    #[must_use]
    pub fn is_own_of(&self, user: &UserId) -> bool {
        self.0 == user.0
    }

    /// Whether this is some user's own channel.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.starts_with(OWN)
    }
}

/// The user's own channel, as [`UserId::channel`] gives it.
impl From<UserId> for ChannelName {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

impl<'de> Deserialize<'de> for ChannelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::any(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn names_that_could_deceive_are_refused() {
        assert_eq!(UserId::new(""), Err(NameError::Empty));
        assert_eq!(UserId::new(&"x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(UserId::new("a\nb"), Err(NameError::Control));
        assert_eq!(UserId::new("a\u{85}b"), Err(NameError::Control));
        for c in
            ['\u{200b}', '\u{200d}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{e0041}']
        {
            assert_eq!(UserId::new(&format!("ali{c}ce")), Err(NameError::Invisible), "{:x}", u32::from(c));
        }
        assert_eq!(ChannelName::public("@alice"), Err(NameError::Reserved));
    }

    #[test]
    fn a_device_has_a_short_name_that_can_be_seen() {
        for name in ["phone", "@", "Küche 2", &"x".repeat(64), &"ü".repeat(32)] {
            let device = DeviceName::new(name).unwrap();
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!((device.as_str(), serde_json::from_str(&json).unwrap()), (name, device.clone()));
        }
        for (name, error) in [
            ("", NameError::Empty),
            (&*"x".repeat(65), NameError::DeviceTooLong),
            (&"ü".repeat(33), NameError::DeviceTooLong),
            ("  ", NameError::Blank),
            ("a\0", NameError::Control),
            ("a\u{200b}", NameError::Invisible),
        ] {
            assert_eq!(DeviceName::new(name), Err(error), "{name:?}");
        }
        assert!(serde_json::from_str::<DeviceName>("\"\"").is_err());
    }

    #[test]
    fn an_internal_channel_is_named_by_stores_alone() {
        let internal = ChannelName::internal("revocations");
        assert_eq!(ChannelName::stored(internal.as_str()), Ok(internal.clone()));
        assert!(internal.is_internal() && !internal.is_own());
        for read in [ChannelName::any, ChannelName::public] {
            assert_eq!(read(internal.as_str()), Err(NameError::Control));
        }
        let json = serde_json::to_string(&internal).unwrap();
        assert!(serde_json::from_str::<ChannelName>(&json).is_err());
        for name in ["!", " a", "@alice", "news"] {
            let other = ChannelName::stored(name).unwrap();
            assert!(internal < ChannelName::last_internal() && ChannelName::last_internal() < other);
            assert!(!other.is_internal(), "{name}");
        }
        assert_eq!(ChannelName::stored("\0"), Err(NameError::Empty));
        assert_eq!(ChannelName::stored("\0a\0"), Err(NameError::Control));
    }

    #[test]
    fn names_in_any_script_are_welcome() {
        for name in ["alice", "Ünïcode", "四个用户", "a b", "x".repeat(255).as_str(), "@", "1;DROP TABLE"]
        {
            assert!(UserId::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn maps_find_names_by_their_text() {
        let (alice, room) = (UserId::new("alice").unwrap(), ChannelName::public("room").unwrap());
        assert_eq!(HashMap::from([(alice.clone(), 1)]).get("alice"), Some(&1));
        assert_eq!(BTreeMap::from([(alice.clone(), 1)]).get("alice"), Some(&1));
        assert_eq!(HashMap::from([(alice.channel(), 1), (room, 2)]).get("@alice"), Some(&1));
        assert_eq!(format!("{alice} {alice:?}"), "alice UserId(\"alice\")");
        let mut sorted = ["b", "@b", "a", "@", "é"].map(|text| UserId::new(text).unwrap());
        sorted.sort();
        assert_eq!(sorted.map(|user| user.to_string()), ["@", "@b", "a", "b", "é"]);
    }

    #[test]
    fn a_user_has_a_channel_and_the_channel_has_its_owner() {
        let user = UserId::new("@odd").unwrap();
        assert_eq!(user.channel().as_str(), "@@odd");
        assert_eq!(user.channel().owner(), Some(user));
        assert_eq!(ChannelName::any("@alice").unwrap().owner(), Some(UserId::new("alice").unwrap()));
        assert_eq!(ChannelName::any("news").unwrap().owner(), None);
        let alice = UserId::new("alice").unwrap();
        assert!(alice.channel().is_own_of(&alice));
        for other in ["@alicex", "@alic", "@@alice", "alice"] {
            assert!(!ChannelName::any(other).unwrap().is_own_of(&alice), "{other}");
        }
        assert!(ChannelName::any("@").is_err());
    }
}
