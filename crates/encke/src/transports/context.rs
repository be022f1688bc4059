//! What a transport is given to write to one connection: the hub to pull from, the output buffer and the
//! request state. Sending the bytes is the shard's part.

use std::{any::Any, borrow::Cow};

use encke_hub::{ConnKey, Hub, Now, Pulled};
use encke_proto::{ChannelName, ErrorCode, Open, Refusal, SessionId, UserId};

use super::{Command, Duplex, NextAction, Site, Written};
use crate::{
    auth::OriginNumber,
    http::{
        refusal::{retry_after_s, sentence},
        response::{self, Head},
    },
};

/// How a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// Until there is something to say, or until its hold is over; then it is answered.
    Once,
    /// For good; a silence is broken in time.
    Stream,
}

/// What the table keeps of a request that is held: a few bytes, since there are many.
#[derive(Clone, Copy, Debug)]
pub struct RequestState {
    /// How long a poll waits at most, in seconds.
    pub hold_s: u32,
    /// Which of the allowed origins asked, so that its browser lets the page read the answer.
    pub origin: Option<OriginNumber>,
    /// Whether the client keeps the connection after the response.
    pub keep_alive: bool,
    /// No chunks: the end of the line ends the response, as in HTTP/1.0, or hyper frames it.
    pub plain: bool,
    /// Whether response bytes were written.
    pub began: bool,
    /// Bytes that the transport counts for a purpose of its own.
    pub tally: u32,
    /// What the transport keeps for a purpose of its own: at first random bits, for those that need some.
    pub scratch: [u8; 8],
    /// Which of the allowed origins embeds the stream; none for the server's own.
    pub embedder: Option<OriginNumber>,
}

impl RequestState {
    /// The client will ask nothing more: a poll is answered at once, and the connection ends with its answer.
    pub fn end_now(&mut self) {
        self.hold_s = 0;
        self.keep_alive = false;
    }
}

/// The most bytes that a transport gathers before they are sent, and the rest is left for the next turn.
const GATHER_MAX_BYTES: usize = 32 * 1024;

/// A transport's turn with one connection.
#[derive(Debug)]
pub struct TransportContext<'a> {
    /// The hub, to pull from.
    pub hub: &'a mut Hub,
    /// Whose turn it is.
    pub conn: ConnKey,
    /// The request.
    pub request_state: &'a mut RequestState,
    /// Where response bytes go.
    pub out: &'a mut Vec<u8>,
    /// The session's cursor as text, after [`TransportContext::pull`].
    pub cursor: &'a mut String,
    /// The time.
    pub now: Now,
    /// The time for `Date:`.
    pub date: &'a str,
    /// What there is to say of the server.
    pub site: &'a Site,
    /// What is kept of a duplex connection.
    pub duplex: Option<&'a mut Duplex>,
    /// What the dialect keeps of a request, if it keeps something; see [`TransportContext::state`].
    pub request: Option<&'a mut (dyn Any + Send + 'static)>,
    /// What the client asks; see [`TransportContext::ask`].
    pub asked: Option<Command>,
    /// What was written for the connection before this turn.
    pub written: Written<'a>,
}

impl TransportContext<'_> {
    /// The next message or gap.
    pub fn pull(&mut self) -> Pulled {
        self.hub.pull(self.conn, self.now)
    }

    /// The same of one channel, where all else stands back; there is more to pull for the session as soon as
    /// anything more comes.
    pub fn pull_of(&mut self, channel: &ChannelName) -> Pulled {
        self.hub.pull_of(self.conn, channel, self.now)
    }

    /// Writes where the session stands now to [`TransportContext::cursor`].
    pub fn take_cursor(&mut self) {
        self.cursor.clear();
        self.hub.write_cursor(self.conn, self.cursor);
    }

    /// Leaves what the client asks with the dialect's handler of commands. Nothing more is read from the
    /// client until [`super::Transport::answered`] is called, so that it costs no queue.
    pub fn ask(&mut self, command: Command) {
        self.asked = Some(command);
    }

    /// The session that the connection serves.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.hub.session_of(self.conn).unwrap_or(SessionId::from_bits(0))
    }

    /// The user whose session the connection serves.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.hub.user_on(self.conn)
    }

    /// The beginning of a stream, as its client is told.
    #[must_use]
    pub fn open(&self) -> Open {
        let (session, site) = (self.session(), self.site);
        Open {
            session,
            cursor: self.hub.cursor(self.conn),
            heartbeat_s: site.heartbeat_s,
            close_key: site.close_keys.of_session(session),
            user: None,
            epoch: None,
        }
    }

    /// What the dialect keeps of the connection, if it keeps something of this type.
    pub fn state<T: 'static>(&mut self) -> Option<&mut T> {
        let duplex = self.duplex.as_deref_mut().and_then(|duplex| duplex.kept.as_mut()?.state.as_deref_mut());
        duplex.or(self.request.as_deref_mut())?.downcast_mut()
    }

    /// The origin whose pages may read the answer.
    #[must_use]
    pub fn readable_by(&self) -> Option<Cow<'_, str>> {
        self.request_state.origin.and_then(|number| self.site.origins.text(number))
    }

    /// The origin of the page that embeds the stream; none for the server's own.
    #[must_use]
    pub fn embedder(&self) -> Option<Cow<'_, str>> {
        self.request_state.embedder.and_then(|number| self.site.origins.text(number))
    }

    /// Whether enough is gathered for one turn.
    #[must_use]
    pub fn full(&self, gathered: usize) -> bool {
        gathered >= GATHER_MAX_BYTES
    }

    /// Writes the head of a response, with the fields that this kind of answer has besides.
    pub fn head(
        &mut self,
        status: u16,
        content_type: &str,
        body: response::Body,
        keep_alive: bool,
        fields: &[(&str, &str)],
    ) {
        let origin = self.request_state.origin.and_then(|number| self.site.origins.text(number));
        let head = Head {
            status,
            content_type,
            body,
            keep_alive,
            origin: origin.as_deref(),
            date: self.date,
            retry_after_s: None,
            fields,
        };
        head.write(self.out);
        self.request_state.began = true;
    }

    /// Writes an error as the whole response.
    pub fn refuse(&mut self, code: ErrorCode) -> NextAction {
        self.refuse_with(&Refusal::new(code, sentence(code)))
    }

    /// The same, with a message of its own.
    pub fn refuse_with(&mut self, refusal: &Refusal) -> NextAction {
        let json = refusal.json();
        let origin = self.request_state.origin.and_then(|number| self.site.origins.text(number));
        let keep_alive = self.request_state.keep_alive;
        let head = Head {
            status: refusal.code.status(),
            content_type: response::JSON,
            body: response::Body::Length(json.len()),
            keep_alive,
            origin: origin.as_deref(),
            date: self.date,
            retry_after_s: retry_after_s(refusal.code),
            fields: &[],
        };
        head.write(self.out);
        self.out.extend_from_slice(json.as_bytes());
        if keep_alive { NextAction::Done } else { NextAction::Close }
    }
}
