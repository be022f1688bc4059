//! A message as it is shared in memory by all its receivers, with encodings that are made at the first use
//! and kept. A form that only some receivers need is encoded only if one of them asks for it.

use std::sync::OnceLock;

use super::ws::{deflate, frame};
use crate::{
    Body, Message,
    json::{one_line, push_string},
};

/// A message as the log holds it in memory: shared by all who receive it, and encoded only once, when the
/// first of them needs it.
#[derive(Debug)]
pub struct Entry {
    message: Message,
    event: OnceLock<Box<str>>,
    ws: OnceLock<Box<[u8]>>,
    ws_compressed: OnceLock<Option<Box<[u8]>>>,
}

/// What an event's JSON begins with, and what a plain message's does not.
const EVENT_PREFIX: &str = "{\"event\":\"message\",";

impl Entry {
    /// An entry that is not encoded yet.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self { message, event: OnceLock::new(), ws: OnceLock::new(), ws_compressed: OnceLock::new() }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message as the JSON of a stream's event, in one line.
    #[must_use]
    pub fn event_json(&self) -> &str {
        self.event.get_or_init(|| encode(&self.message).into_boxed_str())
    }

    /// The members of the message's JSON object and its closing brace, without the opening one and without
    /// `event`.
    #[must_use]
    pub fn members_json(&self) -> &str {
        &self.event_json()[EVENT_PREFIX.len()..]
    }

    /// The event as a whole WebSocket frame (RFC 6455 section 5.2): the server's frames are not masked, so
    /// all receivers get the same bytes.
    #[must_use]
    pub fn ws_frame(&self) -> &[u8] {
        self.ws.get_or_init(|| {
            let mut out = Vec::new();
            frame::text(&mut out, self.event_json());
            out.into_boxed_slice()
        })
    }

    /// The same, compressed (RFC 7692), for those who agreed on that; none when that would not be shorter.
    #[must_use]
    pub fn ws_frame_compressed(&self) -> Option<&[u8]> {
        self.ws_compressed
            .get_or_init(|| {
                deflate::message(frame::TEXT, self.event_json().as_bytes()).map(Vec::into_boxed_slice)
            })
            .as_deref()
    }

    /// Roughly the bytes that this entry occupies, for logs that are bounded by size.
    #[must_use]
    pub fn weight(&self) -> usize {
        let body = match &self.message.body {
            Body::Page(url) => url.len(),
            Body::Data(json) => json.get().len(),
        };
        std::mem::size_of::<Self>() + body
    }
}

fn encode(message: &Message) -> String {
    let body = match &message.body {
        Body::Page(url) => url.len(),
        Body::Data(json) => json.get().len(),
    };
    let mut out = String::with_capacity(200 + body);
    out.push_str(EVENT_PREFIX);
    out.push_str("\"id\":");
    push_string(&mut out, message.id.as_str());
    out.push_str(",\"channel\":");
    push_string(&mut out, message.channel.as_str());
    out.push_str(",\"offset\":");
    out.push_str(itoa::Buffer::new().format(message.position.offset));
    out.push_str(",\"epoch\":\"");
    // Writing to a string does not fail.
    let _ = message.position.epoch.write_to(&mut out);
    out.push_str("\",\"time\":\"");
    message.time.push_to(&mut out);
    match &message.body {
        Body::Page(url) => {
            out.push_str("\",\"type\":\"page\",\"url\":");
            push_string(&mut out, url);
        }
        Body::Data(json) => {
            out.push_str("\",\"type\":\"message\",\"data\":");
            out.push_str(json.get());
        }
    }
    if let Some(user) = &message.from {
        out.push_str(",\"from\":");
        push_string(&mut out, user.as_str());
    }
    out.push('}');
    one_line(out)
}
