//! Deletions in the log store: a workload that deletes is recorded, step by step of its files, and the store
//! is opened again as it stood before each of them. Whatever was answered as deleted by then is gone, what
//! came later is there, and no offset is given twice. The files are small, so that segments, checkpoints and
//! compactions begin and end all the time.

mod beds;
mod log_volume;

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use encke_engine::{
    Append, Engine, EngineError, Key, PageLimit, ReadFrom, RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Offset, Time, UserId};
use log_volume::{Crash, CrashDisk, MemoryVolume};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 5000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const EPOCH: Epoch = Epoch(77);
const NOON: Time = Time(1_763_800_000_000);
/// How many calls the workload does, and after how many it opens the store again.
const CALLS: u128 = 150;
const OPENED_EVERY: u128 = 40;

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    let volume = Arc::new(volume.clone());
    LogEngine::open_on(volume, Arc::new(()), RetentionTable::default(), EPOCH, SMALL)
}

/// Two channels, and three users.
fn name(number: u128) -> ChannelName {
    let name = if number % 5 < 2 { format!("room-{}", number % 5) } else { format!("@user-{}", number % 5) };
    ChannelName::any(&name).expect("this is a name")
}

fn message(bits: u128) -> Append {
    let names = [name(bits * 7 / 3), name(bits + 1)];
    let users: Vec<UserId> = names.iter().filter_map(ChannelName::owner).collect();
    let channels = names.into_iter().filter(|name| !name.is_own()).collect();
    let targets = if users.is_empty() { Targets::Channels(channels) } else { Targets::Users(users) };
    let filler = "x".repeat(usize::try_from(bits % 7 * 90).expect("it is small"));
    let body = RawValue::from_string(format!("[{bits},\"{filler}\"]")).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits + 1000),
        key: Some(Key::new(format!("api:{bits}"))),
        targets,
        body: Body::Data(body.into()),
        from: None,
        time: NOON.plus_seconds(u64::try_from(bits).expect("it is small") * 25),
        expires: None,
        trace: None,
    }
}

/// What was answered, each after how many steps: a message at a place, or a deletion.
enum Told {
    Appended(MessageId, ChannelName, Offset),
    Deleted(ChannelName),
}

/// Does the workload, one call after the other, so that each step belongs to one call.
async fn work(volume: &MemoryVolume) -> Vec<(usize, Told)> {
    let mut told = Vec::new();
    let mut engine = open(volume).expect("a new store opens");
    for bits in 0..CALLS {
        if bits % OPENED_EVERY == OPENED_EVERY - 1 {
            engine.stop().await;
            engine = open(volume).expect("it opens again");
        }
        if bits % 6 == 5 {
            let name = name(bits / 6 * 2);
            engine.delete(&name).await.expect("a healthy engine deletes");
            told.push((volume.steps(), Told::Deleted(name)));
        }
        if bits % 10 == 9 {
            engine.sweep(message(bits).time).await.expect("a healthy engine sweeps");
        }
        let appended = engine.append(message(bits)).await.expect("a healthy engine appends");
        // One for all of it: the writer goes on with steps of its own.
        let at = volume.steps();
        for (name, position) in appended.positions {
            told.push((at, Told::Appended(appended.id.clone(), name, position.offset)));
        }
    }
    engine.stop().await;
    told
}

/// What each log must have, and the highest offset that it gave.
fn expected(
    told: &[(usize, Told)],
    steps: usize,
) -> BTreeMap<ChannelName, (BTreeMap<Offset, MessageId>, Offset)> {
    let mut logs: BTreeMap<ChannelName, (BTreeMap<Offset, MessageId>, Offset)> = BTreeMap::new();
    for (_, told) in told.iter().filter(|(at, _)| *at <= steps) {
        match told {
            Told::Appended(id, name, offset) => {
                let log = logs.entry(name.clone()).or_default();
                log.0.insert(*offset, id.clone());
                assert!(*offset > log.1, "{name}: no offset is given twice");
                log.1 = *offset;
            }
            Told::Deleted(name) => {
                let log = logs.entry(name.clone()).or_default();
                log.0.clear();
            }
        }
    }
    logs
}

/// Looks whether the store stands as it did when it had done what was answered within `steps`, or with the
/// call that was under way besides.
async fn check(engine: &LogEngine, told: &[(usize, Told)], steps: usize, what: &str) {
    let under_way = told.iter().map(|(at, _)| *at).find(|at| *at > steps).unwrap_or(steps);
    let (before, after) = (expected(told, steps), expected(told, under_way));
    for (name, (sent, given)) in &before {
        let page = engine.read(name, ReadFrom::After(0), ALL).await.expect("the store reads");
        let found: BTreeMap<Offset, MessageId> = page
            .entries
            .iter()
            .map(|entry| (entry.message().position.offset, entry.message().id.clone()))
            .collect();
        assert!(found == *sent || found == after[name].0, "{what}: {name} has {found:?}");
        assert!(page.head >= *given && page.tail == page.head + 1 - found.len() as u64, "{what}: {name}");
        if let Some(user) = name.owner() {
            let known = engine.user(&user).await.expect("the store reads").is_some();
            assert_eq!(known, !found.is_empty(), "{what}: {name}");
        }
    }
}

/// Whatever comes next has an offset that was never given.
async fn goes_on(engine: &LogEngine, told: &[(usize, Told)], steps: usize, what: &str) {
    for (name, (_, given)) in expected(told, steps) {
        let targets = match name.owner() {
            Some(user) => Targets::Users(vec![user]),
            None => Targets::Channels(vec![name.clone()]),
        };
        let id = MessageId::from_bits(1);
        let append = Append { id: id.clone(), key: None, targets, ..message(CALLS) };
        let appended = engine.append(append).await.expect("the store appends");
        assert!(appended.positions[0].1.offset > given, "{what}: {name}");
        let page = engine.read(&name, ReadFrom::Before(u64::MAX), ALL).await.expect("the store reads");
        assert_eq!(page.entries.last().map(|entry| entry.message().id.clone()), Some(id), "{what}: {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_deleted_comes_back_by_a_crash_before_any_step() {
    let volume = MemoryVolume::recording();
    let told = work(&volume).await;
    let steps = volume.all_steps();
    let opened = Cell::new(0);
    let crashes = |number| vec![Crash::Process, Crash::Power, Crash::PowerSome(number)];
    log_volume::crash_at_each(&steps, CrashDisk::default(), crashes, async |volume, done, what| {
        for _ in 0..2 {
            // What an opening mends is there at the next.
            let engine = open(&volume).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&engine, &told, done, what).await;
            engine.stop().await;
            opened.set(opened.get() + 1);
        }
        let engine = open(&volume).unwrap_or_else(|error| panic!("{what}: {error}"));
        goes_on(&engine, &told, done, what).await;
        engine.stop().await;
    })
    .await;
    let is_checkpoint = |step: &&log_volume::Step| matches!(step, log_volume::Step::Rename { .. });
    let checkpoints = steps.iter().filter(is_checkpoint).count();
    assert!(checkpoints > 3, "{checkpoints} manifests were written");
    println!("{} steps, opened {} times, {} answers", steps.len(), opened.get(), told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_a_deleted_log_is_not_given_again() {
    let volume = MemoryVolume::with(&BTreeMap::new());
    let engine = open(&volume).expect("a new store opens");
    let to = |name: &str, bits: u128| Append {
        targets: Targets::Users(vec![UserId::new(name).expect("this is a name")]),
        ..message(bits)
    };
    let push = engine.append(to("alice", 1)).await.expect("a healthy engine appends").id;
    // The newest log of all, so that nothing but the deletion says that its number was given.
    engine.delete(&ChannelName::any("@alice").expect("this is a name")).await.expect("it deletes");
    for bits in 2..40 {
        // Large enough that a checkpoint comes to its end, and a replay begins behind the deletion.
        let append = Append { targets: Targets::Channels(Vec::new()), key: None, ..message(bits | 6) };
        engine.append(append).await.expect("a healthy engine appends");
    }
    engine.stop().await;
    let engine = open(&volume).expect("it opens again");
    engine.append(to("bob", 50)).await.expect("a healthy engine appends");
    let receipts = engine.receipts(&push, None, 10, NOON).await.expect("the store reads");
    assert_eq!(receipts.unwrap_or_default(), [], "bob has no part in what was pushed to alice");
    engine.stop().await;
}
