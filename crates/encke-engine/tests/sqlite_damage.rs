//! What a store is after its files were damaged: a cut or changed write-ahead log costs what is behind the
//! damage and nothing before it, and nothing is ever returned that was not written.

mod beds;

use std::{fs, path::Path, sync::Arc};

use encke_engine::{
    Append, Engine, EngineError, PageLimit, ReadFrom, RetentionTable, Targets, sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, MessageId, Time};
use serde_json::value::RawValue;
use tempfile::TempDir;

const APPENDS: u64 = 60;
const CUTS: u64 = 40;
const FLIPS: u64 = 40;
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

fn open(dir: &Path) -> Result<SqliteEngine, EngineError> {
    SqliteEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch())
}

fn name() -> ChannelName {
    ChannelName::public("a").expect("this is a name")
}

fn text(number: u64) -> String {
    format!("\"{number}-{}\"", "x".repeat(usize::try_from(number).expect("it is small") * 50))
}

async fn append(engine: &SqliteEngine, number: u64) {
    let json = RawValue::from_string(text(number)).expect("this is JSON");
    let append = Append {
        id: MessageId::from_bits(number.into()),
        key: None,
        targets: Targets::Channels(vec![name()]),
        body: Body::Data(Arc::from(json)),
        from: None,
        time: Time(1),
        expires: None,
    };
    engine.append(append).await.expect("a healthy engine appends");
}

/// A store as a crash leaves it: the files of one that is open and idle.
struct Crashed {
    dir: TempDir,
    /// How long the write-ahead log was when each append had been answered.
    log_after: Vec<u64>,
}

async fn crashed() -> Crashed {
    let live = tempfile::tempdir().expect("there is room for a directory");
    let engine = open(live.path()).expect("a new store opens");
    let mut log_after = Vec::new();
    for number in 1..=APPENDS {
        append(&engine, number).await;
        log_after.push(fs::metadata(live.path().join("encke.sqlite3-wal")).expect("there is a log").len());
    }
    let dir = tempfile::tempdir().expect("there is room for a directory");
    copy(live.path(), dir.path());
    engine.stop().await;
    Crashed { dir, log_after }
}

fn copy(from: &Path, to: &Path) {
    // Not the shared index: after a crash it is made anew from the log.
    for file in ["encke.sqlite3", "encke.sqlite3-wal"] {
        fs::copy(from.join(file), to.join(file)).expect("files can be copied");
    }
}

/// Opens a copy in which everything before `intact` bytes of the log is as it was. It must hold at least what
/// had been answered when the log had that length, it must be a prefix of what was appended, and it must take
/// appends.
async fn check(crashed: &Crashed, intact: u64, harm: impl FnOnce(&Path)) -> u64 {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    copy(crashed.dir.path(), dir.path());
    harm(&dir.path().join("encke.sqlite3-wal"));
    let engine = match open(dir.path()) {
        Ok(engine) => engine,
        Err(error) => panic!("a damaged tail keeps the store from opening: {error}"),
    };
    let page = engine.read(&name(), ReadFrom::After(0), ALL).await.expect("the store reads");
    let answered = crashed.log_after.iter().filter(|length| **length <= intact).count() as u64;
    assert!(page.head >= answered, "{} of {answered} messages before the damage at {intact}", page.head);
    assert_eq!(page.entries.len() as u64, page.head, "a prefix has no hole");
    for (entry, number) in page.entries.iter().zip(1..) {
        let Body::Data(json) = &entry.message().body else { panic!("it was data") };
        assert_eq!((json.get(), entry.message().position.offset), (text(number).as_str(), number));
    }
    append(&engine, page.head + 1).await;
    let after = engine.read(&name(), ReadFrom::Head, ALL).await.expect("the store reads").head;
    assert_eq!(after, page.head + 1);
    engine.stop().await;
    page.head
}

/// Places all over a file of this length, the same in every run.
fn places(length: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |index| (index * 7_919 + 13).wrapping_mul(2_654_435_761) % length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_log_costs_only_what_was_cut() {
    let crashed = crashed().await;
    let whole = *crashed.log_after.last().expect("there were appends");
    assert_eq!(check(&crashed, whole, |_| {}).await, APPENDS, "an undamaged copy has everything");
    for length in places(whole, CUTS) {
        check(&crashed, length, |log| {
            let file = fs::OpenOptions::new().write(true).open(log).expect("the log opens");
            file.set_len(length).expect("it can be cut");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_in_the_log_costs_only_what_is_behind_it() {
    let crashed = crashed().await;
    let whole = *crashed.log_after.last().expect("there were appends");
    for place in places(whole, FLIPS) {
        check(&crashed, place, |log| {
            let mut bytes = fs::read(log).expect("the log can be read");
            bytes[usize::try_from(place).expect("it is small")] ^= 0x40;
            fs::write(log, bytes).expect("the log can be written");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_parse_are_told_and_do_not_panic() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let file = dir.path().join("encke.sqlite3");
    for harm in [
        "UPDATE bodies SET body = '{\"half' WHERE id = 2",
        "UPDATE bodies SET message = 'no id' WHERE id = 2",
        "UPDATE bodies SET kind = 9 WHERE id = 2",
        "UPDATE bodies SET sender = '' WHERE id = 2",
        "UPDATE bodies SET time = -1 WHERE id = 2",
        "UPDATE bodies SET time = 'noon' WHERE id = 2",
        "UPDATE bodies SET body = x'ff' WHERE id = 2",
        "DELETE FROM bodies WHERE id = 2",
        "DELETE FROM messages WHERE offset = 2",
        "DELETE FROM messages WHERE offset = 3",
        "UPDATE channels SET head = 9",
        "UPDATE channels SET tail = -1",
    ] {
        fs::remove_file(&file).ok();
        let engine = open(dir.path()).expect("a new store opens");
        for number in 1..=3 {
            append(&engine, number).await;
        }
        engine.stop().await;
        drop(engine);
        rusqlite::Connection::open(&file).expect("the store opens").execute(harm, []).expect(harm);
        let engine = open(dir.path()).expect("one bad row does not close the store");
        let read = engine.read(&name(), ReadFrom::After(0), ALL).await;
        assert!(matches!(read, Err(EngineError::Damaged(_))), "{harm}: {read:?}");
        // Other logs are as good as before.
        let other = ChannelName::public("other").expect("this is a name");
        assert_eq!(engine.read(&other, ReadFrom::Head, ALL).await.expect("another log reads").head, 0);
        assert_eq!(engine.sweep(Time(u64::MAX / 4)).await, Ok(()), "{harm}");
        engine.stop().await;
    }
}

#[test]
fn what_is_no_store_is_told() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    fs::write(dir.path().join("encke.sqlite3"), vec![b'x'; 8192]).expect("files can be written");
    assert!(matches!(open(dir.path()), Err(EngineError::Damaged(_))));
    let newer = tempfile::tempdir().expect("there is room for a directory");
    drop(open(newer.path()).expect("a new store opens"));
    let db = rusqlite::Connection::open(newer.path().join("encke.sqlite3")).expect("the store opens");
    db.pragma_update(None, "user_version", 99).expect("it can be set");
    drop(db);
    assert!(
        matches!(open(newer.path()), Err(EngineError::Damaged(_))),
        "a store of a newer version is left alone"
    );
}
