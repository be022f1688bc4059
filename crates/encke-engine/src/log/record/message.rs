//! A message as it lies in a segment: once, with all the logs that it is in, and what must be remembered with
//! it. The body comes last; of one with very many targets these do.

use std::sync::Arc;

use encke_proto::{Body, MessageId, Offset, Show, Time, TraceContext, TypedBytes, UserId, WebPage};
use serde_json::value::RawValue;

use super::{
    super::codec::{Malformed, Reader, put_bytes, put_number},
    LogId, holds_message,
};

/// Which of the fields that may be left out are there. A record with a bit that is not named here is of a
/// later version.
mod field {
    pub(super) const KEY: u8 = 1;
    pub(super) const EXPIRES: u8 = 2;
    pub(super) const FROM: u8 = 4;
    pub(super) const UNTIL: u8 = 8;
    /// The body comes before the targets, with a checksum of all up to there, so that one log's reader need
    /// not read the targets.
    pub(super) const SPLIT: u8 = 16;
    /// The place in a trace.
    pub(super) const TRACE: u8 = 64;
    /// The hash of the request that a key came with.
    pub(super) const REQUEST: u8 = 128;
    pub(super) const ALL: u8 = KEY | EXPIRES | FROM | UNTIL | SPLIT | TRACE | REQUEST;
}

/// From how many targets on a message is split.
const SPLIT_MIN_TARGETS: usize = 256;
const CHECKSUM_BYTES: usize = 4;
/// What is read of a split message besides its body, in bytes: more than its fields take.
const FIELDS_MAX_BYTES: u32 = 1024;

/// What a body is. Before bytes stands their content type.
mod body_kind {
    pub(super) const PAGE: u8 = 0;
    pub(super) const DATA: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    /// A page for a window of its own.
    pub(super) const WINDOW: u8 = 3;
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
    pub(in crate::log) trace: Option<Box<TraceContext>>,
    /// The bytes of the body that retention counts.
    pub(in crate::log) body_bytes: u32,
    /// None when it was not read.
    pub(in crate::log) body: Option<Body>,
    pub(in crate::log) targets: Vec<Target>,
}

impl MessageRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let bit = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        let (begin, is_split) = (out.len(), self.targets.len() >= SPLIT_MIN_TARGETS);
        let request = self.key.as_ref().and_then(|key| key.request);
        out.push(
            bit(self.key.is_some(), field::KEY)
                | bit(self.expires.is_some(), field::EXPIRES)
                | bit(self.from.is_some(), field::FROM)
                | bit(self.until.is_some(), field::UNTIL)
                | bit(is_split, field::SPLIT)
                | bit(self.trace.is_some(), field::TRACE)
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
        if let Some(trace) = &self.trace {
            out.extend_from_slice(&trace.to_bytes());
        }
        if is_split {
            self.encode_body(out);
            let checksum = crc32c::crc32c(&out[begin..]);
            out.extend_from_slice(&checksum.to_le_bytes());
            self.encode_targets(out);
        } else {
            self.encode_targets(out);
            self.encode_body(out);
        }
    }

    fn encode_targets(&self, out: &mut Vec<u8>) {
        put_number(out, self.targets.len() as u64);
        for target in &self.targets {
            put_number(out, u64::from(target.log));
            put_number(out, target.offset);
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        let (kind, bytes) = match &self.body {
            Some(Body::Page(WebPage { url, show: Show::Frame })) => (body_kind::PAGE, url.as_bytes()),
            Some(Body::Page(WebPage { url, show: Show::Window })) => (body_kind::WINDOW, url.as_bytes()),
            Some(Body::Data(json)) => (body_kind::DATA, json.get().as_bytes()),
            Some(Body::Bytes(typed)) => (body_kind::BYTES, typed.bytes()),
            None => (body_kind::PAGE, &[][..]),
        };
        out.push(kind);
        if let Some(Body::Bytes(typed)) = &self.body {
            put_bytes(out, typed.content_type().as_bytes());
        }
        put_bytes(out, bytes);
    }

    /// Reads one; of its targets all, or only the log that is named.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        with_body: bool,
        only: Option<LogId>,
    ) -> Result<Self, Malformed> {
        let (mut message, is_split) = Self::decode_fields(reader)?;
        if is_split {
            message.decode_body(reader, with_body)?;
            // All of the record has a checksum as well.
            reader.take(CHECKSUM_BYTES)?;
            message.decode_targets(reader, only)?;
        } else {
            message.decode_targets(reader, only)?;
            message.decode_body(reader, with_body)?;
        }
        if reader.0.is_empty() { Ok(message) } else { Err(Malformed("the end of a message")) }
    }

    /// Reads what comes before the targets and the body, and whether the body comes first.
    fn decode_fields(reader: &mut Reader<'_>) -> Result<(Self, bool), Malformed> {
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
        let trace = has(field::TRACE).then(|| reader.array()).transpose()?;
        let trace = trace.map(|bytes| TraceContext::from_bytes(&bytes)).transpose();
        let trace = trace.map_err(|_| Malformed("a place in a trace"))?.map(Box::new);
        let (body_bytes, body, targets) = (0, None, Vec::new());
        let message = Self { id, key, time, expires, from, until, trace, body_bytes, body, targets };
        Ok((message, has(field::SPLIT)))
    }

    fn decode_targets(&mut self, reader: &mut Reader<'_>, only: Option<LogId>) -> Result<(), Malformed> {
        let count = reader.count()?;
        self.targets.reserve_exact(if only.is_none() { count } else { 1 });
        for _ in 0..count {
            let target = Target { log: reader.small()?, offset: reader.number()? };
            if only.is_none_or(|only| target.log == only) {
                self.targets.push(target);
            }
        }
        Ok(())
    }

    fn decode_body(&mut self, reader: &mut Reader<'_>, with_body: bool) -> Result<(), Malformed> {
        let kind = reader.byte()?;
        let content_type = if kind == body_kind::BYTES { reader.text()? } else { "" };
        let bytes = reader.bytes()?;
        self.body_bytes = u32::try_from(bytes.len()).map_err(|_| Malformed("a body of this length"))?;
        self.body = if with_body { Some(read_body(kind, content_type, bytes)?) } else { None };
        Ok(())
    }

    /// The place in a log, if the message is in it.
    pub(in crate::log) fn offset_in(&self, log: LogId) -> Option<Offset> {
        self.targets.iter().find(|target| target.log == log).map(|target| target.offset)
    }
}

fn read_body(kind: u8, content_type: &str, bytes: &[u8]) -> Result<Body, Malformed> {
    let text = || std::str::from_utf8(bytes).map_err(|_| Malformed("a body in UTF-8"));
    match kind {
        body_kind::PAGE => Ok(Body::Page(text()?.into())),
        body_kind::WINDOW => Ok(Body::Page(WebPage { url: text()?.into(), show: Show::Window })),
        body_kind::DATA => {
            let json = RawValue::from_string(text()?.to_owned()).map_err(|_| Malformed("a body in JSON"))?;
            Ok(Body::Data(json.into()))
        }
        body_kind::BYTES => {
            let typed = TypedBytes::new(content_type, bytes).map_err(|_| Malformed("a content type"))?;
            Ok(Body::Bytes(Arc::new(typed)))
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

/// Of a record of this length, header included, which holds a message with a body of so many bytes: how many
/// bytes after the header to read for the message alone. None if that saves little.
pub(in crate::log) fn start_bytes(length: u32, body_bytes: u32) -> Option<u32> {
    let start = body_bytes.saturating_add(FIELDS_MAX_BYTES);
    (length > start.saturating_mul(2)).then_some(start)
}

/// Reads a message from the start of its record; without its targets, and none if they come before the body.
pub(in crate::log) fn read_message_start(start: &[u8]) -> Result<Option<MessageRecord>, Malformed> {
    if !holds_message(start) {
        return Err(Malformed("a message"));
    }
    let bytes = start.get(1..).unwrap_or_default();
    let mut reader = Reader(bytes);
    let (mut message, is_split) = MessageRecord::decode_fields(&mut reader)?;
    if !is_split {
        return Ok(None);
    }
    message.decode_body(&mut reader, true)?;
    let checksum = crc32c::crc32c(&bytes[..bytes.len() - reader.0.len()]);
    if reader.array()? != checksum.to_le_bytes() {
        return Err(Malformed("a message with its checksum"));
    }
    Ok(Some(message))
}
