//! What is known of logs besides their messages outlives a crash before any step of the store's files,
//! checkpoints, compaction, and a copy; bytes do, too. The files are small, so that segments, checkpoints and
//! compactions begin and end all the time.

mod log_volume;

use std::{path::Path, sync::Arc};

use encke_engine::{
    Configure, Engine, EngineError, Lifetime, LogConfig, LogRefusal, LogUpdate, LogUpdated, NewMessage,
    PageLimit, Producer, ProducerId, ReadFrom, Retention, RetentionTable,
    log::{self, Damaged, LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, TypedBytes};
use log_volume::{Crash, CrashDisk, MemoryVolume, Step};

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 6000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const EPOCH: Epoch = Epoch(77);
/// How many changes the workload does, and after how many it opens the store again and sweeps.
const CHANGES: u64 = 150;
const OPENED_EVERY: u64 = 40;
const SWEPT_EVERY: u64 = 7;
/// How many sequences the producer has in each of its epochs.
const SEQUENCES: u64 = 50;
/// How long every other log lasts, in changes.
const LASTS: u64 = 30;

fn rules() -> RetentionTable {
    let retention = Retention { max_messages: 6, max_bytes: 1 << 20, max_age_s: 3600 };
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    LogEngine::open_on(Arc::new(volume.clone()), Arc::new(()), rules(), EPOCH, SMALL)
}

fn channel(name: &str) -> ChannelName {
    ChannelName::public(name).expect("this is a name")
}

fn time(number: u64) -> Time {
    Time(1_763_800_000_000).plus_seconds(number * 10)
}

/// The bytes of a message: of all values, and of many lengths.
fn body(number: u64) -> TypedBytes {
    let bytes: Vec<u8> = (0..=u8::try_from(number % 250).expect("it is small")).rev().collect();
    TypedBytes::new(&format!("x/{number}"), bytes.repeat(3)).expect("this is a content type")
}

/// The change `number` of the producer.
fn produced(number: u64) -> LogUpdate {
    let id = ProducerId::new("p").expect("this is an id");
    let producer = Producer::new(id, number / SEQUENCES, number % SEQUENCES).expect("these are small");
    let message = NewMessage {
        id: MessageId::from_bits(u128::from(number) + 1),
        body: Body::Bytes(Arc::new(body(number))),
        from: None,
        expires: None,
    };
    let update = LogUpdate::new(channel("produced"), time(number));
    LogUpdate { producer: Some(producer), message: Some(message), ..update }
}

fn name(number: u64) -> ChannelName {
    channel(&format!("log-{number}"))
}

fn config(number: u64) -> LogConfig {
    let lifetime = match number % 3 {
        0 => Some(Lifetime::Until(time(number + LASTS))),
        1 => Some(Lifetime::Idle { seconds: LASTS * 10 }),
        _ => None,
    };
    LogConfig::new(Some(&format!("t/{number}")), lifetime).expect("this is a content type")
}

/// A log that is created, and closed if its number is even.
fn created(number: u64) -> LogUpdate {
    let configure = Configure::Create(config(number));
    LogUpdate { configure, close: number.is_multiple_of(2), ..LogUpdate::new(name(number), time(number)) }
}

/// The steps after which calls were answered, and before which they began.
struct Told {
    produced: Vec<(usize, LogUpdated)>,
    created: Vec<usize>,
    /// For each sweep its time.
    swept: Vec<(usize, usize, Time)>,
}

async fn work(volume: &MemoryVolume) -> Told {
    let mut told = Told { produced: Vec::new(), created: Vec::new(), swept: Vec::new() };
    let mut engine = open(volume).expect("a new store opens");
    for number in 0..CHANGES {
        if number % OPENED_EVERY == OPENED_EVERY - 1 {
            engine.stop().await;
            engine = open(volume).expect("it opens again");
        }
        let updated = engine.update_log(produced(number)).await.expect("a healthy engine changes a log");
        told.produced.push((volume.steps(), updated));
        assert!(engine.update_log(created(number)).await.expect("a healthy engine changes a log").created);
        told.created.push(volume.steps());
        if number % SWEPT_EVERY == 0 {
            let before = volume.steps();
            engine.sweep(time(number)).await.expect("a healthy engine sweeps");
            told.swept.push((before, volume.steps(), time(number)));
        }
    }
    engine.stop().await;
    told
}

/// Looks for everything that was answered within `steps`.
async fn check(engine: &LogEngine, told: &Told, steps: usize, what: &str) {
    let page = engine.read(&channel("produced"), ReadFrom::After(0), ALL).await.expect("it reads");
    for (entry, offset) in page.entries.iter().zip(page.tail..) {
        let Body::Bytes(found) = &entry.message().body else { panic!("{what}: bytes were sent") };
        assert_eq!(**found, body(offset - 1), "{what}: {offset}");
    }
    let answered = told.produced.iter().take_while(|(at, _)| *at <= steps).count();
    assert!(
        (answered as u64..=answered as u64 + 1).contains(&page.head),
        "{what}: the head is {}",
        page.head
    );
    for (number, (_, first)) in told.produced.iter().enumerate().take(answered).rev().take(3) {
        let again = engine.update_log(produced(number as u64)).await;
        if number as u64 / SEQUENCES == (page.head - 1) / SEQUENCES {
            let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(again.repeated && again.message == first.message, "{what}: the change {number}");
        } else {
            let fenced = LogRefusal::Fenced { epoch: (page.head - 1) / SEQUENCES };
            assert_eq!(again, Err(EngineError::Refused(fenced)), "{what}: the change {number}");
        }
    }
    for (number, at) in (0..).zip(&told.created) {
        let status = engine.log_status(&name(number)).await.expect("it reads");
        let config = config(number);
        let end = config.lifetime().map(|_| time(number + LASTS));
        let is_over = |time: Time| end.is_some_and(|end| end <= time);
        let may_be_gone = told.swept.iter().any(|(begun, _, time)| *begun < steps && is_over(*time));
        let is_gone = told.swept.iter().any(|(_, done, time)| *done <= steps && is_over(*time));
        match status {
            Some(status) => {
                assert!(!is_gone, "{what}: the log {number} is still there");
                assert_eq!(status.config, config, "{what}: the log {number}");
                assert_eq!(status.closed, number.is_multiple_of(2), "{what}: the log {number}");
                assert_eq!(status.ends, end, "{what}: the log {number}");
            }
            None => assert!(*at > steps || may_be_gone, "{what}: the log {number} is missing"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_known_of_a_log_is_lost_by_a_crash_before_any_step() {
    let volume = MemoryVolume::recording();
    let told = work(&volume).await;
    let steps = volume.all_steps();
    let removed = steps.iter().filter(|step| matches!(step, Step::Remove { name } if name.ends_with(".log")));
    let checkpoints = steps.iter().filter(|step| matches!(step, Step::Rename { .. })).count();
    let removed = removed.count();
    assert!(removed > 0 && checkpoints > 3, "{removed} segments removed, {checkpoints} checkpoints");
    let mut disk = CrashDisk::default();
    for (number, step) in steps.iter().enumerate() {
        disk.step(step);
        let done = number + 1;
        let crashes = [Crash::Process, Crash::Power, Crash::PowerSome(number as u64)];
        for crash in crashes.into_iter().filter(|crash| *crash == Crash::Process || !disk.is_synced()) {
            let left = disk.crash(crash);
            if !left.contains_key("MANIFEST") {
                continue;
            }
            let what = format!("{crash:?} behind step {done} of {}", steps.len());
            let volume = MemoryVolume::with(&left);
            for _ in 0..2 {
                let engine = open(&volume).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&engine, &told, done, &what).await;
                engine.stop().await;
            }
        }
    }
}

fn open_at(directory: &Path, epoch: u64) -> LogEngine {
    LogEngine::open_with(directory, Arc::new(()), rules(), Epoch(epoch), SMALL).expect("the store opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_a_log_is_checked_dumped_and_in_a_copy() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (store, copy, restored) =
        (dir.path().join("log"), dir.path().join("copy"), dir.path().join("restored"));
    let engine = open_at(&store, 1);
    for number in 0..60 {
        engine.update_log(produced(number)).await.expect("a healthy engine changes a log");
        engine.update_log(created(number)).await.expect("a healthy engine changes a log");
    }
    let used = LogUpdate::new(name(1), time(2));
    engine.update_log(used).await.expect("a healthy engine changes a log");
    log::backup(&store, &copy, Damaged::Refused).expect("a copy is made");
    engine.stop().await;
    let report = log::check(&store).expect("it reads");
    assert!(report.damages.is_empty(), "{report:?}");
    let mut kinds = std::collections::BTreeMap::new();
    log::dump(&store, |line| {
        let channel = line["channel"].as_str().unwrap_or_default().to_owned();
        kinds.entry(line["record"].to_string()).or_insert(channel);
        Ok(())
    })
    .expect("it reads");
    for kind in ["\"closed\"", "\"configured\"", "\"produced\"", "\"touched\""] {
        assert!(kinds.get(kind).is_some_and(|channel| !channel.is_empty()), "{kind} of {kinds:?}");
    }
    log::restore(&copy, &restored).expect("it is restored");
    let engine = open_at(&restored, 2);
    for number in 0..60 {
        let status = engine.log_status(&name(number)).await.expect("it reads").expect("it is there");
        assert_eq!((status.closed, status.config), (number.is_multiple_of(2), config(number)), "{number}");
    }
    let again = engine.update_log(produced(59)).await.expect("a healthy engine changes a log");
    let (_, position) = again.message.expect("it is the last");
    assert!(again.repeated && position.offset == 60 && position.epoch == Epoch(2), "{position:?}");
    engine.stop().await;
}
