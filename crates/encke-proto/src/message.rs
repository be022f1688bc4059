//! A message in the log of a channel, as plain data. Its encodings are in `entry.rs`.

use std::sync::Arc;

use crate::{ChannelName, JsonText, MessageId, Position, Time, TraceContext, TypedBytes, UserId, WebPage};

/// What a message asks of its receiver.
#[derive(Clone, Debug)]
pub enum Body {
    /// Show this page.
    Page(WebPage),
    /// Any JSON, compact: it holds no line break.
    Data(JsonText),
    /// Bytes with a content type, kept as they were sent. No HTTP endpoint takes them yet.
    Bytes(Arc<TypedBytes>),
}

/// One message in the log of a channel.
#[derive(Clone, Debug)]
pub struct Message {
    /// The same for every channel that one push or publish reached.
    pub id: MessageId,
    /// The channel whose log it is in.
    pub channel: ChannelName,
    /// Its place in that log.
    pub position: Position,
    /// When the server accepted it.
    pub time: Time,
    /// What it says.
    pub body: Body,
    /// The user who published it, when a client did.
    pub from: Option<UserId>,
    /// From this moment on it is not delivered any more.
    pub expires: Option<Time>,
    /// The trace that it belongs to, if it came with one or one was begun for it. In a box, since most have
    /// none.
    pub trace: Option<Box<TraceContext>>,
}
