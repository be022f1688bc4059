//! A message as it is shared in memory by all its receivers, with encodings that are made at the first use
//! and kept. A form that only some receivers need is encoded only if one of them asks for it.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use super::ws::{deflate, frame};
use crate::{
    Body, Message, WebPage,
    json::{end_in_one_line, push_string},
};

/// A message as the log holds it in memory: shared by all who receive it, and encoded only once, when the
/// first of them needs it.
#[derive(Debug)]
pub struct Entry {
    message: Message,
    /// Whether the event was written once without being kept.
    written: AtomicBool,
    /// Whether it is known to have several receivers.
    is_shared: AtomicBool,
    event: OnceLock<Box<str>>,
    ws: OnceLock<Box<[u8]>>,
    ws_compressed: OnceLock<Option<Box<[u8]>>>,
    forms: OnceLock<Box<Form>>,
}

/// One of the forms of dialects, and the next. There are at most as many as the program names.
#[derive(Debug)]
struct Form {
    name: &'static str,
    bytes: Box<[u8]>,
    next: OnceLock<Box<Form>>,
}

/// What an event's JSON begins with, and what a plain message's does not.
const EVENT_PREFIX: &str = "{\"event\":\"message\",";
/// The same up to the message's id.
const EVENT_BEGINS: &str = "{\"event\":\"message\",\"id\":\"";

impl Entry {
    /// An entry that is not encoded yet.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self {
            message,
            written: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            event: OnceLock::new(),
            ws: OnceLock::new(),
            ws_compressed: OnceLock::new(),
            forms: OnceLock::new(),
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message as the JSON of a stream's event, in one line.
    #[must_use]
    pub fn event_json(&self) -> &str {
        self.event.get_or_init(|| {
            let mut out = Vec::with_capacity(room(&self.message));
            encode(&mut out, &self.message);
            // All parts of it are text.
            String::from_utf8(out).unwrap_or_default().into_boxed_str()
        })
    }

    /// Appends [`Self::event_json`]. Of a user's own channel there is one receiver most of the time: what is
    /// written for the first is not kept, which would cost more than to write it again for a second.
    pub fn push_event(&self, out: &mut Vec<u8>) {
        if let Some(event) = self.event.get() {
            out.extend_from_slice(event.as_bytes());
        } else if self.is_for_one() {
            out.reserve(room(&self.message));
            encode(out, &self.message);
        } else {
            out.extend_from_slice(self.event_json().as_bytes());
        }
    }

    /// Whether this is the first time that it is written, and nearly always the last: what is written now is
    /// not worth keeping.
    pub(super) fn is_for_one(&self) -> bool {
        self.message.channel.is_own() && !self.written.swap(true, Ordering::Relaxed)
    }

    /// Takes note that several connections receive it, so that what costs more to make once may pay.
    pub fn note_shared(&self) {
        // Most of those who say so are not the first.
        if !self.is_shared() {
            self.is_shared.store(true, Ordering::Relaxed);
        }
    }

    /// Whether several connections are known to receive it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
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

    /// The same, compressed (RFC 7692), for clients that agreed on that; none when that would not be shorter.
    #[must_use]
    pub fn ws_frame_compressed(&self) -> Option<&[u8]> {
        self.ws_compressed
            .get_or_init(|| {
                deflate::message(frame::TEXT, self.event_json().as_bytes()).map(Vec::into_boxed_slice)
            })
            .as_deref()
    }

    /// The message in a form of a dialect's own: encoded when the first receiver needs it, and shared by all
    /// who ask by the same `name`, which is that of the dialect and of its form.
    pub fn form(&self, name: &'static str, encode: impl FnOnce(&Message) -> Vec<u8>) -> &[u8] {
        let (mut place, mut encode) = (&self.forms, Some(encode));
        loop {
            let form = place.get_or_init(|| {
                let bytes =
                    encode.take().map(|encode| encode(&self.message)).unwrap_or_default().into_boxed_slice();
                Box::new(Form { name, bytes, next: OnceLock::new() })
            });
            if form.name == name {
                return &form.bytes;
            }
            place = &form.next;
        }
    }

    /// Roughly the bytes that this entry occupies, for logs that are bounded by size.
    #[must_use]
    pub fn weight(&self) -> usize {
        let body = match &self.message.body {
            Body::Page(page) => page.url.len(),
            Body::Data(json) => json.get().len(),
            Body::Bytes(typed) => typed.bytes().len(),
        };
        std::mem::size_of::<Self>() + body
    }
}

/// About how many bytes an event takes.
fn room(message: &Message) -> usize {
    let body = match &message.body {
        Body::Page(page) => page.url.len(),
        Body::Data(json) => json.get().len(),
        // As JSON, in base64.
        Body::Bytes(typed) => typed.bytes().len() * 4 / 3,
    };
    200 + body
}

fn encode(out: &mut Vec<u8>, message: &Message) {
    let start = out.len();
    // An id holds nothing that is to be escaped.
    out.extend_from_slice(EVENT_BEGINS.as_bytes());
    out.extend_from_slice(message.id.as_bytes());
    out.extend_from_slice(b"\",\"channel\":");
    push_string(out, message.channel.as_str());
    let mut push = |text: &str| out.extend_from_slice(text.as_bytes());
    push(",\"offset\":");
    push(itoa::Buffer::new().format(message.position.offset));
    push(",\"epoch\":\"");
    message.position.epoch.push_to(out);
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(&message.time.text());
    match &message.body {
        Body::Page(WebPage { url, show }) => {
            out.extend_from_slice(b"\",\"type\":\"page\",\"url\":");
            push_string(out, url);
            if let Some(show) = show.said() {
                [",\"show\":\"", show, "\""].iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
            }
        }
        Body::Data(json) => {
            out.extend_from_slice(b"\",\"type\":\"message\",\"data\":");
            out.extend_from_slice(json.get().as_bytes());
        }
        Body::Bytes(typed) => {
            out.extend_from_slice(b"\",\"type\":\"message\",\"data\":");
            out.extend_from_slice(typed.json().get().as_bytes());
        }
    }
    if let Some(user) = &message.from {
        out.extend_from_slice(b",\"from\":");
        push_string(out, user.as_str());
    }
    if let Some(trace) = &message.trace {
        out.extend_from_slice(format!(",\"traceparent\":\"{trace}\"").as_bytes());
    }
    out.push(b'}');
    end_in_one_line(out, start);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{ChannelName, Epoch, MessageId, Position, Time};

    #[test]
    fn every_receiver_is_written_the_same_event_whether_or_not_it_is_kept() {
        let entry = |channel: &str, data: &str| {
            Entry::new(Message {
                id: MessageId::from_bits(1),
                channel: ChannelName::any(channel).unwrap(),
                position: Position { epoch: Epoch(1 << 39), offset: 7 },
                time: Time(1_763_800_000_123),
                body: Body::Data(serde_json::value::RawValue::from_string(data.into()).unwrap().into()),
                from: None,
                expires: None,
                trace: None,
            })
        };
        for channel in ["news", "@alice", "@Ünï \"c\"", "四"] {
            for data in ["{\"a\":[1,\"x\"]}", "\"ü\u{2028}\u{85}\"", "null"] {
                let read = entry(channel, data).event_json().to_owned();
                let (entry, mut out) = (entry(channel, data), Vec::new());
                (0..3).for_each(|_| entry.push_event(&mut out));
                assert_eq!(String::from_utf8(out).unwrap(), read.repeat(3));
                assert_eq!(entry.event_json(), read);
            }
        }
    }

    #[test]
    fn each_form_of_a_dialect_is_encoded_once_for_all_threads() {
        let (channel, position) =
            (ChannelName::public("news").unwrap(), Position { epoch: Epoch(1), offset: 7 });
        let body = Body::Page("http://x/".into());
        let message = Message {
            id: MessageId::from_bits(1),
            channel,
            position,
            time: Time(0),
            body,
            from: None,
            expires: None,
            trace: None,
        };
        let (entry, encoded) = (Entry::new(message), AtomicUsize::new(0));
        let form = |name: &'static str| {
            let bytes = entry.form(name, |message| {
                encoded.fetch_add(1, Ordering::Relaxed);
                format!("{name} {}", message.position.offset).into_bytes()
            });
            assert_eq!(bytes, format!("{name} 7").as_bytes());
            bytes.as_ptr() as usize
        };
        let names = ["one.ws", "two.ws", "one.batch"];
        let of_all = || names.map(form);
        let seen: Vec<[usize; 3]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(of_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(encoded.load(Ordering::Relaxed), names.len());
        assert!(seen.iter().all(|places| *places == seen[0]), "all receivers get the same bytes");
    }
}
