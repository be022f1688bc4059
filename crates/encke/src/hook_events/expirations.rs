//! Finds the users whom a push has not reached when its time is over, on one node of all, and writes that
//! down as facts. It asks the receipts of the pushes whose span of time is over, and of no others.

use std::{sync::Arc, time::Duration};

use encke_engine::{Engine, EngineError, PageLimit, ReadFrom, Receipt, ReceiptState};
use encke_proto::{Body, ChannelName, Entry, MessageId, Time};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::{
    expiry_log::{self, SETTLES_MS, SPAN_MS},
    fact::Fact,
    writer::{EventWriter, FACTS_MAX},
};
use crate::{clock::Clock, config::HookEvent};

/// How often it is looked whether a span is over.
const LOOK: Duration = Duration::from_millis(500);
/// The most of the log of a span that is read at a time.
const PAGE: PageLimit = PageLimit { messages: 16, bytes: 1 << 20 };
/// The most receipts of a push that are read at a time.
const RECEIPTS_PAGE: usize = 1_000;
/// The most pushes whose receipts are read at a time.
const READS_MAX: usize = 16;
/// The most spans that are looked at one by one; when it is behind by more, what there is is listed.
const SPANS_MAX: u64 = 60;
/// The most logs that are listed at a time.
const LISTED_MAX: usize = 100;

/// Writes down which pushes have expired.
pub(super) struct Expirations {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writer: Arc<EventWriter>,
}

impl Expirations {
    pub(super) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, writer: Arc<EventWriter>) -> Self {
        Self { engine, clock, writer }
    }

    /// Goes on as long as it is polled, while this node is the one that does it.
    pub(super) async fn run(self) {
        if !self.writer.tells(HookEvent::PushExpired) {
            return;
        }
        // Up to where all spans were looked at.
        let mut done = None;
        loop {
            done = match self.writer.lives().is_chosen() {
                true => self.go_on(done).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "it is not known now which pushes have expired");
                    None
                }),
                false => None,
            };
            sleep(LOOK).await;
        }
    }

    /// Writes down what has expired in spans that are over since then. Without a time, or long after it, it
    /// is listed which there are. Gives up to where that is done.
    async fn go_on(&self, done: Option<Time>) -> Result<Option<Time>, EngineError> {
        let settled_ms = self.clock.now().wall.0.saturating_sub(SETTLES_MS);
        let settled = Time(settled_ms / SPAN_MS * SPAN_MS);
        match done {
            // A clock that was set back waits until it is there again.
            Some(done) if done.0 + SPANS_MAX * SPAN_MS >= settled.0 => {
                let mut end = done;
                while end < settled {
                    end = Time(end.0 + SPAN_MS);
                    self.end_span(end).await?;
                }
                Ok(Some(end))
            }
            _ => {
                self.end_listed(settled).await?;
                Ok(Some(settled))
            }
        }
    }

    /// Ends all spans that are over and still have a log.
    async fn end_listed(&self, settled: Time) -> Result<(), EngineError> {
        let mut after = ChannelName::internal(encke_engine::EXPIRY_LOGS);
        loop {
            let listed = self.engine.channels(Some(&after), LISTED_MAX).await?;
            let Some(last) = listed.last() else { return Ok(()) };
            after = last.channel.clone();
            for summary in listed {
                match expiry_log::end_of(&summary.channel) {
                    Some(end) if end <= settled => self.end_span(end).await?,
                    // They are in the order of time.
                    _ => return Ok(()),
                }
            }
        }
    }

    /// Writes down what has expired in a span, then deletes its log. If that fails in between, it is written
    /// down again, and is the same event.
    async fn end_span(&self, end: Time) -> Result<(), EngineError> {
        let log = expiry_log::log(end);
        let mut after = None;
        loop {
            let page = self.engine.read(&log, ReadFrom::After(after.unwrap_or(0)), PAGE).await?;
            let Some(last) = page.entries.last() else { break };
            after = Some(last.message().position.offset);
            let pushes: Vec<MessageId> = page.entries.iter().flat_map(|entry| pushes_of(entry)).collect();
            self.write_expired(pushes).await?;
        }
        if after.is_some() {
            self.engine.delete(&log).await?;
        }
        Ok(())
    }

    /// Writes down for which users these pushes have expired.
    async fn write_expired(&self, pushes: Vec<MessageId>) -> Result<(), EngineError> {
        let first = |push: MessageId| async move {
            let receipts = self.receipts(&push, None).await;
            (push, receipts)
        };
        let mut firsts = stream::iter(pushes.into_iter().map(first)).buffered(READS_MAX);
        let mut facts = Vec::new();
        while let Some((push, receipts)) = firsts.next().await {
            let mut receipts = receipts?;
            loop {
                let is_last = receipts.len() < RECEIPTS_PAGE;
                let last = receipts.last().cloned();
                let expired = receipts.into_iter().filter(|receipt| receipt.state == ReceiptState::Expired);
                facts.extend(expired.map(|Receipt { user, at, .. }| Fact::Expired {
                    user,
                    push: push.clone(),
                    at,
                }));
                while facts.len() >= FACTS_MAX {
                    self.writer.append(&facts[..FACTS_MAX]).await?;
                    facts.drain(..FACTS_MAX);
                }
                let Some(last) = last.filter(|_| !is_last) else { break };
                receipts = self.receipts(&push, Some(&last)).await?;
            }
        }
        if !facts.is_empty() {
            self.writer.append(&facts).await?;
        }
        Ok(())
    }

    /// The receipts of a push behind one of them; none if there is no such push.
    async fn receipts(&self, push: &MessageId, after: Option<&Receipt>) -> Result<Vec<Receipt>, EngineError> {
        let (after, now) = (after.map(|receipt| &receipt.user), self.clock.now().wall);
        Ok(self.engine.receipts(push, after, RECEIPTS_PAGE, now).await?.unwrap_or_default())
    }
}

fn pushes_of(entry: &Entry) -> Vec<MessageId> {
    let Body::Data(json) = &entry.message().body else { return Vec::new() };
    serde_json::from_str(json.get())
        .inspect_err(|error| tracing::error!(%error, "a note of when pushes end is not understood"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use encke_engine::{Append, Mark, RetentionTable, Targets, memory::MemoryEngine};
    use encke_proto::{Epoch, UserId};

    use super::*;
    use crate::{
        clock::TestClock,
        config::Hooks,
        hook_events::{LogNames, writer::Lives},
        stopping::Stopping,
    };

    const START: Time = Time(1_800_000_000_000);

    /// A node that is alone, and tells of this.
    struct World {
        engine: Arc<dyn Engine>,
        clock: Arc<TestClock>,
        writer: Arc<EventWriter>,
    }

    impl World {
        fn new() -> Self {
            let hooks = Hooks { events: vec![HookEvent::PushExpired], ..Hooks::default() };
            let engine: Arc<dyn Engine> =
                Arc::new(MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1)));
            let clock = Arc::new(TestClock::at(START));
            let lives = Lives::of(None).unwrap();
            let (engine_of, clock_of) = (Arc::clone(&engine), Arc::clone(&clock) as Arc<dyn Clock>);
            let writer = EventWriter::new(&hooks, engine_of, clock_of, lives, Stopping::default());
            Self { engine, clock, writer }
        }

        /// As it is after a start.
        fn expirations(&self) -> Expirations {
            let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock) as Arc<dyn Clock>);
            Expirations::new(engine, clock, Arc::clone(&self.writer))
        }

        async fn push(&self, id: u128, users: &[&str], ttl_s: u64) {
            let time = self.clock.now().wall;
            let push = Append {
                id: MessageId::from_bits(id),
                key: None,
                targets: Targets::Users(users.iter().map(|user| UserId::new(user).unwrap()).collect()),
                body: Body::Page("http://x/".into()),
                from: None,
                time,
                expires: Some(time.plus_seconds(ttl_s)),
                trace: None,
            };
            self.writer.pushing([&push]).await.unwrap();
            self.engine.append(push).await.unwrap();
        }

        async fn facts(&self) -> Vec<Fact> {
            let limit = PageLimit { messages: 100, ..PAGE };
            let page =
                self.engine.read(&LogNames::default().facts(), ReadFrom::After(0), limit).await.unwrap();
            let mut all = Vec::new();
            for entry in page.entries {
                let Body::Data(json) = &entry.message().body else { panic!() };
                all.extend(serde_json::from_str::<Vec<Fact>>(json.get()).unwrap());
            }
            all
        }

        async fn logs(&self) -> usize {
            let first = ChannelName::internal(encke_engine::EXPIRY_LOGS);
            let listed = self.engine.channels(Some(&first), 100).await.unwrap();
            listed.iter().filter(|summary| expiry_log::end_of(&summary.channel).is_some()).count()
        }
    }

    fn expired(id: u128, user: &str, at: Time) -> Fact {
        Fact::Expired { user: UserId::new(user).unwrap(), push: MessageId::from_bits(id), at }
    }

    #[tokio::test]
    async fn it_is_told_of_those_alone_whom_a_push_has_not_reached_when_its_time_is_over() {
        let world = World::new();
        let expirations = world.expirations();
        let done = expirations.go_on(None).await.unwrap();
        world.push(1, &["alice", "bob"], 2).await;
        world.push(2, &["alice"], 3_600).await;
        world.push(3, &["carol"], 2).await;
        let alice = UserId::new("alice").unwrap();
        let page = world.engine.read(&alice.channel(), ReadFrom::After(0), PAGE).await.unwrap();
        let position = page.entries[0].message().position;
        let mark = Mark { user: alice, position, state: ReceiptState::Delivered, at: START };
        world.engine.mark(vec![mark]).await.unwrap();
        world.engine.cancel(&MessageId::from_bits(3), START).await.unwrap();
        let done = expirations.go_on(done).await.unwrap();
        assert_eq!(world.facts().await, [], "nothing is over");
        world.clock.advance_ms(SPAN_MS + SETTLES_MS);
        let done = expirations.go_on(done).await.unwrap();
        let first = expired(1, "bob", START.plus_seconds(2));
        assert_eq!(world.facts().await, std::slice::from_ref(&first));
        // Far behind, so that it is listed what there is.
        world.clock.advance_ms(3_600_000 + 6 * SPAN_MS);
        expirations.go_on(done).await.unwrap();
        assert_eq!(world.facts().await, [first, expired(2, "alice", START.plus_seconds(3_600))]);
        assert_eq!(world.logs().await, 0);
    }

    #[tokio::test]
    async fn what_has_expired_while_no_node_ran_is_told_by_the_next_one() {
        let world = World::new();
        let names: Vec<String> = (0..RECEIPTS_PAGE + 7).map(|number| format!("user-{number:05}")).collect();
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        world.push(1, &users, 5).await;
        // It was killed after it was told, and before that was done.
        let notes = expiry_log::log(Time(START.0 + SPAN_MS));
        let page = world.engine.read(&notes, ReadFrom::After(0), PAGE).await.unwrap();
        world.clock.advance_ms(SPANS_MAX * SPAN_MS);
        world.expirations().write_expired(pushes_of(&page.entries[0])).await.unwrap();
        let before = world.facts().await;
        world.expirations().go_on(None).await.unwrap();
        let all: Vec<Fact> = users.iter().map(|user| expired(1, user, START.plus_seconds(5))).collect();
        assert_eq!(before, all);
        assert_eq!(world.facts().await, [all.clone(), all].concat(), "the same facts");
        assert_eq!(world.logs().await, 0);
        world.expirations().go_on(None).await.unwrap();
        assert_eq!(world.facts().await.len(), 2 * users.len(), "once it is done, never again");
    }
}
