//! What a shard has to write down of its users, and the rounds in which it is: how far they were handed what
//! was pushed, and that they were here. One round is under way at a time, and requests are served meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use encke_engine::{Engine, EngineError, Mark, ReceiptState};
use encke_hub::Receipt;
use encke_proto::{ChannelName, NameHashState, Position, Time, UserId};
use futures_util::future::BoxFuture;

use super::SessionObserver;

/// The most pending marks that are written in one call.
pub(super) const PENDING_MARKS_MAX: usize = 1024;

/// Of what a user was handed the last counts.
type Handed = HashMap<UserId, Position, NameHashState>;

/// What is to be written down. Of what a user was handed the last counts, so it is bounded by the users.
pub(super) struct PendingMarks {
    engine: Arc<dyn Engine>,
    /// Who is told before they are written.
    observer: Option<Arc<dyn SessionObserver>>,
    handed: Handed,
    seen: HashSet<UserId>,
    /// The round that is under way, and what of it is handed.
    writing: Option<BoxFuture<'static, Unwritten>>,
    in_round: Arc<Handed>,
    /// How many rounds have begun.
    begun: u64,
}

/// What the engine did not take in a round.
#[derive(Default)]
struct Unwritten {
    handed: Handed,
    seen: HashSet<UserId>,
}

impl PendingMarks {
    pub(super) fn new(engine: Arc<dyn Engine>, observer: Option<Arc<dyn SessionObserver>>) -> Self {
        Self {
            engine,
            observer,
            handed: Handed::default(),
            seen: HashSet::new(),
            writing: None,
            in_round: Arc::default(),
            begun: 0,
        }
    }

    /// Whether nothing waits for a round.
    pub(super) fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.seen.is_empty()
    }

    /// Whether a round is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The last round that has ended.
    pub(super) fn ended(&self) -> u64 {
        if self.is_writing() { self.begun - 1 } else { self.begun }
    }

    pub(super) fn hand(&mut self, receipts: Vec<Receipt>) {
        // Each round begins with an empty map, which would grow step by step.
        self.handed.reserve(receipts.len());
        receipts.into_iter().for_each(|Receipt { user, position, .. }| self.hand_one(user, position));
    }

    fn hand_one(&mut self, user: UserId, position: Position) {
        let old = self.handed.entry(user).or_insert(position);
        if old.epoch != position.epoch || old.offset < position.offset {
            *old = position;
        }
    }

    pub(super) fn seen(&mut self, user: UserId) {
        self.seen.insert(user);
    }

    /// The round at whose end it is written down how far this channel was handed over; none when it is.
    pub(super) fn round_of(&self, channel: &ChannelName) -> Option<u64> {
        let user = channel.owner()?;
        if self.handed.contains_key(&user) {
            return Some(self.begun + 1);
        }
        (self.is_writing() && self.in_round.contains_key(&user)).then_some(self.begun)
    }

    /// The round at whose end all is written down that is to be now; none when it is.
    pub(super) fn round_of_all(&self) -> Option<u64> {
        if self.is_empty() { self.is_writing().then_some(self.begun) } else { Some(self.begun + 1) }
    }

    /// Begins to write down everything that waits. No round is under way.
    pub(super) fn begin_round(&mut self, at: Time) {
        if self.is_empty() {
            return;
        }
        self.begun += 1;
        let none = none_like(&self.handed);
        self.in_round = Arc::new(std::mem::replace(&mut self.handed, none));
        let (handed, seen) = (Arc::clone(&self.in_round), std::mem::take(&mut self.seen));
        let (engine, observer) = (Arc::clone(&self.engine), self.observer.clone());
        self.writing = Some(Box::pin(async move {
            // One that fails must not hold up the other.
            let handed = write_handed(&*engine, observer.as_deref(), &handed, at).await;
            Unwritten { handed, seen: write_seen(&*engine, seen, at).await }
        }));
    }

    /// Waits for the end of the round. What the engine did not take waits for the next one.
    pub(super) async fn end_round(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let Unwritten { handed, seen } = writing.await;
        self.writing = None;
        self.in_round = Arc::new(none_like(&self.handed));
        for (user, position) in handed {
            // What came meanwhile lies further, unless the log is another one now.
            self.handed.entry(user).or_insert(position);
        }
        self.seen.extend(seen);
    }
}

/// A map without users, under the same key: there are several for each round, and a key takes a while.
fn none_like(handed: &Handed) -> Handed {
    Handed::with_hasher(*handed.hasher())
}

/// Writes marks, and returns those that were not taken.
async fn write_handed(
    engine: &dyn Engine,
    observer: Option<&dyn SessionObserver>,
    handed: &Handed,
    at: Time,
) -> Handed {
    let mark = |(user, position): (&UserId, &Position)| Mark {
        user: user.clone(),
        position: *position,
        state: ReceiptState::Delivered,
        at,
    };
    let mut left = handed.iter();
    loop {
        let before = left.clone();
        let marks: Vec<Mark> = left.by_ref().take(PENDING_MARKS_MAX).map(mark).collect();
        if marks.is_empty() {
            return none_like(handed);
        }
        if let Err(error) = write_marks(engine, observer, marks).await {
            tracing::warn!(%error, "the engine did not take pending marks");
            return before.map(|(user, position)| (user.clone(), *position)).collect();
        }
    }
}

async fn write_marks(
    engine: &dyn Engine,
    observer: Option<&dyn SessionObserver>,
    marks: Vec<Mark>,
) -> Result<(), EngineError> {
    if let Some(observer) = observer {
        observer.delivering(&marks).await?;
    }
    engine.mark(marks).await
}

/// Writes that users were here, and returns those of whom it was not taken. Those of a batch are written
/// together, so that an engine that gathers commits has something to gather.
async fn write_seen(engine: &dyn Engine, mut seen: HashSet<UserId>, at: Time) -> HashSet<UserId> {
    let users: Vec<UserId> = seen.iter().cloned().collect();
    for users in users.chunks(PENDING_MARKS_MAX) {
        let all = futures_util::future::join_all(users.iter().map(|user| engine.seen(user, at))).await;
        for (user, _) in users.iter().zip(&all).filter(|(_, result)| result.is_ok()) {
            seen.remove(user);
        }
        if let Some(error) = all.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "the engine did not take that users were here");
            break;
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use encke_engine::{
        Append, Appended, ChannelSummary, Mode, Page, PageLimit, ReadFrom, Receipt as PushReceipt, UserRecord,
    };
    use encke_proto::{Epoch, MessageId};

    use super::*;

    /// Takes marks, but not that one user was here, or the other way round. Does nothing else.
    #[derive(Default)]
    struct Partial {
        takes_marks: bool,
        marked: Mutex<Vec<UserId>>,
        seen: Mutex<Vec<UserId>>,
    }

    impl Partial {
        fn refused<T>() -> Result<T, EngineError> {
            Err(EngineError::Unavailable("a test lets this fail".into()))
        }
    }

    #[async_trait]
    impl Engine for Partial {
        fn mode(&self) -> Mode {
            Mode::Memory
        }
        async fn append(&self, _: Append) -> Result<Appended, EngineError> {
            Self::refused()
        }
        async fn read(&self, _: &ChannelName, _: ReadFrom, _: PageLimit) -> Result<Page, EngineError> {
            Self::refused()
        }
        async fn channels(
            &self,
            _: Option<&ChannelName>,
            _: usize,
        ) -> Result<Vec<ChannelSummary>, EngineError> {
            Self::refused()
        }
        async fn seen(&self, user: &UserId, _: Time) -> Result<(), EngineError> {
            if self.takes_marks && user.as_str() == "user-7" {
                return Self::refused();
            }
            self.seen.lock().unwrap().push(user.clone());
            Ok(())
        }
        async fn user(&self, _: &UserId) -> Result<Option<UserRecord>, EngineError> {
            Self::refused()
        }
        async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserRecord>, EngineError> {
            Self::refused()
        }
        async fn handed(&self, _: &UserId) -> Result<Position, EngineError> {
            Self::refused()
        }
        async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
            if !self.takes_marks {
                return Self::refused();
            }
            self.marked.lock().unwrap().extend(marks.into_iter().map(|mark| mark.user));
            Ok(())
        }
        async fn receipts(
            &self,
            _: &MessageId,
            _: Option<&UserId>,
            _: usize,
            _: Time,
        ) -> Result<Option<Vec<PushReceipt>>, EngineError> {
            Self::refused()
        }
        async fn sweep(&self, _: Time) -> Result<(), EngineError> {
            Self::refused()
        }
        async fn ready(&self) -> Result<(), EngineError> {
            Self::refused()
        }
        async fn stop(&self) {}
    }

    #[tokio::test]
    async fn what_fails_does_not_hold_up_other_marks_nor_write_them_again() {
        let users = 3 * PENDING_MARKS_MAX;
        for takes_marks in [true, false] {
            let engine = Arc::new(Partial { takes_marks, ..Partial::default() });
            let mut pending_marks = PendingMarks::new(Arc::clone(&engine) as Arc<dyn Engine>, None);
            for number in 0..users {
                let user = UserId::new(&format!("user-{number}")).unwrap();
                pending_marks.seen(user.clone());
                pending_marks.hand(vec![Receipt {
                    user,
                    position: Position { epoch: Epoch(1), offset: 1 },
                    device: None,
                }]);
            }
            // Each batch may meet the failure once.
            for _ in 0..users / PENDING_MARKS_MAX + 1 {
                pending_marks.begin_round(Time(1));
                pending_marks.end_round().await;
            }
            let left = (pending_marks.handed.len(), pending_marks.seen.len());
            let written = (engine.marked.lock().unwrap().len(), engine.seen.lock().unwrap().len());
            let expected = if takes_marks { ((0, 1), (users, users - 1)) } else { ((users, 0), (0, users)) };
            assert_eq!((left, written), expected, "each is written once: takes_marks {takes_marks}");
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_round_is_under_way_waits_for_the_next() {
        let engine = Arc::new(Partial { takes_marks: true, ..Partial::default() });
        let mut pending_marks = PendingMarks::new(Arc::clone(&engine) as Arc<dyn Engine>, None);
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let receipt = |user: &UserId, offset| Receipt {
            user: user.clone(),
            position: Position { epoch: Epoch(1), offset },
            device: None,
        };
        assert_eq!((pending_marks.round_of_all(), pending_marks.round_of(&alice.channel())), (None, None));
        pending_marks.hand(vec![receipt(&alice, 1)]);
        assert_eq!(pending_marks.round_of(&alice.channel()), Some(1));
        pending_marks.begin_round(Time(1));
        pending_marks.hand(vec![receipt(&bob, 1)]);
        let rounds = [&alice, &bob].map(|user| pending_marks.round_of(&user.channel()));
        assert_eq!(
            (rounds, pending_marks.round_of_all(), pending_marks.ended()),
            ([Some(1), Some(2)], Some(2), 0)
        );
        pending_marks.end_round().await;
        let rounds = [&alice, &bob].map(|user| pending_marks.round_of(&user.channel()));
        assert_eq!((rounds, pending_marks.ended()), ([None, Some(2)], 1));
        pending_marks.begin_round(Time(2));
        pending_marks.end_round().await;
        assert_eq!((pending_marks.round_of_all(), pending_marks.ended()), (None, 2));
        assert_eq!(*engine.marked.lock().unwrap(), [alice, bob]);
    }
}
