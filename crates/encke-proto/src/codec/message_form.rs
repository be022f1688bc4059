//! The forms that a message has as JSON, for all transports: the long one, and the short one of `short.rs`.
//! Either is encoded once and shared by all who receive it.

use super::{
    short,
    ws::{deflate, frame},
};
use crate::{Entry, Epoch};

/// How a receiver wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// An object with a name for each member.
    Long,
    /// An array.
    Short {
        /// The epoch that the receiver was told; messages of another one say theirs.
        told: Option<Epoch>,
    },
}

/// The names under which the short form is kept, by whether it has the epoch.
const SHORT: [&str; 2] = ["short", "short.epoch"];
/// The same of WebSocket frames that are compressed.
const COMPRESSED: [&str; 2] = ["short.deflate", "short.epoch.deflate"];

impl MessageForm {
    /// The message as JSON, in one line.
    #[must_use]
    pub fn json(self, entry: &Entry) -> &str {
        match self {
            Self::Long => entry.event_json(),
            Self::Short { told } => {
                let with_epoch = has_epoch(entry, told);
                let json = entry.form(SHORT[usize::from(with_epoch)], |message| {
                    let mut out = Vec::new();
                    short::encode(&mut out, message, with_epoch);
                    out
                });
                // All parts of it are text.
                std::str::from_utf8(json).unwrap_or_default()
            }
        }
    }

    /// Appends [`Self::json`]. What is nearly always for one receiver alone is not kept: see
    /// [`Entry::push_event`].
    pub fn push(self, out: &mut Vec<u8>, entry: &Entry) {
        match self {
            Self::Long => entry.push_event(out),
            Self::Short { told } if entry.is_for_one() => {
                short::encode(out, entry.message(), has_epoch(entry, told));
            }
            Self::Short { .. } => out.extend_from_slice(self.json(entry).as_bytes()),
        }
    }

    /// Appends a whole WebSocket frame (RFC 6455 section 5.2).
    pub fn push_ws_frame(self, out: &mut Vec<u8>, entry: &Entry) {
        match self {
            Self::Long => out.extend_from_slice(entry.ws_frame()),
            Self::Short { .. } => frame::text(out, self.json(entry)),
        }
    }

    /// The frame compressed (RFC 7692), for clients that agreed on that; none when that would not be shorter.
    #[must_use]
    pub fn ws_frame_compressed(self, entry: &Entry) -> Option<&[u8]> {
        let Self::Short { told } = self else { return entry.ws_frame_compressed() };
        let json = self.json(entry);
        let compressed = entry.form(COMPRESSED[usize::from(has_epoch(entry, told))], |_| {
            deflate::message(frame::TEXT, json.as_bytes()).unwrap_or_default()
        });
        (!compressed.is_empty()).then_some(compressed)
    }
}

/// Whether the short form says the epoch to a receiver that was told this one.
fn has_epoch(entry: &Entry, told: Option<Epoch>) -> bool {
    told != Some(entry.message().position.epoch)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{Body, ChannelName, Message, MessageId, Position, Show, Time, UserId, WebPage};

    /// A message as it is kept in `tests/vectors/short.json`: in the long form, and in the short one for who
    /// was told this epoch.
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        epoch: Option<Epoch>,
        long: Box<RawValue>,
        short: String,
    }

    #[derive(Deserialize)]
    struct Long {
        id: MessageId,
        channel: String,
        offset: u64,
        epoch: Epoch,
        time: Time,
        url: Option<String>,
        #[serde(default)]
        show: Show,
        data: Option<Box<RawValue>>,
        from: Option<String>,
        traceparent: Option<String>,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../../../../tests/vectors/short.json")).unwrap()
    }

    fn entry(long: &str) -> Entry {
        let long: Long = serde_json::from_str(long).unwrap();
        let data = long.data.unwrap_or_else(|| RawValue::NULL.to_owned());
        Entry::new(Message {
            id: long.id,
            channel: ChannelName::any(&long.channel).unwrap(),
            position: Position { epoch: long.epoch, offset: long.offset },
            time: long.time,
            body: match long.url {
                Some(url) => Body::Page(WebPage { url: url.into(), show: long.show }),
                None => Body::Data(data.into()),
            },
            from: long.from.map(|user| UserId::new(&user).unwrap()),
            expires: None,
            trace: long.traceparent.map(|text| Box::new(text.parse().unwrap())),
        })
    }

    #[test]
    fn the_short_form_is_as_the_vectors_have_it() {
        let vectors = vectors();
        assert!(vectors.len() > 10);
        for Vector { name, epoch, long, short } in vectors {
            let form = MessageForm::Short { told: epoch };
            let entry = entry(long.get());
            let mut out = Vec::new();
            (0..3).for_each(|_| form.push(&mut out, &entry));
            assert_eq!(String::from_utf8(out).unwrap(), short.repeat(3), "{name}");
            assert_eq!(form.json(&entry), short, "{name}");
        }
    }

    #[test]
    fn all_who_were_told_the_same_share_one_encoding_of_each_kind() {
        let data = format!("\"{}\"", "long ".repeat(100));
        let entry = entry(&format!(
            r#"{{"id":"{}","channel":"news","offset":7,"epoch":"k","time":"1970-01-01T00:00:00.000Z","data":{data}}}"#,
            MessageId::from_bits(1),
        ));
        let epoch = entry.message().position.epoch;
        let (told, untold) = (MessageForm::Short { told: Some(epoch) }, MessageForm::Short { told: None });
        let other = MessageForm::Short { told: Some(Epoch(epoch.0 + 1)) };
        assert!(std::ptr::eq(told.json(&entry), told.json(&entry)));
        assert!(std::ptr::eq(untold.json(&entry), other.json(&entry)), "either says the epoch");
        assert_ne!(told.json(&entry), untold.json(&entry));
        for form in [told, untold] {
            let (plain, compressed) = (form.json(&entry), form.ws_frame_compressed(&entry).unwrap());
            assert!(std::ptr::eq(compressed, form.ws_frame_compressed(&entry).unwrap()));
            assert!(compressed[0] == 0xc1 && compressed.len() < plain.len() / 2);
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            form.push_ws_frame(&mut sent, &entry);
            frame::text(&mut expected, plain);
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_message_takes_at_most_45_bytes_besides_its_body() {
        let time = Time(1_781_234_567_890);
        let message = |channel: &str, offset| Message {
            id: MessageId::fresh(time, u128::MAX),
            channel: ChannelName::any(channel).unwrap(),
            position: Position { epoch: Epoch(u64::MAX), offset },
            time,
            body: Body::Data(RawValue::from_string(format!("\"{}\"", "x".repeat(98))).unwrap().into()),
            from: None,
            expires: None,
            trace: None,
        };
        for message in [message("@alice", 123_456_789), message("headlines", 123)] {
            let entry = Entry::new(message);
            let form = MessageForm::Short { told: Some(Epoch(u64::MAX)) };
            let (mut sse, mut ws, mut ndjson) = (Vec::new(), Vec::new(), Vec::new());
            crate::codec::sse::message(&mut sse, &entry, form);
            crate::codec::sse::end(&mut sse);
            crate::codec::ndjson::message(&mut ndjson, &entry, form);
            form.push_ws_frame(&mut ws, &entry);
            for written in [sse, ws, ndjson] {
                assert!(written.len() <= 100 + 45, "{}", String::from_utf8_lossy(&written));
            }
        }
    }
}
