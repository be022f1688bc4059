//! The answers to the long-polling scripts of Comet's first years: one message a request, as one JSON object.
//!
//! The script of the one kind hands back a `timestamp`, which is a position in the one channel that there is;
//! the other kind has no cursor, and is told whether to stop.

use std::{borrow::Cow, fmt};

use crate::{Body, Cursor, Entry, Offset, Position, json::quoted};

/// What breaks a silence: white space, which every reader of JSON passes over.
pub const HEARTBEAT: &[u8] = b" ";

/// Why a text is not a `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timestamp is what the last answer gave, or 0")]
pub struct TimestampError;

/// What a script hands back as `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// It has received nothing yet: from now on.
    Now,
    /// What it was given.
    At(Position),
    /// A number that was put there by hand: this offset, whatever the epoch is now.
    Offset(Offset),
}

impl Timestamp {
    /// Reads one. Nothing, `0` and the names of JavaScript's empty values mean the same, since scripts begin
    /// with either.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        if Cursor::is_none_yet(text) {
            return Ok(Self::Now);
        }
        match text.split_once('-') {
            Some((offset, epoch)) => {
                let epoch = epoch.parse().map_err(|_| TimestampError)?;
                Ok(Self::At(Position { epoch, offset: number(offset)? }))
            }
            None => Ok(match number(text)? {
                0 => Self::Now,
                offset => Self::Offset(offset),
            }),
        }
    }
}

fn number(text: &str) -> Result<Offset, TimestampError> {
    // The standard library would also take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimestampError);
    }
    text.parse().map_err(|_| TimestampError)
}

/// A position as a script carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(pub Position);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.offset, self.0.epoch)
    }
}

/// What a script shows of a message: a text as it is, any other JSON as its text, a page's address.
#[must_use]
pub fn msg(entry: &Entry) -> Cow<'_, str> {
    match &entry.message().body {
        Body::Page(page) => Cow::Borrowed(&page.url),
        Body::Data(json) => match serde_json::from_str::<String>(json.get()) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(json.get()),
        },
        Body::Bytes(typed) => Cow::Borrowed(typed.json().get()),
    }
}

/// Writes the answer to a script that keeps a timestamp.
pub fn with_timestamp(out: &mut Vec<u8>, msg: &str, at: Position) {
    let mut text = String::with_capacity(msg.len() + 48);
    text.push_str("{\"msg\":");
    text.push_str(&quoted(msg));
    text.push_str(",\"timestamp\":\"");
    text.push_str(&Written(at).to_string());
    text.push_str("\"}");
    out.extend_from_slice(text.as_bytes());
}

/// The answer to a script that keeps nothing; an empty `msg` is none.
#[must_use]
pub fn with_stop(msg: &str, stop: bool) -> String {
    let mut text = String::with_capacity(msg.len() + 24);
    text.push_str("{\"msg\":");
    text.push_str(&quoted(msg));
    text.push_str(if stop { ",\"stop\":1}" } else { ",\"stop\":0}" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelName, Epoch, Message, MessageId, Time, json};
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn entry(body: Body) -> Entry {
        let (channel, position) =
            (ChannelName::public("classic").unwrap(), Position { epoch: Epoch(36), offset: 7 });
        Entry::new(Message {
            id: MessageId::from_bits(1),
            channel,
            position,
            time: Time(0),
            body,
            from: None,
            expires: None,
            trace: None,
        })
    }

    #[test]
    fn a_timestamp_is_read_as_scripts_may_send_it() {
        for text in ["", "0", "00", "null", "undefined"] {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp::Now), "{text:?}");
        }
        assert_eq!(Timestamp::parse("17"), Ok(Timestamp::Offset(17)));
        assert_eq!(
            Timestamp::parse("12-k3x9"),
            Ok(Timestamp::At(Position { epoch: "k3x9".parse().unwrap(), offset: 12 }))
        );
        assert_eq!(
            Timestamp::parse("0-k3x9"),
            Ok(Timestamp::At(Position { epoch: "k3x9".parse().unwrap(), offset: 0 }))
        );
        for text in
            ["x", "-", "-1", "1-", "-k", "1-K", "1-k-1", "+1", "1.5", " 1", "NaN", "99999999999999999999"]
        {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text:?}");
        }
    }

    #[test]
    fn a_message_is_what_a_script_would_have_printed() {
        let data = |text: &str| {
            entry(Body::Data(json::compact(serde_json::from_str::<&RawValue>(text).unwrap()).unwrap()))
        };
        assert_eq!(msg(&data("\"7 \\u00fc\\n\\\"x\\\"\"")), "7 ü\n\"x\"");
        assert_eq!(msg(&data("{ \"a\": [1, null] }")), "{\"a\":[1,null]}");
        assert_eq!(msg(&data("1.50")), "1.50");
        assert_eq!(msg(&entry(Body::Page("http://x/".into()))), "http://x/");
    }

    #[test]
    fn answers_are_json_whatever_the_message() {
        let text = "\"</script>\u{2028}\\\n ü";
        let mut out = Vec::new();
        with_timestamp(&mut out, text, Position { epoch: Epoch(36), offset: 7 });
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json, serde_json::json!({"msg": text, "timestamp": "7-10"}));
        for (stop, number) in [(true, 1), (false, 0)] {
            let json: serde_json::Value = serde_json::from_str(&with_stop(text, stop)).unwrap();
            assert_eq!(json, serde_json::json!({"msg": text, "stop": number}));
        }
    }

    fn is_written_back(text: &str) -> Result<(), TestCaseError> {
        let without_zeros = |digits: &str| match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest => rest.to_owned(),
        };
        let fits =
            |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok();
        match Timestamp::parse(text) {
            Ok(Timestamp::Now) => prop_assert_eq!(text.trim_matches('0'), ""),
            Ok(Timestamp::Offset(offset)) => {
                prop_assert!(offset > 0);
                prop_assert_eq!(offset.to_string(), without_zeros(text));
            }
            Ok(Timestamp::At(at)) => {
                let (offset, epoch) = text.split_once('-').unwrap_or_default();
                prop_assert_eq!(Written(at).to_string(), format!("{}-{epoch}", without_zeros(offset)));
            }
            Err(TimestampError) => {
                let (offset, epoch) =
                    text.split_once('-').map_or((text, None), |(offset, epoch)| (offset, Some(epoch)));
                let is_one = fits(offset) && epoch.is_none_or(|epoch| epoch.parse::<Epoch>().is_ok());
                prop_assert!(!is_one, "{} is refused", text);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_a_timestamp_or_an_error(
            text in ".{0,40}",
            nearly in "[0-9+ -]{0,3}[0-9]{0,20}(-[0-9a-zA-Z-]{0,13})?",
            one in "0{0,2}[0-9]{1,19}(-[1-9a-z][0-9a-z]{0,11})?",
        ) {
            is_written_back(&text)?;
            is_written_back(&nearly)?;
            is_written_back(&one)?;
        }

        #[test]
        fn a_position_survives_its_text(offset: u64, epoch: u64) {
            let at = Position { epoch: Epoch(epoch), offset };
            prop_assert_eq!(Timestamp::parse(&Written(at).to_string()), Ok(Timestamp::At(at)));
        }
    }
}
