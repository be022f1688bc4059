//! A store of the engine `sqlite` is taken over whole: the new one answers as the old one would.

mod beds;

use std::{path::Path, sync::Arc};

use encke_engine::{
    Append, Appended, Engine, Mark, PageLimit, ReadFrom, ReceiptState, Retention, RetentionTable, Targets,
    log::{self, LogEngine},
    sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use serde_json::value::RawValue;

const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const NOON: Time = Time(1_763_800_000_000);
const APPENDS: u128 = 200;

fn rules() -> RetentionTable {
    let retention = Retention { max_messages: 20, max_bytes: 1 << 20, max_age_s: 3600 };
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

fn user(number: u128) -> UserId {
    UserId::new(&format!("user-{}", number % 5)).expect("this is a name")
}

fn room(number: u128) -> ChannelName {
    ChannelName::public(&format!("room-{}", number % 3)).expect("this is a name")
}

fn message(bits: u128) -> Append {
    let targets = match bits % 4 {
        0 => Targets::Channels(vec![room(bits), room(bits + 1)]),
        1 => Targets::Users(vec![user(bits), user(bits + 2)]),
        2 => Targets::AllUsers,
        _ => Targets::Channels(vec![room(bits)]),
    };
    let body = match bits % 7 {
        0 => Body::Page(format!("https://example.com/{bits}").into()),
        _ => Body::Data(Arc::from(RawValue::from_string(format!("[{bits},\"ü\"]")).expect("this is JSON"))),
    };
    Append {
        id: MessageId::from_bits(bits << 64 | 7),
        key: bits.is_multiple_of(3).then(|| format!("api:{bits}")),
        targets,
        body,
        from: bits.is_multiple_of(5).then(|| user(bits)),
        time: NOON.plus_seconds(u64::try_from(bits).expect("it is small")),
        expires: bits.is_multiple_of(6).then(|| NOON.plus_seconds(400)),
    }
}

async fn fill(engine: &dyn Engine) -> Vec<Appended> {
    let mut all = Vec::new();
    for bits in 0..APPENDS {
        let appended = engine.append(message(bits)).await.expect("a healthy engine appends");
        if bits % 8 == 1 {
            let state = if bits % 16 == 1 { ReceiptState::Delivered } else { ReceiptState::Shown };
            let position = appended.positions[0].1;
            let mark = Mark { user: user(bits), position, state, at: message(bits).time };
            engine.mark(vec![mark]).await.expect("a healthy engine marks");
        }
        if bits % 9 == 0 {
            engine.seen(&user(bits + 1), message(bits).time).await.expect("a healthy engine sees");
        }
        all.push(appended);
    }
    engine.sweep(NOON.plus_seconds(401)).await.expect("a healthy engine sweeps");
    all
}

/// Everything that can be asked of an engine.
async fn says(engine: &dyn Engine) -> Vec<String> {
    let mut all = Vec::new();
    let names = (0..3).map(room).chain((0..5).map(|number| user(number).channel()));
    for name in names {
        let page = engine.read(&name, ReadFrom::After(0), ALL).await.expect("it reads");
        all.push(format!("{name} {} {} {}", page.epoch, page.tail, page.head));
        all.extend(page.entries.iter().map(|entry| format!("{:?}", entry.message())));
    }
    all.push(format!("{:?}", engine.channels(None, 100).await));
    all.push(format!("{:?}", engine.users(None, 100).await));
    for number in 0..5 {
        all.push(format!("{:?}", engine.handed(&user(number)).await));
    }
    let now = NOON.plus_seconds(402);
    for bits in 0..APPENDS {
        let receipts = engine.receipts(&message(bits).id, None, 100, now).await;
        all.push(format!("{bits}: {receipts:?}"));
    }
    all
}

fn open_log(directory: &Path) -> LogEngine {
    LogEngine::open(directory, Arc::new(()), rules(), Epoch(2)).expect("the new store opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_over_answers_as_before() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let to = dir.path().join("log");
    let old = SqliteEngine::open(dir.path(), Arc::new(()), rules(), Epoch(1)).expect("a new store opens");
    let appended = fill(&old).await;
    let before = says(&old).await;
    assert!(log::import_sqlite(dir.path(), &to).is_err(), "not while a server has it open");
    old.stop().await;
    // What one that was killed has left: some of a store, with a frame that is not whole.
    let left = dir.path().join("log.partial");
    std::fs::create_dir(&left).expect("there is room");
    std::fs::write(left.join("0000000001.log"), "some of it").expect("there is room");
    std::fs::write(left.join("0000000002.log"), "more of it").expect("there is room");
    let report = log::import_sqlite(dir.path(), &to).expect("it is taken over");
    assert!(!left.exists(), "its place was taken");
    assert_eq!(report.logs, 8);
    assert!(report.messages > 100 && report.keys > 60, "{report:?}");
    assert!(log::import_sqlite(dir.path(), &to).is_err(), "what is there is not overwritten");
    let checked = log::check(&to).expect("there is a store");
    assert_eq!(checked.damages, [""; 0]);
    // Each frame is one sync.
    assert!(checked.frames < 6, "{} frames for {} keys", checked.frames, report.keys);
    for _ in 0..2 {
        let new = open_log(&to);
        let after = says(&new).await;
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(after, before);
        }
        for (bits, first) in (0..APPENDS).zip(&appended).filter(|(bits, _)| bits % 3 == 0) {
            let again = new.append(message(bits)).await.expect("it appends");
            assert_eq!(again, Appended { repeated: true, ..first.clone() }, "the key of {bits}");
        }
        new.stop().await;
    }
    let new = open_log(&to);
    let next = new.append(message(APPENDS + 3)).await.expect("it appends");
    let head =
        appended.iter().rev().flat_map(|one| &one.positions).find(|(name, _)| *name == room(APPENDS + 3));
    assert_eq!(next.positions[0].1.offset, head.expect("it had messages").1.offset + 1);
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_nothing_nothing_is_made() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    assert!(log::import_sqlite(dir.path(), &dir.path().join("log")).is_err());
    assert!(!dir.path().join("log").exists());
}
