//! The way into a shard: a bounded queue, and a bell that is rung once however much is put in.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use mio::Waker;

/// The most letters that wait for one shard.
pub const MAILBOX_MAX: usize = 65_536;

/// The mailbox is full: the shard is behind by [`MAILBOX_MAX`] letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has too much to do")]
pub struct Full;

/// Where letters are put in. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<T> {
    letters: SyncSender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), bell: Arc::clone(&self.bell) }
    }
}

/// Where the shard takes them out.
#[derive(Debug)]
pub struct Letters<T> {
    letters: Receiver<T>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    waker: Waker,
    rung: AtomicBool,
    missed: AtomicBool,
}

/// A mailbox that wakes a poll by `waker`.
#[must_use]
pub fn mailbox<T>(waker: Waker) -> (Mailbox<T>, Letters<T>) {
    let (sender, receiver) = sync_channel(MAILBOX_MAX);
    let bell = Arc::new(Bell { waker, rung: AtomicBool::new(false), missed: AtomicBool::new(false) });
    (Mailbox { letters: sender, bell: Arc::clone(&bell) }, Letters { letters: receiver, bell })
}

impl<T> Mailbox<T> {
    /// Puts a letter in, without waiting.
    ///
    /// # Errors
    /// [`Full`]; also when the shard is gone.
    pub fn post(&self, letter: T) -> Result<(), Full> {
        let posted = match self.letters.try_send(letter) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        };
        self.ring();
        posted
    }

    /// Puts a letter in, or gives it back for another try.
    ///
    /// # Errors
    /// The letter when the mailbox is full; nothing when the shard is gone.
    pub fn offer(&self, letter: T) -> Result<(), Option<T>> {
        let offered = match self.letters.try_send(letter) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(letter)) => Err(Some(letter)),
            Err(TrySendError::Disconnected(_)) => Err(None),
        };
        self.ring();
        offered
    }

    /// Puts a letter in that may be lost, as long as the shard knows that some were.
    pub fn post_or_miss(&self, letter: T) {
        if self.letters.try_send(letter).is_err() {
            self.bell.missed.store(true, Ordering::Release);
        }
        self.ring();
    }

    fn ring(&self) {
        if !self.bell.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.bell.waker.wake()
        {
            // The shard still looks in at its next tick.
            tracing::warn!(%error, "a shard could not be woken");
        }
    }
}

impl<T> Letters<T> {
    /// Begins to take letters out: what is put in from now on rings the bell again. True when letters were missed since the last time.
    pub fn begin(&self) -> bool {
        self.bell.rung.store(false, Ordering::Release);
        self.bell.missed.swap(false, Ordering::AcqRel)
    }

    /// The next letter, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        self.letters.try_recv().ok()
    }

    /// Rings the bell for oneself, when letters are left for the next turn.
    ///
    /// # Errors
    /// When the poll cannot be woken.
    pub fn leave(&self) -> io::Result<()> {
        self.bell.waker.wake()
    }
}
