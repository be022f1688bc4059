//! Places that are taken and left, by runs of a server on one engine: what one finds that comes while another
//! goes, and what is left of a run that was killed.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use encke_engine::{
    Append, Appended, ChannelSummary, Engine, EngineError, Mark, Mode, Receipt, Targets, UserRecord,
    memory::MemoryEngine,
};
use encke_proto::{Body, Epoch, Lineage, MessageId, Time, json};
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::*;
use crate::{
    clock::TestClock,
    config::{Config, Secret},
    dialects::pusher::{
        application::tests::{application, application_of},
        followed::Follows,
        journal::stood,
        place_records,
    },
    shards::{Shards, mailbox},
};

fn client(number: u64) -> UserId {
    UserId::new(&format!("pusher:1:{number}.1")).unwrap()
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch(1), offset }
}

fn page(head: u64) -> Page {
    let (lineage, entries) = (Lineage::default(), Vec::new());
    Page { epoch: Epoch(1), lineage, tail: 1, head, closed: false, entries }
}

#[test]
fn as_many_as_left_go_on_from_the_first_of_their_places() {
    let mut free = vec![(client(1), at(7)), (client(2), at(3)), (client(3), at(7)), (client(4), at(5))];
    for (number, is_sure) in [(3, false), (1, false), (4, false), (2, true)] {
        let taken = choose(free.clone(), &page(9)).unwrap();
        assert_eq!(taken, Taken { at: at(3), head: 9, client: Some(client(number)), is_sure });
        free.retain(|(left, _)| *left != client(number));
    }
    assert_eq!(choose(free, &page(9)), None);
}

#[test]
fn a_place_that_is_alone_is_its_own_and_one_that_is_not_in_the_log_is_none() {
    let free = vec![(client(1), at(7)), (client(2), at(10))];
    let taken = choose(free, &page(9)).unwrap();
    assert_eq!(taken, Taken { at: at(7), head: 9, client: Some(client(1)), is_sure: true });
    assert_eq!(choose(vec![(client(2), at(10))], &page(9)), None);
}

#[test]
fn what_was_taken_is_taken_also_if_its_client_leaves_it_later() {
    let channel = ChannelName::public("pusher:1:news").unwrap();
    let record = |at_ms, what| Record::for_test(at_ms, what);
    let left = |number, offset| What::Left(client(number), vec![(channel.clone(), at(offset))]);
    let records = vec![
        record(10, left(1, 1)),
        record(20, What::Taken(client(2), channel.clone())),
        record(21, left(2, 2)),
        record(22, left(3, 3)),
    ];
    let recorded = Recorded::of(records, &channel, 20);
    assert_eq!(recorded.left, [(client(3), at(3))], "the first has been away for too long");
    assert_eq!(recorded.done.len(), 3);
}

/// What a test has done once a log was read.
type Meanwhile = BoxFuture<'static, ()>;

/// An engine that fails when it is told to, and lets something happen behind a reading.
struct TestEngine {
    engine: MemoryEngine,
    fails: AtomicBool,
    meanwhile: Mutex<Option<(ChannelName, Meanwhile)>>,
}

fn down<T>() -> Result<T, EngineError> {
    Err(EngineError::Unavailable("a test lets this fail".into()))
}

#[async_trait]
impl Engine for TestEngine {
    fn mode(&self) -> Mode {
        Mode::Log
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        if self.fails.load(Ordering::SeqCst) {
            return down();
        }
        self.engine.append(append).await
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let page = self.engine.read(channel, from, limit).await;
        let meanwhile = self.meanwhile.lock().unwrap().take_if(|(log, _)| log == channel);
        if let Some((_, meanwhile)) = meanwhile {
            meanwhile.await;
        }
        page
    }

    async fn channels(&self, _: Option<&ChannelName>, _: usize) -> Result<Vec<ChannelSummary>, EngineError> {
        down()
    }

    async fn seen(&self, _: &UserId, _: Time) -> Result<(), EngineError> {
        down()
    }

    async fn user(&self, _: &UserId) -> Result<Option<UserRecord>, EngineError> {
        down()
    }

    async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserRecord>, EngineError> {
        down()
    }

    async fn handed(&self, _: &UserId) -> Result<Position, EngineError> {
        down()
    }

    async fn mark(&self, _: Vec<Mark>) -> Result<(), EngineError> {
        down()
    }

    async fn receipts(
        &self,
        _: &MessageId,
        _: Option<&UserId>,
        _: usize,
        _: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        down()
    }

    async fn delete(&self, _: &ChannelName) -> Result<bool, EngineError> {
        down()
    }

    async fn cancel(&self, _: &MessageId, _: Time) -> Result<Option<usize>, EngineError> {
        down()
    }

    async fn sweep(&self, _: Time) -> Result<(), EngineError> {
        down()
    }

    async fn ready(&self) -> Result<(), EngineError> {
        down()
    }

    async fn stop(&self) {}
}

/// A server's places, and the records that they share with those of others.
struct Bed {
    app: Arc<App>,
    engine: Arc<TestEngine>,
    clock: Arc<TestClock>,
    application: Arc<Application>,
    /// Of one browser.
    log: ChannelName,
    news: ChannelName,
}

impl Bed {
    fn new() -> Self {
        let config = Config {
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let poll = mio::Poll::new().unwrap();
        let (mailbox, _) = mailbox(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let engine = MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1));
        let (fails, meanwhile) = (AtomicBool::new(false), Mutex::default());
        let engine = Arc::new(TestEngine { engine, fails, meanwhile });
        let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
        let (shared, time) = (Arc::clone(&engine), Arc::clone(&clock));
        let app = App::new(Arc::new(config), shared, Shards::new(vec![mailbox]), time).unwrap();
        let application = application();
        let log = place_records::log(&application, &["browser", "a"]);
        let news = ChannelName::public("pusher:1:news").unwrap();
        Self { app, engine, clock, application, log, news }
    }

    /// A run of the server.
    fn run(name: &str) -> Arc<Places> {
        Arc::new(Places::new(Arc::new(Living::new(name.to_owned(), true))))
    }

    async fn tells(&self, count: u128) {
        for number in 0..count {
            let append = Append {
                id: MessageId::from_bits(number + 1),
                key: None,
                targets: Targets::Channels(vec![self.news.clone()]),
                body: Body::Data(json::compact(&RawValue::from_string("1".into()).unwrap()).unwrap()),
                from: None,
                time: Time(1_800_000_000_000),
                expires: None,
                trace: None,
            };
            self.app.engine.append(append).await.unwrap();
        }
    }

    fn follows(&self, places: &Places, client: &Arc<Tracked>, offset: u64) {
        let (log, kept_in) = (self.news.clone(), vec![self.log.clone()]);
        client.followed().follow(Follows { log, kept_in, at: at(offset), until: 0, former: None });
        places.living.enter(&self.application, client, std::slice::from_ref(&self.log), 0);
    }

    /// A client of the browser that follows the channel at a run.
    fn stands(&self, places: &Places, number: u64, offset: u64) -> Arc<Tracked> {
        let client = places.living.track(client(number));
        self.follows(places, &client, offset);
        client
    }

    /// A client of the browser comes to a run, and follows the channel from the place that it takes; where
    /// that is, and whose.
    async fn takes(&self, places: &Places, number: u64) -> Result<Option<(u64, UserId)>, Refused> {
        let deadlines = Deadlines::default();
        let (application, log, channel) = (&self.application, &self.log, &self.news);
        let coming = Coming { application, log, channel, deadlines: &deadlines };
        let enter = |taken: &Taken| drop(self.stands(places, number, taken.at.offset));
        let taken = places.take(&self.app, &coming, enter).await?;
        Ok(taken.and_then(|taken| taken.client.map(|client| (taken.at.offset, client))))
    }

    async fn writes(&self, places: &Places) {
        places.journal.write(&self.app, &self.log).await.unwrap();
    }

    /// Where clients stood at a run that was killed, if it ran that long ago.
    async fn stood(&self, application: &Application, run: &str, ago_ms: u64) -> Vec<(UserId, Position)> {
        let since_ms = self.app.now().wall.0 - ago_ms;
        stood(&self.app, application, run, (&self.log, &self.news), since_ms).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_place_of_one_that_leaves_while_another_comes_is_found() {
    let (bed, places) = (Bed::new(), Bed::run("first"));
    bed.tells(3).await;
    let old = bed.stands(&places, 1, 1);
    let (app, application, leaving) =
        (Arc::clone(&bed.app), Arc::clone(&bed.application), Arc::clone(&places));
    let at_ms = bed.app.now().wall.0;
    // Its record is behind what is read, and it is not here any more when that is.
    let meanwhile = async move {
        old.leave();
        leaving.write_left(&app, &application, &old, at_ms).await;
    };
    *bed.engine.meanwhile.lock().unwrap() = Some((bed.log.clone(), Box::pin(meanwhile)));
    assert_eq!(bed.takes(&places, 2).await.unwrap(), Some((1, client(1))));
    assert!(bed.engine.meanwhile.lock().unwrap().is_none(), "it has left meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_taken_at_a_run_that_is_killed_at_once_is_the_takers() {
    let bed = Bed::new();
    bed.tells(3).await;
    let (first, second, third) = (Bed::run("first"), Bed::run("second"), Bed::run("third"));
    let old = bed.stands(&first, 1, 1);
    first.write_left(&bed.app, &bed.application, &old, bed.app.now().wall.0).await;
    assert_eq!(bed.takes(&second, 2).await.unwrap(), Some((1, client(1))));
    // Nothing more was written by that run.
    assert_eq!(bed.takes(&third, 3).await.unwrap(), Some((1, client(2))));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_no_others_where_its_taker_is_not_written() {
    let (bed, first) = (Bed::new(), Bed::run("first"));
    bed.tells(3).await;
    let old = bed.stands(&first, 1, 1);
    first.write_left(&bed.app, &bed.application, &old, bed.app.now().wall.0).await;
    bed.engine.fails.store(true, Ordering::SeqCst);
    let second = Bed::run("second");
    assert!(bed.takes(&second, 2).await.is_err());
    bed.engine.fails.store(false, Ordering::SeqCst);
    assert_eq!(bed.takes(&Bed::run("third"), 3).await.unwrap(), Some((1, client(1))));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_known_however_many_places_are_written_behind_it() {
    let (bed, first) = (Bed::new(), Bed::run("first"));
    bed.tells(3).await;
    bed.stands(&first, 1, 1);
    bed.writes(&first).await;
    for number in 0..300 {
        let other = ChannelName::public("pusher:1:other").unwrap();
        let taken = What::Taken(client(1_000 + number), other);
        write(&bed.app, &bed.application, &bed.log, taken).await.unwrap();
    }
    // Nor by those who come and go at other runs.
    for run in ["second", "third", "second"] {
        let places = Bed::run(run);
        for number in 0..20 {
            let passing = bed.stands(&places, 10_000 + number, 3);
            bed.writes(&places).await;
            places.living.gone(&passing, std::slice::from_ref(&bed.log));
            bed.writes(&places).await;
        }
    }
    let all = runs(&bed.app, &bed.application, &bed.log).await.unwrap();
    assert_eq!(all.into_iter().map(|(run, _)| run).collect::<HashSet<_>>().len(), 3);
    assert_eq!(bed.takes(&Bed::run("last"), 2).await.unwrap(), Some((1, client(1))));
}

#[tokio::test(start_paused = true)]
async fn of_the_runs_of_a_browser_the_last_eight_are_known() {
    let bed = Bed::new();
    let names: Vec<String> = (0..10).map(|number| format!("run-{number}")).collect();
    for name in &names {
        let places = Bed::run(name);
        bed.stands(&places, 1, 1);
        bed.writes(&places).await;
        bed.clock.advance_ms(1_000);
    }
    let known = async || {
        let all = runs(&bed.app, &bed.application, &bed.log).await.unwrap();
        all.into_iter().map(|(run, _)| run).collect::<Vec<_>>()
    };
    assert_eq!(known().await, names[2..]);
    bed.clock.advance_ms(5_400_000 - 8_000);
    assert_eq!(known().await, names[2..]);
    bed.clock.advance_ms(1);
    assert_eq!(known().await, names[3..], "it is kept for so long");
}

#[tokio::test(start_paused = true)]
async fn that_a_run_is_over_is_so_for_each_application_and_not_before_it_has_written_its_last() {
    let (bed, first) = (Bed::new(), Bed::run("first"));
    let lives = place_records::run_log(&bed.application, "first");
    let other = application_of("2");
    write(&bed.app, &other, &place_records::run_log(&other, "first"), What::Lives).await.unwrap();
    bed.stands(&first, 1, 1);
    bed.writes(&first).await;
    let stood = vec![(client(1), at(1))];
    assert_eq!(bed.stood(&bed.application, "first", 0).await, stood);
    bed.clock.advance_ms(20_000);
    assert_eq!(bed.stood(&bed.application, "first", 0).await, [], "it may be that it lived 10 s longer");
    assert_eq!(bed.stood(&bed.application, "first", 10_000).await, stood);
    write(&bed.app, &bed.application, &lives, What::Lives).await.unwrap();
    assert_eq!(bed.stood(&bed.application, "first", 0).await, stood, "it lives, and none has moved");
    assert_eq!(bed.stood(&other, "first", 0).await, [], "of the other it is not known");
    assert_eq!(bed.stood(&bed.application, "first", 0).await, stood);
    bed.clock.advance_ms(20_000);
    assert_eq!(bed.stood(&bed.application, "first", 0).await, [], "it has been over for too long");
    first.living.moved(std::slice::from_ref(&bed.log));
    bed.writes(&first).await;
    assert_eq!(bed.stood(&bed.application, "first", 0).await, stood, "it has written that it lives");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_leaving_cannot_be_written_stays_in_the_journal_until_it_can() {
    let (bed, places) = (Bed::new(), Bed::run("first"));
    bed.tells(3).await;
    let old = bed.stands(&places, 1, 1);
    bed.writes(&places).await;
    bed.engine.fails.store(true, Ordering::SeqCst);
    old.leave();
    let (app, application, leaving) =
        (Arc::clone(&bed.app), Arc::clone(&bed.application), Arc::clone(&places));
    let at_ms = bed.app.now().wall.0;
    let left = tokio::spawn(async move { leaving.write_left(&app, &application, &old, at_ms).await });
    tokio::time::sleep(5 * WRITE_AGAIN).await;
    bed.engine.fails.store(false, Ordering::SeqCst);
    bed.writes(&places).await;
    assert_eq!(bed.stood(&bed.application, "first", 0).await, [(client(1), at(1))]);
    left.await.unwrap();
    assert!(places.living.standing(&bed.log, &bed.news).is_empty());
    assert_eq!(bed.takes(&places, 2).await.unwrap(), Some((1, client(1))));
}

#[tokio::test(start_paused = true)]
async fn one_whose_leaving_is_not_written_is_not_kept_for_ever_nor_are_more_than_so_many() {
    let (bed, places) = (Bed::new(), Bed::run("first"));
    bed.engine.fails.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let old = bed.stands(&places, 1, 1);
    places.write_left(&bed.app, &bed.application, &old, bed.app.now().wall.0).await;
    assert_eq!(began.elapsed(), Duration::from_secs(bed.application.settings.recovery_s));
    assert!(places.living.standing(&bed.log, &bed.news).is_empty());
    let _all = places.writing_again.try_acquire_many(WRITTEN_AGAIN_MAX as u32).unwrap();
    let other = bed.stands(&places, 2, 1);
    places.write_left(&bed.app, &bed.application, &other, bed.app.now().wall.0).await;
    assert_eq!(began.elapsed(), Duration::from_secs(bed.application.settings.recovery_s));
    assert!(places.living.standing(&bed.log, &bed.news).is_empty());
}
