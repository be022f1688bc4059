//! A workload is recorded, system call by system call, and the store is opened again as it stood before each
//! of its writes: after a crash of the process, which leaves all that was written, and after a loss of power,
//! which leaves what was synced and any part of the rest. Whatever was accepted by then is there. Needs
//! `strace`; run with `--ignored`.

mod beds;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use encke_engine::{
    Append, Engine, KEY_KEPT_S, Mark, PageLimit, ReadFrom, ReceiptState, RetentionTable, Targets,
    sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use serde_json::value::RawValue;

const DIR: &str = "ENCKE_TEST_CRASH_DIR";
/// How often the workload opens the store, and how much it appends each time. Closing it copies the
/// write-ahead log into the database, which has crash points of its own.
const OPENINGS: u128 = 3;
const APPENDS: u128 = 14;
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

fn open(dir: &Path) -> SqliteEngine {
    SqliteEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch())
        .expect("the store opens, however it was left")
}

fn user() -> UserId {
    UserId::new("alice").expect("this is a name")
}

fn channel(bits: u128) -> ChannelName {
    if bits.is_multiple_of(3) {
        user().channel()
    } else {
        ChannelName::public(&format!("room-{}", bits % 3)).expect("this is a name")
    }
}

fn message(bits: u128) -> Append {
    let targets = if bits.is_multiple_of(3) {
        Targets::Users(vec![user()])
    } else {
        Targets::Channels(vec![channel(bits)])
    };
    let body = RawValue::from_string(format!(
        "[{bits},\"{}\"]",
        "x".repeat(usize::try_from(bits % 7 * 300).expect("it is small"))
    ));
    Append {
        id: MessageId::from_bits(bits),
        key: Some(format!("api:{bits}")),
        targets,
        body: Body::Data(Arc::from(body.expect("this is JSON"))),
        from: None,
        time: Time(1),
        expires: None,
    }
}

/// Not a test of its own: what is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process by the test below"]
async fn child_works_on_a_store() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = PathBuf::from(dir);
    for opening in 0..OPENINGS {
        let engine = Arc::new(open(&dir.join("store")));
        let first = opening * APPENDS;
        let mut tasks = Vec::new();
        // Two callers, so that some commits hold more than one message.
        for caller in 0..2 {
            let (engine, dir) = (Arc::clone(&engine), dir.clone());
            tasks.push(tokio::spawn(async move {
                for bits in (first..first + APPENDS).filter(|bits| bits % 2 == caller) {
                    let appended = engine.append(message(bits)).await.expect("a healthy engine appends");
                    // A file made for each answer is a system call that the record shows in its place.
                    fs::write(dir.join(format!("accepted-{bits}")), "").expect("files can be made");
                    if bits.is_multiple_of(3) {
                        let position = appended.positions[0].1;
                        let mark =
                            Mark { user: user(), position, state: ReceiptState::Delivered, at: Time(2) };
                        engine.mark(vec![mark]).await.expect("a healthy engine takes marks");
                        fs::write(dir.join(format!("marked-{bits}")), "").expect("files can be made");
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("no task panics");
        }
        // Trimmed by age: deletions have crash points as well. Nothing is old enough but the keys.
        engine.sweep(Time(1 + (KEY_KEPT_S + 1) * 1000)).await.expect("a healthy engine sweeps");
        engine.stop().await;
    }
}

/// A change to a file of the store.
#[derive(Clone, Debug)]
enum Change {
    Made,
    Written { at: usize, bytes: Vec<u8> },
    Cut { length: usize },
    Synced,
    Gone,
}

/// What the record shows.
#[derive(Debug)]
enum Step {
    Change(String, Change),
    Accepted(u128),
    Marked(u128),
}

/// Runs the workload and records it.
fn record(dir: &Path) -> Vec<Step> {
    fs::create_dir(dir.join("store")).expect("there is room");
    let log = dir.join("trace");
    let status = Command::new("strace")
        .args([
            "-f",
            "-xx",
            "-s",
            "100000",
            "-e",
            "trace=openat,close,pwrite64,write,ftruncate,unlink,fsync,fdatasync",
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().expect("a test knows its program"))
        .args(["--ignored", "--exact", "child_works_on_a_store"])
        .env(DIR, dir)
        .output()
        .expect("strace is installed: apt-get install strace")
        .status;
    assert!(status.success(), "the workload failed");
    let text = fs::read_to_string(&log).expect("strace wrote its record");
    read(&text, &dir.join("store"))
}

/// The call of this line, with its beginning if others interrupted it; none when it is the beginning.
fn whole_call<'a>(line: &'a str, begun: &mut HashMap<&'a str, String>) -> Option<String> {
    let (thread, call) = line.split_once(' ').expect("strace names the thread");
    let call = call.trim_start();
    if let Some(part) = call.strip_suffix("<unfinished ...>") {
        begun.insert(thread, part.trim_end().to_owned());
        None
    } else if let Some(rest) = call.strip_prefix("<... ") {
        let (_, rest) = rest.split_once("resumed>").expect("strace says what goes on");
        Some(begun.remove(thread).expect("it was begun") + rest)
    } else {
        Some(call.to_owned())
    }
}

/// Reads strace's record: `PID name(arguments) = result`, with calls that others interrupt in two parts.
fn read(text: &str, store: &Path) -> Vec<Step> {
    let (mut begun, mut files, mut steps) = (HashMap::new(), HashMap::new(), Vec::new());
    for line in text.lines() {
        let Some(call) = whole_call(line, &mut begun) else { continue };
        let Some((name, rest)) = call.split_once('(') else { continue };
        // The result stands behind spaces that line it up.
        let Some((arguments, result)) = rest.rsplit_once("= ") else { continue };
        let Some(arguments) = arguments.trim_end().strip_suffix(')').map(str::trim_end) else { continue };
        let Some(result) = result
            .split(' ')
            .next()
            .and_then(|result| result.parse::<i64>().ok())
            .filter(|result| *result >= 0)
        else {
            continue;
        };
        let mut parts = arguments.splitn(2, ", ");
        let first = parts.next().unwrap_or_default();
        let number = |text: &str| text.trim().parse::<usize>().expect("strace writes numbers");
        let file =
            |files: &HashMap<i64, String>| first.parse().ok().and_then(|fd: i64| files.get(&fd).cloned());
        match name {
            "openat" => {
                let (folder, name) = path(arguments);
                if folder == store {
                    if arguments.contains("O_CREAT") {
                        steps.push(Step::Change(name.clone(), Change::Made));
                    }
                    files.insert(result, name);
                } else {
                    files.remove(&result);
                    if let Some(bits) = name.strip_prefix("accepted-") {
                        steps.push(Step::Accepted(bits.parse().expect("it is a number")));
                    } else if let Some(bits) = name.strip_prefix("marked-") {
                        steps.push(Step::Marked(bits.parse().expect("it is a number")));
                    }
                }
            }
            "close" => drop(files.remove(&first.parse().unwrap_or(-1))),
            "pwrite64" => {
                if let Some(name) = file(&files) {
                    let at = number(arguments.rsplit(", ").next().unwrap_or_default());
                    steps.push(Step::Change(name, Change::Written { at, bytes: quoted(arguments) }));
                }
            }
            "write" => assert!(file(&files).is_none(), "the store is written at places: {call}"),
            "ftruncate" => {
                if let Some(name) = file(&files) {
                    steps.push(Step::Change(
                        name,
                        Change::Cut { length: number(parts.next().unwrap_or_default()) },
                    ));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(name) = file(&files) {
                    steps.push(Step::Change(name, Change::Synced));
                }
            }
            "unlink" => {
                let (folder, name) = path(arguments);
                if folder == store {
                    steps.push(Step::Change(name, Change::Gone));
                }
            }
            _ => {}
        }
    }
    steps
}

/// The folder and the name of the file that a call names.
fn path(arguments: &str) -> (PathBuf, String) {
    let path = PathBuf::from(String::from_utf8(quoted(arguments)).expect("paths are UTF-8"));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    (path.parent().map(Path::to_owned).unwrap_or_default(), name)
}

/// The bytes of the first text between quotes, each written as `\x41`.
fn quoted(arguments: &str) -> Vec<u8> {
    let text = arguments.split('"').nth(1).expect("strace quotes texts");
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(&pair[2..]).expect("it is ASCII"), 16)
            .expect("strace writes hex")
    };
    text.as_bytes().chunks(4).map(byte).collect()
}

/// A file as the disk may have it.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// As the last sync left it.
    synced: Vec<u8>,
    /// What has been done to it since.
    since: Vec<Change>,
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Written { at, bytes } => {
            let end = at + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*at..end].copy_from_slice(bytes);
        }
        Change::Cut { length } => file.resize(*length, 0),
        Change::Made | Change::Synced | Change::Gone => {}
    }
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process ended: all that was written is there.
    Process,
    /// The power went, and nothing was written that was not synced.
    Power,
    /// The power went, and of what was not synced the disk had some.
    PowerSome(u64),
    /// The power went in the midst of the newest write.
    PowerTorn,
}

fn left(disk: &Disk, crash: Crash) -> Vec<u8> {
    let mut file = disk.synced.clone();
    let last = disk.since.len().saturating_sub(1);
    for (number, change) in disk.since.iter().enumerate() {
        // A small hash: the same choice at every run.
        let drawn = |seed: u64| (seed ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0;
        match (crash, change) {
            (Crash::Power, _) => {}
            (Crash::PowerSome(seed), _) if !drawn(seed) => {}
            (Crash::PowerTorn, Change::Written { at, bytes }) if number == last => {
                let half = (bytes.len() / 2).next_multiple_of(SECTOR_BYTES).min(bytes.len());
                apply(&mut file, &Change::Written { at: *at, bytes: bytes[..half].to_vec() });
            }
            _ => apply(&mut file, change),
        }
    }
    file
}

/// Opens the store as a crash left it, and looks for everything that was accepted.
async fn check(
    files: &BTreeMap<String, Disk>,
    crash: Crash,
    accepted: &BTreeSet<u128>,
    marked: &BTreeSet<u128>,
    epoch: &mut Option<Epoch>,
) {
    // In memory where that is possible, since thousands of stores are opened here.
    let room = Path::new("/dev/shm");
    let dir = if room.is_dir() { tempfile::tempdir_in(room) } else { tempfile::tempdir() }
        .expect("there is room for a directory");
    // The index of the write-ahead log is made anew by the process that opens a store first.
    for (name, disk) in files.iter().filter(|(name, _)| !name.ends_with("-shm")) {
        fs::write(dir.path().join(name), left(disk, crash)).expect("there is room");
    }
    let engine = open(dir.path());
    let mut found = BTreeMap::new();
    for number in 0..3 {
        let name = channel(number);
        let page = engine.read(&name, ReadFrom::After(0), ALL).await.expect("the store reads");
        if !accepted.is_empty() {
            assert_eq!(*epoch.get_or_insert(page.epoch), page.epoch, "the store keeps its epoch: {crash:?}");
        }
        assert_eq!(page.head, page.entries.len() as u64, "nothing is missing in between: {crash:?}");
        for (entry, offset) in page.entries.iter().zip(1..) {
            let message = entry.message();
            let bits = (0..OPENINGS * APPENDS)
                .find(|bits| MessageId::from_bits(*bits) == message.id)
                .expect("it was sent");
            assert_eq!(
                (text(&message.body), message.position.offset),
                (text(&self::message(bits).body), offset),
                "{crash:?}"
            );
            assert_eq!(channel(bits), name);
            assert!(found.insert(bits, message.position).is_none(), "{bits} is there once: {crash:?}");
        }
    }
    let missing: Vec<_> = accepted.iter().filter(|bits| !found.contains_key(bits)).collect();
    assert!(missing.is_empty(), "accepted, and lost by {crash:?}: {missing:?}");
    for bits in marked {
        let receipts = engine
            .receipts(&MessageId::from_bits(*bits), None, 10, Time(3))
            .await
            .expect("the store reads")
            .expect("it was pushed");
        assert_eq!(receipts[0].state, ReceiptState::Delivered, "a receipt went back by {crash:?}");
    }
    // It goes on where it was, and an old key gives the old message.
    let next = engine.append(message(3 * OPENINGS * APPENDS + 1)).await.expect("it takes new messages");
    let room = found.keys().filter(|bits| channel(**bits) == channel(1)).count() as u64;
    assert_eq!(next.positions[0].1.offset, room + 1, "{crash:?}");
    engine.stop().await;
}

fn text(body: &Body) -> &str {
    match body {
        Body::Data(json) => json.get(),
        Body::Page(url) => url,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn whatever_was_accepted_is_there_after_a_crash_before_any_write() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let steps = record(&fs::canonicalize(dir.path()).expect("it is there"));
    let (mut files, mut accepted, mut marked) =
        (BTreeMap::<String, Disk>::new(), BTreeSet::new(), BTreeSet::new());
    let (mut epoch, mut points, mut reopened) = (None, 0_u64, 0);
    for step in &steps {
        match step {
            Step::Accepted(bits) => drop(accepted.insert(*bits)),
            Step::Marked(bits) => drop(marked.insert(*bits)),
            Step::Change(name, change) => {
                if files.contains_key("encke.sqlite3") && !name.ends_with("-shm") {
                    for crash in [Crash::Process, Crash::Power, Crash::PowerSome(points), Crash::PowerTorn] {
                        // What is the same as before tells nothing new.
                        if crash == Crash::Process || files.values().any(|disk| !disk.since.is_empty()) {
                            check(&files, crash, &accepted, &marked, &mut epoch).await;
                            reopened += 1;
                        }
                    }
                    points += 1;
                }
                match change {
                    Change::Gone => drop(files.remove(name)),
                    // Names are made durable when they are made: the engine syncs their directory.
                    Change::Made => drop(files.entry(name.clone()).or_default()),
                    Change::Synced => {
                        let disk = files.entry(name.clone()).or_default();
                        disk.synced = left(disk, Crash::Process);
                        disk.since.clear();
                    }
                    Change::Written { .. } | Change::Cut { .. } => {
                        files.entry(name.clone()).or_default().since.push(change.clone())
                    }
                }
            }
        }
    }
    check(&files, Crash::Process, &accepted, &marked, &mut epoch).await;
    assert_eq!(accepted.len() as u128, OPENINGS * APPENDS, "the record is whole");
    assert!(points > 300 && marked.len() > 10, "{points} points, {} marks", marked.len());
    println!("{points} crash points, opened {reopened} times, {} accepted, 0 missing", accepted.len());
}
