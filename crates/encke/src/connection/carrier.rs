//! Connections that hyper has, as far as the table asks whether their peers have acknowledged what
//! it gave to hyper.
//!
//! Three things have to be true of such bytes: hyper has taken them, it has handed all that it had to
//! the kernel since, and the peer's kernel has acknowledged that. The first is known
//! where hyper asks for the body ([`Given`]), the second where it flushes the connection, and the third
//! from the socket.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use encke_batch::unacknowledged;
use tokio::net::TcpStream;

/// A connection that hyper has.
#[derive(Debug)]
pub struct Carrier {
    /// Questions about it do not keep it open.
    socket: Weak<TcpStream>,
    /// Numbers what is to be flushed, from 1.
    begun: AtomicU64,
    /// Up to which of these numbers all was handed to the kernel.
    flushed: AtomicU64,
    /// How many bytes the kernel has taken.
    written: AtomicU64,
    /// Whether hyper has taken anything for it.
    given: AtomicBool,
    /// Whether the peer had acknowledged everything when the connection ended.
    ended_well: AtomicBool,
}

/// What hyper has taken of one response.
#[derive(Debug)]
pub struct Given {
    carrier: Arc<Carrier>,
    /// Whether several responses share the connection, whose peer says how much it takes of each (HTTP/2).
    shared: bool,
    /// So many bytes, and the number up to which must be flushed for them to be with the kernel.
    taken: Mutex<(u64, u64)>,
}

/// What was given to hyper before a receipt is due.
#[derive(Debug)]
pub struct Sent {
    given: Arc<Given>,
    /// So many bytes of the response.
    bytes: u64,
    /// The kernel had taken so many bytes of the connection when they were among them.
    written: Option<u64>,
}

/// What is known of the peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It has acknowledged it.
    Yes,
    /// It has not.
    NotYet,
    /// The connection ended before, so it will never be known.
    Never,
}

impl Carrier {
    /// A connection at its beginning.
    #[must_use]
    pub fn new(socket: &Arc<TcpStream>) -> Arc<Self> {
        Self::on(Arc::downgrade(socket))
    }

    /// One whose socket cannot be asked, for tests of what happens above it.
    #[cfg(test)]
    pub(crate) fn of_none() -> Arc<Self> {
        Self::on(Weak::new())
    }

    fn on(socket: Weak<TcpStream>) -> Arc<Self> {
        Arc::new(Self {
            socket,
            begun: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            given: AtomicBool::new(false),
            ended_well: AtomicBool::new(false),
        })
    }

    /// hyper goes on with a connection that several responses share.
    pub fn goes_on(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// The kernel has taken so many bytes.
    pub fn wrote(&self, count: usize) {
        self.written.fetch_add(count as u64, Ordering::SeqCst);
    }

    /// Everything that hyper had for the connection is with the kernel.
    pub fn has_flushed(&self) {
        self.flushed.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Whether something that was given to hyper for the connection may not be acknowledged yet.
    #[must_use]
    pub fn waits(&self) -> bool {
        let given = self.given.load(Ordering::SeqCst);
        given
            && self
                .socket
                .upgrade()
                .is_some_and(|socket| unacknowledged(&socket).is_ok_and(|count| count > 0))
    }

    /// The connection ends.
    pub fn ends(&self, socket: &TcpStream) {
        self.ended_well.store(unacknowledged(socket).is_ok_and(|count| count == 0), Ordering::SeqCst);
    }
}

impl Given {
    /// Nothing yet, of a response on a connection that others share or not.
    #[must_use]
    pub fn new(carrier: Arc<Carrier>, shared: bool) -> Arc<Self> {
        Arc::new(Self { carrier, shared, taken: Mutex::default() })
    }

    /// Whether several responses share the connection.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// hyper asks for more, and has taken so many bytes before. On a connection that is shared they are
    /// past what the peer takes of a response (see [`super::HyperBody`]), and go out with
    /// the next turn of the connection, which is another task.
    pub fn asks(&self, taken: u64) {
        if self.shared {
            self.note(taken, self.carrier.begun.load(Ordering::SeqCst) + 1);
        }
    }

    /// hyper takes what makes so many bytes. On a connection of its own they go out with the next
    /// flush, which is in the same task.
    pub fn takes(&self, taken: u64) {
        if !self.shared {
            self.note(taken, self.carrier.begun.fetch_add(1, Ordering::SeqCst) + 1);
        }
    }

    fn note(&self, taken: u64, flush: u64) {
        self.carrier.given.store(true, Ordering::SeqCst);
        let mut noted = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0 < taken {
            *noted = (taken, flush);
        }
    }

    fn is_with_the_kernel(&self, bytes: u64) -> bool {
        let (taken, flush) = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken >= bytes && self.carrier.flushed.load(Ordering::SeqCst) >= flush
    }
}

impl Sent {
    /// The first so many bytes of a response.
    #[must_use]
    pub fn new(given: &Arc<Given>, bytes: u64) -> Self {
        Self { given: Arc::clone(given), bytes, written: None }
    }

    /// Whether the peer's kernel has acknowledged it.
    pub fn acknowledged(&mut self) -> Acknowledged {
        let carrier = &self.given.carrier;
        let socket = carrier.socket.upgrade();
        if self.written.is_none() && self.given.is_with_the_kernel(self.bytes) {
            self.written = Some(carrier.written.load(Ordering::SeqCst));
        }
        match (self.written, socket) {
            (Some(_), None) if carrier.ended_well.load(Ordering::SeqCst) => Acknowledged::Yes,
            (_, None) => Acknowledged::Never,
            (None, Some(_)) => Acknowledged::NotYet,
            (Some(written), Some(socket)) => {
                // Read before the kernel is asked: what is written between the two counts as not
                // acknowledged, and not the other way round.
                let behind = carrier.written.load(Ordering::SeqCst) - written;
                match unacknowledged(&socket) {
                    Ok(count) if count as u64 <= behind => Acknowledged::Yes,
                    Ok(_) => Acknowledged::NotYet,
                    Err(_) => Acknowledged::Never,
                }
            }
        }
    }
}
