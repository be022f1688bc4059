//! The state of a connection on which the client also sends (WebSocket): what it has said so far, and what it
//! has asked. Framing is in `encke-proto`.

use std::{any::Any, fmt};

use encke_proto::codec::ws::{Compression, Reader};

use crate::auth::Identity;

/// What a shard keeps of a duplex connection, on which the client also sends while it waits. Between two
/// messages it is all there is.
#[derive(Debug)]
pub struct Duplex {
    /// Who it is, for what it may ask; none as long as the connection is of no user, or of one without a
    /// token.
    pub identity: Option<Identity>,
    /// What only some connections need, or for a moment.
    pub kept: Option<Box<Kept>>,
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
    /// Whether there is something to pull that stands back behind that answer, or behind the next.
    pub holds_back: bool,
}

/// What only some connections need of a [`Duplex`], or for a moment.
#[derive(Default)]
pub struct Kept {
    /// What accepts the change of protocol (`Sec-WebSocket-Accept`), until that is written.
    pub accept: Option<String>,
    /// The subprotocol that was agreed on, until that is written.
    pub protocol: Option<&'static str>,
    /// The cookie that the change of protocol sets, until that is written.
    pub cookie: Option<String>,
    /// What the dialect keeps.
    pub state: Option<Box<dyn Any + Send>>,
    /// When the connection is to be of a user, in milliseconds of the clock that never goes back, as long as
    /// it is not.
    pub identify_by_ms: Option<u64>,
    /// When the dialect wants [`super::Transport::elapsed`] to be called at the latest, in milliseconds of
    /// that clock.
    pub wake_ms: Option<u64>,
}

/// What the change of protocol says.
#[derive(Default)]
pub(super) struct Opening {
    pub(super) accept: String,
    pub(super) protocol: Option<&'static str>,
    pub(super) cookie: Option<String>,
}

/// Says what is there, never what it is.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("protocol", &self.protocol)
            .field("identify_by_ms", &self.identify_by_ms)
            .finish_non_exhaustive()
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.accept.is_none()
            && self.cookie.is_none()
            && self.state.is_none()
            && self.identify_by_ms.is_none()
            && self.wake_ms.is_none()
    }
}

/// How long a message may take to come, from its first byte to its last, in milliseconds; as long as a
/// request's body.
pub const MESSAGE_WITHIN_MS: u64 = 15_000;

impl Duplex {
    /// At the beginning of a conversation.
    #[must_use]
    pub fn new(identity: Option<Identity>, accept: String, compression: Option<Compression>) -> Self {
        let kept = Some(Box::new(Kept { accept: Some(accept), ..Kept::default() }));
        Self {
            identity,
            kept,
            compression,
            reader: Reader::default(),
            unanswered: 0,
            parts: false,
            asked: false,
            holds_back: false,
        }
    }

    /// By when the message that the client has begun must have come, in milliseconds of the clock that never
    /// goes back; none when it has begun none. While it is not listened to, the delay is not the client's.
    #[must_use]
    pub fn message_due_ms(&self) -> Option<u64> {
        let since_ms = self.reader.since_ms().filter(|_| !self.asked)?;
        Some(since_ms + MESSAGE_WITHIN_MS)
    }

    /// When the connection is to be looked at, at the latest, in milliseconds of the clock that never goes
    /// back.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let kept = self.kept.as_ref().and_then(|kept| kept.identify_by_ms.or(kept.wake_ms));
        self.message_due_ms().into_iter().chain(kept).min()
    }

    /// When the connection is to be of a user, as long as it is not.
    #[must_use]
    pub fn identify_by_ms(&self) -> Option<u64> {
        self.kept.as_ref()?.identify_by_ms
    }

    /// Changes what only some connections need; when nothing of it is left, it costs nothing any more.
    pub fn keep(&mut self, change: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept.take().unwrap_or_default();
        change(&mut kept);
        self.kept = (!kept.is_empty()).then_some(kept);
    }

    /// What the change of protocol says, to be written now.
    pub(super) fn take_opening(&mut self) -> Opening {
        let mut opening = Opening::default();
        self.keep(|kept| {
            opening = Opening {
                accept: kept.accept.take().unwrap_or_default(),
                protocol: kept.protocol.take(),
                cookie: kept.cookie.take(),
            };
        });
        opening
    }
}
