//! The way into a shard: a bounded queue, and a waker that is used once however much is put in, and only
//! while the shard rests.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mio::Waker;

/// The most commands that wait for one shard.
pub const MAILBOX_MAX: usize = 65_536;
/// For how many commands room is kept when none waits.
const KEPT: usize = 1_024;

/// The mailbox is full: the shard is behind by [`MAILBOX_MAX`] commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has too much to do")]
pub struct Full;

/// Where commands are put in. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<T>(Arc<Shared<T>>);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Where the shard takes them out.
#[derive(Debug)]
pub struct Commands<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// Held for as long as it takes to put one in or to take one out, and never while anything is done.
    queue: Mutex<Queue<T>>,
    waker: Waker,
    /// Whether no wakeup is needed: the shard is awake, or another sender has woken it.
    is_woken: AtomicBool,
}

#[derive(Debug)]
struct Queue<T> {
    commands: VecDeque<T>,
    missed: bool,
    /// Whether the shard is gone, and takes nothing out any more.
    gone: bool,
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn offer(&mut self, command: T) -> Result<(), Option<T>> {
        if self.gone {
            return Err(None);
        }
        if self.commands.len() >= MAILBOX_MAX {
            return Err(Some(command));
        }
        self.commands.push_back(command);
        Ok(())
    }
}

/// A mailbox that wakes a poll by `waker`.
#[must_use]
pub fn mailbox<T>(waker: Waker) -> (Mailbox<T>, Commands<T>) {
    let queue = Queue { commands: VecDeque::new(), missed: false, gone: false };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), waker, is_woken: AtomicBool::new(false) });
    (Mailbox(Arc::clone(&shared)), Commands(shared))
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
        let offered = self.0.queue().offer(command);
        self.wake();
        offered
    }

    /// Whether a command would be taken now: for a caller that relies on the shard without a question.
    ///
    /// # Errors
    /// As [`Mailbox::post`].
    pub fn check(&self) -> Result<(), Full> {
        let queue = self.0.queue();
        if !queue.gone && queue.commands.len() < MAILBOX_MAX { Ok(()) } else { Err(Full) }
    }

    /// Puts a command in however many wait: one that must not be lost, of a kind that is bounded otherwise.
    pub fn post_always(&self, command: T) {
        let mut queue = self.0.queue();
        // Once the shard is gone, so is whatever the command was about.
        if !queue.gone {
            queue.commands.push_back(command);
        }
        drop(queue);
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
        let mut queue = self.0.queue();
        let left = queue.offer(command);
        queue.missed |= left.is_err();
        drop(queue);
    }

    /// Wakes the shard if it rests.
    pub fn wake(&self) {
        if !self.0.is_woken.swap(true, Ordering::SeqCst)
            && let Err(error) = self.0.waker.wake()
        {
            // The shard still looks in at its next tick.
            tracing::warn!(%error, "a shard could not be woken");
        }
    }
}

impl<T> Drop for Commands<T> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.gone = true;
        let left = mem::take(&mut queue.commands);
        // What is dropped with them may have its own to do with a mailbox.
        drop(queue);
        drop(left);
    }
}

impl<T> Commands<T> {
    /// The shard is about to rest: what is put in from now on wakes it. False when something is there
    /// already, for which no sender will wake it any more.
    #[must_use]
    pub fn rest(&self) -> bool {
        // Before the queue is looked at: what comes behind that look finds that it has to wake.
        self.0.is_woken.store(false, Ordering::SeqCst);
        let queue = self.0.queue();
        queue.commands.is_empty() && !queue.missed
    }

    /// The shard is awake, and looks in before it rests: no wakeup is needed.
    pub fn rise(&self) {
        self.0.is_woken.store(true, Ordering::SeqCst);
    }

    /// Whether commands were missed since this was asked last.
    #[must_use]
    pub fn missed(&self) -> bool {
        mem::take(&mut self.0.queue().missed)
    }

    /// The next command, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        let mut queue = self.0.queue();
        let command = queue.commands.pop_front();
        if command.is_none() && queue.commands.capacity() > KEPT {
            // So many have waited together once.
            queue.commands = VecDeque::new();
        }
        command
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

    /// A caller that waits for the answer to a question learns in this way that none will come.
    #[test]
    fn what_waits_for_a_shard_that_goes_is_dropped() {
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let question = Arc::new(());
        mailbox.post(Arc::clone(&question)).unwrap();
        drop(commands);
        assert_eq!(Arc::strong_count(&question), 1);
        mailbox.post_always(Arc::clone(&question));
        mailbox.post_or_miss(Arc::clone(&question));
        assert_eq!(Arc::strong_count(&question), 1, "nor is anything kept that comes later");
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
