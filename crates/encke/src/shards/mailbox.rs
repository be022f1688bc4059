//! The way into a shard: a bounded queue, and a waker that is used once however much is put in, and only
//! while the shard rests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc::{Receiver, SendError, Sender, channel},
};

use mio::Waker;

/// The most commands that wait for one shard.
pub const MAILBOX_MAX: usize = 65_536;

/// The mailbox is full: the shard is behind by [`MAILBOX_MAX`] commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has too much to do")]
pub struct Full;

/// Where commands are put in. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<T> {
    commands: Sender<T>,
    waker_state: Arc<WakerState>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), waker_state: Arc::clone(&self.waker_state) }
    }
}

/// Where the shard takes them out.
#[derive(Debug)]
pub struct Commands<T> {
    commands: Receiver<T>,
    waker_state: Arc<WakerState>,
}

#[derive(Debug)]
struct WakerState {
    waker: Waker,
    /// Whether no wakeup is needed: the shard is awake, or another sender has woken it.
    is_woken: AtomicBool,
    missed: AtomicBool,
    /// Whether the shard is gone, and takes nothing out any more.
    gone: AtomicBool,
    /// How many commands wait. It is raised before a command is there, so that none is overlooked. The queue
    /// itself is unbounded, since a bounded one of `std` takes all of its memory at once.
    waiting: AtomicUsize,
}

/// A mailbox that wakes a poll by `waker`.
#[must_use]
pub fn mailbox<T>(waker: Waker) -> (Mailbox<T>, Commands<T>) {
    let (sender, receiver) = channel();
    let waker_state = Arc::new(WakerState {
        waker,
        is_woken: AtomicBool::new(false),
        missed: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
    });
    (
        Mailbox { commands: sender, waker_state: Arc::clone(&waker_state) },
        Commands { commands: receiver, waker_state },
    )
}

impl<T> Mailbox<T> {
    /// Puts a command in, without waiting.
    ///
    /// # Errors
    /// [`Full`]; also when the shard is gone.
    pub fn post(&self, command: T) -> Result<(), Full> {
        self.offer(command).map_err(|_| Full)
    }

    /// Puts a command in, or gives it back for another try.
    ///
    /// # Errors
    /// The command when the mailbox is full; nothing when the shard is gone.
    pub fn offer(&self, command: T) -> Result<(), Option<T>> {
        let offered = self.leave(command);
        self.wake();
        offered
    }

    fn leave(&self, command: T) -> Result<(), Option<T>> {
        let offered = if self.waker_state.waiting.fetch_add(1, Ordering::SeqCst) >= MAILBOX_MAX {
            Err(Some(command))
        } else {
            self.commands.send(command).map_err(|SendError(_)| None)
        };
        if offered.is_err() {
            self.waker_state.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        offered
    }

    /// Whether a command would be taken now: for a caller that relies on the shard without a question.
    ///
    /// # Errors
    /// As [`Mailbox::post`].
    pub fn check(&self) -> Result<(), Full> {
        let state = &self.waker_state;
        let takes =
            !state.gone.load(Ordering::Acquire) && state.waiting.load(Ordering::Acquire) < MAILBOX_MAX;
        if takes { Ok(()) } else { Err(Full) }
    }

    /// Puts a command in however many wait: one that must not be lost, of a kind that is bounded otherwise.
    pub fn post_always(&self, command: T) {
        self.waker_state.waiting.fetch_add(1, Ordering::SeqCst);
        if self.commands.send(command).is_err() {
            // The shard is gone, and with it whatever the command was about.
            self.waker_state.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.wake();
    }

    /// Puts a command in that may be lost, as long as the shard knows that some were.
    pub fn post_or_miss(&self, command: T) {
        self.leave_or_miss(command);
        self.wake();
    }

    /// The same without waking the shard, for callers that put in more than one: a caller that leaves
    /// commands wakes it afterwards.
    pub fn leave_or_miss(&self, command: T) {
        if self.leave(command).is_err() {
            self.waker_state.missed.store(true, Ordering::SeqCst);
        }
    }

    /// Wakes the shard if it rests.
    pub fn wake(&self) {
        if !self.waker_state.is_woken.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker_state.waker.wake()
        {
            // The shard still looks in at its next tick.
            tracing::warn!(%error, "a shard could not be woken");
        }
    }
}

impl<T> Drop for Commands<T> {
    fn drop(&mut self) {
        self.waker_state.gone.store(true, Ordering::Release);
    }
}

impl<T> Commands<T> {
    /// The shard is about to rest: what is put in from now on wakes it. False when something is there
    /// already, for which no sender will wake it any more.
    #[must_use]
    pub fn rest(&self) -> bool {
        self.waker_state.is_woken.store(false, Ordering::SeqCst);
        self.waker_state.waiting.load(Ordering::SeqCst) == 0
            && !self.waker_state.missed.load(Ordering::SeqCst)
    }

    /// The shard is awake, and looks in before it rests: no wakeup is needed.
    pub fn rise(&self) {
        self.waker_state.is_woken.store(true, Ordering::SeqCst);
    }

    /// Whether commands were missed since this was asked last.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.waker_state.missed.swap(false, Ordering::SeqCst)
    }

    /// The next command, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        let command = self.commands.try_recv().ok()?;
        self.waker_state.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(command)
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    #[test]
    fn a_full_mailbox_gives_commands_back_and_says_that_some_were_missed() {
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        (0..MAILBOX_MAX).for_each(|number| {
            mailbox.check().unwrap();
            mailbox.post(number).unwrap();
        });
        assert_eq!(mailbox.check(), Err(Full));
        assert_eq!(mailbox.offer(7), Err(Some(7)));
        mailbox.post_or_miss(8);
        mailbox.post_always(MAILBOX_MAX);
        assert!(commands.missed(), "one was missed");
        assert!(!commands.missed(), "and only one");
        assert_eq!(commands.next(), Some(0));
        assert_eq!(mailbox.offer(7), Err(Some(7)), "what is always taken counts as well");
        assert_eq!(commands.next(), Some(1));
        assert_eq!(mailbox.post(9), Ok(()), "there is room again");
        let rest: Vec<usize> = std::iter::from_fn(|| commands.next()).collect();
        assert_eq!(mailbox.check(), Ok(()));
        assert_eq!((rest.len(), rest.last()), (MAILBOX_MAX, Some(&9)));
        drop(commands);
        assert_eq!(mailbox.check(), Err(Full));
        assert_eq!(mailbox.offer(1), Err(None), "the shard is gone");
    }

    #[test]
    fn the_waker_is_used_only_for_a_shard_that_rests() {
        let mut poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut events = mio::Events::with_capacity(4);
        let mut woken = || {
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        commands.rise();
        mailbox.post(1).unwrap();
        assert!(!woken(), "it is awake");
        assert!(!commands.rest(), "it must not rest, since no sender wakes it for what is there");
        assert_eq!(commands.next(), Some(1));
        assert!(commands.rest());
        mailbox.post(2).unwrap();
        mailbox.post(3).unwrap();
        assert!(woken());
        assert!(!woken(), "once is enough");
    }
}
