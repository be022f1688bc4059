//! A message, as it is handed over.

use encke_proto::json::one_line;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Show};

/// One message of a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// The id that the server gave. `None` in public channels, where no receipt can come of it, unless
    /// messages were asked for with [`Listen::whole`](crate::Listen::whole).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The channel; `@alice` is the own channel of the user alice, where pushes to her arrive.
    pub channel: String,
    /// The position in the channel, which rises by one within an epoch.
    pub offset: u64,
    /// The run of the channel's log that the offset counts in.
    pub epoch: String,
    /// When the server took it: RFC 3339, UTC.
    pub time: String,
    /// `page` (show the `url`) or `message` (see `data`); others may come with newer servers.
    #[serde(rename = "type")]
    pub kind: String,
    /// The page to show, when `kind` is `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// In what to show it; `None` means in a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show: Option<Show>,
    /// The JSON as the sender wrote it, unparsed; see [`data_as`](Message::data_as).
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The user who published it, when a client did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The place in a trace (W3C Trace Context) that it belongs to, if it belongs to one: the parent for
    /// spans of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Message {
    /// Parses `data` into a type of your own. A message without data reads as JSON `null`.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when the data is not of that type.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let json = self.data.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(json).map_err(|error| {
            let Self { channel, offset, .. } = self;
            Error::BadAnswer(format!("the data of message {offset} of {channel} is of another type: {error}"))
        })
    }

    /// The message as JSON on exactly one line.
    ///
    /// The data keeps its members' order and its numbers' digits; only white space between tokens goes, since
    /// a sender may have put line breaks there.
    #[must_use]
    pub fn to_json_line(&self) -> String {
        // A struct of strings and numbers always serialises.
        one_line(compact(&serde_json::to_string(self).unwrap_or_default()))
    }
}

/// Data that is `null` is data, and not the lack of it.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Removes the white space between the tokens of valid JSON.
fn compact(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    json.chars()
        .filter(|&c| {
            if in_string {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
                return true;
            }
            in_string = c == '"';
            !matches!(c, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const JSON: &str = r#"{"id":"m1","channel":"news","offset":7,"epoch":"k3x9","time":"2026-01-02T03:04:05Z",
        "type":"message","data":{"big": 12345678901234567890123,
        "text":"a \"b\" \\"},"from":"bob"}"#;

    #[test]
    fn the_data_keeps_its_digits_and_loses_its_line_breaks() {
        let message: Message = serde_json::from_str(JSON).unwrap();
        let line = message.to_json_line();
        assert!(!line.contains('\n'));
        assert!(
            line.contains(r#""data":{"big":12345678901234567890123,"text":"a \"b\" \\"},"from":"bob"}"#),
            "{line}"
        );
    }

    #[test]
    fn no_character_of_the_data_ends_the_line() {
        let json = JSON.replace("\\\"b\\\"", "\u{2028}\u{2029}\u{85}").replace("bob", "b\u{2028}b");
        let message: Message = serde_json::from_str(&json).unwrap();
        let line = message.to_json_line();
        assert!(!line.contains(['\n', '\u{2028}', '\u{2029}', '\u{85}']), "{line}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(&json));
    }

    #[test]
    fn the_data_parses_into_a_type_of_the_callers() {
        #[derive(Deserialize)]
        struct Data {
            text: String,
        }
        let message: Message = serde_json::from_str(JSON).unwrap();
        assert_eq!(message.data_as::<Data>().unwrap().text, "a \"b\" \\");
        assert!(message.data_as::<Vec<u8>>().is_err());
    }

    #[test]
    fn null_is_data() {
        let json =
            r#"{"id":"m","channel":"@a","offset":1,"epoch":"e","time":"t","type":"message","data":null}"#;
        assert_eq!(serde_json::from_str::<Message>(json).unwrap().to_json_line(), json);
        let none = json.replace(r#","data":null"#, "");
        assert_eq!(serde_json::from_str::<Message>(&none).unwrap().to_json_line(), none);
    }

    #[test]
    fn members_that_are_not_known_yet_are_no_error() {
        let message: Message =
            serde_json::from_str(r#"{"event":"message","id":"m","channel":"@a","offset":1,"epoch":"e","time":"t","type":"page","url":"https://x.example/","more":1}"#).unwrap();
        assert_eq!(message.url.as_deref(), Some("https://x.example/"));
        assert_eq!(message.data_as::<Option<u8>>().unwrap(), None);
    }
}
