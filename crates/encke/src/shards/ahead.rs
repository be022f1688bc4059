//! What the table is ahead of hyper with one response: pieces of it that were written and that hyper has not
//! taken. Nothing is held for one that hyper has caught up with.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

/// How many pieces hyper may be behind before its receiver counts as slow.
const PIECES_MAX: usize = 4;
/// And how many bytes, which is how much hyper is given at a time. For a receiver that takes nothing so much
/// is kept here, as much again by HTTP/2 until the client lets it come, and as much in the frame that is
/// being written.
const AHEAD_MAX_BYTES: usize = 8 * 1024;

/// The pieces, which one thread puts in and another takes out. It is a channel that costs a fifth of tokio's
/// while it is empty, and it nearly always is.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// How many bytes there are in all pieces.
    bytes: usize,
    /// Whether the table is to be told when hyper has taken something.
    wants: bool,
    /// Whether the table writes no more.
    ended: bool,
    /// Whether hyper takes no more.
    closed: bool,
    /// Who waits for the next piece.
    waker: Option<Waker>,
}

/// Hyper takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// What hyper has taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    /// Whether the table is to be told.
    pub(super) wanted: bool,
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No change of the state stops halfway, so that it is whole even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what there is room for; how many bytes that was. If it is not all, hyper is asked to say when
    /// it has taken something.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<usize, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let mut rest = bytes;
        while !rest.is_empty() && state.pieces.len() < PIECES_MAX {
            let (piece, behind) = rest.split_at(state.room(rest.len()));
            if piece.is_empty() {
                break;
            }
            state.bytes += piece.len();
            state.pieces.push_back(Bytes::copy_from_slice(piece));
            rest = behind;
        }
        state.wants |= !rest.is_empty();
        let waker = if state.pieces.is_empty() { None } else { state.waker.take() };
        drop(state);
        wake(waker);
        Ok(bytes.len() - rest.len())
    }

    /// The table writes no more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Hyper takes no more. What it has not taken is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.bytes = 0;
        state.waker = None;
        let pieces = std::mem::take(&mut state.pieces);
        drop(state);
        drop(pieces);
    }

    /// Whether hyper takes no more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes the next piece; none when the table writes no more.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let mut state = self.lock();
        let Some(bytes) = state.pieces.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.bytes -= bytes.len();
        if state.pieces.is_empty() {
            state.pieces = VecDeque::new();
        }
        let wanted = std::mem::take(&mut state.wants);
        Poll::Ready(Some(Taken { bytes, wanted }))
    }
}

impl State {
    /// How many of so many bytes there is room for. Not a small part of many: pieces would become ever
    /// smaller.
    fn room(&self, count: usize) -> usize {
        let room = AHEAD_MAX_BYTES.saturating_sub(self.bytes);
        if room < count && room < AHEAD_MAX_BYTES / 2 { 0 } else { room.min(count) }
    }
}

/// Outside of the lock: the one who is woken takes it.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// How often it was woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(ahead: &Ahead) -> Option<(usize, bool)> {
        match ahead.poll_take(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(taken)) => Some((taken.bytes.len(), taken.wanted)),
            _ => None,
        }
    }

    #[test]
    fn what_is_ahead_is_bounded_and_the_table_is_told_once_when_it_can_go_on() {
        let ahead = Ahead::default();
        let most = AHEAD_MAX_BYTES * 5 / 8;
        assert_eq!(ahead.put(&vec![0; most]), Ok(most));
        // The rest of the room is a small part of what there is.
        assert_eq!(ahead.put(&[0; 20_000]), Ok(0));
        assert_eq!(take(&ahead), Some((most, true)));
        assert_eq!(ahead.put(&[0; 20_000]), Ok(AHEAD_MAX_BYTES));
        assert_eq!(take(&ahead), Some((AHEAD_MAX_BYTES, true)));
        for _ in 0..PIECES_MAX {
            assert_eq!(ahead.put(&[0; 1]), Ok(1));
        }
        assert_eq!(ahead.put(&[0; 1]), Ok(0), "so many pieces, however small");
        let taken: Vec<_> = std::iter::from_fn(|| take(&ahead)).collect();
        assert_eq!(taken, [(1, true), (1, false), (1, false), (1, false)]);
        assert_eq!(ahead.lock().pieces.capacity(), 0, "nothing is held then");
    }

    #[test]
    fn who_waits_for_a_piece_or_the_end_is_woken_and_takes_all_before_the_end() {
        let (ahead, wakes) = (Ahead::default(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let woken = || wakes.0.load(Ordering::Relaxed);
        assert!(ahead.poll_take(&mut cx).is_pending());
        assert_eq!((ahead.put(b""), woken()), (Ok(0), 0), "there is nothing to take");
        assert_eq!((ahead.put(b"one"), woken()), (Ok(3), 1));
        assert_eq!((ahead.put(b"two"), woken()), (Ok(3), 1), "it has not asked again");
        ahead.end();
        assert_eq!((take(&ahead), take(&ahead)), (Some((3, false)), Some((3, false))));
        assert_eq!(ahead.poll_take(&mut cx), Poll::Ready(None));
        let ahead = Ahead::default();
        assert!(ahead.poll_take(&mut cx).is_pending());
        ahead.end();
        assert_eq!(woken(), 2);
    }

    #[test]
    fn what_is_not_taken_any_more_is_refused_and_dropped() {
        let ahead = Ahead::default();
        assert_eq!(ahead.put(b"one"), Ok(3));
        ahead.close();
        assert_eq!((ahead.is_closed(), ahead.put(b"two")), (true, Err(Closed)));
        assert_eq!(ahead.lock().bytes, 0);
    }
}
