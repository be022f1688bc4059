//! A message as a stream holds it: `BYTES TIME EXPIRES ID KIND FROM`, a line's end, and what it says. A name
//! holds no control character, so FROM ends with the line.

use std::sync::Arc;

use encke_proto::{Body, ChannelName, Message, Position, Time, UserId};
use serde_json::value::RawValue;

use crate::{Append, EngineError, append::body_bytes};

/// What is found where a message should be.
fn damaged(what: &str) -> EngineError {
    EngineError::Damaged(format!("a message in Redis has {what}"))
}

pub(super) fn write(append: &Append) -> String {
    let (kind, body) = match &append.body {
        Body::Page(url) => ('p', &**url),
        Body::Data(json) => ('d', json.get()),
    };
    let expires = append.expires.map(|end| end.0.to_string()).unwrap_or_default();
    let from = append.from.as_ref().map_or("", UserId::as_str);
    format!("{} {} {expires} {} {kind} {from}\n{body}", body_bytes(&append.body), append.time.0, append.id)
}

pub(super) fn read(text: &str, channel: &ChannelName, position: Position) -> Result<Message, EngineError> {
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("no head"))?;
    let mut fields = head.splitn(6, ' ');
    let mut field = || fields.next().ok_or_else(|| damaged("too short a head"));
    let _bytes = field()?;
    let time = Time(field()?.parse().map_err(|_| damaged("no time"))?);
    let expires = match field()? {
        "" => None,
        end => Some(Time(end.parse().map_err(|_| damaged("no expiry"))?)),
    };
    let id = field()?.parse().map_err(|_| damaged("no id"))?;
    let kind = field()?;
    let from = match field()? {
        "" => None,
        user => Some(UserId::new(user).map_err(|_| damaged("no sender"))?),
    };
    let body = match kind {
        "p" => Body::Page(body.into()),
        "d" => Body::Data(Arc::from(RawValue::from_string(body.to_owned()).map_err(|_| damaged("no JSON"))?)),
        _ => return Err(damaged("no kind")),
    };
    Ok(Message { id, channel: channel.clone(), position, time, body, from, expires })
}
