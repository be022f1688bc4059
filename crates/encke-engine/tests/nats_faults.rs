//! What the NATS engine makes of servers that die, streams that are lost, and nodes that do not get to an
//! end.

mod nats;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_engine::{
    Append, Configure, Engine, EngineError, Feed, Key, LogConfig, LogUpdate, Page, PageLimit, Producer,
    ProducerId, ReadFrom, Receipt, ReceiptState, RetentionTable, Targets, nats::NatsEngine,
};
use encke_proto::{Body, ChannelName, Entry, MessageId, Position, Time, UserId};
use futures_util::StreamExt as _;
use nats::{Servers, events, until};
use serde_json::{Value, json, value::RawValue};

const NOON: Time = Time(1_763_800_000_000);
const ALL: PageLimit = PageLimit { messages: 100_000, bytes: 1 << 30 };
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn new_id() -> MessageId {
    MessageId::from_bits(u128::from(NEXT_ID.fetch_add(1, Ordering::Relaxed)))
}

fn channel(name: &str) -> ChannelName {
    ChannelName::public(name).expect("a name")
}

fn message(targets: Targets, key: Option<Key>) -> Append {
    let json = RawValue::from_string("{\"n\":1}".to_owned()).expect("JSON");
    Append {
        id: new_id(),
        key,
        targets,
        body: Body::Data(json.into()),
        from: None,
        time: NOON,
        expires: None,
        trace: None,
    }
}

fn to(name: &str) -> Append {
    message(Targets::Channels(vec![channel(name)]), None)
}

fn ids(page: &Page) -> Vec<MessageId> {
    page.entries.iter().map(|entry| entry.message().id.clone()).collect()
}

/// Remembers which channels were found to be behind, and of which something was retracted.
#[derive(Default)]
struct Behind {
    behind: Mutex<HashSet<ChannelName>>,
    retracted: Mutex<HashSet<ChannelName>>,
    appended: Mutex<Vec<MessageId>>,
}

impl Feed for Behind {
    fn appended(&self, entries: &[Arc<Entry>]) {
        let ids = entries.iter().map(|entry| entry.message().id.clone());
        self.appended.lock().expect("no test panics while it holds this").extend(ids);
    }

    fn behind(&self, channels: &[ChannelName]) {
        self.behind.lock().expect("no test panics while it holds this").extend(channels.iter().cloned());
    }

    fn retracted(&self, channels: &[ChannelName]) {
        self.behind(channels);
        self.retracted.lock().expect("no test panics while it holds this").extend(channels.iter().cloned());
    }
}

impl Behind {
    fn has(&self, name: &str) -> bool {
        self.behind.lock().expect("no test panics while it holds this").contains(name)
    }

    fn has_retracted(&self, name: &str) -> bool {
        self.retracted.lock().expect("no test panics while it holds this").contains(name)
    }

    fn has_heard(&self, id: &MessageId) -> bool {
        self.appended.lock().expect("no test panics while it holds this").contains(id)
    }
}

async fn open(servers: &Servers, prefix: &str, feed: Arc<dyn Feed>) -> Arc<NatsEngine> {
    servers.open(prefix, events(feed), RetentionTable::default(), "node").await
}

/// Reads when the servers are there again.
async fn all(engine: &NatsEngine, name: &ChannelName) -> Page {
    let page = Mutex::new(None);
    until("the log can be read", || async {
        let read = engine.read(name, ReadFrom::After(0), ALL).await.ok();
        *page.lock().expect("no thread panics here") = read;
        page.lock().expect("no thread panics here").is_some()
    })
    .await;
    page.into_inner().expect("no thread panics here").expect("it was read")
}

/// Appends on and on, each with a key of its own and until it is accepted, as a publisher does who retries.
/// What was accepted, by place.
struct Publishers {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<(Position, MessageId)>>>,
    channels: Vec<ChannelName>,
}

impl Publishers {
    fn start(engines: &[Arc<NatsEngine>], channels: usize) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let names: Vec<ChannelName> = (0..channels).map(|index| channel(&format!("load-{index}"))).collect();
        let mut tasks = Vec::new();
        for name in &names {
            // Two for each channel, so that nodes meet there.
            for turn in 0..2 {
                let (stop, accepted, name) = (Arc::clone(&stop), Arc::clone(&accepted), name.clone());
                let engine = Arc::clone(&engines[turn % engines.len()]);
                tasks.push(tokio::spawn(async move {
                    let mut places = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let key = Key::new(format!("api:{name}:{turn}:{}", places.len()));
                        let append = message(Targets::Channels(vec![name.clone()]), Some(key));
                        let appended = loop {
                            match engine.append(append.clone()).await {
                                Ok(appended) => break appended,
                                Err(EngineError::Unavailable(_)) => {
                                    tokio::time::sleep(Duration::from_millis(10)).await
                                }
                                Err(error) => panic!("{error}"),
                            }
                        };
                        accepted.fetch_add(1, Ordering::SeqCst);
                        places.push((appended.positions[0].1, appended.id));
                    }
                    places
                }));
            }
        }
        Self { stop, accepted, tasks, channels: names }
    }

    async fn go_on(&self, more: u64) {
        let wanted = self.accepted.load(Ordering::SeqCst) + more;
        until("the load goes on", || async { self.accepted.load(Ordering::SeqCst) >= wanted }).await;
    }

    /// Ends, and compares what was accepted with what is there: all of it, each once, at its place, and
    /// nothing else.
    async fn check(self, engine: &NatsEngine) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let mut accepted: BTreeMap<ChannelName, Vec<(Position, MessageId)>> = BTreeMap::new();
        for (index, task) in self.tasks.into_iter().enumerate() {
            accepted
                .entry(self.channels[index / 2].clone())
                .or_default()
                .extend(task.await.expect("no publisher panics"));
        }
        let mut count = 0;
        for (name, mut places) in accepted {
            places.sort_unstable_by_key(|(position, _)| position.offset);
            let page = all(engine, &name).await;
            assert_eq!(places.len() as u64, page.head, "each key gave one message");
            let kept = &places[usize::try_from(page.tail).expect("few") - 1..];
            assert_eq!(
                kept.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>(),
                ids(&page),
                "{name}: everything is where it was said to be"
            );
            assert!(
                places.iter().enumerate().all(|(index, (position, _))| position.offset == index as u64 + 1),
                "offsets rise by one"
            );
            assert!(
                places.iter().all(|(position, _)| position.epoch == page.epoch),
                "and nothing was lost, so the epoch is the same"
            );
            count += page.head;
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn nodes_that_begin_together_all_begin() {
    const ROUNDS: usize = 5;
    let servers = Servers::start(3);
    // One that is there shows that the servers have agreed.
    let first = open(&servers, "first", Arc::new(())).await;
    for round in 0..ROUNDS {
        let prefix = format!("together{round}");
        let node = || {
            NatsEngine::open(
                servers.options(&prefix),
                events(Arc::new(())),
                RetentionTable::default(),
                "node".to_owned(),
            )
        };
        let (a, b, c) = tokio::join!(node(), node(), node());
        for (number, node) in [a, b, c].into_iter().enumerate() {
            let node = node.unwrap_or_else(|error| panic!("node {number} in round {round}: {error}"));
            until("it appends", || async { node.append(to("news")).await.is_ok() }).await;
        }
    }
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_server_that_is_killed_under_load_loses_nothing() {
    const KILLS: usize = 5;
    let mut servers = Servers::start(1);
    let engine = open(&servers, "kill", Arc::new(())).await;
    let load = Publishers::start(std::slice::from_ref(&engine), 8);
    for _ in 0..KILLS {
        load.go_on(200).await;
        servers.servers[0].kill();
        servers.servers[0].restart();
    }
    load.go_on(200).await;
    let count = load.check(&engine).await;
    println!("{count} messages accepted through {KILLS} kills of the server, LOST 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_leader_that_is_killed_under_load_loses_nothing() {
    const KILLS: usize = 4;
    let mut servers = Servers::start(3);
    let engines =
        [open(&servers, "leader", Arc::new(())).await, open(&servers, "leader", Arc::new(())).await];
    let load = Publishers::start(&engines, 6);
    for _ in 0..KILLS {
        load.go_on(200).await;
        until("each server has all", || servers.all_have("leader-log")).await;
        let found = Mutex::new(None);
        until("the stream has a leader", || async {
            let leader = servers.leader("leader-log").await;
            *found.lock().expect("no thread panics here") = leader;
            leader.is_some()
        })
        .await;
        let leader = found.into_inner().expect("no thread panics here").expect("there is one");
        servers.servers[leader].kill();
        // The two others go on without it.
        load.go_on(200).await;
        servers.servers[leader].restart();
    }
    load.go_on(200).await;
    let count = load.check(&engines[1]).await;
    println!("{count} messages accepted by two nodes through {KILLS} kills of the leader, LOST 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_stream_that_was_purged_or_deleted_is_another_epoch() {
    let servers = Servers::start(1);
    for (prefix, how) in [("purged", "STREAM.PURGE.purged-log"), ("deleted", "STREAM.DELETE.deleted-log")] {
        let behind = Arc::new(Behind::default());
        let engine = open(&servers, prefix, Arc::clone(&behind) as Arc<dyn Feed>).await;
        engine.watch(&channel("a"));
        for name in ["a", "a", "b", "b"] {
            engine.append(to(name)).await.expect("a healthy engine appends");
        }
        // Another node, which does not remember either log.
        let other = open(&servers, prefix, Arc::new(())).await;
        let old = all(&engine, &channel("a")).await;
        assert_eq!(servers.api(how.to_owned(), json!({})).await["success"], true);
        let first = Mutex::new(None);
        until("appends go on", || async {
            let appended = other.append(to("b")).await.ok();
            *first.lock().expect("no thread panics here") = appended;
            first.lock().expect("no thread panics here").is_some()
        })
        .await;
        let first =
            first.into_inner().expect("no thread panics here").expect("it was appended").positions[0].1;
        assert_ne!(first.epoch, old.epoch, "{prefix}: what begins again is another epoch");
        assert_eq!(first.offset, 1);
        until("the nodes that watch are told", || async { behind.has("a") }).await;
        let new = all(&engine, &channel("a")).await;
        assert_eq!(
            (new.epoch, new.head, new.lineage.forks().len()),
            (first.epoch, 0, 0),
            "nothing is left of the old log"
        );
        let next = engine.append(to("a")).await.expect("it is healthy again").positions[0].1;
        assert_eq!((next.epoch, next.offset), (first.epoch, 1));
    }
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().expect("there is cp");
    assert!(status.success(), "{} was copied", from.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_disk_that_lost_its_last_writes_is_another_epoch_that_keeps_what_is_left() {
    let mut servers = Servers::start(1);
    let behind = Arc::new(Behind::default());
    let engine = open(&servers, "lost", Arc::clone(&behind) as Arc<dyn Feed>).await;
    for name in ["cut", "whole"] {
        engine.watch(&channel(name));
        for _ in 0..3 {
            engine.append(to(name)).await.expect("a healthy engine appends");
        }
    }
    let before = all(&engine, &channel("cut")).await;
    let (data, saved) = (servers.data(0).join("js"), servers.data(0).join("saved"));
    servers.servers[0].kill();
    copy(&data, &saved);
    servers.servers[0].restart();
    for _ in 0..2 {
        let appended = Mutex::new(false);
        until("appends go on", || async {
            let done = engine.append(to("cut")).await.is_ok();
            *appended.lock().expect("no thread panics here") = done;
            done
        })
        .await;
    }
    let lost = all(&engine, &channel("cut")).await;
    assert_eq!((lost.head, lost.epoch), (5, before.epoch), "a restart alone loses nothing");
    servers.servers[0].kill();
    std::fs::remove_dir_all(&data).expect("it was there");
    copy(&saved, &data);
    servers.servers[0].restart();
    let cut = all(&engine, &channel("cut")).await;
    assert_ne!(cut.epoch, before.epoch);
    assert_eq!((cut.head, ids(&cut)), (3, ids(&before)), "what is left is told in the new epoch");
    let at = |offset| Position { epoch: before.epoch, offset };
    assert_eq!(
        cut.lineage.carry(at(3), cut.epoch),
        Some(Position { epoch: cut.epoch, offset: 3 }),
        "who had no more misses nothing"
    );
    assert_eq!(cut.lineage.carry(at(5), cut.epoch), None, "who had what is lost is told so");
    until("the nodes that watch are told", || async { behind.has("cut") && behind.has("whole") }).await;
    let next = engine.append(to("cut")).await.expect("it is healthy again").positions[0].1;
    assert_eq!((next.epoch, next.offset), (cut.epoch, 4));
    let whole = all(&engine, &channel("whole")).await;
    assert_eq!(
        (whole.head, whole.lineage.carry(at(3), whole.epoch).map(|carried| carried.offset)),
        (3, Some(3))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn wake_ups_that_never_come_are_found() {
    let servers = Servers::start(1);
    let behind = Arc::new(Behind::default());
    let engine = open(&servers, "deaf", Arc::clone(&behind) as Arc<dyn Feed>).await;
    let other = open(&servers, "deaf", Arc::new(())).await;
    let names: Vec<String> = (0..100).map(|index| format!("c{index}")).collect();
    for name in &names {
        engine.watch(&channel(name));
        engine.read(&channel(name), ReadFrom::Head, ALL).await.expect("a healthy engine reads");
    }
    // The stream itself tells nothing any more, and no connection is broken.
    republish(&servers, "deaf-log", None).await;
    for name in &names[..50] {
        other.append(to(name)).await.expect("a healthy engine appends");
    }
    until("each is found", || async { names[..50].iter().all(|name| behind.has(name)) }).await;
    assert!(names[50..].iter().all(|name| !behind.has(name)), "and no other");
}

/// Lets a stream tell what it stores, or nothing. No connection is broken by that.
async fn republish(servers: &Servers, stream: &str, how: Option<&Value>) -> Value {
    let mut config = servers.api(format!("STREAM.INFO.{stream}"), json!({})).await["config"].clone();
    let settings = config.as_object_mut().expect("settings");
    let before = match how {
        Some(how) => settings.insert("republish".to_owned(), how.clone()),
        None => settings.remove("republish"),
    };
    let changed = servers.api(format!("STREAM.UPDATE.{stream}"), config).await;
    assert!(changed["error"].is_null(), "{changed}");
    before.unwrap_or_default()
}

/// The note of a cancellation is missed: it is the last that the log has, or something is heard behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_cancellation_that_was_not_heard_of_is_found() {
    let servers = Servers::start(1);
    let told = Arc::new(Behind::default());
    let engine = open(&servers, "recall", Arc::clone(&told) as Arc<dyn Feed>).await;
    let other = open(&servers, "recall", Arc::new(())).await;
    let users = ["alice", "bob"].map(|name| UserId::new(name).expect("a name"));
    for user in &users {
        engine.watch(&user.channel());
        engine.read(&user.channel(), ReadFrom::Head, ALL).await.expect("a healthy engine reads");
    }
    let push = |user: &UserId| message(Targets::Users(vec![user.clone()]), None);
    for (user, is_last) in users.iter().zip([true, false]) {
        let name = user.channel().to_string();
        let first = other.append(push(user)).await.expect("a healthy engine appends").id;
        until("the push is heard of", || async { told.has_heard(&first) }).await;
        assert!(!told.has_retracted(&name));
        let how = republish(&servers, "recall-log", None).await;
        assert_eq!(other.cancel(&first, NOON).await, Ok(Some(1)));
        republish(&servers, "recall-log", Some(&how)).await;
        if !is_last {
            let next = other.append(push(user)).await.expect("a healthy engine appends").id;
            until("what comes next is heard of", || async { told.has_heard(&next) }).await;
        }
        until("the cancellation is told", || async { told.has_retracted(&name) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_server_that_stands_still_is_said_to_be_away() {
    let servers = Servers::start(1);
    let engine = open(&servers, "still", Arc::new(())).await;
    let first = engine
        .append(message(Targets::Channels(vec![channel("a")]), Some(Key::new("api:1"))))
        .await
        .expect("a healthy engine appends");
    servers.servers[0].signal("-STOP");
    let keyed = message(Targets::Channels(vec![channel("a")]), Some(Key::new("api:2")));
    assert!(matches!(engine.append(keyed.clone()).await, Err(EngineError::Unavailable(_))));
    assert!(matches!(engine.ready().await, Err(EngineError::Unavailable(_))));
    assert!(matches!(
        engine.read(&channel("a"), ReadFrom::Head, ALL).await,
        Err(EngineError::Unavailable(_))
    ));
    servers.servers[0].signal("-CONT");
    until("it is ready again", || async { engine.ready().await.is_ok() }).await;
    // Whether the refused one was stored after all is not known; with its key it is there once.
    let second = engine.append(keyed).await.expect("it is healthy again");
    assert_eq!(ids(&all(&engine, &channel("a")).await), [first.id, second.id]);
}

/// The receipts of a push, read in pages.
async fn all_receipts(engine: &NatsEngine, push: &MessageId) -> Vec<Receipt> {
    let (mut after, mut receipts) = (None, Vec::new());
    loop {
        let page = engine
            .receipts(push, after.as_ref(), 700, NOON)
            .await
            .expect("a healthy engine reads")
            .expect("the push is known");
        let Some(last) = page.last() else { return receipts };
        after = Some(last.user.clone());
        receipts.extend(page);
    }
}

/// Makes users known before, so that a push to them is itself what is interrupted.
async fn make_known(engine: &NatsEngine, users: &[UserId]) {
    for some in users.chunks(500) {
        let push = message(Targets::Users(some.to_vec()), None);
        engine.append(push).await.expect("a healthy engine appends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_push_to_many_that_was_left_unfinished_is_finished_once() {
    const USERS: usize = 3_000;
    const BODY_BYTES: usize = 10_000;
    let servers = Servers::start(1);
    let users: Vec<UserId> =
        (0..USERS).map(|index| UserId::new(&format!("user-{index:05}")).expect("a name")).collect();
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(BODY_BYTES))).expect("JSON");
    let push = || Append {
        body: Body::Data(json.clone().into()),
        ..message(Targets::Users(users.clone()), Some(Key::new("api:big")))
    };
    let given_up = open(&servers, "big", Arc::new(())).await;
    make_known(&given_up, &users).await;
    let client = servers.client("app").await;
    let mut told = client.subscribe("big.w.>").await.expect("a subscription");
    client.flush().await.expect("a connection");
    let id = {
        let push = push();
        let id = push.id.clone();
        let engine = Arc::clone(&given_up);
        let task = tokio::spawn(async move { engine.append(push).await });
        // The first piece is being stored; others follow.
        told.next().await.expect("the connection holds");
        task.abort();
        given_up.stop().await;
        id
    };
    let first = servers
        .api("STREAM.MSG.GET.big-log".to_owned(), json!({ "last_by_subj": format!("big.i.{id}.0") }))
        .await;
    assert!(first["error"].is_null(), "it is not finished: {first}");
    let last = servers
        .api("STREAM.MSG.GET.big-log".to_owned(), json!({ "last_by_subj": format!("big.p.{id}.7") }))
        .await;
    assert!(!last["error"].is_null(), "not all pieces are stored");
    let engine = open(&servers, "big", Arc::new(())).await;
    let heads = |page: &Page| (page.head, page.entries.last().map(|entry| entry.message().id.clone()));
    // One whom it has not come to yet is deleted meanwhile, and does not come back by it.
    let deleted = users.last().expect("there are users");
    assert_eq!(engine.delete(&deleted.channel()).await, Ok(true));
    // The second sweep that finds it knows that no node is at it.
    for _ in 0..3 {
        engine.sweep(NOON).await.expect("a healthy engine sweeps");
    }
    assert_eq!(engine.user(deleted).await, Ok(None), "a push of before makes no user known");
    assert_eq!(all(&engine, &deleted.channel()).await.entries.len(), 0);
    let users = &users[..USERS - 1];
    for user in users.iter().step_by(97).chain(users.last()) {
        assert_eq!(heads(&all(&engine, &user.channel()).await), (2, Some(id.clone())), "{user}");
    }
    let repeated = engine.append(push()).await.expect("a healthy engine appends");
    assert!(repeated.repeated && repeated.id == id);
    assert_eq!(repeated.positions.len(), users.len());
    let in_order = repeated
        .positions
        .iter()
        .zip(users)
        .all(|((name, at), user)| *name == user.channel() && at.offset == 2);
    assert!(in_order, "in the order of the targets");
    let receipts = all_receipts(&engine, &id).await;
    assert_eq!(
        receipts.iter().map(|receipt| receipt.user.clone()).collect::<Vec<_>>(),
        users,
        "each once, by user"
    );
    assert!(receipts.iter().all(|receipt| receipt.state == ReceiptState::Queued));
}

/// A stream that an older version made, which knew no producers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_stream_of_before_gets_room_for_producers() {
    let servers = Servers::start(1);
    drop(open(&servers, "older", Arc::new(())).await);
    let mut config = servers.api("STREAM.INFO.older-log".to_owned(), json!({})).await["config"].clone();
    let subjects = config["subjects"].as_array_mut().expect("subjects");
    subjects.retain(|subject| subject != "older.q.>");
    let changed = servers.api("STREAM.UPDATE.older-log".to_owned(), config).await;
    assert!(changed["error"].is_null(), "{changed}");
    let engine = open(&servers, "older", Arc::new(())).await;
    let id = ProducerId::new("p").expect("an id");
    for sequence in [0, 1, 1] {
        let producer = Some(Producer::new(id.clone(), 0, sequence).expect("small numbers"));
        let configure = if sequence == 0 { Configure::Create(LogConfig::default()) } else { Configure::Keep };
        let update = LogUpdate::new(channel("a"), NOON);
        let change = LogUpdate { configure, producer, close: sequence == 1, ..update };
        let changed = engine.update_log(change).await.expect("a healthy engine changes logs");
        assert_eq!(changed.closed, sequence == 1);
    }
    assert!(all(&engine, &channel("a")).await.closed);
}

/// A node dies after it has deleted a log, and before it has written that all of it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn a_deletion_that_broke_off_is_done_and_told_when_it_is_asked_for_again() {
    let servers = Servers::start(1);
    let engine = open(&servers, "broken", Arc::new(())).await;
    let user = UserId::new("alice").expect("a name");
    for (name, targets) in [
        (channel("a"), Targets::Channels(vec![channel("a")])),
        (user.channel(), Targets::Users(vec![user.clone()])),
    ] {
        let push = engine.append(message(targets.clone(), Some(Key::new(format!("api:{name}"))))).await;
        let push = push.expect("a healthy engine appends");
        assert!(!push.repeated);
        assert_eq!(engine.delete(&name).await, Ok(true), "{name}");
        let purge = json!({ "filter": "broken.b.d.>" });
        let purged = servers.api("STREAM.PURGE.broken-book".to_owned(), purge).await;
        assert_ne!(purged["purged"], 0, "{purged}");
        assert_eq!(engine.delete(&name).await, Ok(true), "{name}: something was left to do");
        assert_eq!(engine.delete(&name).await, Ok(false), "{name}");
        let receipts = engine.receipts(&push.id, None, 10, NOON).await.expect("a healthy engine reads");
        assert_eq!(receipts.unwrap_or_default(), [], "{name}");
        let anew = engine.append(message(targets, Some(Key::new(format!("api:{name}"))))).await;
        assert!(!anew.expect("a healthy engine appends").repeated, "{name}: its key is forgotten");
    }
}

/// The record of a user who was never here is damaged, so that the user cannot be forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn one_user_who_cannot_be_forgotten_keeps_no_other_known() {
    let servers = Servers::start(1);
    let engine = open(&servers, "slip", Arc::new(())).await;
    let user = |name: &str| UserId::new(name).expect("a name");
    let push = async |name: &str, second: u64| {
        let expires = Some(NOON.plus_seconds(second));
        let push = Append { expires, ..message(Targets::Users(vec![user(name)]), None) };
        engine.append(push).await.expect("a healthy engine appends");
    };
    push("alice", 1).await;
    let records = json!({ "subjects_filter": "slip.b.u.*" });
    let info = servers.api("STREAM.INFO.slip-book".to_owned(), records).await;
    let (record, _) = info["state"]["subjects"].as_object().and_then(|all| all.iter().next()).expect("hers");
    servers.client("app").await.request(record.clone(), "?".into()).await.expect("the stream takes it");
    push("bob", 2).await;
    // Whether a sweep is said to have failed for it does not matter.
    drop(engine.sweep(NOON.plus_seconds(3600)).await);
    assert_eq!(engine.user(&user("bob")).await, Ok(None));
    engine.append(message(Targets::AllUsers, None)).await.expect("it is not refused to all for one record");
}
