//! A store that the former engine `sqlite` wrote is taken over whole: the new one answers as the old one did.
//!
//! `sqlite_store` is what the last version with that engine left behind when it was killed, two messages of
//! it in the write-ahead log alone; and what that version answered then to every question of `answers` below.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use encke_engine::{
    Append, Engine, EngineError, Key, PageLimit, ReadFrom, Retention, RetentionTable, Targets,
    log::{self, LogEngine},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use tempfile::TempDir;

const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const NOON: Time = Time(1_763_800_000_000);
const APPENDS: u128 = 60;
const FILES: [&str; 2] = ["encke.sqlite3", "encke.sqlite3-wal"];
/// Where a database's header has the version of its schema: four bytes, the highest first.
const VERSION_END: usize = 63;

/// Those under which the store was written.
fn rules() -> RetentionTable {
    let retention = Retention { max_messages: 8, max_bytes: 1 << 20, max_age_s: 3600 };
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

fn user(number: u128) -> UserId {
    UserId::new(&format!("user-{number}")).expect("this is a name")
}

fn room(number: u128) -> ChannelName {
    ChannelName::public(&format!("room-{number}")).expect("this is a name")
}

/// The append `bits` of the old store had this id, and every third a key.
fn id(bits: u128) -> MessageId {
    MessageId::from_bits(bits << 64 | 7)
}

/// Another message under the key of an old one.
fn again(bits: u128) -> Append {
    Append {
        id: MessageId::from_bits(1),
        key: Some(Key::new(format!("api:{bits}"))),
        targets: Targets::Channels(vec![room(0)]),
        body: Body::Page("https://example.com/again".into()),
        from: None,
        time: NOON.plus_seconds(202),
        expires: None,
        trace: None,
    }
}

fn old_store() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sqlite_store")
}

/// What is done to the bytes of a database.
type Change = fn(&mut Vec<u8>);

/// A data directory with these of the old files.
fn data(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    for file in files {
        fs::copy(old_store().join(file), dir.path().join(file)).expect("there is room for a file");
    }
    dir
}

/// What an engine answers to every question about the store, a line for each thing.
async fn answers(engine: &dyn Engine) -> Vec<String> {
    let mut all = Vec::new();
    for name in (0..3).map(room).chain((0..5).map(|number| user(number).channel())) {
        let page = engine.read(&name, ReadFrom::After(0), ALL).await.expect("it reads");
        all.push(format!("log {name}: epoch {}, {} to {}", page.epoch, page.tail, page.head));
        for entry in &page.entries {
            let message = entry.message();
            let body = match &message.body {
                Body::Page(page) => format!("page {}", page.url),
                Body::Data(json) => format!("data {}", json.get()),
                Body::Bytes(typed) => format!("bytes {}", typed.json()),
            };
            all.push(format!(
                "  {}: {} at {}, from {}, expires {}, {body}",
                message.position.offset,
                message.id.as_str(),
                message.time.0,
                message.from.as_ref().map_or("-".into(), ToString::to_string),
                message.expires.map_or("-".into(), |time| time.0.to_string()),
            ));
        }
    }
    for known in engine.users(None, 100).await.expect("it lists users") {
        let handed = engine.handed(&known.user).await.expect("it knows the place");
        let last = known.last_seen.map_or("-".into(), |time| time.0.to_string());
        all.push(format!(
            "user {}: seen {} to {last}, handed {}",
            known.user, known.first_seen.0, handed.offset
        ));
    }
    for bits in 0..APPENDS {
        let receipts =
            engine.receipts(&id(bits), None, 100, NOON.plus_seconds(202)).await.expect("it reads receipts");
        for receipt in receipts.into_iter().flatten() {
            all.push(format!("receipt {bits}: {} {} at {}", receipt.user, receipt.state, receipt.at.0));
        }
    }
    for bits in (0..APPENDS).step_by(3) {
        let first = engine.append(again(bits)).await.expect("it knows the key");
        assert!(first.repeated, "the key of {bits}");
        let places = first.positions.iter().map(|(name, place)| format!(" {name} {}", place.offset));
        all.push(format!("key {bits}: {}{}", first.id.as_str(), places.collect::<String>()));
    }
    all
}

fn open_log(directory: &Path) -> LogEngine {
    LogEngine::open(directory, Arc::new(()), rules(), Epoch(2)).expect("the new store opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_over_answers_as_before() {
    let dir = data(&FILES);
    let to = dir.path().join("log");
    // What one that was killed has left: some of a store, with a frame that is not whole.
    let left = dir.path().join("log.partial");
    fs::create_dir(&left).expect("there is room");
    fs::write(left.join("0000000001.log"), "some of it").expect("there is room");
    fs::write(left.join("0000000002.log"), "more of it").expect("there is room");
    let report = log::import_sqlite(dir.path(), &to).expect("it is taken over");
    assert!(!left.exists(), "its place was taken");
    assert_eq!((report.logs, report.messages, report.keys), (8, 45, 20));
    for file in FILES {
        let (old, now) = (fs::read(old_store().join(file)), fs::read(dir.path().join(file)));
        assert!(old.expect("it is there") == now.expect("it is there"), "{file} is not as it was");
    }
    assert!(log::import_sqlite(dir.path(), &to).is_err(), "what is there is not overwritten");
    let checked = log::check(&to).expect("there is a store");
    assert_eq!(checked.damages, [""; 0]);
    // Each frame is one sync.
    assert!(checked.frames < 6, "{} frames for {} keys", checked.frames, report.keys);
    let expected = fs::read_to_string(old_store().join("answers.txt")).expect("it is there");
    for _ in 0..2 {
        let new = open_log(&to);
        let told = answers(&new).await;
        for (told, expected) in told.iter().zip(expected.lines()) {
            assert_eq!(told, expected);
        }
        assert_eq!(told.len(), expected.lines().count());
        new.stop().await;
    }
    let new = open_log(&to);
    let next = new.append(Append { key: None, ..again(0) }).await.expect("it appends");
    assert_eq!(next.positions[0].1.offset, 17, "offsets go on");
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_has_open_is_left_alone() {
    let dir = data(&FILES);
    let lock = fs::File::create(dir.path().join("encke.lock")).expect("there is room for a file");
    lock.try_lock().expect("it is not locked");
    let refused = log::import_sqlite(dir.path(), &dir.path().join("log")).expect_err("it is locked");
    assert!(refused.to_string().contains("another process"), "{refused}");
    drop(lock);
    assert!(log::import_sqlite(dir.path(), &dir.path().join("log")).is_ok());
}

#[test]
fn where_nothing_can_be_read_nothing_is_made() {
    let failed = |files: &[&str], harm: &dyn Fn(&Path)| {
        let dir = data(files);
        harm(dir.path());
        let error = log::import_sqlite(dir.path(), &dir.path().join("log")).expect_err("it is no store");
        assert!(!dir.path().join("log").exists(), "{error}");
        error
    };
    let write = |change: Change, dir: &Path| {
        let path = dir.join(FILES[0]);
        let mut bytes = fs::read(&path).expect("it is there");
        change(&mut bytes);
        fs::write(path, bytes).expect("there is room for a file");
    };
    let unavailable = |error: &EngineError| matches!(error, EngineError::Unavailable(_));
    assert!(unavailable(&failed(&[], &|_| {})), "there is none");
    let damages: [Change; 4] = [
        |bytes| bytes.truncate(40_000),
        |bytes| bytes[..16].fill(b'x'),
        |bytes| bytes[8192..].fill(0xa5),
        |bytes| bytes[VERSION_END] = 2,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let error = failed(&FILES[..1], &|dir| write(*damage, dir));
        assert!(matches!(error, EngineError::Damaged(_)), "{number}: {error}");
    }
    // What a try before left unfinished is not in its way.
    let dir = data(&FILES);
    fs::create_dir(dir.path().join("log.importing")).expect("there is room for a directory");
    assert!(log::import_sqlite(dir.path(), &dir.path().join("log")).is_ok());
}
