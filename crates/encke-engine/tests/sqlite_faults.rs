//! What the SQLite engine does when the disk does not do what it should.

mod beds;

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use encke_engine::{
    Append, Appended, Engine, EngineError, Feed, PageLimit, ReadFrom, Retention, RetentionTable, Targets,
    sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, Entry, MessageId, Offset, Time, UserId};
use serde_json::value::RawValue;

const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

fn open(dir: &Path) -> Result<SqliteEngine, EngineError> {
    SqliteEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch())
}

fn name(name: &str) -> ChannelName {
    ChannelName::public(name).expect("this is a name")
}

fn message(bits: u128, channels: &[&str], bytes: usize) -> Append {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits),
        key: Some(format!("api:{bits}")),
        targets: Targets::Channels(channels.iter().map(|channel| name(channel)).collect()),
        body: Body::Data(Arc::from(json)),
        from: None,
        time: Time(1),
        expires: None,
    }
}

/// Hears what is told, and holds up the writer at each message to `barrier` until it is let go.
#[derive(Default)]
struct Barrier {
    heard: Mutex<Vec<(String, Offset)>>,
    held: Mutex<Held>,
    news: Condvar,
}

#[derive(Default)]
struct Held {
    is_at_barrier: bool,
    is_open: bool,
}

/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Feed for Barrier {
    fn appended(&self, entries: &[Arc<Entry>]) {
        let told = |entry: &Arc<Entry>| {
            (entry.message().channel.as_str().to_owned(), entry.message().position.offset)
        };
        self.heard.lock().expect("no test panics while it holds this").extend(entries.iter().map(told));
        if entries.iter().any(|entry| entry.message().channel.as_str() == "gate") {
            let mut held = self.held.lock().expect("no test panics while it holds this");
            held.is_at_barrier = true;
            self.news.notify_all();
            drop(self.news.wait_timeout_while(held, TIMEOUT, |held| !held.is_open));
        }
    }

    fn behind(&self, _: &[ChannelName]) {}
}

impl Barrier {
    fn await_writer(&self) {
        let held = self.held.lock().expect("no test panics while it holds this");
        let (held, _) = self
            .news
            .wait_timeout_while(held, TIMEOUT, |held| !held.is_at_barrier)
            .expect("no test panics while it holds this");
        assert!(held.is_at_barrier, "the writer tells the feed");
    }

    fn open(&self) {
        self.held.lock().expect("no test panics while it holds this").is_open = true;
        self.news.notify_all();
    }

    fn heard_of(&self, channel: &str) -> Vec<Offset> {
        let heard = self.heard.lock().expect("no test panics while it holds this");
        heard.iter().filter(|(name, _)| name == channel).map(|(_, offset)| *offset).collect()
    }
}

/// Does these appends in one transaction, with `barrier` at the feed: whether each was done.
async fn in_one_transaction(engine: &SqliteEngine, barrier: &Barrier, appends: Vec<Append>) -> Vec<bool> {
    engine.append(message(1_000, &["gate"], 1)).await.expect("there is room");
    barrier.await_writer();
    let mut calls: Vec<_> = appends.into_iter().map(|append| engine.append(append)).collect();
    for call in &mut calls {
        // A call is in the queue when it was polled once.
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    barrier.open();
    let mut done = Vec::new();
    for call in calls {
        done.push(call.await.is_ok());
    }
    done
}

async fn log(engine: &SqliteEngine, channel: &str) -> Vec<MessageId> {
    let page = engine.read(&name(channel), ReadFrom::After(0), ALL).await.expect("the store reads");
    assert_eq!(page.head - page.tail + 1, page.entries.len() as u64);
    page.entries.iter().map(|entry| entry.message().id.clone()).collect()
}

fn ids(appended: &[Appended]) -> Vec<MessageId> {
    appended.iter().map(|one| one.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opener_is_refused_until_the_first_has_stopped() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let first = open(dir.path()).expect("a new store opens");
    let Err(EngineError::Unavailable(text)) = open(dir.path()) else { panic!("the store was opened twice") };
    assert!(text.contains("another process"), "{text}");
    first.append(message(1, &["a"], 1)).await.expect("the first is not disturbed");
    first.stop().await;
    let second = open(dir.path()).expect("the first has let go");
    assert_eq!(log(&second, "a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = open(dir.path()).expect("a new store opens");
    let mut accepted = Vec::new();
    accepted.push(engine.append(message(0, &["a", "b"], 10)).await.expect("there is room"));
    engine.hooks().limit_pages(60);
    let mut refused = Vec::new();
    for bits in 1..40 {
        match engine.append(message(bits, &["a", "b"], 20_000)).await {
            Ok(appended) => accepted.push(appended),
            Err(EngineError::Unavailable(_)) => refused.push(bits),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        accepted.len() > 3 && refused.len() > 10,
        "{} accepted, {} refused",
        accepted.len(),
        refused.len()
    );
    assert!(matches!(engine.ready().await, Err(EngineError::Unavailable(_))), "it says that it is full");
    for channel in ["a", "b"] {
        assert_eq!(
            log(&engine, channel).await,
            ids(&accepted),
            "what was refused is in no log, what was accepted in all"
        );
    }
    engine.hooks().limit_pages(0);
    assert_eq!(engine.ready().await, Ok(()), "there is space again");
    for bits in refused {
        let appended = engine.append(message(bits, &["a", "b"], 20_000)).await.expect("there is room");
        assert!(!appended.repeated, "a refused message was not remembered");
        assert_eq!(
            appended.positions[0].1.offset,
            accepted.len() as u64 + 1,
            "refused messages cost no offset"
        );
        accepted.push(appended);
    }
    assert_eq!(log(&engine, "b").await, ids(&accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_that_finds_no_space_fails_alone() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = Arc::new(open(dir.path()).expect("a new store opens"));
    engine.append(message(0, &["a"], 1)).await.expect("there is room");
    engine.hooks().limit_pages(80);
    let mut tasks = Vec::new();
    for bits in 1..=64 {
        let engine = Arc::clone(&engine);
        let bytes = if bits % 8 == 0 { 2_000_000 } else { 10 };
        tasks.push((bytes, tokio::spawn(async move { engine.append(message(bits, &["a"], bytes)).await })));
    }
    let mut accepted = 1;
    for (bytes, task) in tasks {
        let result = task.await.expect("no task panics");
        match bytes {
            10 => assert!(result.is_ok(), "there is room for this one: {result:?}"),
            _ => assert!(matches!(result, Err(EngineError::Unavailable(_))), "there is no room for this one"),
        }
        accepted += usize::from(result.is_ok());
    }
    assert_eq!(log(&engine, "a").await.len(), accepted, "exactly what was accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_again_because_another_call_failed_is_told_once() {
    let (dir, barrier) =
        (tempfile::tempdir().expect("there is room for a directory"), Arc::new(Barrier::default()));
    let feed = Arc::clone(&barrier) as Arc<dyn Feed>;
    let engine = SqliteEngine::open(dir.path(), feed, RetentionTable::default(), beds::new_epoch())
        .expect("a new store opens");
    engine.hooks().limit_pages(80);
    let appends = [10, 10, 2_000_000, 10]
        .into_iter()
        .zip(1..)
        .map(|(bytes, bits)| message(bits, &["a", "b"], bytes))
        .collect();
    assert_eq!(in_one_transaction(&engine, &barrier, appends).await, [true, true, false, true]);
    engine.stop().await;
    assert_eq!((barrier.heard_of("a"), barrier.heard_of("b")), (vec![1, 2, 3], vec![1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_of_a_call_that_failed_half_way() {
    let (dir, barrier) =
        (tempfile::tempdir().expect("there is room for a directory"), Arc::new(Barrier::default()));
    let two = Retention { max_messages: 2, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: two, own: two };
    let feed = Arc::clone(&barrier) as Arc<dyn Feed>;
    let engine = SqliteEngine::open(dir.path(), feed, rules, beds::new_epoch()).expect("a new store opens");
    for bits in 1..=2 {
        engine.append(message(bits, &["damaged"], 1)).await.expect("there is room");
    }
    // The message that the next append to it has to trim is not there.
    let db = rusqlite::Connection::open(dir.path().join("encke.sqlite3")).expect("the store opens");
    let hole = "DELETE FROM messages WHERE offset = 1 AND channel = (SELECT id FROM channels WHERE name = 'damaged')";
    assert_eq!(db.execute(hole, []), Ok(1));
    let targets = [&["a"][..], &["a", "damaged"], &["a"]];
    let appends = targets.into_iter().zip(10..).map(|(channels, bits)| message(bits, channels, 10)).collect();
    assert_eq!(in_one_transaction(&engine, &barrier, appends).await, [true, false, true]);
    assert_eq!(log(&engine, "a").await, [MessageId::from_bits(10), MessageId::from_bits(12)]);
    engine.stop().await;
    assert_eq!((barrier.heard_of("a"), barrier.heard_of("damaged")), (vec![1, 2], vec![1, 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_is_answered_to_all_and_mended() {
    for happened in [false, true] {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let barrier = Arc::new(Barrier::default());
        let feed = Arc::clone(&barrier) as Arc<dyn Feed>;
        let engine = SqliteEngine::open(dir.path(), feed, RetentionTable::default(), beds::new_epoch())
            .expect("a new store opens");
        let first = engine.append(message(0, &["a", "b"], 10)).await.expect("a healthy engine appends");
        let hooks = engine.hooks();
        if happened {
            hooks.fail_after_commit(3)
        } else {
            hooks.fail_before_commit(3)
        };
        for bits in 1..=3 {
            let result = engine.append(message(bits, &["a", "b"], 10)).await;
            assert!(matches!(result, Err(EngineError::Unavailable(_))), "{result:?}");
        }
        // The keys tell what became of them, whichever way it went, and each is there exactly once at the
        // end.
        let mut expected = vec![first.id.clone()];
        for bits in 1..=3 {
            let retried =
                engine.append(message(bits, &["a", "b"], 10)).await.expect("the store is open again");
            assert_eq!(retried.repeated, happened);
            assert_eq!(retried.positions[0].1.offset, u64::try_from(bits).expect("it is small") + 1);
            expected.push(retried.id);
        }
        for channel in ["a", "b"] {
            assert_eq!(log(&engine, channel).await, expected);
        }
        assert_eq!(engine.ready().await, Ok(()));
        engine.stop().await;
        // What was answered as failed is found by its offset if it is there after all; it must not be told
        // when it is not, nor twice.
        let told = if happened { vec![1] } else { vec![1, 2, 3, 4] };
        assert_eq!((barrier.heard_of("a"), barrier.heard_of("b")), (told.clone(), told));
        drop(engine);
        let again = open(dir.path()).expect("the store opens again");
        assert_eq!(log(&again, "a").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_opened_with_narrower_rules_is_trimmed_by_the_sweep() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = open(dir.path()).expect("a new store opens");
    for bits in 0..20 {
        engine.append(message(bits, &["a"], 10)).await.expect("a healthy engine appends");
    }
    engine.stop().await;
    drop(engine);
    let narrow = Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: narrow, own: narrow };
    let engine = SqliteEngine::open(dir.path(), Arc::new(()), rules, beds::new_epoch())
        .expect("the store opens again");
    engine.sweep(Time(2)).await.expect("a healthy engine sweeps");
    assert_eq!(log(&engine, "a").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_many_stores_its_body_once_and_frees_it() {
    const USERS: usize = 500;
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let own = Retention { max_messages: 1, max_bytes: 1 << 20, max_age_s: 10 };
    let rules = RetentionTable { rules: Vec::new(), public: own, own };
    let engine =
        SqliteEngine::open(dir.path(), Arc::new(()), rules, beds::new_epoch()).expect("a new store opens");
    let users: Vec<UserId> =
        (0..USERS).map(|number| UserId::new(&format!("user-{number}")).expect("this is an id")).collect();
    for (bits, targets) in [(1, Targets::Users(users)), (2, Targets::AllUsers), (3, Targets::AllUsers)] {
        let pushed = engine
            .append(Append { targets, ..message(bits, &[], 60_000) })
            .await
            .expect("a healthy engine appends");
        assert_eq!(pushed.positions.len(), USERS);
    }
    let counts = || {
        let db = rusqlite::Connection::open(dir.path().join("encke.sqlite3")).expect("the store opens");
        let count = |table| {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
                .expect("it counts")
        };
        (count("bodies"), count("shares"), count("messages"), count("receipts"))
    };
    let users = USERS as i64;
    assert_eq!(
        counts(),
        (1, 1, users, 3 * users),
        "the newest body is there once, those of the trimmed pushes not at all"
    );
    engine.sweep(Time(12_000)).await.expect("a healthy engine sweeps");
    assert_eq!(counts(), (0, 0, 0, 3 * users), "nothing is left but the receipts");
    engine
        .sweep(Time(12_000).plus_seconds(encke_engine::RECEIPTS_KEPT_S))
        .await
        .expect("a healthy engine sweeps");
    assert_eq!(counts(), (0, 0, 0, 0));
}
