//! Delivers events, on one node of all: the one with the lowest id of those that live. It goes on where the
//! one before it was, and writes down for a node that has died what that cannot say any more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use encke_engine::{Engine, EngineError, Page, PageLimit, ReadFrom};
use encke_proto::{Body, ChannelName, Entry, Epoch, Offset, Time};
use tokio::{sync::watch, time::sleep};

use super::{
    cursor::{Cursor, CursorError, CursorLog},
    event::Place,
    expirations::Expirations,
    fact::{Fact, Run},
    log_names::LogNames,
    presence::Presence,
    recipient::{Batch, DeliveryMetrics, Endpoint, Recipient},
    snapshot,
    writer::{EventWriter, FACTS_MAX, Lives},
};
use crate::{
    clock::Clock,
    config::Config,
    hooks::{ClientError, DeliveryReport, DeliveryStatus, EndpointFailure, HookClient},
};

/// How long the endpoint may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The most of the log that is one batch.
const BATCH: PageLimit = PageLimit { messages: 100, bytes: 256 << 10 };
/// How often the log is looked at for what other nodes have written, and whether this node still delivers.
const LOOK: Duration = Duration::from_millis(200);
/// The pause after a batch was not taken, at first and at most, in milliseconds. Each doubles it.
const PAUSE_MIN_MS: u64 = 500;
const PAUSE_MAX_MS: u64 = 300_000;
/// After so many messages of the log, and after so long if there were any, a snapshot is kept.
const SNAPSHOT_MESSAGES: Offset = 5_000;
const SNAPSHOT_MS: u64 = 3_600_000;
/// For how much longer than its sessions would last a node that has died is waited for, in milliseconds: its
/// clients come back to others a moment after they find out.
const REUNION_MS: u64 = 2_000;

/// Delivers what nodes have written.
pub struct Deliverer {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    lives: Lives,
    recipient: Arc<dyn Recipient>,
    metrics: DeliveryMetrics,
    names: LogNames,
    status: DeliveryStatus,
    writer: Arc<EventWriter>,
    grace_ms: u64,
}

/// To whom it is delivered, and how.
pub struct Delivering {
    /// To whom.
    pub recipient: Arc<dyn Recipient>,
    /// What tells this reader of the facts from others; nothing for the first.
    pub reader: &'static str,
    /// Where it is told how it goes.
    pub status: DeliveryStatus,
    /// For how long one that was on a node which has died counts as being there, in milliseconds.
    pub grace_ms: u64,
}

impl Deliverer {
    /// For these settings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(
        config: &Config,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: Arc<EventWriter>,
    ) -> Result<Self, ClientError> {
        let client = HookClient::new(&config.hooks, TIMEOUT)?;
        let delivering = Delivering {
            recipient: Arc::new(Endpoint { client, events: config.hooks.events.clone() }),
            reader: "",
            status: writer.status().clone(),
            grace_ms: config.session_grace_s * 1000 + REUNION_MS,
        };
        Ok(Self::to(delivering, engine, clock, writer))
    }

    /// To another than the application's one endpoint.
    #[must_use]
    pub fn to(
        delivering: Delivering,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: Arc<EventWriter>,
    ) -> Self {
        let Delivering { recipient, reader, status, grace_ms } = delivering;
        let (lives, names) = (writer.lives().clone(), writer.names().read_by(reader));
        let metrics = recipient.metrics();
        Self { engine, clock, lives, recipient, metrics, names, status, writer, grace_ms }
    }

    /// Delivers until the server stops.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            // The sender is gone only when the server is.
            _ = stopping.wait_for(|stops| *stops) => {}
            // An endpoint that takes nothing for days does not hold up what is found out meanwhile.
            _ = async { tokio::join!(self.work(), self.find_expired()) } => {}
        }
    }

    async fn work(&self) {
        loop {
            if self.is_chosen() {
                match Delivery::begin(self).await {
                    Ok(mut delivery) => {
                        match delivery.go_on().await {
                            Ok(()) => tracing::info!("another node delivers events from now on"),
                            Err(error) => tracing::warn!(%error, "events are not delivered now"),
                        }
                        *self.status.lock() = None;
                    }
                    Err(error) => tracing::warn!(%error, "events cannot be delivered now"),
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn find_expired(&self) {
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        Expirations::new(engine, clock, Arc::clone(&self.writer)).run().await;
    }

    fn is_chosen(&self) -> bool {
        self.lives.is_chosen()
    }

    fn mono_ms(&self) -> u64 {
        self.clock.now().mono_ms
    }
}

/// A delivery under way.
struct Delivery<'a> {
    deliverer: &'a Deliverer,
    /// The log of facts.
    facts: ChannelName,
    cursors: CursorLog,
    cursor: Cursor,
    /// What is kept of the cursor.
    kept: Cursor,
    /// Who is where, as of what was delivered.
    presence: Presence,
    /// Since when each incarnation is known to be dead that still has channels.
    dead: HashMap<Run, u64>,
    snapshot_ms: u64,
    /// Tells when something was written here.
    written: watch::Receiver<u64>,
}

impl<'a> Delivery<'a> {
    async fn begin(deliverer: &'a Deliverer) -> Result<Self, EngineError> {
        let engine = &deliverer.engine;
        let facts = deliverer.names.facts();
        let (cursors, mut cursor) = CursorLog::open(Arc::clone(engine), deliverer.names.cursor()).await?;
        let Page { tail, head, .. } = engine.read(&facts, ReadFrom::Head, BATCH).await?;
        // An engine that has lost the end of the log gives its places again.
        (cursor.done, cursor.next) = (cursor.done.min(head), cursor.next.min(head));
        let snapshots = deliverer.names.snapshots();
        let mut presence = match cursor.snapshot {
            Some(at) => snapshot::read(engine, &snapshots, at).await?,
            None => Presence::default(),
        };
        let snapshot = cursor.snapshot.unwrap_or(0);
        if tail > snapshot.saturating_add(1) {
            presence.forget_rounds();
        }
        read(engine, &facts, (snapshot, cursor.done), |_, _, entry| {
            facts_of(entry).iter().for_each(|fact| _ = presence.apply(fact));
        })
        .await?;
        snapshot::delete_others(engine, &snapshots, cursor.snapshot).await?;
        *deliverer.status.lock() = Some(DeliveryReport { cursor: cursor.done, ..DeliveryReport::default() });
        let snapshot_ms = deliverer.mono_ms();
        let (kept, dead) = (cursor, HashMap::new());
        let written = deliverer.writer.written();
        Ok(Self { deliverer, facts, cursors, cursor, kept, presence, dead, snapshot_ms, written })
    }

    /// Delivers as long as this node is the one that does.
    async fn go_on(&mut self) -> Result<(), CursorError> {
        while self.deliverer.is_chosen() {
            self.end_dead_runs().await?;
            if self.cursor.next <= self.cursor.done && !self.find_next().await? {
                self.rest().await?;
                continue;
            }
            let batch = self.batch().await?;
            if !self.send(batch).await? {
                return Ok(());
            }
            self.cursor.done = self.cursor.next;
            // Under steady load there is never nothing to deliver.
            self.keep_due_snapshot().await?;
        }
        Ok(())
    }

    /// Chooses the next batch and keeps where it ends, before any of it is sent.
    async fn find_next(&mut self) -> Result<bool, CursorError> {
        let page = self.deliverer.engine.read(&self.facts, ReadFrom::After(self.cursor.done), BATCH).await?;
        self.tell_lag(page.head);
        let Some(last) = page.entries.last() else { return Ok(false) };
        self.lose(page.tail.saturating_sub(1));
        self.cursor.next = last.message().position.offset;
        self.keep().await?;
        Ok(true)
    }

    /// There is nothing to deliver.
    async fn rest(&mut self) -> Result<(), CursorError> {
        self.keep_due_snapshot().await?;
        if self.kept != self.cursor {
            self.keep().await?;
        }
        tokio::select! {
            // The writer is there as long as this is.
            _ = self.written.changed() => {}
            () = sleep(LOOK) => {}
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), CursorError> {
        self.cursors.keep(self.cursor, self.deliverer.clock.now().wall).await?;
        self.kept = self.cursor;
        Ok(())
    }

    /// Keeps a snapshot if enough was delivered since the last one, or anything long ago.
    async fn keep_due_snapshot(&mut self) -> Result<(), CursorError> {
        let since = self.cursor.done - self.cursor.snapshot.unwrap_or(0).min(self.cursor.done);
        let now_ms = self.deliverer.mono_ms();
        if since >= SNAPSHOT_MESSAGES || (since > 0 && now_ms >= self.snapshot_ms + SNAPSHOT_MS) {
            self.keep_snapshot().await?;
        }
        Ok(())
    }

    async fn keep_snapshot(&mut self) -> Result<(), CursorError> {
        let (engine, now) = (&self.deliverer.engine, self.deliverer.clock.now());
        let snapshots = self.deliverer.names.snapshots();
        snapshot::keep(engine, &snapshots, self.cursor.done, &self.presence, now.wall).await?;
        (self.cursor.snapshot, self.snapshot_ms) = (Some(self.cursor.done), now.mono_ms);
        self.keep().await?;
        snapshot::delete_others(engine, &snapshots, self.cursor.snapshot).await?;
        Ok(())
    }

    /// The events of the batch that is next; the same each time, on whatever node.
    async fn batch(&mut self) -> Result<Batch, EngineError> {
        let Cursor { done, next, .. } = self.cursor;
        let (mut events, mut of) = (Vec::new(), Epoch(0));
        let (presence, recipient) = (&mut self.presence, &self.deliverer.recipient);
        presence.begin_batch();
        read(&self.deliverer.engine, &self.facts, (done, next), |epoch, offset, entry| {
            of = epoch;
            for (index, fact) in facts_of(entry).into_iter().enumerate() {
                let place = Place { epoch, offset, index, time: entry.message().time };
                events.extend(recipient.events(fact, place, presence));
            }
        })
        .await?;
        Ok(Batch { id: format!("evt_{of}_{}_{next}", done + 1), events })
    }

    /// Sends a batch as often as it takes; false when another node is to do it.
    async fn send(&mut self, batch: Batch) -> Result<bool, CursorError> {
        if batch.events.is_empty() {
            return Ok(true);
        }
        let (deliverer, metrics) = (self.deliverer, &self.deliverer.metrics);
        let mut pause_ms = PAUSE_MIN_MS;
        loop {
            let told = deliverer.recipient.tell(&batch, deliverer.clock.now().wall).await;
            let now = deliverer.clock.now().wall;
            match told {
                Ok(()) => {
                    self.report(|report| report.next_try = None);
                    metrics.events.inc_by(batch.events.len() as u64);
                    metrics.delivered.inc();
                    return Ok(true);
                }
                Err(error) => {
                    metrics.failed.inc();
                    self.report(|report| {
                        report.last_failure = Some(EndpointFailure { time: now, error: error.to_string() });
                        report.next_try = Some(Time(now.0 + pause_ms));
                    });
                    tracing::warn!(%error, pause_ms, "the application has not taken events");
                }
            }
            let ends_ms = deliverer.mono_ms() + pause_ms;
            while deliverer.mono_ms() < ends_ms {
                if !deliverer.is_chosen() {
                    return Ok(false);
                }
                sleep(LOOK).await;
            }
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
            let page = deliverer.engine.read(&self.facts, ReadFrom::Head, BATCH).await?;
            self.tell_lag(page.head);
            if page.tail > self.cursor.next {
                // The next round tells what this batch did not.
                self.presence.take_batch_back();
                self.lose(self.cursor.next);
                return Ok(true);
            }
        }
    }

    /// Says how much the application has not taken yet.
    fn tell_lag(&self, head: Offset) {
        let lag = head.saturating_sub(self.cursor.done);
        self.deliverer.metrics.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        let cursor = self.cursor.done;
        self.report(|report| (report.cursor, report.lag) = (cursor, lag));
    }

    /// Changes what operators are told.
    fn report(&self, change: impl FnOnce(&mut DeliveryReport)) {
        if let Some(report) = &mut *self.deliverer.status.lock() {
            change(report);
        }
    }

    /// What is up to here in the log was kept as long as it is, and was not delivered.
    fn lose(&mut self, up_to: Offset) {
        let lost = up_to.saturating_sub(self.cursor.done);
        if lost > 0 {
            tracing::error!(lost, "messages with events were not delivered for as long as they are kept");
            self.deliverer.metrics.lost.inc_by(lost);
            self.cursor.done = up_to;
            self.presence.forget_rounds();
        }
    }

    /// Writes down that the channels of nodes which have died have no followers there any more, once those
    /// would be gone.
    async fn end_dead_runs(&mut self) -> Result<(), EngineError> {
        let (deliverer, now_ms) = (self.deliverer, self.deliverer.mono_ms());
        let living = deliverer.lives.all();
        let dead: Vec<Run> = self.presence.runs().filter(|run| !living.contains(&run.0)).collect();
        self.dead.retain(|run, _| dead.contains(run));
        for run in dead {
            let since_ms = *self.dead.entry(run).or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) < deliverer.grace_ms {
                continue;
            }
            // Once more later if it still has any: it may have written something as it died.
            self.dead.insert(run, now_ms);
            let gone: Vec<Fact> =
                self.presence.of_run(run).into_iter().map(|channel| Fact::Went { channel, run }).collect();
            tracing::info!(run = %run.0, channels = gone.len(), "a node has died; its users have left");
            for gone in gone.chunks(FACTS_MAX) {
                deliverer.writer.append(gone).await?;
            }
        }
        Ok(())
    }
}

/// Reads what stands in the log behind one place and up to another.
async fn read(
    engine: &Arc<dyn Engine>,
    facts: &ChannelName,
    (after, up_to): (Offset, Offset),
    mut each: impl FnMut(Epoch, Offset, &Entry),
) -> Result<(), EngineError> {
    let mut at = after;
    while at < up_to {
        let page = engine.read(facts, ReadFrom::After(at), BATCH).await?;
        for entry in &page.entries {
            let position = entry.message().position;
            if position.offset > up_to {
                return Ok(());
            }
            at = position.offset;
            each(position.epoch, position.offset, entry);
        }
        if page.entries.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn facts_of(entry: &Entry) -> Vec<Fact> {
    let Body::Data(json) = &entry.message().body else { return Vec::new() };
    serde_json::from_str(json.get())
        .inspect_err(|error| tracing::error!(%error, "facts for hooks are not understood"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Mutex, PoisonError},
    };

    use encke_engine::{RetentionTable, memory::MemoryEngine};
    use encke_proto::{ChannelName, Time, UserId};
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        clock::TestClock,
        config::{HookEvent, Secret},
        shards::SessionObserver,
        stopping::Stopping,
    };

    const WAIT: Duration = Duration::from_secs(20);

    /// A node that tells these events to the endpoint at an address.
    fn settings(address: &str, events: &[HookEvent]) -> Config {
        let mut config = Config::default();
        config.hooks.url = Some(format!("http://{address}/"));
        config.hooks.secret = Some(Secret::new("whsec_9b1d4e7f20c35a6881e0d2f4b6a79c13".to_owned()));
        config.hooks.allow_private = true;
        config.hooks.events = events.to_vec();
        config.hooks.events_kept_s = 3_600;
        config
    }

    fn parts(config: &Config) -> (Arc<dyn Engine>, Arc<TestClock>, Arc<EventWriter>) {
        let engine: Arc<dyn Engine> =
            Arc::new(MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1)));
        let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
        let (engine_of, clock_of) = (Arc::clone(&engine), Arc::clone(&clock) as Arc<dyn Clock>);
        let lives = Lives::of(None).unwrap();
        let writer = EventWriter::new(&config.hooks, engine_of, clock_of, lives, Stopping::default());
        (engine, clock, writer)
    }

    /// What an endpoint has got.
    #[derive(Default)]
    struct Got {
        /// Whether it takes what it has not refused before.
        refuses: bool,
        /// Requests that it never takes, by their ids.
        refused: HashSet<String>,
        taken: Vec<String>,
    }

    /// The application's endpoint.
    #[derive(Clone, Default)]
    struct Endpoint(Arc<Mutex<Got>>);

    impl Endpoint {
        fn lock(&self) -> std::sync::MutexGuard<'_, Got> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        async fn serve(self, listener: TcpListener) {
            while let Ok((socket, _)) = listener.accept().await {
                self.answer(socket).await.unwrap();
            }
        }

        async fn answer(&self, socket: TcpStream) -> std::io::Result<()> {
            let (mut socket, mut id, mut length) = (BufReader::new(socket), String::new(), 0);
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).await?;
                match line.trim_end().split_once(": ") {
                    Some(("webhook-id", value)) => value.clone_into(&mut id),
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(_) => {}
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await?;
            let is_taken = {
                let mut got = self.lock();
                let is_taken = !got.refuses && !got.refused.contains(&id);
                match is_taken {
                    true => got.taken.push(String::from_utf8(body).unwrap()),
                    false => _ = got.refused.insert(id),
                }
                is_taken
            };
            let status = if is_taken { "204 No Content" } else { "503 Service Unavailable" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await
        }

        /// The type and the user of each event.
        fn told(&self) -> Vec<(String, String)> {
            let got = self.lock();
            let bodies =
                got.taken.iter().map(|body| serde_json::from_str::<serde_json::Value>(body).unwrap());
            let events = bodies.flat_map(|body| body["events"].as_array().unwrap().clone());
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            events.map(|event| (text(&event["type"]), text(&event["user"]))).collect()
        }
    }

    /// Lets time go by until something holds.
    async fn until(what: &str, clock: &TestClock, holds: impl Fn() -> bool) {
        let holds = async {
            while !holds() {
                clock.advance_ms(PAUSE_MIN_MS);
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, holds).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// The batch is lost that was being sent when what is in it had to go from the log.
    #[tokio::test]
    async fn who_came_and_went_in_a_batch_that_was_lost_is_told_by_the_next_round() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = settings(&address, &[HookEvent::Connected, HookEvent::Disconnected]);
        let (engine, clock, writer) = parts(&config);
        let endpoint = Endpoint::default();
        let own = |name: &str| UserId::new(name).unwrap().channel();
        let (stop, stopping) = watch::channel(false);
        let deliverer = Deliverer::new(
            &config,
            Arc::clone(&engine),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&writer),
        );
        let delivering = tokio::spawn(deliverer.unwrap().run(stopping.clone()));
        let writing = tokio::spawn(Arc::clone(&writer).run(stopping));
        let serving = tokio::spawn(endpoint.clone().serve(listener));

        writer.came(&own("bob"));
        until("bob is told of", &clock, || endpoint.told().len() == 1).await;
        endpoint.lock().refuses = true;
        writer.came(&own("alice"));
        writer.went(&own("bob"));
        until("a batch is refused", &clock, || !endpoint.lock().refused.is_empty()).await;
        endpoint.lock().refuses = false;
        // All that is in the log has to go, and a round is due.
        clock.advance_ms(config.hooks.events_kept_s * 1000);
        engine.sweep(clock.now().wall).await.unwrap();
        let told = [("connected", "bob"), ("connected", "alice"), ("disconnected", "bob")];
        let told = told.map(|(kind, user)| (kind.to_owned(), user.to_owned()));
        until("the next round tells", &clock, || endpoint.told().len() >= told.len()).await;
        assert_eq!(endpoint.told(), told);
        stop.send_replace(true);
        delivering.await.unwrap();
        writing.await.unwrap();
        serving.abort();
    }

    #[tokio::test]
    async fn a_snapshot_is_kept_while_there_is_always_something_to_deliver() {
        // What is in the log is not told of, so nothing is sent.
        let config = settings("127.0.0.1:1", &[HookEvent::PushShown]);
        let (engine, clock, writer) = parts(&config);
        let (user, channel) = (UserId::new("alice").unwrap(), ChannelName::public("room").unwrap());
        let fact = [Fact::Subscribed { user, channel }];
        let count = SNAPSHOT_MESSAGES + SNAPSHOT_MESSAGES / 2;
        for _ in 0..count {
            writer.append(&fact).await.unwrap();
        }
        let deliverer = Deliverer::new(&config, Arc::clone(&engine), clock, writer).unwrap();
        let mut delivery = Delivery::begin(&deliverer).await.unwrap();
        let all_delivered = async {
            while CursorLog::open(Arc::clone(&engine), LogNames::default().cursor()).await.unwrap().1.done
                < count
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = delivery.go_on() => panic!("{ended:?}"),
            () = all_delivered => {}
        }
        assert_eq!(delivery.cursor.snapshot, Some(SNAPSHOT_MESSAGES), "before all was delivered");
    }
}
