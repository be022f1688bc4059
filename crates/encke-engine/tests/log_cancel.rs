//! Cancellations in the log store: a workload that cancels is recorded, step by step of its files, and the
//! store is opened again as it stood before each of them. Whatever was answered as cancelled by then is so,
//! for all users of the push or, of a call that was under way, for none. The files are small, so that
//! segments, checkpoints and compactions begin and end all the time.

mod beds;
mod log_volume;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use encke_engine::{
    Append, CANCELLED, Engine, EngineError, Mark, PageLimit, ReadFrom, ReceiptState, RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, Epoch, MessageId, Position, Time, UserId};
use log_volume::{Crash, CrashDisk, MemoryVolume, Step};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 5000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const EPOCH: Epoch = Epoch(77);
const NOON: Time = Time(1_763_800_000_000);
/// How many pushes the workload does, and after how many it opens the store again.
const PUSHES: u128 = 90;
const OPENED_EVERY: u128 = 25;

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    let volume = Arc::new(volume.clone());
    LogEngine::open_on(volume, Arc::new(()), RetentionTable::default(), EPOCH, SMALL)
}

fn users() -> [UserId; 3] {
    ["alice", "bob", "carol"].map(|name| UserId::new(name).expect("this is a name"))
}

fn at(bits: u128) -> Time {
    NOON.plus_seconds(u64::try_from(bits).expect("it is small"))
}

fn push(bits: u128) -> Append {
    let filler = "x".repeat(usize::try_from(bits % 7 * 90).expect("it is small"));
    let body = RawValue::from_string(format!("[{bits},\"{filler}\"]")).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits + 1000),
        key: None,
        targets: Targets::Users(users()[..1 + usize::try_from(bits % 3).expect("it is small")].to_vec()),
        body: Body::Data(body.into()),
        from: None,
        time: at(bits),
        expires: None,
        trace: None,
    }
}

/// What was answered: a push, or its cancellation.
#[derive(Clone)]
enum Told {
    Pushed(MessageId, Vec<UserId>),
    Cancelled(MessageId, Vec<UserId>),
}

/// Does the workload, one call after the other, so that each step belongs to one call. Of every fourth push
/// alice has got what came before it.
async fn work(volume: &MemoryVolume) -> Vec<(usize, Told)> {
    let mut told = Vec::new();
    let mut engine = open(volume).expect("a new store opens");
    let mut handed = 0;
    for bits in 0..PUSHES {
        if bits % OPENED_EVERY == OPENED_EVERY - 1 {
            engine.stop().await;
            engine = open(volume).expect("it opens again");
        }
        let append = push(bits);
        let Targets::Users(to) = append.targets.clone() else { panic!("it is for users") };
        let appended = engine.append(append).await.expect("a healthy engine appends");
        told.push((volume.steps(), Told::Pushed(appended.id, to)));
        if bits % 4 == 3 {
            let position = Position { epoch: EPOCH, offset: u64::try_from(bits).expect("it is small") };
            let mark =
                Mark { user: users()[0].clone(), position, state: ReceiptState::Delivered, at: at(bits) };
            engine.mark(vec![mark]).await.expect("a healthy engine marks");
            handed = bits;
        }
        if bits % 3 == 2 {
            // One that is young, or one that lies in a segment that is not written any more.
            let which = if bits % 2 == 0 { bits - 1 } else { bits / 2 };
            let Targets::Users(mut of) = push(which).targets else { panic!("it is for users") };
            // What alice was handed stays hers. Offsets of hers begin with 1.
            of.retain(|user| *user != users()[0] || which + 1 > handed);
            let id = MessageId::from_bits(which + 1000);
            engine.cancel(&id, at(bits)).await.expect("a healthy engine cancels").expect("it is a push");
            told.push((volume.steps(), Told::Cancelled(id, of)));
        }
        if bits % 10 == 9 {
            engine.sweep(at(bits)).await.expect("a healthy engine sweeps");
        }
    }
    engine.stop().await;
    told
}

/// Each user's messages, and which of them are cancelled.
type Logs = BTreeMap<UserId, (Vec<MessageId>, BTreeSet<MessageId>)>;

fn expected(told: &[(usize, Told)], steps: usize) -> Logs {
    let mut logs: Logs = users().into_iter().map(|user| (user, Default::default())).collect();
    for (_, told) in told.iter().filter(|(at, _)| *at <= steps) {
        match told {
            Told::Pushed(id, to) => {
                to.iter().for_each(|user| logs.get_mut(user).expect("known").0.push(id.clone()))
            }
            Told::Cancelled(id, of) => {
                for user in of {
                    logs.get_mut(user).expect("known").1.insert(id.clone());
                }
            }
        }
    }
    logs
}

async fn found(engine: &LogEngine) -> Logs {
    let mut logs = Logs::new();
    for user in users() {
        let page = engine.read(&user.channel(), ReadFrom::After(0), ALL).await.expect("the store reads");
        let ids = page.entries.iter().map(|entry| entry.message().id.clone()).collect();
        let is_cancelled = |entry: &&Arc<encke_proto::Entry>| entry.message().expires == Some(CANCELLED);
        let cancelled = page.entries.iter().filter(is_cancelled).map(|entry| entry.message().id.clone());
        logs.insert(user, (ids, cancelled.collect()));
    }
    logs
}

/// Receipts say the same as logs.
async fn check_receipts(engine: &LogEngine, logs: &Logs, what: &str) {
    let ids: BTreeSet<&MessageId> = logs.values().flat_map(|(ids, _)| ids).collect();
    for id in ids {
        let receipts = engine.receipts(id, None, 9, at(PUSHES)).await.expect("the store reads");
        for receipt in receipts.expect("it is a push") {
            let is_cancelled = logs[&receipt.user].1.contains(id);
            assert_eq!(receipt.state == ReceiptState::Cancelled, is_cancelled, "{what}: {id} {receipt:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_stays_so_by_a_crash_before_any_step() {
    let volume = MemoryVolume::recording();
    let told = work(&volume).await;
    let steps = volume.all_steps();
    let mut disk = CrashDisk::default();
    let (mut opened, mut cancelled) = (0, 0);
    for (number, step) in steps.iter().enumerate() {
        disk.step(step);
        let done = number + 1;
        let crashes = [Crash::Process, Crash::Power, Crash::PowerSome(number as u64)];
        for crash in crashes.into_iter().filter(|crash| *crash == Crash::Process || !disk.is_synced()) {
            let what = format!("{crash:?} behind step {done} of {}, {step:?}", steps.len());
            let what = what.chars().take(160).collect::<String>();
            let left = disk.crash(crash);
            if !left.contains_key("MANIFEST") {
                continue;
            }
            let volume = MemoryVolume::with(&left);
            let under_way = told.iter().map(|(at, _)| *at).find(|at| *at > done).unwrap_or(done);
            let may_be = [expected(&told, done), expected(&told, under_way)];
            // What an opening mends is there at the next.
            for _ in 0..2 {
                let engine = open(&volume).unwrap_or_else(|error| panic!("{what}: {error}"));
                let logs = found(&engine).await;
                assert!(may_be.contains(&logs), "{what}: {logs:?}");
                check_receipts(&engine, &logs, &what).await;
                cancelled += logs.values().map(|(_, cancelled)| cancelled.len()).sum::<usize>();
                engine.stop().await;
                opened += 1;
            }
        }
    }
    let is_checkpoint = |step: &&Step| matches!(step, Step::Rename { .. });
    let checkpoints = steps.iter().filter(is_checkpoint).count();
    assert!(checkpoints > 3 && cancelled > 0, "{checkpoints} manifests were written");
    println!("{} steps, opened {opened} times, {} answers", steps.len(), told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_finds_no_space_says_so_and_changes_nothing() {
    let volume = MemoryVolume::with(&BTreeMap::new());
    let engine = open(&volume).expect("a new store opens");
    let id = engine.append(push(2)).await.expect("a healthy engine appends").id;
    volume.fail(log_volume::Fail::Write);
    let refused = engine.cancel(&id, at(5)).await;
    assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
    assert!(found(&engine).await.values().all(|(_, cancelled)| cancelled.is_empty()));
    volume.fail(log_volume::Fail::Never);
    let again = async {
        loop {
            match engine.cancel(&id, at(6)).await {
                Err(EngineError::Unavailable(_)) => tokio::task::yield_now().await,
                done => break done,
            }
        }
    };
    let again = tokio::time::timeout(std::time::Duration::from_secs(30), again).await;
    assert_eq!(again.expect("it takes calls again"), Ok(Some(3)));
    engine.stop().await;
}
