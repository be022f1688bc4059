//! A message as it lies in a segment: once, with all the logs that it is in, and what must be remembered with
//! it. The body comes last, so that a replay reads over it.

use std::sync::Arc;

use encke_proto::{Body, MessageId, Offset, Time, UserId};
use serde_json::value::RawValue;

use super::{
    super::codec::{Malformed, Reader, put_bytes, put_number},
    LogId, holds_message,
};

/// Which of the fields that may be left out are there. The bits above are for a producer's sequence and what
/// else comes; a record with one of them is of a later version.
mod field {
    pub(super) const KEY: u8 = 1;
    pub(super) const EXPIRES: u8 = 2;
    pub(super) const FROM: u8 = 4;
    pub(super) const UNTIL: u8 = 8;
    /// The hash of the request that a key came with.
    pub(super) const REQUEST: u8 = 128;
    pub(super) const ALL: u8 = KEY | EXPIRES | FROM | UNTIL | REQUEST;
}

/// What a body is. Bytes with a content type will be another one.
mod body_kind {
    pub(super) const PAGE: u8 = 0;
    pub(super) const DATA: u8 = 1;
}

/// An idempotency key with its stamp: how much time had gone by, see [`crate::passed::Passed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Key {
    pub(in crate::log) text: String,
    pub(in crate::log) stamp: Time,
    /// The hash of its request; older stores have none.
    pub(in crate::log) request: Option<u64>,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Target {
    pub(in crate::log) log: LogId,
    pub(in crate::log) offset: Offset,
}

/// A message.
#[derive(Clone, Debug)]
pub(in crate::log) struct MessageRecord {
    pub(in crate::log) id: MessageId,
    pub(in crate::log) key: Option<Key>,
    pub(in crate::log) time: Time,
    pub(in crate::log) expires: Option<Time>,
    pub(in crate::log) from: Option<UserId>,
    /// Of a push: until when its receipts are kept.
    pub(in crate::log) until: Option<Time>,
    /// The bytes of the body that retention counts.
    pub(in crate::log) body_bytes: u32,
    /// None when it was not read.
    pub(in crate::log) body: Option<Body>,
    pub(in crate::log) targets: Vec<Target>,
}

impl MessageRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let bit = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        let request = self.key.as_ref().and_then(|key| key.request);
        out.push(
            bit(self.key.is_some(), field::KEY)
                | bit(self.expires.is_some(), field::EXPIRES)
                | bit(self.from.is_some(), field::FROM)
                | bit(self.until.is_some(), field::UNTIL)
                | bit(request.is_some(), field::REQUEST),
        );
        out.extend_from_slice(&self.id.bits().to_be_bytes());
        put_number(out, self.time.0);
        if let Some(key) = &self.key {
            put_bytes(out, key.text.as_bytes());
            put_number(out, key.stamp.0);
        }
        if let Some(request) = request {
            out.extend_from_slice(&request.to_le_bytes());
        }
        if let Some(expires) = self.expires {
            put_number(out, expires.0);
        }
        if let Some(from) = &self.from {
            put_bytes(out, from.as_str().as_bytes());
        }
        if let Some(until) = self.until {
            put_number(out, until.0);
        }
        put_number(out, self.targets.len() as u64);
        for target in &self.targets {
            put_number(out, u64::from(target.log));
            put_number(out, target.offset);
        }
        let (kind, text) = match &self.body {
            Some(Body::Page(url)) => (body_kind::PAGE, &**url),
            Some(Body::Data(json)) => (body_kind::DATA, json.get()),
            None => (body_kind::PAGE, ""),
        };
        out.push(kind);
        put_bytes(out, text.as_bytes());
    }

    /// Reads one; of its targets all, or only the log that is named.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        with_body: bool,
        only: Option<LogId>,
    ) -> Result<Self, Malformed> {
        let fields = reader.byte()?;
        if fields & !field::ALL != 0 {
            return Err(Malformed("a message of this version"));
        }
        let has = |bit: u8| fields & bit != 0;
        let id = MessageId::from_bits(u128::from_be_bytes(reader.array()?));
        let time = reader.time()?;
        let mut key = match has(field::KEY) {
            true => Some(Key { text: reader.text()?.to_owned(), stamp: reader.time()?, request: None }),
            false => None,
        };
        if has(field::REQUEST) {
            let key = key.as_mut().ok_or(Malformed("a request with its key"))?;
            key.request = Some(u64::from_le_bytes(reader.array()?));
        }
        let expires = has(field::EXPIRES).then(|| reader.time()).transpose()?;
        let from = has(field::FROM).then(|| reader.text()).transpose()?;
        let from = from.map(UserId::new).transpose().map_err(|_| Malformed("the id of a user"))?;
        let until = has(field::UNTIL).then(|| reader.time()).transpose()?;
        let count = reader.count()?;
        let mut targets = Vec::with_capacity(if only.is_none() { count } else { 1 });
        for _ in 0..count {
            let target = Target { log: reader.small()?, offset: reader.number()? };
            if only.is_none_or(|only| target.log == only) {
                targets.push(target);
            }
        }
        let (kind, bytes) = (reader.byte()?, reader.bytes()?);
        if !reader.0.is_empty() {
            return Err(Malformed("the end of a message"));
        }
        let body_bytes = u32::try_from(bytes.len()).map_err(|_| Malformed("a body of this length"))?;
        let body = if with_body { Some(read_body(kind, bytes)?) } else { None };
        Ok(Self { id, key, time, expires, from, until, body_bytes, body, targets })
    }

    /// The place in a log, if the message is in it.
    pub(in crate::log) fn offset_in(&self, log: LogId) -> Option<Offset> {
        self.targets.iter().find(|target| target.log == log).map(|target| target.offset)
    }
}

fn read_body(kind: u8, bytes: &[u8]) -> Result<Body, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a body in UTF-8"))?;
    match kind {
        body_kind::PAGE => Ok(Body::Page(text.into())),
        body_kind::DATA => {
            let json = RawValue::from_string(text.to_owned()).map_err(|_| Malformed("a body in JSON"))?;
            Ok(Body::Data(Arc::from(json)))
        }
        _ => Err(Malformed("a body of this version")),
    }
}

/// Reads a record that holds a message, with its body.
pub(in crate::log) fn read_message(payload: &[u8]) -> Result<MessageRecord, Malformed> {
    read(payload, None)
}

/// The same for one log: the others that the message is in, a million for a push to all users, are read over.
pub(in crate::log) fn read_message_in(payload: &[u8], log: LogId) -> Result<MessageRecord, Malformed> {
    read(payload, Some(log))
}

fn read(payload: &[u8], only: Option<LogId>) -> Result<MessageRecord, Malformed> {
    if !holds_message(payload) {
        return Err(Malformed("a message"));
    }
    MessageRecord::decode(&mut Reader(payload.get(1..).unwrap_or_default()), true, only)
}
