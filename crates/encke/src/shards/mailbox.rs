//! The way into a shard: a bounded queue, and a bell that is rung once however much is put in, and only while
//! the shard rests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc::{Receiver, SendError, Sender, channel},
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
    letters: Sender<T>,
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
    /// Whether nobody needs to ring: the shard is awake, or somebody has.
    rung: AtomicBool,
    missed: AtomicBool,
    /// How many letters wait. It is raised before a letter is there, so that none is overlooked. The queue
    /// itself is unbounded, since a bounded one of the standard library takes all of its memory at once.
    waiting: AtomicUsize,
}

/// A mailbox that wakes a poll by `waker`.
#[must_use]
pub fn mailbox<T>(waker: Waker) -> (Mailbox<T>, Letters<T>) {
    let (sender, receiver) = channel();
    let bell = Arc::new(Bell {
        waker,
        rung: AtomicBool::new(false),
        missed: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
    });
    (Mailbox { letters: sender, bell: Arc::clone(&bell) }, Letters { letters: receiver, bell })
}

impl<T> Mailbox<T> {
    /// Puts a letter in, without waiting.
    ///
    /// # Errors
    /// [`Full`]; also when the shard is gone.
    pub fn post(&self, letter: T) -> Result<(), Full> {
        self.offer(letter).map_err(|_| Full)
    }

    /// Puts a letter in, or gives it back for another try.
    ///
    /// # Errors
    /// The letter when the mailbox is full; nothing when the shard is gone.
    pub fn offer(&self, letter: T) -> Result<(), Option<T>> {
        let offered = if self.bell.waiting.fetch_add(1, Ordering::SeqCst) >= MAILBOX_MAX {
            Err(Some(letter))
        } else {
            self.letters.send(letter).map_err(|SendError(_)| None)
        };
        if offered.is_err() {
            self.bell.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.ring();
        offered
    }

    /// Puts a letter in however many wait: one that must not be lost, of a kind that is bounded otherwise.
    pub fn post_always(&self, letter: T) {
        self.bell.waiting.fetch_add(1, Ordering::SeqCst);
        if self.letters.send(letter).is_err() {
            // The shard is gone, and with it whatever the letter was about.
            self.bell.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.ring();
    }

    /// Puts a letter in that may be lost, as long as the shard knows that some were.
    pub fn post_or_miss(&self, letter: T) {
        if self.offer(letter).is_err() {
            self.bell.missed.store(true, Ordering::SeqCst);
            self.ring();
        }
    }

    fn ring(&self) {
        if !self.bell.rung.swap(true, Ordering::SeqCst)
            && let Err(error) = self.bell.waker.wake()
        {
            // The shard still looks in at its next tick.
            tracing::warn!(%error, "a shard could not be woken");
        }
    }
}

impl<T> Letters<T> {
    /// The shard is about to rest: what is put in from now on rings the bell. False when something is there
    /// already, for which nobody may ring any more.
    #[must_use]
    pub fn rest(&self) -> bool {
        self.bell.rung.store(false, Ordering::SeqCst);
        self.bell.waiting.load(Ordering::SeqCst) == 0 && !self.bell.missed.load(Ordering::SeqCst)
    }

    /// The shard is awake, and looks in before it rests: nobody needs to ring.
    pub fn rise(&self) {
        self.bell.rung.store(true, Ordering::SeqCst);
    }

    /// Whether letters were missed since this was asked last.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.bell.missed.swap(false, Ordering::SeqCst)
    }

    /// The next letter, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        let letter = self.letters.try_recv().ok()?;
        self.bell.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    #[test]
    fn a_full_mailbox_gives_letters_back_and_says_that_some_were_missed() {
        let poll = Poll::new().unwrap();
        let (mailbox, letters) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        (0..MAILBOX_MAX).for_each(|number| mailbox.post(number).unwrap());
        assert_eq!(mailbox.offer(7), Err(Some(7)));
        mailbox.post_or_miss(8);
        mailbox.post_always(MAILBOX_MAX);
        assert!(letters.missed(), "one was missed");
        assert!(!letters.missed(), "and only one");
        assert_eq!(letters.next(), Some(0));
        assert_eq!(mailbox.offer(7), Err(Some(7)), "what is always taken counts as well");
        assert_eq!(letters.next(), Some(1));
        assert_eq!(mailbox.post(9), Ok(()), "there is room again");
        let rest: Vec<usize> = std::iter::from_fn(|| letters.next()).collect();
        assert_eq!((rest.len(), rest.last()), (MAILBOX_MAX, Some(&9)));
        drop(letters);
        assert_eq!(mailbox.offer(1), Err(None), "the shard is gone");
    }

    #[test]
    fn the_bell_is_rung_only_for_a_shard_that_rests() {
        let mut poll = Poll::new().unwrap();
        let (mailbox, letters) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut events = mio::Events::with_capacity(4);
        let mut rung = || {
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        letters.rise();
        mailbox.post(1).unwrap();
        assert!(!rung(), "it is awake");
        assert!(!letters.rest(), "it must not rest, since nobody rings for what is there");
        assert_eq!(letters.next(), Some(1));
        assert!(letters.rest());
        mailbox.post(2).unwrap();
        mailbox.post(3).unwrap();
        assert!(rung());
        assert!(!rung(), "once is enough");
    }
}
