//! Conversions between columns and the types of `encke-proto`. A value that does not convert means a damaged
//! store, never a panic.

use std::sync::Arc;

use encke_proto::{Body, ChannelName, MessageId, Time, UserId};
use serde_json::value::RawValue;

use super::fault::Fault;
use crate::ReceiptState;

/// A number as SQLite holds it. What is over its range (a time in 300 million years) becomes the largest that
/// it has.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of rows, as a LIMIT.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> Result<u64, Fault> {
    u64::try_from(value).map_err(|_| Fault::damaged(format!("a number is negative: {value}")))
}

pub(super) fn time(value: i64) -> Result<Time, Fault> {
    unsigned(value).map(Time)
}

pub(super) fn optional_time(value: Option<i64>) -> Result<Option<Time>, Fault> {
    value.map(time).transpose()
}

pub(super) fn channel(text: &str) -> Result<ChannelName, Fault> {
    ChannelName::any(text).map_err(|error| Fault::damaged(format!("a channel's name: {error}")))
}

pub(super) fn user(text: &str) -> Result<UserId, Fault> {
    UserId::new(text).map_err(|error| Fault::damaged(format!("a user's id: {error}")))
}

pub(super) fn message_id(text: &str) -> Result<MessageId, Fault> {
    text.parse().map_err(|_| Fault::damaged("a message's id is not one"))
}

/// A body's kind and text.
pub(super) fn of_body(body: &Body) -> (i64, &str) {
    match body {
        Body::Page(url) => (0, url),
        Body::Data(json) => (1, json.get()),
    }
}

pub(super) fn body(kind: i64, text: String) -> Result<Body, Fault> {
    match kind {
        0 => Ok(Body::Page(text.into())),
        1 => {
            let json = RawValue::from_string(text)
                .map_err(|error| Fault::damaged(format!("a message's data: {error}")))?;
            Ok(Body::Data(Arc::from(json)))
        }
        _ => Err(Fault::damaged(format!("a message of kind {kind}"))),
    }
}

pub(super) fn state(value: i64) -> Result<ReceiptState, Fault> {
    match value {
        0 => Ok(ReceiptState::Queued),
        1 => Ok(ReceiptState::Delivered),
        2 => Ok(ReceiptState::Shown),
        3 => Ok(ReceiptState::Expired),
        _ => Err(Fault::damaged(format!("a receipt in state {value}"))),
    }
}
