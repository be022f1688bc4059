//! What only the system calls show: that nothing is answered before the disk has it, and what happens when an
//! fsync fails. Needs `strace`; run with `--ignored`.

mod beds;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use encke_engine::{
    Append, Engine, EngineError, PageLimit, ReadFrom, RetentionTable, Targets, sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, MessageId, Time};
use serde_json::value::RawValue;

const DIR: &str = "ENCKE_TEST_SYSCALLS_DIR";
const APPENDS: u128 = 20;
/// More than the longest fault has failing calls, since each try may meet one of them.
const RETRIES: usize = 60;
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

fn open(dir: &Path) -> SqliteEngine {
    SqliteEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch())
        .expect("the store opens")
}

fn name() -> ChannelName {
    ChannelName::public("a").expect("this is a name")
}

fn message(bits: u128) -> Append {
    Append {
        id: MessageId::from_bits(bits),
        key: Some(format!("api:{bits}")),
        targets: Targets::Channels(vec![name()]),
        body: Body::Data(Arc::from(RawValue::from_string("1".into()).expect("this is JSON"))),
        from: None,
        time: Time(1),
        expires: None,
    }
}

/// Not a test of its own: what the traced child does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process by the tests below"]
async fn child_appends_one_by_one() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let engine = open(dir);
    // A file made for each answer is a system call that the trace shows in its place.
    let say = |what: String| fs::write(dir.join(what), "").expect("files can be made");
    say("begin".into());
    for bits in 0..APPENDS {
        match engine.append(message(bits)).await {
            Ok(_) => say(format!("accepted-{bits}")),
            Err(EngineError::Unavailable(_)) => say(format!("refused-{bits}")),
            Err(error) => panic!("{error}"),
        }
    }
    say("retry".into());
    for bits in 0..APPENDS {
        // The fault may strike again; a backend would try again as well.
        for _ in 0..RETRIES {
            if engine.append(message(bits)).await.is_ok() {
                say(format!("there-{bits}"));
                break;
            }
        }
    }
}

fn trace(dir: &Path, options: &[&str]) -> (Output, String) {
    let log = dir.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .args(["-e", "trace=fdatasync,fsync,openat,pwrite64"])
        .args(options)
        .arg(std::env::current_exe().expect("a test knows its program"))
        .args(["--ignored", "--exact", "child_appends_one_by_one"])
        .env(DIR, dir)
        .output()
        .expect("strace is there");
    (output, fs::read_to_string(log).expect("there is a trace"))
}

/// SQLite calls either, as it was built.
fn is_sync(line: &str) -> bool {
    line.contains(" fsync(") || line.contains(" fdatasync(")
}

fn has(dir: &Path, file: &str) -> bool {
    dir.join(file).exists()
}

#[test]
#[ignore = "needs strace"]
fn every_answer_comes_after_its_fsync() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (output, trace) = trace(dir.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let from = trace.find("/begin\"").expect("the child begins");
    let to = trace.find("/retry\"").expect("the child gets to its end");
    let (mut written, mut synced, mut answers) = (false, false, 0);
    for line in trace[from..to].lines() {
        if line.contains("pwrite64(") {
            (written, synced) = (true, false);
        } else if is_sync(line) && line.contains("= 0") {
            synced = written;
        } else if line.contains("/accepted-") {
            assert!(synced, "answered before the disk had it: {line}");
            (written, synced, answers) = (false, false, answers + 1);
        }
    }
    assert_eq!(answers, APPENDS);
}

/// How many calls that `counts` says the child makes before its first append.
fn count_before_appends(counts: fn(&str) -> bool) -> usize {
    let calm = tempfile::tempdir().expect("there is room for a directory");
    let (_, healthy) = trace(calm.path(), &[]);
    healthy.lines().take_while(|line| !line.contains("/begin\"")).filter(|line| counts(line)).count()
}

/// Lets the child append while a system call fails, then looks at what it left.
async fn check(fault: &str) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (output, trace) = trace(dir.path(), &["-e", &format!("inject={fault}")]);
    assert!(trace.contains("(INJECTED)"), "{fault}: no fault was injected");
    let of = |what: &str| {
        (0..APPENDS).filter(|bits| has(dir.path(), &format!("{what}-{bits}"))).collect::<Vec<_>>()
    };
    let (accepted, refused, there) = (of("accepted"), of("refused"), of("there"));
    println!(
        "{fault}: {} accepted, {} refused, {} there after the retry",
        accepted.len(),
        refused.len(),
        there.len()
    );
    assert!(has(dir.path(), "begin"), "the store opened before the fault");
    assert_eq!(
        accepted.len() + refused.len(),
        APPENDS as usize,
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(!refused.is_empty(), "{fault}: the fault was told");
    assert_eq!(there.len(), APPENDS as usize, "{fault}: all get through in the end");
    let engine = open(dir.path());
    let page = engine.read(&name(), ReadFrom::After(0), ALL).await.expect("the store reads");
    assert_eq!(page.head, APPENDS as u64, "{fault}: nothing else is there");
    for bits in 0..APPENDS {
        let id = MessageId::from_bits(bits);
        let count = page.entries.iter().filter(|entry| entry.message().id == id).count();
        assert_eq!(count, 1, "{fault}: message {bits}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn a_failed_fsync_is_no_accepted_and_no_loss() {
    let before = count_before_appends(is_sync);
    // One failure; several in a row, so that mending fails too; one every now and then. (When every third
    // fails, mending never succeeds and nothing is accepted.)
    for when in
        [format!("{}", before + 5), format!("{}..{}", before + 5, before + 12), format!("{}+7", before + 3)]
    {
        check(&format!("fsync,fdatasync:error=EIO:when={when}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn a_failed_write_is_no_accepted_and_no_loss() {
    let before = count_before_appends(|line| line.contains(" pwrite64("));
    for error in ["ENOSPC", "EIO"] {
        for when in [
            format!("{}", before + 10),
            format!("{}..{}", before + 10, before + 60),
            format!("{}+45", before + 10),
        ] {
            check(&format!("pwrite64:error={error}:when={when}")).await;
        }
    }
}
