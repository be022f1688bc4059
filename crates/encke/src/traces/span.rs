//! A span: something that was done for a message, from when to when.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

/// What a span is to those beside it, by its number in OTLP (`SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of what the server does.
    Internal = 1,
    /// A request that was answered.
    Server = 2,
    /// A message that was sent on its way.
    Producer = 4,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
    /// Whether something is so.
    Flag(bool),
}

/// A span that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// What it is to those beside it.
    pub kind: Kind,
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// What it is a part of; the first of a trace is a part of nothing.
    pub parent: Option<[u8; 8]>,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it was over, in nanoseconds since 1970; not before it began.
    pub end_ns: u64,
    /// What else is known of it, under the names of OpenTelemetry's conventions for messaging where they have
    /// one.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// The time of day in nanoseconds since 1970. It is told in spans, and nothing is decided by it.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
