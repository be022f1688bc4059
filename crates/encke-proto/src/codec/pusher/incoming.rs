//! What clients send: one JSON object a frame. What is not known of it is passed over, since newer clients
//! say more.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{CLIENT_EVENT, USER_ID_MAX_BYTES, USER_INFO_MAX_BYTES, WATCHLIST_MAX_USERS, is_event};
use crate::{json::depth, limits::JSON_MAX_DEPTH};

/// Why a frame is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON object with an `event`, or its data are not those of this event.
    #[error("this is no event")]
    Json,
    /// It nests too deep.
    #[error("JSON may nest at most {JSON_MAX_DEPTH} deep")]
    TooDeep,
}

/// What a client asks.
#[derive(Debug)]
pub enum Incoming {
    /// Whether the server is there.
    Ping,
    /// It is there itself.
    Pong,
    /// To subscribe to a channel.
    Subscribe(Subscribe),
    /// Not to be subscribed to this channel any more.
    Unsubscribe(String),
    /// To be known as a user.
    SignIn(SignIn),
    /// To send an event to the other subscribers of a channel.
    Event {
        /// The name of the event, which begins with `client-`.
        event: String,
        /// The channel.
        channel: String,
        /// The data, as they were sent.
        data: Box<RawValue>,
    },
    /// An event of this name, which means nothing here.
    Unknown(String),
}

/// What `pusher:subscribe` says.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    /// The channel.
    pub channel: String,
    /// The backend's signature; empty or absent where none is needed.
    #[serde(default)]
    pub auth: Option<String>,
    /// What the backend says of the subscriber: JSON as text, which the signature is over.
    #[serde(default)]
    pub channel_data: Option<String>,
}

/// What `pusher:signin` says.
#[derive(Debug, Deserialize)]
pub struct SignIn {
    /// The backend's signature.
    pub auth: String,
    /// What the backend says of the user: JSON as text, which the signature is over.
    pub user_data: String,
}

/// A subscriber of a presence channel.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub user_id: String,
    /// What others are told besides.
    pub user_info: Option<Box<RawValue>>,
}

/// What `channel_data` says.
#[derive(Debug)]
pub struct ChannelData(pub Member);

/// What `user_data` says.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who it is, for presence channels without `channel_data` too.
    pub member: Member,
    /// Whose coming and going it is told of.
    pub watchlist: Vec<String>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a frame.
///
/// # Errors
/// [`Malformed`].
pub fn read(text: &str) -> Result<Incoming, Malformed> {
    if depth(text) > JSON_MAX_DEPTH {
        return Err(Malformed::TooDeep);
    }
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed::Json);
    }
    let Frame { event, channel, data } = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
    #[derive(Deserialize)]
    struct Unsubscribe {
        channel: String,
    }
    Ok(match event.as_str() {
        "pusher:ping" => Incoming::Ping,
        "pusher:pong" => Incoming::Pong,
        "pusher:subscribe" => Incoming::Subscribe(of(data)?),
        "pusher:unsubscribe" => Incoming::Unsubscribe(of::<Unsubscribe>(data)?.channel),
        "pusher:signin" => Incoming::SignIn(of(data)?),
        name if name.starts_with(CLIENT_EVENT) && is_event(name) => {
            let data = data.ok_or(Malformed::Json)?.to_owned();
            Incoming::Event { channel: channel.ok_or(Malformed::Json)?, event, data }
        }
        _ => Incoming::Unknown(event),
    })
}

/// Data are an object; some clients send its JSON as text.
fn of<T: for<'a> Deserialize<'a>>(data: Option<&RawValue>) -> Result<T, Malformed> {
    let json = data.ok_or(Malformed::Json)?.get();
    if !json.starts_with('"') {
        return serde_json::from_str(json).map_err(|_| Malformed::Json);
    }
    let inner: String = serde_json::from_str(json).map_err(|_| Malformed::Json)?;
    serde_json::from_str(&inner).map_err(|_| Malformed::Json)
}

/// An id as backends write it: text, or a number.
fn id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!id.is_empty() && id.len() <= USER_ID_MAX_BYTES).then_some(id)
}

fn info(raw: Option<&RawValue>) -> Option<Option<Box<RawValue>>> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Some(None) };
    (raw.get().len() <= USER_INFO_MAX_BYTES).then(|| Some(raw.to_owned()))
}

impl ChannelData {
    /// Reads it; none when it is not as it should be: an object with a `user_id` of 1 to 128 bytes, and
    /// perhaps a `user_info` of at most 1 KiB.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            user_id: Value,
            #[serde(borrow)]
            user_info: Option<&'a RawValue>,
        }
        if depth(text) > JSON_MAX_DEPTH || !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let Fields { user_id, user_info } = serde_json::from_str(text).ok()?;
        Some(Self(Member { user_id: id(&user_id)?, user_info: info(user_info)? }))
    }
}

impl SignedIn {
    /// Reads it; none when it is not as it should be: an object with an `id`, and perhaps a `user_info` and a
    /// `watchlist` of at most 100 ids.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            id: String,
            #[serde(borrow)]
            user_info: Option<&'a RawValue>,
            watchlist: Option<Vec<String>>,
        }
        if depth(text) > JSON_MAX_DEPTH || !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let Fields { id: user_id, user_info, watchlist } = serde_json::from_str(text).ok()?;
        let mut watchlist = watchlist.unwrap_or_default();
        let is_id = |id: &String| !id.is_empty() && id.len() <= USER_ID_MAX_BYTES;
        if !is_id(&user_id) || watchlist.len() > WATCHLIST_MAX_USERS || !watchlist.iter().all(is_id) {
            return None;
        }
        watchlist.sort_unstable();
        watchlist.dedup();
        Some(Self { member: Member { user_id, user_info: info(user_info)? }, watchlist })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_an_object_or_its_text() {
        let text = r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"a","new":1},"more":[]}"#;
        let encoded = r#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\"}"}"#;
        for frame in [text, encoded] {
            let Ok(Incoming::Subscribe(Subscribe { channel, .. })) = read(frame) else { panic!("{frame}") };
            assert_eq!(channel, "a");
        }
        for ping in [r#"{"event":"pusher:ping"}"#, r#"{"event":"pusher:ping","data":{}}"#] {
            assert!(matches!(read(ping), Ok(Incoming::Ping)), "{ping}");
        }
        let event = read(r#"{"event":"client-x","channel":"private-a","data":{"a": 1}}"#);
        let Ok(Incoming::Event { event, channel, data }) = event else { panic!("{event:?}") };
        assert_eq!((&*event, &*channel, data.get()), ("client-x", "private-a", "{\"a\": 1}"));
        assert!(matches!(read(r#"{"event":"x"}"#), Ok(Incoming::Unknown(name)) if name == "x"));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_refused() {
        let deep = format!(r#"{{"event":"client-a","channel":"private-a","data":{}}}"#, "[".repeat(64));
        for (text, fault) in [
            ("", Malformed::Json),
            ("[]", Malformed::Json),
            (r#"["pusher:ping"]"#, Malformed::Json),
            ("{}", Malformed::Json),
            (r#"{"event":1}"#, Malformed::Json),
            (r#"{"event":"pusher:subscribe"}"#, Malformed::Json),
            (r#"{"event":"pusher:subscribe","data":{"channel":1}}"#, Malformed::Json),
            (r#"{"event":"pusher:subscribe","data":"{"}"#, Malformed::Json),
            (r#"{"event":"client-a","data":1}"#, Malformed::Json),
            (r#"{"event":"client-a","channel":"private-a"}"#, Malformed::Json),
            (deep.as_str(), Malformed::TooDeep),
        ] {
            assert_eq!(read(text).err(), Some(fault), "{text}");
        }
    }

    #[test]
    fn a_member_has_an_id_within_its_bounds() {
        let read = |text: &str| ChannelData::read(text).map(|ChannelData(member)| member.user_id);
        assert_eq!(read(r#"{"user_id":10,"user_info":{"name":"x"}}"#).as_deref(), Some("10"));
        assert_eq!(read(r#"{"user_id":"a"}"#).as_deref(), Some("a"));
        let info = |bytes: usize| format!(r#"{{"user_id":"a","user_info":"{}"}}"#, "x".repeat(bytes));
        assert!(read(&info(1_022)).is_some() && read(&info(1_023)).is_none());
        let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
        for text in ["{}", "[1]", r#"{"user_id":""}"#, r#"{"user_id":[]}"#, &long, "x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_signed_in_user_has_an_id_and_a_bounded_watchlist() {
        let read = |text: &str| SignedIn::read(text).map(|user| (user.member.user_id, user.watchlist));
        assert_eq!(
            read(r#"{"id":"1","user_info":{"a":1},"watchlist":["c","b","c"]}"#),
            Some(("1".into(), vec!["b".into(), "c".into()]))
        );
        let many: Vec<String> = (0..101).map(|n| format!("\"{n}\"")).collect();
        let many = format!(r#"{{"id":"1","watchlist":[{}]}}"#, many.join(","));
        for text in [r#"{"id":1}"#, r#"{"id":""}"#, "{}", r#"["1"]"#, r#"{"id":"1","watchlist":[""]}"#, &many]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
