//! What publishers, subscribers and the supervisor saw, in the order in which they wrote it down.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use encke_client::ReceiptState;
use encke_proto::{ChannelName, Cursor, Position, UserId};

/// A message, as its publisher numbers it. 0 is a message that is not as it was sent.
pub type Id = u64;

/// One thing that a client or a publisher saw.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "some of it is for readers of a history that was kept")]
pub enum Note {
    /// A publisher is about to send a message to these channels; a push goes to its users' own.
    Invoked { id: Id, to: Vec<ChannelName> },
    /// It was accepted. A push is not told its positions, but what its receipts are asked for by.
    Accepted { id: Id, at: Vec<(ChannelName, Position)>, push: Option<String> },
    /// It is not known what became of an attempt. It will be tried again with the same key.
    Unknown { id: Id },
    /// A client without a past has a session, which follows these channels and begins there.
    Began { client: usize, user: UserId, cursor: Cursor },
    /// A client without a past asked for a session, and it is not known what became of that: messages may
    /// have been handed to a connection that it never saw.
    Tried { client: usize },
    /// A client's next connection goes on from there.
    Resumed { client: usize, cursor: Cursor },
    /// The application was handed a message.
    Delivered { client: usize, channel: ChannelName, position: Position, id: Id },
    /// The application was told of a gap.
    Gap { client: usize, channel: ChannelName, from: u64, to: Option<u64> },
    /// The server took the client's word that a person saw what the cursor covers.
    Acked { client: usize, cursor: Cursor },
    /// The client closed its session on purpose, and that was answered.
    Ended { client: usize },
    /// Something was done to the server.
    Fault(String),
    /// The engine is one that goes on in another epoch after it was restarted.
    Lineages,
    /// The engine itself may have lost what was accepted from `since_ms` until `until_ms`.
    Loss { since_ms: u64, until_ms: u64 },
    /// No connection serves a client any more.
    Cut { client: usize },
    /// A restart of all nodes, one after the other, in good weather; or its end.
    Rolling { begins: bool },
    /// What the server has of a channel, from the oldest to the newest: when all is healed, or before the
    /// engine loses something. It was asked at `asked_ms`.
    Log { channel: ChannelName, asked_ms: u64, entries: Vec<(Position, Id)> },
    /// What the server says of a push to a user.
    Receipt { id: Id, user: UserId, state: ReceiptState },
    /// How many sessions the server lists for a user, and whether it says that the user is online; asked for
    /// the `look`th time.
    Listed { look: usize, user: UserId, online: bool, sessions: usize },
    /// How many there are in truth.
    Truth { look: usize, user: UserId, sessions: usize },
    /// All is healed, and this client should have everything.
    Judged { client: usize },
    /// Something does not come to its end although nothing is in its way.
    Stuck(String),
    /// A user who is online and not there.
    Ghost(String),
    /// Something that must not happen, and that no history is needed to see.
    Broken(String),
}

/// Where all tasks write.
#[derive(Clone, Debug)]
pub struct Evidence {
    began: Instant,
    notes: Arc<Mutex<Vec<(u64, Note)>>>,
    deliveries: Arc<AtomicU64>,
}

impl Evidence {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), notes: Arc::default(), deliveries: Arc::default() }
    }

    /// Writes down what happened just now.
    pub fn note(&self, note: Note) {
        if matches!(note, Note::Delivered { .. }) {
            self.deliveries.fetch_add(1, Ordering::Relaxed);
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the times rise with the order.
        let ms = self.elapsed_ms();
        notes.push((ms, note));
    }

    /// How long the run has taken.
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The same in the unit of the notes, milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many messages applications were handed.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// What of the notes so far `pick` makes something of.
    #[must_use]
    pub fn picked<T>(&self, pick: impl FnMut(&(u64, Note)) -> Option<T>) -> Vec<T> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(pick).collect()
    }

    /// Everything so far. Nothing is left.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, Note)> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes notes to a file, a line each: their number, their time in milliseconds, and what they say.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(notes: &[(u64, Note)], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for (number, (ms, note)) in notes.iter().enumerate() {
        writeln!(file, "{number} {ms} {note:?}")?;
    }
    file.flush()
}
