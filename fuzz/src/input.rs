//! What the codecs write, made from bytes: messages, gaps, ends of sessions.

use arbitrary::{Arbitrary, Unstructured};
use encke_proto::{
    Body, ChannelName, Close, CloseCode, CloseKey, Cursor, Entry, Epoch, Event, Gap, GapReason, Message,
    MessageId, Open, Position, SessionId, Show, Time, UserId, WebPage, json,
};
use serde_json::{Value, value::RawValue};

/// A typed input, if there are enough bytes for one.
pub fn typed<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// The most values of a list.
const REST_MAX: usize = 256;

/// Values until the bytes are used up. A list of `arbitrary` ends after each value with a chance of one half,
/// which is too short for what goes wrong only after many steps.
#[derive(Debug)]
pub struct Rest<T>(pub Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Rest<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut list = Vec::new();
        while !u.is_empty() && list.len() < REST_MAX {
            let Ok(value) = T::arbitrary(u) else { break };
            list.push(value);
        }
        Ok(Self(list))
    }
}

/// Any JSON.
#[derive(Arbitrary, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            // What is no number in JSON becomes null.
            Self::Number(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Self::value).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.value())).collect()
            }
        }
    }

    /// As a message carries it; none when it nests too deep.
    pub fn data(&self) -> Option<Body> {
        let pretty = serde_json::to_string_pretty(&self.value()).ok()?;
        let raw: &RawValue = serde_json::from_str(&pretty).ok()?;
        json::compact(raw).ok().map(Body::Data)
    }
}

/// A message.
#[derive(Arbitrary, Debug)]
pub struct AnyMessage {
    id: u128,
    channel: String,
    position: (u64, u64),
    time: u64,
    page: Option<(String, bool)>,
    data: Json,
    from: Option<String>,
}

impl AnyMessage {
    /// The entry of a log; none when its names or its data would have been refused.
    pub fn entry(&self) -> Option<Entry> {
        let body = match &self.page {
            Some((url, in_window)) => {
                let show = if *in_window { Show::Window } else { Show::Frame };
                Body::Page(WebPage { url: url.as_str().into(), show })
            }
            None => self.data.data()?,
        };
        let from = self.from.as_deref().map(UserId::new).transpose().ok()?;
        Some(Entry::new(Message {
            id: MessageId::from_bits(self.id),
            channel: ChannelName::any(&self.channel).ok()?,
            position: position(self.position),
            time: Time(self.time),
            body,
            from,
            expires: None,
            trace: None,
        }))
    }
}

/// An epoch and an offset.
pub fn position((epoch, offset): (u64, u64)) -> Position {
    Position { epoch: Epoch(epoch), offset }
}

/// A cursor.
#[derive(Arbitrary, Debug)]
pub struct AnyCursor {
    entries: Vec<(String, (u64, u64))>,
    closed: bool,
}

impl AnyCursor {
    /// The cursor, without the names that cannot be in one, and no more of them than one has.
    pub fn cursor(&self) -> Cursor {
        let mut cursor = Cursor { entries: Vec::new(), closed: self.closed };
        for (name, at) in self.entries.iter().take(encke_proto::limits::SESSION_MAX_CHANNELS) {
            if let Ok(channel) = ChannelName::any(name) {
                cursor.set(&channel, position(*at));
            }
        }
        cursor
    }
}

/// An event other than a message.
#[derive(Arbitrary, Debug)]
pub enum AnyEvent {
    Open { session: u128, cursor: AnyCursor, heartbeat_s: u64 },
    Gap { channel: String, from: u64, to: Option<u64>, reason: u8 },
    Close { code: u8, reason: String, reconnect: bool, retry_ms: Option<u64> },
}

impl AnyEvent {
    /// The event; none when its name would have been refused.
    pub fn event(&self) -> Option<Event> {
        Some(match self {
            Self::Open { session, cursor, heartbeat_s } => Event::Open(Open {
                session: SessionId::from_bits(*session),
                cursor: cursor.cursor(),
                heartbeat_s: *heartbeat_s,
                close_key: CloseKey::from_bits(!*session),
                user: None,
                epoch: None,
            }),
            Self::Gap { channel, from, to, reason } => {
                let reason = [GapReason::Trimmed, GapReason::Epoch, GapReason::Slow][usize::from(reason % 3)];
                Event::Gap(Gap { channel: ChannelName::any(channel).ok()?, from: *from, to: *to, reason })
            }
            Self::Close { code, reason, reconnect, retry_ms } => {
                let codes = [
                    CloseCode::Client,
                    CloseCode::Operator,
                    CloseCode::Shutdown,
                    CloseCode::Slow,
                    CloseCode::Recycle,
                ];
                let code = codes[usize::from(*code) % codes.len()];
                Event::Close(Close {
                    code,
                    reason: reason.clone(),
                    reconnect: *reconnect,
                    retry_ms: *retry_ms,
                })
            }
        })
    }
}

/// What a stream carries.
#[derive(Arbitrary, Debug)]
pub enum Item {
    Message(AnyMessage),
    Event(AnyEvent),
    Heartbeat,
}
