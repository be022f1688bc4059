//! What Redis answered, taken apart.

use encke_proto::Epoch;
use redis::Value;

use crate::EngineError;

/// An answer of another shape than its script gives. Another version of this program, or none of its.
pub(super) fn odd(what: &str) -> EngineError {
    EngineError::Damaged(format!("Redis answered with what is no {what}"))
}

/// The rest of a list.
pub(super) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    pub(super) fn of(value: Value) -> Result<Self, EngineError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            Value::Set(values) => Ok(Self(values.into_iter())),
            _ => Err(odd("list")),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    pub(super) fn value(&mut self) -> Result<Value, EngineError> {
        self.0.next().ok_or_else(|| odd("list of that length"))
    }

    pub(super) fn list(&mut self) -> Result<Self, EngineError> {
        Self::of(self.value()?)
    }

    pub(super) fn text(&mut self) -> Result<String, EngineError> {
        text(self.value()?)
    }

    /// What a stream holds, which need not be text.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, EngineError> {
        match self.value()? {
            Value::BulkString(bytes) => Ok(bytes),
            other => text(other).map(String::into_bytes),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, EngineError> {
        number(&self.value()?)
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch, EngineError> {
        epoch(&self.text()?)
    }
}

pub(super) fn text(value: Value) -> Result<String, EngineError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| odd("text")),
        Value::SimpleString(text) => Ok(text),
        Value::Okay => Ok("OK".to_owned()),
        Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(odd("text")),
    }
}

pub(super) fn number(value: &Value) -> Result<u64, EngineError> {
    match value {
        Value::Int(number) => u64::try_from(*number).map_err(|_| odd("number from 0 on")),
        Value::BulkString(bytes) => {
            std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(|| odd("number"))
        }
        _ => Err(odd("number")),
    }
}

/// An epoch as scripts have it: 16 hexadecimal digits.
pub(super) fn epoch(text: &str) -> Result<Epoch, EngineError> {
    u64::from_str_radix(text, 16).map(Epoch).map_err(|_| odd("epoch"))
}

pub(super) fn epoch_text(epoch: Epoch) -> String {
    format!("{:016x}", epoch.0)
}
