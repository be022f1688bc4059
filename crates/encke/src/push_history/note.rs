//! What is written down of one push: which it is, and the beginning of what it says.

use std::sync::Arc;

use encke_engine::{Append, RECEIPTS_KEPT_S};
use encke_proto::{Body, JsonText, MessageId, Time};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// How much is kept of an address, and of data as it is written.
const URL_MAX_BYTES: usize = 1_024;
const DATA_MAX_BYTES: usize = 256;

/// A push that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// Which.
    pub id: MessageId,
    /// When.
    pub time: Time,
    /// From when on there are no receipts of it any more.
    pub until: Time,
    /// The page…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Arc<str>>,
    /// …or the message; the beginning of its text if that is long.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub data: Option<JsonText>,
    /// Whether it is the beginning only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Note {
    /// Of a push as it is appended.
    #[must_use]
    pub fn of(append: &Append) -> Self {
        let ends = append.expires.unwrap_or(append.time);
        let until = ends.plus_seconds(RECEIPTS_KEPT_S);
        let (id, time) = (append.id.clone(), append.time);
        let (url, data, cut) = match &append.body {
            Body::Page(page) if page.url.len() > URL_MAX_BYTES => {
                (Some(beginning(&page.url, URL_MAX_BYTES).into()), None, true)
            }
            Body::Page(page) => (Some(Arc::clone(&page.url)), None, false),
            Body::Data(data) if data.get().len() > DATA_MAX_BYTES => {
                let text = to_raw_value(beginning(data.get(), DATA_MAX_BYTES));
                (None, text.ok().map(JsonText::from), true)
            }
            Body::Data(data) => (None, Some(data.clone()), false),
            // No push has such a body.
            Body::Bytes(_) => (None, None, true),
        };
        Self { id, time, until, url, data, cut }
    }
}

/// The beginning of a text, in whole characters.
fn beginning(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// Reads data that is there: `null` is data as well.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JsonText>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(|raw| Some(raw.into()))
}

#[cfg(test)]
mod tests {
    use encke_engine::Targets;
    use serde_json::{Value, json};

    use super::*;

    fn note(body: Body) -> Note {
        let id = MessageId::from_bits(7);
        let (targets, expires) = (Targets::AllUsers, Some(Time(9_000)));
        let append =
            Append { id, key: None, targets, body, from: None, time: Time(8_000), expires, trace: None };
        Note::of(&append)
    }

    fn data(json: &Value) -> Note {
        note(Body::Data(to_raw_value(json).unwrap().into()))
    }

    #[test]
    fn a_note_is_read_back_as_it_was_written() {
        let long = "é".repeat(300);
        for (note, cut) in [
            (data(&json!(null)), false),
            (data(&json!({"text": "hello"})), false),
            (data(&json!(long)), true),
            (note(Body::Page("https://pages.example/".into())), false),
            (note(Body::Page(format!("https://pages.example/{}", "é".repeat(2_000)).into())), true),
        ] {
            let text = serde_json::to_string(&note).unwrap();
            assert_eq!(note.cut, cut, "{text}");
            assert!(text.len() < 1_500, "{text}");
            let read: Note = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!((read.time, read.until), (Time(8_000), Time(9_000).plus_seconds(RECEIPTS_KEPT_S)));
        }
    }

    #[test]
    fn of_long_data_the_text_begins_as_the_data_does() {
        let long = data(&json!({"text": "x".repeat(1_000)}));
        let text: String = serde_json::from_str(long.data.unwrap().get()).unwrap();
        assert!(text.starts_with(r#"{"text":"xxx"#) && text.len() == DATA_MAX_BYTES, "{text}");
    }
}
