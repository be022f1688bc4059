//! The state of a connection on which the client also sends (WebSocket), and the type of the handler that
//! answers its control requests. Framing is in `encke-proto`.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use encke_proto::{
    SessionId,
    codec::ws::{Compression, Reader},
};

use crate::auth::Identity;

/// What a shard keeps of a duplex connection, on which the client also sends while it waits. Between two
/// messages it is all there is.
#[derive(Debug)]
pub struct Duplex {
    /// Who it is, for what it may ask.
    pub identity: Identity,
    /// What accepts the change of protocol (`Sec-WebSocket-Accept`), until that is written.
    pub accept: Option<Box<Accept>>,
    /// The compression that was agreed on.
    pub compression: Option<Compression>,
    /// What it says, as far as it has come.
    pub reader: Reader,
    /// How many questions whether it is there it has left unanswered.
    pub unanswered: u8,
    /// Whether a close frame was written.
    pub parts: bool,
    /// Whether something that it asked is not answered yet.
    pub asked: bool,
}

/// How long a message may take to come, from its first byte to its last, in milliseconds; as long as a
/// request's body.
pub const MESSAGE_WITHIN_MS: u64 = 15_000;

/// What is there for a moment, so it stands elsewhere.
#[derive(Debug)]
pub struct Accept(pub String);

impl Duplex {
    /// At the beginning of a conversation.
    #[must_use]
    pub fn new(identity: Identity, accept: String, compression: Option<Compression>) -> Self {
        let accept = Some(Box::new(Accept(accept)));
        Self {
            identity,
            accept,
            compression,
            reader: Reader::default(),
            unanswered: 0,
            parts: false,
            asked: false,
        }
    }

    /// By when the message that the client has begun must have come, in milliseconds of the clock that never
    /// goes back; none when it has begun none. While it is not listened to, the delay is not the client's.
    #[must_use]
    pub fn message_due_ms(&self) -> Option<u64> {
        let since_ms = self.reader.since_ms().filter(|_| !self.asked)?;
        Some(since_ms + MESSAGE_WITHIN_MS)
    }
}

/// What a client asks over the connection that it waits on.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub identity: Identity,
    /// The session that the connection serves.
    pub session: SessionId,
    /// What it asks, as it was sent.
    pub text: String,
}

/// Answers such requests. The answer is what is written to the client.
#[derive(Clone)]
pub struct CommandHandler(pub Arc<dyn Fn(Asked) -> Answer + Send + Sync>);

/// An answer that takes a while.
pub type Answer = Pin<Box<dyn Future<Output = String> + Send>>;

impl fmt::Debug for CommandHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandHandler")
    }
}
