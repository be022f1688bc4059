//! A message as a stream holds it: `BYTES TIME EXPIRES ID KIND FROM`, a line's end, and what it says. A name
//! holds no control character, so FROM ends with the line, or with a tab and the place in a trace behind
//! it. A line with their content type stands before bytes.

use std::sync::Arc;

use encke_proto::{Body, ChannelName, Message, Position, Show, Time, TypedBytes, UserId, WebPage};
use serde_json::value::RawValue;

use crate::{Append, EngineError, append::body_bytes};

/// What is found where a message should be.
fn damaged(what: &str) -> EngineError {
    EngineError::Damaged(format!("a message in Redis has {what}"))
}

pub(super) fn write(append: &Append) -> Vec<u8> {
    let (kind, content_type, body) = match &append.body {
        Body::Page(WebPage { url, show: Show::Frame }) => ('p', "", url.as_bytes()),
        Body::Page(WebPage { url, show: Show::Window }) => ('w', "", url.as_bytes()),
        Body::Data(json) => ('d', "", json.get().as_bytes()),
        Body::Bytes(typed) => ('b', typed.content_type(), typed.bytes()),
    };
    let expires = append.expires.map(|end| end.0.to_string()).unwrap_or_default();
    let from = append.from.as_ref().map_or("", UserId::as_str);
    let (size, time, id) = (body_bytes(&append.body), append.time.0, &append.id);
    let trace = append.trace.as_ref().map(|trace| format!("\t{trace}")).unwrap_or_default();
    let mut row = format!("{size} {time} {expires} {id} {kind} {from}{trace}\n").into_bytes();
    row.reserve_exact(content_type.len() + 1 + body.len());
    if kind == 'b' {
        row.extend_from_slice(content_type.as_bytes());
        row.push(b'\n');
    }
    row.extend_from_slice(body);
    row
}

/// What stands before the first line's end, as text, and what stands behind it.
pub(super) fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at(end);
    Some((std::str::from_utf8(line).ok()?, &rest[1..]))
}

pub(super) fn read(row: &[u8], channel: &ChannelName, position: Position) -> Result<Message, EngineError> {
    let (head, body) = split_line(row).ok_or_else(|| damaged("no head"))?;
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
    let from = field()?;
    let (from, trace) = from.split_once('\t').map_or((from, None), |(from, trace)| (from, Some(trace)));
    let trace = trace.map(str::parse).transpose().map_err(|_| damaged("no trace"))?.map(Box::new);
    let from = match from {
        "" => None,
        user => Some(UserId::new(user).map_err(|_| damaged("no sender"))?),
    };
    let text = || std::str::from_utf8(body).map_err(|_| damaged("no UTF-8"));
    let body = match kind {
        "p" => Body::Page(text()?.into()),
        "w" => Body::Page(WebPage { url: text()?.into(), show: Show::Window }),
        "d" => {
            let json = RawValue::from_string(text()?.to_owned()).map_err(|_| damaged("no JSON"))?;
            Body::Data(json.into())
        }
        "b" => {
            let (content_type, bytes) = split_line(body).ok_or_else(|| damaged("no content type"))?;
            let typed = TypedBytes::new(content_type, bytes).map_err(|_| damaged("no content type"))?;
            Body::Bytes(Arc::new(typed))
        }
        _ => return Err(damaged("no kind")),
    };
    Ok(Message { id, channel: channel.clone(), position, time, body, from, expires, trace })
}
