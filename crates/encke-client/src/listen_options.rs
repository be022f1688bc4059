//! What to listen to, and how. Listening is in `listen.rs`.

use std::collections::BTreeSet;

/// How messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Transport {
    /// Long polling: works through everything that lets HTTP through.
    Poll,
    /// One long answer of server-sent events.
    #[default]
    Sse,
    /// One long answer with a JSON object a line.
    Ndjson,
    /// A WebSocket.
    Ws,
}

/// What to listen to, and how.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    pub(crate) transport: Transport,
    pub(crate) channels: BTreeSet<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) hold_s: Option<u64>,
    pub(crate) whole: bool,
    pub(crate) looks_at: Option<String>,
}

impl Listen {
    /// To the user's own channel, from the first push that no session of the user has been handed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How messages come; [`Transport::Sse`] when not said.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// To these channels too, from now on.
    #[must_use]
    pub fn channels<C: Into<String>>(mut self, channels: impl IntoIterator<Item = C>) -> Self {
        self.channels.extend(channels.into_iter().map(Into::into));
        self
    }

    /// Go on from this cursor; `earliest` is the oldest that is kept.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Continue this session.
    #[must_use]
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// As this device of the user, which has a place of its own in the user's channel: without a cursor it
    /// goes on where it was, and begins with all that is kept when it was never here. 1 to 64 bytes.
    #[must_use]
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device = Some(name.into());
        self
    }

    /// Looks on at this user instead, with a key of the server API (scope `read`) in the place of the token:
    /// at what waits for the user, and then at each message. Nothing is taken from the user. It comes by SSE,
    /// or by NDJSON if that is said; channels, devices and sessions have no part in it.
    #[must_use]
    pub fn looking_at(mut self, user: impl Into<String>) -> Self {
        self.looks_at = Some(user.into());
        self
    }

    /// Messages with all their members. Without this they come in the protocol's short form, which takes half
    /// the bytes and has no id in public channels.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// How long a poll is held at most, in seconds, up to what the server allows. When not said, the server's
    /// default (25) holds, and a poll without an answer for two and a half times that is given up; say it for
    /// a server whose `hold_s` is longer than a minute.
    #[must_use]
    pub fn hold_s(mut self, seconds: u64) -> Self {
        self.hold_s = Some(seconds);
        self
    }
}
