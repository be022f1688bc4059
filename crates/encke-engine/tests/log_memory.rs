//! How much memory users take who have one message each. It is a program of its own, so that nothing else is
//! counted.

mod beds;

use std::{fs, sync::Arc};

use encke_engine::{Append, Engine, RetentionTable, Targets, log::LogEngine};
use encke_proto::{Body, MessageId, Time, UserId};
use serde_json::value::RawValue;

const USERS: usize = 200_000;
const CHUNK: usize = 5_000;
/// A million users in 250 MB.
const BYTES_A_USER: usize = 250;
/// What a push to some thousands takes while it is under way.
const SLACK_BYTES: usize = 1 << 20;

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    kilobytes.parse::<usize>().expect("it is a number") * 1024
}

#[tokio::test(flavor = "current_thread")]
async fn a_user_with_one_message_takes_less_than_250_bytes() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let rules = RetentionTable::default();
    let engine =
        LogEngine::open(dir.path(), Arc::new(()), rules, beds::new_epoch()).expect("a new store opens");
    let push = |first: usize| {
        let user = |number| UserId::new(&format!("user-{number:08}")).expect("this is an id");
        // Not in the order of their names, as users do not come either.
        let users =
            (first..first + CHUNK).map(|number| user(number.wrapping_mul(7_654_321) % 100_000_000)).collect();
        let json = RawValue::from_string("{\"text\":\"hello\"}".into()).expect("this is JSON");
        Append {
            id: MessageId::from_bits(first as u128),
            key: None,
            targets: Targets::Users(users),
            body: Body::Data(json.into()),
            from: None,
            time: Time(1_763_800_000_000),
            expires: None,
            trace: None,
        }
    };
    // What the first push allocates once, is there for all.
    engine.append(push(0)).await.expect("a healthy engine appends");
    let before = resident();
    for first in (CHUNK..USERS + CHUNK).step_by(CHUNK) {
        engine.append(push(first)).await.expect("a healthy engine appends");
    }
    let taken = resident().saturating_sub(before);
    println!("{} bytes for each of {USERS} users", taken / USERS);
    assert!(taken < USERS * BYTES_A_USER + SLACK_BYTES, "{} bytes for each", taken / USERS);
    engine.stop().await;
}
