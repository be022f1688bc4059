//! A connection in the table and the states that it goes through. There is a slot for every open socket, so
//! what only some connections need is boxed.

use std::{io, sync::Arc, time::Instant};

use encke_hub::{Key, Now, Wheel};

use super::{InlineWaker, Sink};
use crate::connection::head::HEAD_MAX_BYTES;
use crate::{
    inline::Running,
    transports::{ConnectionState, Duplex, RequestState, Transport},
};

/// A connection in the table.
#[derive(Debug)]
pub struct Slot {
    /// What it writes to.
    pub sink: Sink,
    /// What it is doing.
    pub state: State,
    /// When something is to happen if nothing else does, in milliseconds of the clock that never goes back.
    /// It counts only while all that was written is with the kernel; see [`Slot::due_ms`].
    pub deadline_ms: u64,
    /// When the wheel looks at it next.
    pub look_ms: u64,
    /// How many bytes were written for it, whether or not they are sent, modulo 2^32: less than that is on
    /// its way at a time.
    pub written: u32,
    /// Bytes that the kernel did not take yet. As long as there are any, nothing is pulled: the receiver lags
    /// by its cursor.
    pub unsent: Option<Box<Unsent>>,
    /// Bytes of a request that is not complete, or that came while another waits or is answered; at most
    /// [`crate::connection::head::HEAD_MAX_BYTES`], or for an inline request of a caller that has the key a
    /// body more, and one read.
    pub inbound: Option<Box<Vec<u8>>>,
}

/// What becomes of what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// It is a request, or becomes one when the one before is answered.
    Requests,
    /// It is said in the midst of what is served.
    Now,
    /// The same, but not now: something that was said to the client has not gone out, or something that it
    /// asked is not answered. It stays in the kernel, which makes the client wait.
    Later,
    /// Nothing.
    NoMore,
}

impl Slot {
    /// So many bytes more were written for it.
    pub fn wrote(&mut self, count: usize) {
        // The low bits are what is counted.
        self.written = self.written.wrapping_add(count as u32);
    }

    /// So many bytes that were written for it will not be sent.
    pub fn unwrote(&mut self, count: usize) {
        // The low bits are what is counted.
        self.written = self.written.wrapping_sub(count as u32);
    }

    /// When something is to happen. A receiver that does not take what it was sent has the time for that, and
    /// no other: no state that the connection comes to meanwhile puts it off.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.unsent.as_ref().map_or(self.deadline_ms, |unsent| unsent.look_ms)
    }

    /// Has the wheel look at it, which is at this key, no later than something is to happen.
    pub fn look_in_time(&mut self, wheel: &mut Wheel<u32>, key: Key) {
        let due_ms = self.due_ms();
        if due_ms < self.look_ms {
            self.look_ms = wheel.insert(due_ms, key.index);
        }
    }

    /// Puts what was written for it, from `start` on, into the form in which it is sent, and counts that.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) -> io::Result<()> {
        self.sink.seal(out, start)?;
        self.wrote(out.len() - start);
        Ok(())
    }

    /// The service of a request on this connection, which has not begun.
    #[must_use]
    pub fn new_service(
        &self,
        transport: &'static dyn Transport,
        mut request_state: RequestState,
        state: Option<Box<ConnectionState>>,
    ) -> Service {
        request_state.plain |= self.sink.is_body();
        Service { transport, request_state, ready: false, queued: Queued::default(), state }
    }

    /// What becomes of what its client sends.
    #[must_use]
    pub fn hears(&self) -> Hears {
        match &self.state {
            State::HungUp => Hears::NoMore,
            // What comes behind an inline request waits in the kernel until that is answered.
            State::Asks(_) => Hears::Later,
            // Before the change of protocol is answered, what comes is kept like a next request.
            State::Waits(service) | State::Unclaimed(service) | State::Parting(service)
                if service.request_state.began && service.is_duplex() =>
            {
                if self.unsent.is_some() || service.duplex().is_some_and(|duplex| duplex.asked) {
                    Hears::Later
                } else {
                    Hears::Now
                }
            }
            // What a client sends ahead waits in the kernel, but for as much as a head may have.
            State::Head => Hears::Requests,
            _ if self.inbound.as_ref().is_some_and(|ahead| ahead.len() >= HEAD_MAX_BYTES) => Hears::Later,
            _ => Hears::Requests,
        }
    }
}

/// What the kernel did not take.
#[derive(Debug)]
pub struct Unsent {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How much of it has gone since.
    pub sent: usize,
    /// When all of it must have gone, in milliseconds of the clock that never goes back.
    pub until_ms: u64,
    /// When it is looked at how far the receiver is behind; `until_ms` at the latest.
    pub look_ms: u64,
}

/// What a socket is doing.
#[derive(Debug)]
pub enum State {
    /// Between requests, or in the middle of a request's head.
    Head,
    /// An inline request is under way.
    Asks(Box<Task>),
    /// The other nodes are asked whether a session of theirs goes on here.
    Claims {
        /// Whether the client has ended its side of the connection meanwhile.
        read_closed: bool,
    },
    /// It takes a while to find out what becomes of a request.
    Decides {
        /// Whether the client has ended its side of the connection meanwhile.
        read_closed: bool,
    },
    /// The connection is open, and of no user yet.
    Unclaimed(Service),
    /// A request waits.
    Waits(Service),
    /// The response is complete but not sent; then the next request may come.
    Answered,
    /// The response is complete but not sent; then the socket is freed.
    Closing,
    /// The last was said on a duplex connection; its client has a moment to finish.
    Parting(Service),
    /// Both have said their last, or one is not understood; the client has a moment to hang up. A socket that
    /// was closed with something unread in it would take back what was said last.
    HungUp,
}

impl State {
    /// The service of a request that waits, or has just been ended.
    pub fn service(&mut self) -> Option<&mut Service> {
        match self {
            Self::Waits(service) | Self::Unclaimed(service) | Self::Parting(service) => Some(service),
            _ => None,
        }
    }
}

/// An inline request under way.
pub struct Task {
    /// What is left of it.
    pub running: Running,
    /// Tells the shard when it may have come further.
    pub waker: Arc<InlineWaker>,
    /// How it is answered.
    pub answered: Answered,
}

/// What the answer to an inline request depends on, besides what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The number of its route.
    pub route: usize,
    /// Whether the client keeps the connection afterwards.
    pub keep_alive: bool,
    /// When it began.
    pub began: Instant,
    /// Which key it has: see [`crate::auth::Allowed::key`].
    pub key: u16,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("answered", &self.answered).finish_non_exhaustive()
    }
}

/// The service of a request that waits.
#[derive(Debug)]
pub struct Service {
    /// How it is served.
    pub transport: &'static dyn Transport,
    /// The request.
    pub request_state: RequestState,
    /// Whether there is something to pull, which could not be done yet.
    pub ready: bool,
    /// In which queues of the ready it stands.
    pub queued: Queued,
    /// What is kept of the connection besides.
    pub state: Option<Box<ConnectionState>>,
}

impl Service {
    /// Whether it is duplex.
    #[must_use]
    pub fn is_duplex(&self) -> bool {
        self.duplex().is_some()
    }

    /// What is kept of a duplex connection.
    #[must_use]
    pub fn duplex(&self) -> Option<&Duplex> {
        self.state.as_ref()?.duplex()
    }

    /// The same, to be changed.
    pub fn duplex_mut(&mut self) -> Option<&mut Duplex> {
        self.state.as_mut()?.duplex_mut()
    }

    /// How long it may stay silent until it is looked at, in milliseconds: a heartbeat, or less when a
    /// message that its client has begun is due before.
    pub fn silence_ms(&self, heartbeat_ms: u64, now: Now) -> u64 {
        let due_ms = self.duplex().and_then(Duplex::due_ms);
        due_ms.map_or(heartbeat_ms, |due_ms| due_ms.saturating_sub(now.mono_ms).min(heartbeat_ms))
    }
}

/// In which queues of a shard's ready connections one stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queued {
    /// In that of slots that became ready alone.
    pub targeted: bool,
    /// In one of those of broadcasts.
    pub broadcast: bool,
    /// In which round of the shard's pacing it was last sent a broadcast; 0 when it never was.
    pub round: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each who waits.
    #[test]
    fn a_slot_is_small() {
        // Without optimisation the poll's sockets hold what tells whether they are misused.
        let checks = if cfg!(debug_assertions) { 8 } else { 0 };
        let sizes = [size_of::<Sink>(), size_of::<State>(), size_of::<RequestState>(), size_of::<Duplex>()];
        // Two lines of a processor's cache.
        assert!(
            size_of::<Slot>() <= 128 + checks,
            "{}: sink, state, request, duplex {sizes:?}",
            size_of::<Slot>()
        );
    }
}
