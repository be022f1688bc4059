//! What a client takes of what it is sent, and until when it has to have taken more: of a socket, and of the
//! streams of HTTP/2, which clients may hold back although their socket takes all.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// A client that takes less than this of what waits for it is not waited for, in bytes a second.
const RATE_MIN_BYTES_S: u64 = 1_024;
/// How long a stream may be held back while its client takes of others.
const STREAM_HELD_MAX: Duration = Duration::from_secs(60);

/// What a socket takes.
#[derive(Debug, Default)]
pub(super) struct SocketProgress(Option<Behind>);

/// Something waits for a socket.
#[derive(Debug)]
struct Behind {
    since: Instant,
    /// When the socket last took any of it.
    moved: Instant,
    /// How much it has taken meanwhile, in bytes.
    taken: u64,
}

impl SocketProgress {
    /// The socket was offered something, of which it has taken this many bytes, if any.
    pub(super) fn offered(&mut self, taken: Option<usize>, now: Instant) {
        match taken {
            None => {
                self.0.get_or_insert(Behind { since: now, moved: now, taken: 0 });
            }
            Some(count) => {
                if let Some(behind) = &mut self.0 {
                    behind.moved = now;
                    behind.taken = behind.taken.saturating_add(count as u64);
                }
            }
        }
    }

    /// It has taken all.
    pub(super) fn caught_up(&mut self) {
        self.0 = None;
    }

    /// Whether something waits for it.
    pub(super) fn is_behind(&self) -> bool {
        self.0.is_some()
    }

    /// When what waits for it has waited for too long: it took nothing for `stalled`, or too little since it
    /// fell behind.
    pub(super) fn deadline(&self, stalled: Duration) -> Option<Instant> {
        let behind = self.0.as_ref()?;
        let earned = Duration::from_millis(behind.taken.saturating_mul(1_000) / RATE_MIN_BYTES_S);
        Some((behind.moved + stalled).min(behind.since + stalled + earned))
    }
}

/// What the streams of a connection take.
#[derive(Debug, Default)]
pub(super) struct StreamProgress {
    /// Those whose answers could go on and are not let come, and since when. As many as streams at most.
    held_back: BTreeMap<u64, Instant>,
    /// When any of them last took something.
    moved: Option<Instant>,
}

impl StreamProgress {
    /// There is something for this stream.
    pub(super) fn hold_back(&mut self, stream: u64, now: Instant) {
        self.held_back.insert(stream, now);
    }

    /// It has taken something, and there may be more.
    pub(super) fn moved(&mut self, stream: u64, now: Instant) {
        self.moved = Some(now);
        self.held_back.insert(stream, now);
    }

    /// There is nothing for it now.
    pub(super) fn caught_up(&mut self, stream: u64) {
        self.held_back.remove(&stream);
    }

    /// All have as much time as if they were held back since now.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.held_back.values_mut().for_each(|since| *since = now);
    }

    /// When the first has been held back for too long: the client takes of none for `stalled`, or of this one
    /// for [`STREAM_HELD_MAX`].
    pub(super) fn deadline(&self, stalled: Duration) -> Option<Instant> {
        let first = *self.held_back.values().min()?;
        let moved = self.moved.map_or(first, |moved| moved.max(first));
        Some((moved + stalled).min(first + STREAM_HELD_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Duration = Duration::from_secs(10);

    fn seconds(began: Instant, deadline: Option<Instant>) -> Option<u64> {
        deadline.map(|deadline| (deadline - began).as_secs())
    }

    #[test]
    fn a_socket_has_a_time_without_a_byte_and_a_least_rate() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut socket = SocketProgress::default();
        socket.offered(Some(50_000), at(0));
        assert!(!socket.is_behind());
        socket.offered(None, at(1));
        assert_eq!(seconds(began, socket.deadline(STALLED)), Some(11));
        socket.offered(Some(100_000), at(5));
        assert_eq!(seconds(began, socket.deadline(STALLED)), Some(15), "what it took fast buys no silence");
        // A byte now and then buys nothing at all.
        let mut slow = SocketProgress::default();
        (1..=9).for_each(|second| {
            slow.offered(None, at(second));
            slow.offered(Some(1), at(second));
        });
        assert_eq!(seconds(began, slow.deadline(STALLED)), Some(11));
        socket.caught_up();
        assert_eq!(socket.deadline(STALLED), None);
    }

    #[test]
    fn a_stream_waits_for_others_that_go_on_but_not_for_ever() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut streams = StreamProgress::default();
        assert_eq!(streams.deadline(STALLED), None);
        streams.hold_back(1, at(0));
        streams.hold_back(2, at(3));
        assert_eq!(seconds(began, streams.deadline(STALLED)), Some(10));
        streams.moved(2, at(9));
        assert_eq!(seconds(began, streams.deadline(STALLED)), Some(19));
        streams.moved(2, at(55));
        assert_eq!(seconds(began, streams.deadline(STALLED)), Some(60), "the first one has its bound");
        streams.caught_up(1);
        assert_eq!(seconds(began, streams.deadline(STALLED)), Some(65));
        streams.begin_anew(at(64));
        assert_eq!(seconds(began, streams.deadline(STALLED)), Some(74));
    }
}
