//! A copy that is made while messages come in is the store as it was at some moment; what opens it begins a
//! new epoch; and what is damaged is named.

mod beds;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use encke_engine::{
    Append, Engine, EngineError, PageLimit, ReadFrom, Retention, RetentionTable, Targets,
    log::{self, Damaged, LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 16_384, checkpoint_bytes: 32_768 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
/// How many copies are made while the store is written.
const COPIES: usize = 8;
/// So small that segments are begun, checkpoints made and segments compacted all the time.
const BUSY: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 4096 };
/// How many copies are made of a store that is so busy.
const BUSY_COPIES: u64 = 40;
/// How many tasks write to it, each of which waits for its answer.
const WRITERS: u64 = 8;

fn open(directory: &Path, epoch: u64) -> Result<LogEngine, EngineError> {
    open_with(directory, epoch, SMALL)
}

fn open_with(directory: &Path, epoch: u64, options: LogOptions) -> Result<LogEngine, EngineError> {
    let retention = Retention { max_messages: 100, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    LogEngine::open_with(directory, Arc::new(()), rules, Epoch(epoch), options)
}

fn room() -> ChannelName {
    ChannelName::public("room").expect("this is a name")
}

fn message(number: u64) -> Append {
    let json = RawValue::from_string(format!("[{number},\"{}\"]", "x".repeat(200))).expect("this is JSON");
    Append {
        id: MessageId::from_bits(number.into()),
        key: None,
        targets: Targets::Channels(vec![room()]),
        body: Body::Data(json.into()),
        from: None,
        time: Time(1),
        expires: None,
        trace: None,
    }
}

/// Opens a copy, looks whether it is whole, and returns its head.
async fn head_of(copy: &Path, epoch: u64) -> u64 {
    let engine = open(copy, epoch).expect("a copy opens");
    let page = engine.read(&room(), ReadFrom::After(0), ALL).await.expect("it reads");
    assert_eq!(page.epoch, Epoch(epoch), "a copy begins a new epoch");
    assert_eq!(page.entries.len() as u64, page.head + 1 - page.tail, "nothing is missing in between");
    for (entry, offset) in page.entries.iter().zip(page.tail..) {
        assert_eq!(entry.message().id, MessageId::from_bits(offset.into()));
    }
    engine.stop().await;
    page.head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_messages_come_in_is_the_store_of_some_moment() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let store = dir.path().join("log");
    let engine = Arc::new(open(&store, 1).expect("a new store opens"));
    let ended = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (engine, ended) = (Arc::clone(&engine), Arc::clone(&ended));
        async move {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                engine.append(message(number)).await.expect("a healthy engine appends");
                if number % 50 == 0 {
                    engine.sweep(Time(1)).await.expect("a healthy engine sweeps");
                }
            }
            number
        }
    });
    let mut heads = Vec::new();
    for number in 0..COPIES {
        let before = engine.read(&room(), ReadFrom::Head, ALL).await.expect("it reads").head;
        let copy = dir.path().join(format!("copy-{number}"));
        let bytes = tokio::task::spawn_blocking({
            let (store, copy) = (store.clone(), copy.clone());
            move || log::backup(&store, &copy, Damaged::Refused)
        });
        assert!(bytes.await.expect("it does not panic").expect("a copy is made").bytes > 0);
        let after = engine.read(&room(), ReadFrom::Head, ALL).await.expect("it reads").head;
        heads.push((before, copy, after));
    }
    ended.store(true, Ordering::Relaxed);
    let written = writing.await.expect("it does not panic");
    engine.stop().await;
    for (number, (before, copy, after)) in heads.into_iter().enumerate() {
        let head = head_of(&copy, 100 + number as u64).await;
        // One call may be written and not answered yet.
        assert!((before..=after + 1).contains(&head), "{before} <= {head} <= {after}");
    }
    assert_eq!(log::check(&store).expect("there is a store").damages, [""; 0]);
    println!("{written} messages, {COPIES} copies meanwhile");
}

/// The segments of a store, by number.
fn segments(store: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(store).expect("it is there");
    let names = entries.map(|entry| entry.expect("it reads").file_name().into_string().expect("it is UTF-8"));
    let mut numbers: Vec<u32> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_store_that_is_compacted_all_the_time_has_all_that_was_answered_before() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let store = dir.path().join("log");
    let engine = Arc::new(open_with(&store, 1, BUSY).expect("a new store opens"));
    let ended = Arc::new(AtomicBool::new(false));
    let mut writing = Vec::new();
    // Several at once, so that frames are long and segments are full soon.
    for _ in 0..WRITERS {
        let (engine, ended) = (Arc::clone(&engine), Arc::clone(&ended));
        writing.push(tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                engine.append(message(1)).await.expect("a healthy engine appends");
                engine.sweep(Time(1)).await.expect("a healthy engine sweeps");
            }
        }));
    }
    let head = || async { engine.read(&room(), ReadFrom::Head, ALL).await.expect("it reads").head };
    let (mut begun, mut removed) = (0, 0);
    for number in 0..BUSY_COPIES {
        let (copy, restored) = (dir.path().join("copy"), dir.path().join("restored"));
        let (before, segments_before) = (head().await, segments(&store));
        let copying = tokio::task::spawn_blocking({
            let (store, copy) = (store.clone(), copy.clone());
            move || log::backup(&store, &copy, Damaged::Refused)
        });
        copying.await.expect("it does not panic").expect("one pass is enough");
        let (after, segments_after) = (head().await, segments(&store));
        begun += segments_after.iter().filter(|segment| !segments_before.contains(segment)).count();
        removed += segments_before.iter().filter(|segment| !segments_after.contains(segment)).count();
        log::restore(&copy, &restored).expect("it comes back");
        let opened = open_with(&restored, 100 + number, BUSY).expect("it opens");
        let page = opened.read(&room(), ReadFrom::After(0), ALL).await.expect("it reads");
        // Calls may be written and not answered yet, one of each writer.
        assert!((before..=after + WRITERS).contains(&page.head), "{before} <= {} <= {after}", page.head);
        assert_eq!(page.entries.len() as u64, page.head + 1 - page.tail, "nothing is missing in between");
        assert!(page.tail <= page.head.saturating_sub(99).max(1), "nor at the beginning");
        opened.stop().await;
        for directory in [copy, restored] {
            std::fs::remove_dir_all(directory).expect("it can be removed");
        }
    }
    ended.store(true, Ordering::Relaxed);
    for task in writing {
        task.await.expect("it does not panic");
    }
    engine.stop().await;
    println!("{begun} segments begun and {removed} removed while {BUSY_COPIES} copies were made");
    assert!(begun > 0 && removed > 0, "the store was busy: {begun} begun, {removed} removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_begins_a_new_epoch_and_takes_messages() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (store, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let engine = open(&store, 1).expect("a new store opens");
    for number in 1..=5 {
        engine.append(message(number)).await.expect("a healthy engine appends");
    }
    log::backup(&store, &copy, Damaged::Refused).expect("a copy is made");
    engine.append(message(6)).await.expect("a healthy engine appends");
    engine.stop().await;
    assert!(log::backup(&store, &copy, Damaged::Refused).is_err(), "a copy that is there is not overwritten");
    assert!(log::restore(&copy, &store).is_err(), "nor is a store");
    std::fs::remove_dir_all(&store).expect("it can be removed");
    log::restore(&copy, &store).expect("the copy comes back");
    let engine = open(&store, 2).expect("the store opens");
    let appended = engine.append(message(7)).await.expect("a healthy engine appends");
    let position = appended.positions[0].1;
    assert_eq!(
        (position.epoch, position.offset),
        (Epoch(2), 6),
        "the offset is given again, in another epoch"
    );
    engine.stop().await;
    let again = open(&store, 3).expect("the store opens again");
    assert_eq!(
        again.read(&room(), ReadFrom::Head, ALL).await.expect("it reads").epoch,
        Epoch(2),
        "once is enough"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_damaged_and_a_dump_says_what_is_there() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = open(dir.path(), 1).expect("a new store opens");
    for number in 1..=5 {
        engine.append(message(number)).await.expect("a healthy engine appends");
    }
    // Beside the process that has it open.
    let report = log::check(dir.path()).expect("there is a store");
    assert_eq!((report.messages, report.torn, report.damages.len()), (5, false, 0));
    let mut lines = Vec::new();
    log::dump(dir.path(), |line| {
        lines.push(line);
        Ok(())
    })
    .expect("there is a store");
    let messages: Vec<_> = lines.iter().filter(|line| line["record"] == "message").collect();
    assert_eq!(messages.len(), 5);
    assert_eq!((&messages[4]["targets"][0]["channel"], &messages[4]["data"][0]), (&"room".into(), &5.into()));
    engine.stop().await;
    let path = dir.path().join("0000000001.log");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let at = bytes.windows(3).position(|three| three == b"[2,").expect("the message is there");
    bytes[at + 1] ^= 1;
    std::fs::write(&path, bytes).expect("there is room");
    let report = log::check(dir.path()).expect("there is a store");
    assert_eq!(report.damages.len(), 1);
    assert!(report.damages[0].contains("segment 1 at byte"), "{}", report.damages[0]);
    assert!(log::check(&dir.path().join("nothing")).is_err());
}
