//! What the log engine writes besides what it is asked to: it is bounded by what callers write.

mod log_volume;

use std::sync::Arc;

use encke_engine::{
    Append, Engine, Key, PageLimit, RECEIPTS_KEPT_S, ReadFrom, Retention, RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use log_volume::{MemoryVolume, Step};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 8192, checkpoint_bytes: 16_384 };

fn retention(max_messages: u64) -> Retention {
    Retention { max_messages, max_bytes: 1 << 30, max_age_s: 90 * 86_400 }
}

fn open(volume: &MemoryVolume, max_messages: u64) -> LogEngine {
    let own = retention(1 << 20);
    let rules = RetentionTable { rules: Vec::new(), public: retention(max_messages), own };
    LogEngine::open_on(Arc::new(volume.clone()), Arc::new(()), rules, Epoch(7), SMALL)
        .expect("a new store opens")
}

fn message(bits: u128, targets: Targets, bytes: usize) -> Append {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits + 1),
        key: None,
        targets,
        body: Body::Data(json.into()),
        from: None,
        time: Time(1),
        expires: None,
        trace: None,
    }
}

fn channel(name: &str) -> Targets {
    Targets::Channels(vec![ChannelName::public(name).expect("this is a name")])
}

fn user(name: &str) -> Targets {
    Targets::Users(vec![UserId::new(name).expect("this is an id")])
}

/// How many bytes were written behind this step.
fn written(volume: &MemoryVolume, steps: usize) -> usize {
    let bytes = |step: Step| if let Step::Write { bytes, .. } = step { bytes.len() } else { 0 };
    volume.all_steps().split_off(steps).into_iter().map(bytes).sum()
}

/// How many bytes sweeps write that find nothing to trim, behind some that may have found something.
async fn written_by_idle_sweeps(engine: &LogEngine, volume: &MemoryVolume, now: Time) -> usize {
    for _ in 0..100 {
        engine.sweep(now).await.expect("a healthy engine sweeps");
    }
    let steps = volume.steps();
    for _ in 0..100 {
        engine.sweep(now).await.expect("a healthy engine sweeps");
    }
    written(volume, steps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_of_a_large_state_cost_no_more_than_what_is_written() {
    let volume = MemoryVolume::recording();
    let engine = open(&volume, 1 << 20);
    let users = (0..2000).map(|n| UserId::new(&format!("user-{n}")).expect("this is an id")).collect();
    engine.append(message(0, Targets::Users(users), 10)).await.expect("a healthy engine appends");
    let steps = volume.steps();
    let events = 1000;
    for bits in 1..=events {
        engine.append(message(bits, channel("a"), 400)).await.expect("a healthy engine appends");
    }
    let bytes = written(&volume, steps);
    assert!(bytes < 4 * 500 * events as usize, "{} bytes for each event", bytes / events as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_kept_for_longer_than_its_receipts_is_not_moved_for_ever() {
    let volume = MemoryVolume::recording();
    let engine = open(&volume, 10);
    // The first is kept for months, and with it all that come behind.
    engine.append(message(0, user("alice"), 10)).await.expect("a healthy engine appends");
    for bits in 1..200 {
        let expires = Some(Time(60_000));
        let push = Append { expires, ..message(bits, user("alice"), 400) };
        engine.append(push).await.expect("a healthy engine appends");
    }
    let now = Time(60_000).plus_seconds(RECEIPTS_KEPT_S + 2 * 3600);
    let bytes = written_by_idle_sweeps(&engine, &volume, now).await;
    assert!(bytes < 2 * SMALL.segment_bytes as usize, "{bytes} bytes were written for nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_are_in_use_are_not_moved_because_others_may_not_be() {
    let volume = MemoryVolume::recording();
    let engine = open(&volume, 400);
    for bits in 0..3000 {
        // Idempotency keys keep these segments, of which next to nothing is in use.
        let key = Some(Key::new(format!("api:{bits}")));
        engine
            .append(Append { key, ..message(bits, channel("fast"), 400) })
            .await
            .expect("a healthy engine appends");
    }
    let steps = volume.steps();
    for bits in 3000..3400 {
        engine.append(message(bits, channel("slow"), 2000)).await.expect("a healthy engine appends");
    }
    written_by_idle_sweeps(&engine, &volume, Time(2)).await;
    let bytes = written(&volume, steps);
    assert!(bytes < 2 * 400 * 2000, "{} bytes for each of 2000", bytes / 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_of_which_nothing_is_in_use_is_removed_unread() {
    let volume = MemoryVolume::default();
    let engine = open(&volume, 2);
    for bits in 0..1000 {
        engine.append(message(bits, channel("a"), 400)).await.expect("a healthy engine appends");
        engine.sweep(Time(2)).await.expect("a healthy engine sweeps");
    }
    assert!(volume.total_bytes() < 100_000, "{} bytes are left", volume.total_bytes());
    let bytes = volume.read_bytes();
    assert!(bytes < 10 * SMALL.segment_bytes as usize, "{bytes} bytes were read");
    engine.stop().await;
    open(&volume, 2).stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_reads_of_a_push_to_all_users_its_body_and_not_all_users() {
    const USERS: usize = 20_000;
    let volume = MemoryVolume::default();
    let engine = open(&volume, 10);
    for first in (0..USERS).step_by(5_000) {
        let users = (first..first + 5_000).map(|number| UserId::new(&number.to_string()));
        let targets = Targets::Users(users.collect::<Result<_, _>>().expect("these are ids"));
        engine.append(message(first as u128, targets, 10)).await.expect("a healthy engine appends");
    }
    engine.append(message(99_999, Targets::AllUsers, 300)).await.expect("a healthy engine appends");
    let own = UserId::new("7").expect("this is an id").channel();
    let before = volume.read_bytes();
    let limit = PageLimit { messages: 10, bytes: 1 << 20 };
    let page = engine.read(&own, ReadFrom::After(0), limit).await.expect("a healthy engine reads");
    let read = volume.read_bytes() - before;
    assert_eq!(page.entries.len(), 2);
    assert_eq!(page.entries[1].message().id, MessageId::from_bits(100_000));
    assert!(read < 4_096, "{read} bytes were read");
    // The receipts are still those of all users.
    let push = &page.entries[1].message().id;
    let receipts = engine.receipts(push, None, USERS + 1, Time(2)).await.expect("a healthy engine reads");
    assert_eq!(receipts.map(|all| all.len()), Some(USERS));
    engine.stop().await;
}
