//! What was accepted survives the sudden death of the process.
//!
//! SIGKILL leaves the page cache alone: this shows that nothing is answered before it was handed to the
//! operating system, and that a store that was not closed opens again. That it is also on the disk by then is
//! shown by the order of the system calls, see `log_syscalls.rs`.

mod beds;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use encke_engine::{Append, Engine, PageLimit, ReadFrom, RetentionTable, Targets, log::LogEngine};
use encke_proto::{Body, ChannelName, MessageId, Time};
use serde_json::value::RawValue;

const DIR: &str = "ENCKE_TEST_KILL_DIR";
const ROUND: &str = "ENCKE_TEST_KILL_ROUND";
const ROUNDS: usize = 10;
/// How many accepted messages are waited for before the kill, in the first round; it differs by round.
const ACCEPTED_MIN: usize = 200;
const CALLERS: u128 = 8;
const CHANNELS: u128 = 3;

fn open(dir: &Path) -> LogEngine {
    LogEngine::open(dir, Arc::new(()), RetentionTable::default(), beds::new_epoch()).expect("the store opens")
}

fn channel(number: u128) -> ChannelName {
    ChannelName::public(&format!("channel-{}", number % CHANNELS)).expect("this is a name")
}

/// Not a test of its own: what the child process does until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process by the test below"]
async fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round: u128 = std::env::var(ROUND).expect("the parent says the round").parse().expect("as a number");
    let engine = Arc::new(open(Path::new(&dir)));
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let engine = Arc::clone(&engine);
        tasks.push(tokio::spawn(async move {
            for number in 0.. {
                let json =
                    RawValue::from_string(format!("[{round},{caller},{number}]")).expect("this is JSON");
                let append = Append {
                    id: MessageId::from_bits(round << 96 | caller << 64 | number),
                    key: None,
                    targets: Targets::Channels(vec![channel(caller + number)]),
                    body: Body::Data(json.into()),
                    from: None,
                    time: Time(1),
                    expires: None,
                    trace: None,
                };
                let appended = engine.append(append).await.expect("a healthy engine appends");
                let (name, position) = &appended.positions[0];
                // One write call each, so that no line is left in a buffer and none is torn.
                let line = format!("accepted {} {name} {}\n", appended.id, position.offset);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// Not a test of its own: the same with deletions, one call after the other.
#[tokio::test]
#[ignore = "run as a child process by the test below"]
async fn child_deletes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round: u128 = std::env::var(ROUND).expect("the parent says the round").parse().expect("as a number");
    let engine = open(Path::new(&dir));
    for number in 0.. {
        let name = channel(number);
        let id = MessageId::from_bits((round << 96) | (number + 1));
        let json = RawValue::from_string(format!("[{round},{number}]")).expect("this is JSON");
        let append = Append {
            id: id.clone(),
            key: None,
            targets: Targets::Channels(vec![name.clone()]),
            body: Body::Data(json.into()),
            from: None,
            time: Time(1),
            expires: None,
            trace: None,
        };
        let appended = engine.append(append).await.expect("a healthy engine appends");
        let mut said = format!("accepted {id} {name} {}\n", appended.positions[0].1.offset);
        if number % 5 == 4 {
            std::io::stdout().write_all(said.as_bytes()).expect("the parent reads");
            let name = channel(number / 5);
            engine.delete(&name).await.expect("a healthy engine deletes");
            // What was deleted is told as a message at the offset 0, which there is not.
            said = format!("accepted {id} {name} 0\n");
        }
        std::io::stdout().write_all(said.as_bytes()).expect("the parent reads");
    }
}

/// Lets a child work, kills it, and returns the lines of what was accepted.
fn run_child(dir: &Path, child: &str, round: usize) -> Vec<(MessageId, ChannelName, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("a test knows its program"))
        .args(["--ignored", "--exact", "--nocapture", child])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut accepted = Vec::new();
    let wanted = ACCEPTED_MIN + round * 37;
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("the child writes UTF-8");
        // The first line may stand behind what the test harness writes.
        if let Some(at) = line.find("accepted ") {
            let parts: Vec<&str> = line[at..].split(' ').collect();
            if let [_, id, name, offset] = parts[..] {
                let name = ChannelName::public(name).expect("it is a name");
                accepted.push((
                    id.parse().expect("it is an id"),
                    name,
                    offset.parse().expect("it is a number"),
                ));
            }
        }
        if accepted.len() == wanted {
            // SIGKILL; the loop then reads on what had been written until then.
            child.kill().expect("the child can be killed");
        }
    }
    child.wait().expect("the child has ended");
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_survives_a_kill() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let (mut printed, mut found) = (0, 0);
    let mut epoch = None;
    for round in 0..ROUNDS {
        let accepted = run_child(dir.path(), "child_appends_until_it_is_killed", round);
        assert!(accepted.len() >= ACCEPTED_MIN + round * 37);
        let engine = open(dir.path());
        for number in 0..CHANNELS {
            let name = channel(number);
            let limit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
            let page = engine.read(&name, ReadFrom::After(0), limit).await.expect("the store reads");
            assert_eq!(*epoch.get_or_insert(page.epoch), page.epoch, "the store keeps its epoch");
            for (id, _, offset) in accepted.iter().filter(|(_, of, _)| *of == name) {
                if *offset < page.tail {
                    continue; // Trimmed by the rule of 1000 messages, not lost.
                }
                let entry = &page.entries[usize::try_from(offset - page.tail).expect("it is small")];
                assert_eq!(
                    (&entry.message().id, entry.message().position.offset),
                    (id, *offset),
                    "accepted in round {round}"
                );
                found += 1;
            }
            let newest = accepted.iter().filter(|(_, of, _)| *of == name).map(|(.., offset)| *offset).max();
            assert!(
                newest.is_none_or(|newest| newest <= page.head),
                "the head is not behind what was accepted"
            );
        }
        printed += accepted.len();
        engine.stop().await;
    }
    println!("{ROUNDS} kills, {printed} accepted, {found} of them inside retention, 0 missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_stays_so_after_a_kill() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let mut logs: BTreeMap<ChannelName, BTreeMap<u64, MessageId>> = BTreeMap::new();
    let mut given: BTreeMap<ChannelName, u64> = BTreeMap::new();
    for round in 0..ROUNDS / 2 {
        for (id, name, offset) in run_child(dir.path(), "child_deletes_until_it_is_killed", round) {
            let log = logs.entry(name.clone()).or_default();
            if offset == 0 {
                log.clear();
                continue;
            }
            log.insert(offset, id);
            let before = given.insert(name.clone(), offset);
            assert!(before.is_none_or(|before| before < offset), "{name} gives {offset} in round {round}");
        }
        let engine = open(dir.path());
        let mut under_way = 0;
        for (name, expected) in &mut logs {
            let limit = PageLimit { messages: usize::MAX, bytes: usize::MAX };
            let page = engine.read(name, ReadFrom::After(0), limit).await.expect("the store reads");
            let messages = page.entries.iter().map(|entry| entry.message());
            let found: BTreeMap<u64, MessageId> =
                messages.map(|message| (message.position.offset, message.id.clone())).collect();
            let kept = found.iter().filter(|(offset, _)| expected.contains_key(offset)).count();
            // The call that was under way was done or not: a deletion, or one more message.
            let is_deleted = found.is_empty() && !expected.is_empty();
            let has_one_more = kept == expected.len() && found.len() == kept + 1;
            assert!(found == *expected || is_deleted || has_one_more, "round {round}: {name} has {found:?}");
            under_way += usize::from(found != *expected);
            *expected = found;
        }
        assert!(under_way <= 1, "one call was under way");
        engine.stop().await;
    }
}
