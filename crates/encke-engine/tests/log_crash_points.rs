//! A workload is recorded, step by step of its files, and the store is opened again as it stood before each
//! of them: after a crash of the process, which leaves all that was written, and after a loss of power, which
//! leaves what was synced and any sectors of the rest. Whatever was answered by then is there, and nothing
//! else. The files are small, so that segments, checkpoints and compactions begin and end all the time.

mod beds;
mod log_volume;

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use encke_engine::{
    Append, Appended, Engine, EngineError, Key, Mark, PageLimit, ReadFrom, ReceiptState, Retention,
    RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Position, Time, UserId};
use log_volume::{Crash, CrashDisk, Fail, MemoryVolume};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 6000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
/// How many messages a log keeps.
const KEPT: u64 = 6;
/// How many appends the workload does, and after how many it opens the store again.
const APPENDS: u128 = 230;
const OPENED_EVERY: u128 = 40;
/// How many it does while syncs fail.
const FAILING_APPENDS: u128 = 45;
const EPOCH: Epoch = Epoch(77);

fn rules() -> RetentionTable {
    let retention = Retention { max_messages: KEPT, max_bytes: 1 << 20, max_age_s: 3600 };
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    LogEngine::open_on(Arc::new(volume.clone()), Arc::new(()), rules(), EPOCH, SMALL)
}

fn user(number: u128) -> UserId {
    UserId::new(&format!("user-{}", number % 3)).expect("this is a name")
}

fn channel(number: u128) -> ChannelName {
    ChannelName::public(&format!("room-{}", number % 2)).expect("this is a name")
}

/// When the message is appended: a minute after the one before, so that keys and messages grow old.
fn time(bits: u128) -> Time {
    Time(1_763_800_000_000).plus_seconds(u64::try_from(bits).expect("it is small") * 25)
}

fn message(bits: u128) -> Append {
    let targets = match bits % 5 {
        0 => Targets::Users(vec![user(bits), user(bits + 1)]),
        1 => Targets::AllUsers,
        2 => Targets::Users(vec![user(bits)]),
        3 => Targets::Channels(vec![channel(bits), channel(bits + 1)]),
        _ => Targets::Channels(vec![channel(bits)]),
    };
    let filler = "x".repeat(usize::try_from(bits % 7 * 90).expect("it is small"));
    let body = RawValue::from_string(format!("[{bits},\"{filler}\"]")).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits + 1000),
        key: bits.is_multiple_of(2).then(|| Key::new(format!("api:{bits}"))),
        targets,
        body: Body::Data(body.into()),
        from: None,
        time: time(bits),
        expires: bits.is_multiple_of(11).then(|| time(bits).plus_seconds(100)),
        trace: None,
    }
}

/// What was answered, and after how many steps.
#[derive(Default)]
struct Told {
    appended: Vec<(usize, u128, Appended)>,
    marked: Vec<(usize, UserId, u64)>,
}

/// Calls until it is not refused.
async fn until_taken<T>(call: impl AsyncFn() -> Result<T, EngineError>) -> T {
    let taken = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(EngineError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("it is taken in the end")
}

/// Appends with syncs that fail: some calls are refused and retried by their keys, some syncs fail while the
/// store takes such a frame back, and the store is opened again in the midst of it.
async fn work_while_syncs_fail(volume: &MemoryVolume) -> Told {
    let mut told = Told::default();
    let mut engine = open(volume).expect("a new store opens");
    for bits in 0..FAILING_APPENDS {
        if bits % 20 == 19 {
            volume.fail(Fail::Sync);
            for _ in 0..=bits % 3 {
                assert!(engine.append(keyed(bits)).await.is_err(), "its sync fails");
            }
            engine.stop().await;
            volume.fail(Fail::Never);
            engine = open(volume).expect("it opens again");
        }
        let fail = Fail::Syncs { every: 9, times: 1 + usize::try_from(bits / 10 % 3).expect("it is small") };
        volume.fail(fail);
        let appended = until_taken(async || engine.append(keyed(bits)).await).await;
        told.appended.push((volume.steps(), bits, appended.clone()));
        if bits % 9 == 0 {
            until_taken(async || engine.sweep(time(bits)).await).await;
        }
    }
    volume.fail(Fail::Never);
    engine.stop().await;
    told
}

/// A message that can be told from its retry.
fn keyed(bits: u128) -> Append {
    Append { key: Some(Key::new(format!("api:{bits}"))), ..message(bits) }
}

/// Does the workload, one call after the other, so that each step belongs to one call.
async fn work(volume: &MemoryVolume) -> Told {
    let mut told = Told::default();
    let mut engine = open(volume).expect("a new store opens");
    for bits in 0..APPENDS {
        if bits % OPENED_EVERY == OPENED_EVERY - 1 {
            engine.stop().await;
            engine = open(volume).expect("it opens again");
        }
        let appended = engine.append(message(bits)).await.expect("a healthy engine appends");
        told.appended.push((volume.steps(), bits, appended.clone()));
        if bits % 5 == 2 {
            let (name, position) = appended.positions[0].clone();
            let user = name.owner().expect("it is a push");
            let mark = Mark { user: user.clone(), position, state: ReceiptState::Delivered, at: time(bits) };
            engine.mark(vec![mark]).await.expect("a healthy engine marks");
            told.marked.push((volume.steps(), user, position.offset));
        }
        if bits % 4 == 0 {
            engine.seen(&user(bits), time(bits)).await.expect("a healthy engine sees");
        }
        if bits % 9 == 0 {
            engine.sweep(time(bits)).await.expect("a healthy engine sweeps");
        }
    }
    engine.stop().await;
    told
}

/// What every log must have: by name and offset, which message.
fn expected(told: &Told, steps: usize) -> HashMap<ChannelName, BTreeMap<u64, u128>> {
    let mut logs: HashMap<ChannelName, BTreeMap<u64, u128>> = HashMap::new();
    for (_, bits, appended) in told.appended.iter().filter(|(at, ..)| *at <= steps) {
        for (name, position) in &appended.positions {
            logs.entry(name.clone()).or_default().insert(position.offset, *bits);
        }
    }
    logs
}

/// Looks for everything that was answered within `steps`.
async fn check(engine: &LogEngine, told: &Told, steps: usize, what: &str) {
    let all = expected(told, usize::MAX);
    for (name, sent) in &all {
        let page = engine.read(name, ReadFrom::After(0), ALL).await.expect("the store reads");
        assert_eq!(page.head + 1 - page.tail, page.entries.len() as u64, "{what}: {name} has a hole");
        for (entry, offset) in page.entries.iter().zip(page.tail..) {
            let bits = sent
                .get(&offset)
                .unwrap_or_else(|| panic!("{what}: {name} has {offset}, which was never sent"));
            let (found, sent) = (entry.message(), message(*bits));
            assert_eq!(
                (found.position, &found.id),
                (Position { epoch: EPOCH, offset }, &sent.id),
                "{what}: {name}"
            );
            let (Body::Data(found), Body::Data(sent)) = (&found.body, &sent.body) else {
                panic!("it is data")
            };
            assert_eq!(found.get(), sent.get(), "{what}: {name}");
        }
    }
    for (name, sent) in expected(told, steps) {
        let page = engine.read(&name, ReadFrom::Head, ALL).await.expect("the store reads");
        let newest = *sent.last_key_value().expect("something was sent").0;
        assert!(page.head >= newest, "{what}: {name} ends at {}, {newest} was answered", page.head);
        assert!(page.tail + KEPT > newest || page.tail == 1, "{what}: {name}");
    }
    for (_, user, offset) in told.marked.iter().filter(|(at, ..)| *at <= steps) {
        let handed = engine.handed(user).await.expect("the store reads");
        assert!(handed.offset >= *offset, "{what}: {user} was handed {offset}, not {}", handed.offset);
    }
    // The newest answered keys lead to the first result, and the newest pushes have their receipts.
    for (_, bits, appended) in told.appended.iter().filter(|(at, ..)| *at <= steps).rev().take(4) {
        let push = message(*bits);
        if push.key.is_some() {
            let again = engine.append(push.clone()).await.expect("the store appends");
            assert_eq!(again, Appended { repeated: true, ..appended.clone() }, "{what}: the key of {bits}");
        }
        if bits % 5 < 3 {
            let receipts = engine.receipts(&push.id, None, 100, push.time).await.expect("the store reads");
            assert_eq!(
                receipts.map(|all| all.len()),
                Some(appended.positions.len()),
                "{what}: the push {bits}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_by_a_crash_before_any_step() {
    let volume = MemoryVolume::recording();
    let told = work(&volume).await;
    let steps = volume.all_steps();
    let opened = crash_at_each(&steps, &told, CrashDisk::default()).await;
    let removed = steps
        .iter()
        .filter(|step| matches!(step, log_volume::Step::Remove { name } if name.ends_with(".log")));
    let manifests = steps.iter().filter(|step| matches!(step, log_volume::Step::Rename { .. })).count();
    let removed = removed.count();
    assert!(
        removed > 0 && manifests > 3,
        "{removed} segments were removed, {manifests} checkpoints were made"
    );
    println!("{removed} segments were removed, {manifests} checkpoints were made");
    println!("{} steps, opened {opened} times, {} answers, 0 missing", steps.len(), told.appended.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_by_a_crash_while_syncs_fail() {
    let volume = MemoryVolume::recording();
    let told = work_while_syncs_fail(&volume).await;
    let steps = volume.all_steps();
    let failed = steps.iter().filter(|step| matches!(step, log_volume::Step::SyncFailed { .. })).count();
    assert!(failed > 20, "{failed} syncs failed");
    for seed in [1, 2] {
        crash_at_each(&steps, &told, CrashDisk::dropping(seed)).await;
    }
}

/// The process ends where a sync has failed, another one goes on with what is in the kernel's memory, and
/// then the power goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_after_a_process_whose_sync_failed_is_not_lost_with_the_power() {
    let volume = MemoryVolume::recording();
    work_while_syncs_fail(&volume).await;
    for seed in 1..=4 {
        let mut disk = CrashDisk::dropping(seed);
        for (number, step) in volume.all_steps().iter().enumerate() {
            disk.step(step);
            let left = disk.crash(Crash::Process);
            if !matches!(step, log_volume::Step::SyncFailed { .. }) || !left.contains_key("MANIFEST") {
                continue;
            }
            let what = format!("seed {seed}, behind step {number}");
            let second = MemoryVolume::recording_with(&left);
            let engine = open(&second).unwrap_or_else(|error| panic!("{what}: {error}"));
            // Shorter than any frame that failed, so that something of that may lie behind it.
            let short = Append { targets: Targets::Channels(vec![channel(0)]), ..keyed(10_000) };
            let appended = engine.append(short.clone()).await.expect("a healthy engine appends");
            engine.stop().await;
            let mut disk = disk.clone();
            second.all_steps().iter().for_each(|step| disk.step(step));
            for crash in [Crash::Power, Crash::PowerSome(seed)] {
                let left = MemoryVolume::with(&disk.crash(crash));
                let again = open(&left).unwrap_or_else(|error| panic!("{what}, {crash:?}: {error}"));
                let retried = again.append(short.clone()).await.expect("a healthy engine appends");
                assert_eq!(retried, Appended { repeated: true, ..appended.clone() }, "{what}, {crash:?}");
                again.stop().await;
            }
        }
    }
}

/// Opens what a crash behind each step leaves, looks for what was answered by then, and counts the openings.
async fn crash_at_each(steps: &[log_volume::Step], told: &Told, disk: CrashDisk) -> usize {
    let crashes =
        |number| vec![Crash::Process, Crash::Power, Crash::PowerSome(number), Crash::PowerSome(!number)];
    let opened = Cell::new(0);
    log_volume::crash_at_each(steps, disk, crashes, async |volume, done, what| {
        // What an opening mends is there at the next.
        for _ in 0..2 {
            let engine = open(&volume).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&engine, told, done, what).await;
            engine.stop().await;
            opened.set(opened.get() + 1);
        }
    })
    .await;
    opened.get()
}
