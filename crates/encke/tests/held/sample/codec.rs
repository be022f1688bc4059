//! What is said in the dialect, as JSON: each frame and each answer is an array.

use encke_proto::{Body, Cursor, Entry, Gap, Message, Refusal, codec::ws::frame};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// What a client asks.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Login {
        id: u64,
        token: String,
        #[serde(default)]
        channels: Vec<String>,
    },
    Subscribe {
        id: u64,
        channels: Vec<String>,
        #[serde(default)]
        from: String,
    },
    Publish {
        id: u64,
        channel: String,
        data: Value,
    },
}

impl Command {
    pub fn id(&self) -> u64 {
        match self {
            Self::Login { id, .. } | Self::Subscribe { id, .. } | Self::Publish { id, .. } => *id,
        }
    }
}

/// The body of a request that waits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollBody {
    pub token: String,
    #[serde(default)]
    pub cursor: String,
    /// What is to be published before it waits.
    pub say: Option<Box<RawValue>>,
}

/// A cursor that may be absent.
pub fn cursor(text: &str) -> Option<Cursor> {
    if text.is_empty() { Some(Cursor::default()) } else { Cursor::parse(text).ok() }
}

pub fn refusal(id: Option<u64>, refusal: &Refusal) -> Value {
    json!({ "id": id, "no": refusal.code.as_str() })
}

/// A message as a whole frame, the same bytes for all receivers.
pub fn frame_of(entry: &Entry) -> &[u8] {
    entry.form("sample.frame", |message| {
        let mut out = Vec::new();
        frame::text(&mut out, &json!([value(message)]).to_string());
        out
    })
}

/// A message as a part of an answer, the same bytes for all receivers.
pub fn part_of(entry: &Entry) -> &[u8] {
    entry.form("sample.part", |message| value(message).to_string().into_bytes())
}

fn value(message: &Message) -> Value {
    let data = match &message.body {
        Body::Page(page) => Value::from(&*page.url),
        Body::Data(json) => serde_json::from_str(json.get()).unwrap(),
        Body::Bytes(typed) => serde_json::from_str(typed.json().get()).unwrap(),
    };
    json!({ "on": message.channel.as_str(), "at": message.position.offset, "data": data })
}

pub fn gap(gap: &Gap) -> Value {
    json!({ "lost": gap.channel.as_str() })
}
