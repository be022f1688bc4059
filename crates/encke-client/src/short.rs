//! Messages in the short form, read with what the connection was told at its beginning. `docs/PROTOCOL.md`
//! has their elements.

use encke_proto::{MessageId, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Message, Show};

/// The kind of a message with data.
const DATA: u64 = 0;
/// The kind of a page.
const PAGE: u64 = 1;
/// The kind of a page for a window of its own.
const WINDOW: u64 = 2;

/// What a connection was told that its messages leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whose own channel messages do not name.
    pub(crate) user: Option<String>,
    /// The epoch of messages that say none.
    pub(crate) epoch: Option<String>,
}

/// The elements of a message.
type Elements<'a> = Vec<&'a RawValue>;

impl Told {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when it is none, or leaves out what was not told.
    pub(crate) fn read(&self, json: &str) -> Result<Message, Error> {
        let bad = |why: &str| Error::BadAnswer(format!("a message in the short form: {why}"));
        let elements: Elements<'_> = serde_json::from_str(json).map_err(|error| bad(&error.to_string()))?;
        self.message(&elements).ok_or_else(|| bad("an element is missing, or of another type"))
    }

    fn message(&self, elements: &[&RawValue]) -> Option<Message> {
        let own = read::<u64>(elements.first()?);
        let behind = if own.is_some() { 3 } else { 4 };
        let tail = |at: usize| elements.get(behind + at).filter(|element| element.get() != "0");
        let text = |at: usize| tail(at).map(|element| read::<String>(element));
        let id = if own.is_some() { Some(read::<String>(elements.get(1)?)?) } else { None };
        let (channel, offset, time) = match own {
            Some(offset) => (format!("@{}", self.user.as_ref()?), offset, time_of(id.as_deref()?, tail(3))?),
            None => (read(elements.first()?)?, read(elements.get(1)?)?, read::<u64>(elements.get(2)?)?),
        };
        let body = *elements.get(behind - 1)?;
        let kind = tail(0).map_or(Some(DATA), |kind| read(kind))?;
        Some(Message {
            id,
            channel,
            offset,
            epoch: match text(2) {
                Some(epoch) => epoch?,
                None => self.epoch.clone()?,
            },
            time: Time(time).to_string(),
            kind: match kind {
                DATA => "message".to_owned(),
                PAGE | WINDOW => "page".to_owned(),
                newer => newer.to_string(),
            },
            url: if matches!(kind, PAGE | WINDOW) { Some(read(body)?) } else { None },
            show: (kind == WINDOW).then_some(Show::Window),
            data: (kind == DATA).then(|| body.to_owned()),
            from: match text(1) {
                Some(from) => Some(from?),
                None => None,
            },
            traceparent: match text(if own.is_some() { 4 } else { 3 }) {
                Some(traceparent) => Some(traceparent?),
                None => None,
            },
        })
    }
}

/// When the server took a message of the user's own channel, in milliseconds since 1970.
fn time_of(id: &str, said: Option<&&RawValue>) -> Option<u64> {
    match said {
        Some(time) => read(time),
        None => id.parse().ok().map(|id: MessageId| id.time().0),
    }
}

fn read<'a, T: Deserialize<'a>>(element: &'a RawValue) -> Option<T> {
    serde_json::from_str(element.get()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told() -> Told {
        Told { user: Some("alice".into()), epoch: Some("k3x9".into()) }
    }

    /// The messages of `tests/vectors/short.json`, which the server's own tests write.
    #[test]
    fn the_short_form_is_read_as_the_vectors_have_it() {
        #[derive(Deserialize)]
        struct Vector {
            name: String,
            epoch: Option<String>,
            long: Message,
            short: String,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../../tests/vectors/short.json")).unwrap();
        assert!(vectors.len() > 10);
        for Vector { name, epoch, mut long, short } in vectors {
            let user = long.channel.strip_prefix('@').map(str::to_owned);
            if user.is_none() {
                long.id = None;
            }
            let read = Told { user, epoch }.read(&short).unwrap();
            assert_eq!(read.to_json_line(), long.to_json_line(), "{name}");
        }
    }

    #[test]
    fn a_kind_that_a_newer_server_knows_is_a_message_without_data() {
        let message = told().read(r#"["news",7,1,"x",9]"#).unwrap();
        assert_eq!((message.kind.as_str(), message.offset), ("9", 7));
        assert!(message.data.is_none() && message.url.is_none());
    }

    #[test]
    fn what_is_no_message_or_leaves_out_what_was_not_told_is_an_error() {
        for bad in [
            "",
            "[]",
            "{}",
            "[7]",
            "[7,\"AAAAAAAAAAAAAAAAAAAAAA\"]",
            "[7,8,9]",
            "[7,\"short\",1]",
            "[null,1,2,3]",
            "[\"news\",-1,2,3]",
            "[\"news\",1,2]",
            "[\"news\",1,2,3,1]",
            "[\"news\",1,2,3,0,5]",
            "[\"news\",1,2,3,0,0,5]",
            "[\"news\",1,2,3,0,0,0,5]",
            "[7,\"AAAAAAAAAAAAAAAAAAAAAA\",1,0,0,0,\"x\"]",
        ] {
            assert!(matches!(told().read(bad), Err(Error::BadAnswer(_))), "{bad}");
        }
        let own = "[7,\"AAAAAAAAAAAAAAAAAAAAAA\",1]";
        assert!(told().read(own).is_ok());
        assert!(Told { user: None, ..told() }.read(own).is_err());
        assert!(Told { epoch: None, ..told() }.read(own).is_err());
    }
}
