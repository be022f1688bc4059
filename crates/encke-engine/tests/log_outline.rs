//! What is looked at from outside is judged as a server would judge it: a store that does not open is found
//! damaged by a check and is not copied, and one that is found whole opens.

use std::{fs, path::Path, sync::Arc};

use encke_engine::{
    Append, Engine, EngineError, PageLimit, ReadFrom, Retention, RetentionTable, Targets,
    log::{self, Damaged, LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 6000 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
const MESSAGES: u64 = 60;

fn open(directory: &Path) -> Result<LogEngine, EngineError> {
    let retention = Retention { max_messages: 40, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    LogEngine::open_with(directory, Arc::new(()), rules, Epoch(1), SMALL)
}

fn room() -> ChannelName {
    ChannelName::public("room").expect("this is a name")
}

fn message(number: u64) -> Append {
    let json = RawValue::from_string(format!("[{number},\"{}\"]", "x".repeat(150))).expect("this is JSON");
    let targets = match number % 3 {
        0 => Targets::Users(vec![UserId::new("alice").expect("this is a name")]),
        _ => Targets::Channels(vec![room()]),
    };
    Append {
        id: MessageId::from_bits(number.into()),
        key: None,
        targets,
        body: Body::Data(json.into()),
        from: None,
        time: Time(1),
        expires: None,
        trace: None,
    }
}

/// A store of several segments, some of them before its newest checkpoint.
async fn fill(directory: &Path) {
    let engine = open(directory).expect("a new store opens");
    for number in 1..=MESSAGES {
        engine.append(message(number)).await.expect("a healthy engine appends");
    }
    engine.stop().await;
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it reads").file_name().into_string().expect("it is UTF-8"))
        .collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).expect("there is room");
    }
}

/// What is changed in a store.
#[derive(Clone, Debug)]
enum Harm {
    Gone(Vec<String>),
    Cut(String, usize),
    Zeroed(String, usize),
    Flipped(String, usize),
    Longer(String),
}

impl Harm {
    fn apply(&self, store: &Path) {
        let change = |name: &String, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(store.join(name)).expect("it is there");
            change(&mut bytes);
            fs::write(store.join(name), bytes).expect("there is room");
        };
        match self {
            Self::Gone(names) => {
                names.iter().for_each(|name| fs::remove_file(store.join(name)).expect("it is there"));
            }
            Self::Cut(name, at) => change(name, &|bytes| bytes.truncate(*at)),
            Self::Zeroed(name, at) => change(name, &|bytes| bytes[*at..].fill(0)),
            Self::Flipped(name, at) => change(name, &|bytes| bytes[*at] ^= 4),
            Self::Longer(name) => change(name, &|bytes| bytes.extend_from_slice(b"more")),
        }
    }
}

fn harms(store: &Path) -> Vec<Harm> {
    let segments: Vec<String> = names(store).into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(segments.len() > 4, "{segments:?}");
    let mut harms = vec![Harm::Gone(segments.clone()), Harm::Gone(names(store))];
    for name in names(store).into_iter().filter(|name| name != "LOCK") {
        let length = fs::metadata(store.join(&name)).expect("it is there").len() as usize;
        harms.push(Harm::Gone(vec![name.clone()]));
        harms.push(Harm::Longer(name.clone()));
        for at in (0..length).step_by((length / 7).max(1)) {
            harms.extend([
                Harm::Cut(name.clone(), at),
                Harm::Zeroed(name.clone(), at),
                Harm::Flipped(name.clone(), at),
            ]);
        }
    }
    harms.extend(segments.windows(2).map(|two| Harm::Gone(two.to_vec())));
    harms
}

async fn reads(engine: &LogEngine) -> bool {
    engine.read(&room(), ReadFrom::After(0), ALL).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_check_and_backup_agree_on_what_is_damaged() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let store = dir.path().join("whole");
    fill(&store).await;
    let (mut refused, mut taken) = (0, 0);
    for harm in harms(&store) {
        let harmed = dir.path().join("harmed");
        copy(&store, &harmed);
        harm.apply(&harmed);
        let before = names(&harmed);
        let is_whole = log::check(&harmed).is_ok_and(|report| report.damages.is_empty());
        let copied = dir.path().join("copied");
        let is_copied = log::backup(&harmed, &copied, Damaged::Refused).is_ok();
        assert_eq!(copied.exists(), is_copied, "{harm:?}");
        assert_eq!(names(&harmed), before, "{harm:?}: nothing was changed");
        assert_eq!(is_copied, is_whole, "{harm:?}: a check and a backup agree");
        match open(&harmed) {
            Ok(engine) if is_whole => {
                assert!(reads(&engine).await, "{harm:?}: what is found whole is read");
                taken += 1;
                engine.stop().await;
            }
            // A server reads what lies before the newest checkpoint only when it is asked for; or it makes a
            // new store where there is none.
            Ok(engine) => engine.stop().await,
            Err(_) => {
                assert!(!is_whole, "{harm:?}: a check finds whole what does not open");
                refused += 1;
            }
        }
        fs::remove_dir_all(&harmed).expect("it can be removed");
        if is_copied {
            let engine = open(&copied).expect("a copy opens");
            engine.stop().await;
            fs::remove_dir_all(&copied).expect("it can be removed");
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 20 && taken > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_names_the_channel_of_every_message() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let engine = open(dir.path()).expect("a new store opens");
    let first = dir.path().join("0000000001.log");
    let mut number = 0;
    while first.exists() {
        number += 1;
        engine.append(message(number * 3 + 1)).await.expect("a healthy engine appends");
        engine.sweep(Time(1)).await.expect("a healthy engine sweeps");
        assert!(number < 5000, "the segment with the records of names is compacted");
    }
    engine.stop().await;
    let mut messages = 0;
    log::dump(dir.path(), |line| {
        for target in line["targets"].as_array().into_iter().flatten() {
            let channel = &target["channel"];
            assert_eq!(channel, "room", "{line}");
            messages += 1;
        }
        Ok(())
    })
    .expect("there is a store");
    assert!(messages > 10, "{messages}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_directory_is_moved_goes_on_where_it_is() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (store, moved) = (dir.path().join("log"), dir.path().join("moved"));
    let engine = open(&store).expect("a new store opens");
    engine.append(message(1)).await.expect("a healthy engine appends");
    fs::rename(&store, &moved).expect("it can be moved");
    let other = open(&store).expect("another store takes its name");
    for number in 2..=MESSAGES {
        engine.append(message(number)).await.expect("it goes on, with new segments");
    }
    let head = |engine: LogEngine| async move {
        let head = engine.read(&room(), ReadFrom::Head, ALL).await.expect("it reads").head;
        engine.stop().await;
        head
    };
    assert_eq!((head(engine).await, head(other).await), (MESSAGES * 2 / 3, 0));
    assert_eq!(head(open(&moved).expect("it opens")).await, MESSAGES * 2 / 3, "all of it is there");
}

/// The descriptors of this process that are of files in a directory.
fn descriptors(directory: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("this is Linux");
    let paths = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    paths.filter(|path| path.starts_with(directory)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_kept_open_up_to_a_bound() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let directory = dir.path().canonicalize().expect("it is there");
    let retention = Retention { max_messages: 1 << 20, max_bytes: 1 << 30, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    let open = || LogEngine::open_with(&directory, Arc::new(()), rules.clone(), Epoch(1), SMALL);
    let engine = open().expect("a new store opens");
    let segments = log::OPEN_SEGMENTS_MAX * 4;
    let mut written = 0;
    while names(&directory).iter().filter(|name| name.ends_with(".log")).count() < segments {
        written += 1;
        engine
            .append(Append { targets: Targets::Channels(vec![room()]), ..message(written) })
            .await
            .expect("it appends");
    }
    // The directory, its lock file, the segment that is written, and one for each thread that reads.
    let most = log::OPEN_SEGMENTS_MAX + 5;
    assert!(descriptors(&directory) <= most, "{} after writing", descriptors(&directory));
    let page = engine.read(&room(), ReadFrom::After(0), ALL).await.expect("it reads");
    assert_eq!(page.entries.len() as u64, written);
    assert!(descriptors(&directory) <= most, "{} after reading", descriptors(&directory));
    engine.stop().await;
    drop(engine);
    let again = open().expect("it opens again");
    assert!(descriptors(&directory) <= most, "{} after opening", descriptors(&directory));
    let page = again.read(&room(), ReadFrom::After(0), ALL).await.expect("it reads");
    assert_eq!(page.entries.len() as u64, written);
    again.stop().await;
}
