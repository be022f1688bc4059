//! Bits that are not what was written: each is told or harmless, and no message is ever another one.

mod beds;
mod log_volume;

use std::{collections::BTreeMap, sync::Arc};

use encke_engine::{
    Append, Engine, EngineError, Key, Mark, PageLimit, ReadFrom, ReceiptState, Retention, RetentionTable,
    Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Position, Time, UserId};
use log_volume::MemoryVolume;
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 2048, checkpoint_bytes: 3000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

fn rules() -> RetentionTable {
    let retention = Retention { max_messages: 8, max_bytes: 1 << 20, max_age_s: 3600 };
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    LogEngine::open_on(Arc::new(volume.clone()), Arc::new(()), rules(), Epoch(7), SMALL)
}

fn alice() -> UserId {
    UserId::new("alice").expect("this is a name")
}

fn room() -> ChannelName {
    ChannelName::public("room").expect("this is a name")
}

fn message(bits: u128) -> Append {
    let targets = match bits % 3 {
        0 => Targets::Users(vec![alice()]),
        _ => Targets::Channels(vec![room()]),
    };
    let body = RawValue::from_string(format!("[{bits},\"{}\"]", "x".repeat(40))).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits + 1),
        key: bits.is_multiple_of(4).then(|| Key::new(format!("api:{bits}"))),
        targets,
        body: Body::Data(body.into()),
        from: None,
        time: Time(1000 + bits as u64),
        expires: None,
        trace: None,
    }
}

/// What a whole store says: every message with its place and body, and how far alice was handed hers.
async fn says(engine: &LogEngine) -> Result<Vec<(String, u64, String, String)>, EngineError> {
    let mut all = Vec::new();
    for name in [room(), alice().channel()] {
        let page = engine.read(&name, ReadFrom::After(0), ALL).await?;
        all.push((name.to_string(), page.head, page.tail.to_string(), page.epoch.to_string()));
        for entry in page.entries {
            let message = entry.message();
            let Body::Data(json) = &message.body else { panic!("it is data") };
            all.push((
                name.to_string(),
                message.position.offset,
                message.id.to_string(),
                json.get().to_owned(),
            ));
        }
    }
    let handed = engine.handed(&alice()).await?.offset;
    all.push(("handed".to_owned(), handed, String::new(), String::new()));
    Ok(all)
}

async fn store() -> (BTreeMap<String, Vec<u8>>, Vec<(String, u64, String, String)>) {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    for bits in 0..40 {
        let appended = engine.append(message(bits)).await.expect("a healthy engine appends");
        if bits % 9 == 0 {
            let position = Position { epoch: Epoch(7), offset: appended.positions[0].1.offset };
            let mark = Mark { user: alice(), position, state: ReceiptState::Delivered, at: Time(9) };
            engine.mark(vec![mark]).await.expect("a healthy engine marks");
        }
    }
    let whole = says(&engine).await.expect("the store reads");
    engine.stop().await;
    (volume.files(), whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_changed_bit_is_told_or_harmless() {
    let (files, whole) = store().await;
    assert!(files.keys().filter(|name| name.ends_with(".log")).count() > 1, "{:?}", files.keys());
    let (mut told_at_opening, mut told_at_reading, mut harmless) = (0, 0, 0);
    for (name, bytes) in &files {
        for at in 0..bytes.len() {
            // Of what is reserved and empty, some is enough.
            if bytes[at] == 0 && bytes[at..].iter().all(|byte| *byte == 0) && at % 64 != 0 {
                continue;
            }
            let mut harmed = files.clone();
            harmed.get_mut(name).expect("it is there")[at] ^= 1 << (at % 8);
            match open(&MemoryVolume::with(&harmed)) {
                Err(EngineError::Damaged(_)) => told_at_opening += 1,
                Err(error) => panic!("{name} at {at}: {error}"),
                Ok(engine) => {
                    match says(&engine).await {
                        Ok(says) => {
                            assert_eq!(says, whole, "{name} at {at}");
                            harmless += 1;
                        }
                        Err(EngineError::Damaged(_)) => told_at_reading += 1,
                        Err(error) => panic!("{name} at {at}: {error}"),
                    }
                    engine.stop().await;
                }
            }
        }
    }
    println!("told at opening {told_at_opening}, at reading {told_at_reading}; harmless {harmless}");
    assert!(told_at_opening > 500 && harmless > 10);
}

/// A store with several frames in its newest segment, all of them on the disk: as a stop leaves it, or a
/// process that is killed.
async fn store_with_a_long_end(stopped: bool) -> BTreeMap<String, Vec<u8>> {
    let volume = MemoryVolume::default();
    let mut engine = open(&volume).expect("a new store opens");
    for bits in 0..1000 {
        engine.append(message(bits)).await.expect("a healthy engine appends");
        let files = volume.files();
        let newest = newest(&files);
        let begins = frames(&files[&newest]);
        // The mark says the segment, where the last frame ends in it, and the next sequence.
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4"));
        let (mark, last) = (&files["END"], begins.last().copied().unwrap_or_default());
        let end = last as u32 + 16 + word(&files[&newest], last);
        let is_marked = newest == format!("{:010}.log", word(mark, 8)) && word(mark, 12) == end;
        if bits > 40 && begins.len() > 3 && is_marked {
            if !stopped {
                return files;
            }
            engine.stop().await;
            let left = volume.files();
            // What the writer had still to do may have begun the next segment.
            if self::frames(&left[&self::newest(&left)]).len() > 3 {
                return left;
            }
            engine = open(&volume).expect("it opens again");
        }
    }
    panic!("the newest segment never has four frames")
}

fn newest(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.keys().rfind(|name| name.ends_with(".log")).expect("there is a segment").clone()
}

/// Where the frames of a segment begin. Each has its sequence behind its length.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("4")));
    let mut found = Vec::new();
    let mut at = 32;
    while let Some(length) = word(at).filter(|length| *length > 0) {
        found.push(at);
        at = (at + 16 + length as usize).next_multiple_of(16);
    }
    found
}

async fn is_told_or_harmless(
    files: &BTreeMap<String, Vec<u8>>,
    whole: &BTreeMap<String, Vec<u8>>,
    what: &str,
) -> bool {
    let engine = open(&MemoryVolume::with(whole)).expect("the whole store opens");
    let expected = says(&engine).await.expect("it reads");
    engine.stop().await;
    match open(&MemoryVolume::with(files)) {
        Err(EngineError::Damaged(_)) => true,
        Err(error) => panic!("{what}: {error}"),
        Ok(engine) => {
            assert_eq!(says(&engine).await, Ok(expected), "{what}: something is missing, and it is not told");
            engine.stop().await;
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_cut_off_or_emptied_is_told() {
    for (stopped, how) in [(true, "stopped"), (false, "killed")] {
        let files = store_with_a_long_end(stopped).await;
        let name = newest(&files);
        let (bytes, mut told) = (files[&name].clone(), 0);
        for length in 0..bytes.len() {
            let mut cut = files.clone();
            cut.insert(name.clone(), bytes[..length].to_vec());
            told += usize::from(is_told_or_harmless(&cut, &files, &format!("{how}, cut at {length}")).await);
        }
        let begins = frames(&bytes);
        let last = begins.last().copied().unwrap_or_default();
        assert!(last > 32 && told >= last, "{told} of {} lengths are told", bytes.len());
        for begin in begins {
            let mut emptied = files.clone();
            emptied.get_mut(&name).expect("it is there")[begin..].fill(0);
            let what = format!("{how}, empty from {begin} on");
            assert!(is_told_or_harmless(&emptied, &files, &what).await, "{what}");
        }
        let mut removed = files.clone();
        removed.remove(&name);
        assert!(is_told_or_harmless(&removed, &files, &format!("{how}, without {name}")).await);
        let mut empty = files.clone();
        empty.get_mut(&name).expect("it is there").fill(0);
        assert!(is_told_or_harmless(&empty, &files, &format!("{how}, {name} is empty")).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_its_manifest_is_none_that_is_made_anew() {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    engine.append(message(1)).await.expect("a healthy engine appends");
    engine.stop().await;
    let whole = volume.files();
    let mut left = whole.clone();
    left.remove("MANIFEST");
    assert!(matches!(open(&MemoryVolume::with(&left)), Err(EngineError::Damaged(_))));
    for bytes in [Vec::new(), vec![0; 2048], whole["0000000001.log"][..32].to_vec()] {
        left.insert("0000000001.log".to_owned(), bytes);
        assert!(matches!(open(&MemoryVolume::with(&left)), Err(EngineError::Damaged(_))), "{left:?}");
    }
    left.remove("0000000001.log");
    assert!(matches!(open(&MemoryVolume::with(&left)), Err(EngineError::Damaged(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_and_an_opening_agree_about_the_end() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let open = || LogEngine::open(dir.path(), Arc::new(()), rules(), Epoch(7));
    let engine = open().expect("a new store opens");
    for bits in 0..5 {
        engine.append(message(bits)).await.expect("a healthy engine appends");
    }
    let path = dir.path().join("0000000001.log");
    let check = || encke_engine::log::check(dir.path()).expect("there is a store").damages;
    assert_eq!(check(), Vec::<String>::new(), "beside the server");
    engine.stop().await;
    let whole = std::fs::read(&path).expect("it is there");
    for begin in frames(&whole) {
        let mut bytes = whole.clone();
        bytes[begin..].fill(0);
        std::fs::write(&path, &bytes).expect("there is room");
        assert_eq!(check().len(), 1, "empty from {begin} on");
        assert!(matches!(open(), Err(EngineError::Damaged(_))), "empty from {begin} on");
    }
    std::fs::write(&path, whole).expect("there is room");
    assert_eq!(check(), Vec::<String>::new());
    open().expect("it is whole again").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing_is_told_or_made_again() {
    let (files, whole) = store().await;
    let mut told = 0;
    for name in files.keys() {
        let mut left = files.clone();
        left.remove(name);
        let opened = open(&MemoryVolume::with(&left));
        if name.ends_with(".idx") {
            let engine = opened.expect("an index is made again");
            assert_eq!(says(&engine).await, Ok(whole.clone()), "without {name}");
            engine.stop().await;
        } else {
            // One that is waiting to be compacted, and of which nothing is in use, is not missed.
            match opened {
                Err(EngineError::Damaged(_)) => told += 1,
                Err(error) => panic!("without {name}: {error}"),
                Ok(engine) => {
                    assert_eq!(says(&engine).await, Ok(whole.clone()), "without {name}");
                    engine.stop().await;
                }
            }
        }
    }
    assert!(told > 1, "{:?}", files.keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bits_that_rot_while_it_is_open_are_told_and_the_rest_is_read() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = LogEngine::open(dir.path(), Arc::new(()), rules(), Epoch(7)).expect("a new store opens");
    for bits in 0..20 {
        engine.append(message(bits)).await.expect("a healthy engine appends");
    }
    let path = dir.path().join("0000000001.log");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let at = bytes.windows(4).rposition(|four| four == b"[19,").expect("the newest message is there");
    bytes[at + 1] = b'7';
    std::fs::write(&path, bytes).expect("there is room");
    let from = |offset| engine.read(room_ref(), ReadFrom::After(offset), ALL);
    assert!(matches!(from(0).await, Err(EngineError::Damaged(_))));
    let before = PageLimit { messages: 3, ..ALL };
    assert_eq!(
        engine.read(room_ref(), ReadFrom::After(0), before).await.map(|page| page.entries.len()),
        Ok(3)
    );
    engine.append(message(22)).await.expect("what comes is taken");
    engine.stop().await;
}

fn room_ref() -> &'static ChannelName {
    static ROOM: std::sync::OnceLock<ChannelName> = std::sync::OnceLock::new();
    ROOM.get_or_init(room)
}
