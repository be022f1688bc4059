//! What only the system calls show: that nothing is answered before the disk has it. Needs `strace`; run with
//! `--ignored`.

mod beds;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use encke_engine::{Append, Engine, EngineError, Key, RetentionTable, Targets, log::LogEngine};
use encke_proto::{Body, ChannelName, MessageId, Time};
use serde_json::value::RawValue;

const DIR: &str = "ENCKE_TEST_SYSCALLS_DIR";
const APPENDS: u128 = 20;

fn open(dir: &Path) -> LogEngine {
    LogEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch()).expect("the store opens")
}

fn name() -> ChannelName {
    ChannelName::public("a").expect("this is a name")
}

fn message(bits: u128) -> Append {
    Append {
        id: MessageId::from_bits(bits),
        key: Some(Key::new(format!("api:{bits}"))),
        targets: Targets::Channels(vec![name()]),
        body: Body::Data(RawValue::from_string("1".into()).expect("this is JSON").into()),
        from: None,
        time: Time(1),
        expires: None,
        trace: None,
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
    engine.stop().await;
}

fn trace(dir: &Path, options: &[&str]) -> (Output, String) {
    let log = dir.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-o"])
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

fn is_sync(line: &str) -> bool {
    line.contains(" fsync(") || line.contains(" fdatasync(")
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
        // What says how far the log is, is written when the frame is on the disk.
        if line.contains("pwrite64(") && !line.contains("/END>") {
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
