//! What the log engine does when the disk does not do what it should.

mod beds;
mod log_volume;

use std::{sync::Arc, time::Duration};

use encke_engine::{
    Append, Engine, EngineError, Key, PageLimit, ReadFrom, Retention, RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use log_volume::{Crash, CrashDisk, Fail, MemoryVolume};
use serde_json::value::RawValue;

const SMALL: LogOptions = LogOptions { segment_bytes: 8192, checkpoint_bytes: 16_384 };
const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

fn open(volume: &MemoryVolume) -> Result<LogEngine, EngineError> {
    open_with(volume, RetentionTable::default())
}

fn open_with(volume: &MemoryVolume, rules: RetentionTable) -> Result<LogEngine, EngineError> {
    LogEngine::open_on(Arc::new(volume.clone()), Arc::new(()), rules, Epoch(7), SMALL)
}

fn name(name: &str) -> ChannelName {
    ChannelName::public(name).expect("this is a name")
}

fn message(bits: u128, channels: &[&str], bytes: usize) -> Append {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).expect("this is JSON");
    Append {
        id: MessageId::from_bits(bits),
        key: Some(Key::new(format!("api:{bits}"))),
        targets: Targets::Channels(channels.iter().map(|channel| name(channel)).collect()),
        body: Body::Data(json.into()),
        from: None,
        time: Time(1),
        expires: None,
        trace: None,
    }
}

async fn log(engine: &LogEngine, channel: &str) -> Vec<MessageId> {
    let page = engine.read(&name(channel), ReadFrom::After(0), ALL).await.expect("the store reads");
    assert_eq!(page.head + 1 - page.tail, page.entries.len() as u64);
    page.entries.iter().map(|entry| entry.message().id.clone()).collect()
}

fn ids(bits: impl IntoIterator<Item = u128>) -> Vec<MessageId> {
    bits.into_iter().map(MessageId::from_bits).collect()
}

fn is_unavailable<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Unavailable(_)))
}

/// Fills the disk, frees it again, and looks whether what was refused is nowhere and the rest is all there.
async fn fill(fail: Fail) {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    volume.fail(fail);
    for bits in 0..60 {
        match engine.append(message(bits, &["a", "b"], 700)).await {
            Ok(_) => accepted.push(bits),
            Err(EngineError::Unavailable(_)) => refused.push(bits),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        accepted.len() > 3 && refused.len() > 3,
        "{fail:?}: {} accepted, {} refused",
        accepted.len(),
        refused.len()
    );
    for channel in ["a", "b"] {
        assert_eq!(log(&engine, channel).await, ids(accepted.clone()), "{fail:?}");
    }
    volume.fail(Fail::Never);
    assert_eq!(engine.ready().await, Ok(()), "{fail:?}: there is space again");
    for bits in refused {
        let appended = engine.append(message(bits, &["a", "b"], 700)).await.expect("there is room");
        assert!(!appended.repeated, "a refused message was not remembered");
        assert_eq!(
            appended.positions[0].1.offset,
            accepted.len() as u64 + 1,
            "refused messages cost no offset"
        );
        accepted.push(bits);
    }
    engine.stop().await;
    let again = open(&volume).expect("the store opens again");
    assert_eq!(log(&again, "b").await, ids(accepted), "{fail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    fill(Fail::FullAt(30_000)).await;
    // Space that was reserved and is not there after all: the write stops in the midst of a frame.
    fill(Fail::WriteFullAt(5_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_not_ready() {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    assert_eq!(engine.append(message(1, &["a"], 10)).await.map(drop), Ok(()));
    volume.fail(Fail::FullAt(1000));
    assert!(is_unavailable(&engine.ready().await), "what it has reserved is too little to be ready");
    assert!(engine.append(message(2, &["a"], 10)).await.is_ok(), "but some still fits");
    volume.fail(Fail::Never);
    assert_eq!(engine.ready().await, Ok(()));
}

/// Asks until the store is ready.
async fn is_ready_again(engine: &LogEngine) {
    let ready = async {
        while engine.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("the store is ready again by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_or_write_refuses_what_it_covered_and_the_store_goes_on_by_itself() {
    for (fail, times) in [(Fail::Sync, 1), (Fail::Write, 1), (Fail::Sync, 3), (Fail::Write, 3)] {
        let volume = MemoryVolume::default();
        let engine = open(&volume).expect("a new store opens");
        engine.append(message(1, &["a"], 10)).await.expect("a healthy engine appends");
        volume.fail(fail);
        for bits in 0..times {
            assert!(is_unavailable(&engine.append(message(2 + bits, &["a"], 600)).await), "{fail:?}");
        }
        assert!(is_unavailable(&engine.ready().await), "{fail:?}: it says so as long as it lasts");
        assert_eq!(log(&engine, "a").await, ids([1]), "what is there is still read");
        volume.fail(Fail::Never);
        is_ready_again(&engine).await;
        // The key of what was refused leads nowhere, and its offset is given again.
        let retried = engine.append(message(2, &["a"], 10)).await.expect("the store takes something again");
        assert_eq!((retried.repeated, retried.positions[0].1.offset), (false, 2), "{fail:?}");
        assert_eq!(log(&engine, "a").await, ids([1, 2]), "{fail:?}");
        engine.stop().await;
        let again = open(&volume).expect("the store opens again");
        assert_eq!(log(&again, "a").await, ids([1, 2]), "{fail:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_failed_sync_refuses_a_single_group() {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::Sync);
    assert!(is_unavailable(&engine.append(message(1, &["a"], 10)).await));
    volume.fail(Fail::Never);
    assert_eq!(engine.append(message(2, &["a"], 10)).await.map(drop), Ok(()), "the next is taken");
    assert_eq!(log(&engine, "a").await, ids([2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_opened_after_a_failed_sync_has_what_the_disk_has() {
    for fail in [Fail::Sync, Fail::Write] {
        let volume = MemoryVolume::default();
        let engine = open(&volume).expect("a new store opens");
        engine.append(message(1, &["a"], 10)).await.expect("a healthy engine appends");
        volume.fail(fail);
        assert!(is_unavailable(&engine.append(message(2, &["a"], 10)).await));
        volume.fail(Fail::Never);
        let again = open(&MemoryVolume::with(&volume.files())).expect("the store opens again");
        let retried = again.append(message(2, &["a"], 10)).await.expect("a healthy engine appends");
        assert_eq!((retried.repeated, retried.positions[0].1.offset), (fail == Fail::Sync, 2), "{fail:?}");
        assert_eq!(log(&again, "a").await, ids([1, 2]), "{fail:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_over_a_frame_that_failed_are_on_the_disk_before_the_next_is_written() {
    use log_volume::Step;
    let volume = MemoryVolume::recording();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::Sync);
    let begin = volume.steps();
    assert!(is_unavailable(&engine.append(message(1, &["a"], 1_000)).await));
    volume.fail(Fail::Never);
    engine.append(message(2, &["a"], 10)).await.expect("the next is taken");
    let steps = volume.all_steps().split_off(begin);
    let [
        Step::Write { at, bytes, .. },
        Step::SyncFailed { .. },
        Step::Write { at: zeroed, bytes: zeros, .. },
        Step::Sync { .. },
        Step::Write { .. },
        Step::Sync { .. },
        ..,
    ] = &*steps
    else {
        panic!("{steps:?}")
    };
    assert!(zeros.iter().all(|byte| *byte == 0), "{zeros:?}");
    assert!(zeroed <= at && at + bytes.len() <= zeroed + zeros.len(), "all of it is covered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_frame_is_written_again_before_it_is_believed() {
    let volume = MemoryVolume::recording();
    let engine = open(&volume).expect("a new store opens");
    engine.append(message(1, &["a"], 10)).await.expect("a healthy engine appends");
    engine.stop().await;
    let steps = volume.steps();
    let again = open(&volume).expect("the store opens again");
    let mended = volume.all_steps().split_off(steps);
    let written =
        |step: &log_volume::Step| matches!(step, log_volume::Step::Write { bytes, .. } if bytes.len() > 50);
    assert!(written(&mended[0]), "pages that a failed sync left clean become dirty again: {mended:?}");
    let log_volume::Step::Write { bytes: zeros, .. } = &mended[1] else { panic!("{mended:?}") };
    assert!(
        zeros.iter().all(|byte| *byte == 0),
        "and so do the zeros of a frame that was taken back: {mended:?}"
    );
    assert!(matches!(&mended[2], log_volume::Step::Sync { .. }), "before they are synced: {mended:?}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opener_is_refused_until_the_first_has_stopped() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let store = dir.path().join("log");
    let open = || LogEngine::open(&store, Arc::new(()), RetentionTable::default(), beds::new_epoch());
    let first = open().expect("a new store opens");
    let Err(EngineError::Unavailable(text)) = open() else { panic!("the store was opened twice") };
    assert!(text.contains("another process"), "{text}");
    first.append(message(1, &["a"], 1)).await.expect("the first is not disturbed");
    first.stop().await;
    let second = open().expect("the first has let go");
    assert_eq!(log(&second, "a").await.len(), 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let store = dir.path().join("log");
    let engine = LogEngine::open(&store, Arc::new(()), RetentionTable::default(), Epoch(1))
        .expect("a new store opens");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&store), 0o700);
    for entry in std::fs::read_dir(&store).expect("it is there") {
        let path = entry.expect("it is there").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_opened_with_other_rules_is_trimmed_by_the_sweep_and_nothing_comes_back() {
    let volume = MemoryVolume::default();
    let rules = |max_messages| {
        let retention = Retention { max_messages, max_bytes: 1 << 20, max_age_s: 3600 };
        RetentionTable { rules: Vec::new(), public: retention, own: retention }
    };
    let engine = open_with(&volume, rules(100)).expect("a new store opens");
    for bits in 0..20 {
        engine.append(message(bits, &["a"], 10)).await.expect("a healthy engine appends");
    }
    engine.stop().await;
    let engine = open_with(&volume, rules(3)).expect("the store opens again");
    engine.sweep(Time(2)).await.expect("a healthy engine sweeps");
    assert_eq!(log(&engine, "a").await, ids(17..20));
    engine.stop().await;
    let engine = open_with(&volume, rules(100)).expect("the store opens again");
    assert_eq!(log(&engine, "a").await, ids(17..20), "what was trimmed does not come back with the rules");
    engine.append(message(20, &["a"], 10)).await.expect("a healthy engine appends");
    assert_eq!(log(&engine, "a").await, ids(17..21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_at_most_twice_what_is_kept() {
    let volume = MemoryVolume::default();
    let retention = Retention { max_messages: 50, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    let engine = open_with(&volume, rules).expect("a new store opens");
    // A log that keeps its messages among others that drop theirs all the time.
    for bits in 0..5_000_u128 {
        let channel = if bits % 100 == 7 { "slow".to_owned() } else { format!("fast-{}", bits % 3) };
        let append = Append { key: None, time: Time(bits as u64), ..message(bits, &[&channel], 300) };
        engine.append(append).await.expect("a healthy engine appends");
        if bits % 50 == 0 {
            engine.sweep(Time(bits as u64)).await.expect("a healthy engine sweeps");
        }
    }
    let kept = 200 * 400;
    let bound = 2 * kept + 2 * SMALL.checkpoint_bytes as usize + 4 * SMALL.segment_bytes as usize;
    assert!(volume.total_bytes() < bound, "{} bytes for {kept} that are kept", volume.total_bytes());
    assert_eq!(log(&engine, "slow").await, ids((0..50).map(|number| 7 + number * 100)));
    engine.stop().await;
    assert_eq!(
        log(&open_with(&volume, RetentionTable::default()).expect("it opens"), "slow").await.len(),
        50
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_outlive_the_messages_and_their_segments() {
    let volume = MemoryVolume::default();
    let own = Retention { max_messages: 1, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: own, own };
    let engine = open_with(&volume, rules.clone()).expect("a new store opens");
    let users: Vec<UserId> =
        (0..50).map(|n| UserId::new(&format!("user-{n}")).expect("this is an id")).collect();
    let push =
        |bits: u128| Append { key: None, targets: Targets::Users(users.clone()), ..message(bits, &[], 600) };
    for bits in 0..200 {
        engine.append(push(bits)).await.expect("a healthy engine appends");
    }
    engine.stop().await;
    let engine = open_with(&volume, rules).expect("the store opens again");
    for bits in [0, 100, 199] {
        let receipts =
            engine.receipts(&MessageId::from_bits(bits), None, 1000, Time(2)).await.expect("it reads");
        assert_eq!(receipts.map(|all| all.len()), Some(50), "push {bits}");
    }
    let end = Time(1).plus_seconds(3600 + encke_engine::RECEIPTS_KEPT_S + 3600);
    for _ in 0..50 {
        engine.sweep(end).await.expect("a healthy engine sweeps");
        engine
            .append(Append { key: None, time: end, ..message(1000, &["other"], 600) })
            .await
            .expect("it appends");
    }
    let receipts = engine.receipts(&MessageId::from_bits(0), None, 1000, end).await.expect("it reads");
    assert_eq!(receipts, None);
    assert!(volume.total_bytes() < 100_000, "{} bytes are left", volume.total_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_found_no_space_is_no_damage_after_a_loss_of_power() {
    let volume = MemoryVolume::recording();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::WriteFullAt(5_000));
    let mut accepted = Vec::new();
    for bits in 0..12 {
        if engine.append(message(bits, &["a"], 1_500)).await.is_ok() {
            accepted.push((volume.steps(), bits));
        }
    }
    engine.stop().await;
    let (mut disk, mut opened) = (CrashDisk::default(), 0);
    for (number, step) in volume.all_steps().iter().enumerate() {
        disk.step(step);
        for seed in 0..8 {
            let left = disk.crash(Crash::PowerSome(seed << 32 | number as u64));
            if !left.contains_key("MANIFEST") {
                continue;
            }
            let again =
                open(&MemoryVolume::with(&left)).unwrap_or_else(|error| panic!("behind {step:?}: {error}"));
            let answered = accepted.iter().filter(|(steps, _)| *steps <= number + 1).count();
            let found = log(&again, "a").await;
            let all: Vec<u128> = accepted.iter().map(|(_, bits)| *bits).collect();
            assert!(
                found.len() >= answered && found.len() <= answered + 1,
                "{found:?} of {all:?}, {answered}"
            );
            again.stop().await;
            opened += 1;
        }
    }
    assert!(opened > 100 && accepted.len() > 5, "{opened}, {accepted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_frees_a_full_disk() {
    for full_at in (60_000..76_000).step_by(1_000) {
        for keyed in [false, true] {
            fill_and_expire(full_at, keyed).await;
        }
    }
}

async fn fill_and_expire(full_at: usize, keyed: bool) {
    let what = format!("full at {full_at}, with keys: {keyed}");
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::FullAt(full_at));
    let mut accepted = 0;
    // Until the disk is full to the last byte that an append may take.
    for bits in 0..1_000 {
        let all = message(bits, &["a"], 40 + bits as usize % 300);
        let append = Append { key: all.key.clone().filter(|_| keyed), expires: Some(Time(1_000)), ..all };
        accepted += usize::from(engine.append(append).await.is_ok());
    }
    assert!(accepted > 100 && accepted < 1_000, "{what}: {accepted} were accepted");
    assert!(is_unavailable(&engine.ready().await), "{what}: the disk is full");
    for round in 0..50 {
        // It may not get all done at once, but each frees something. Keys are kept for some minutes.
        let _ = engine.sweep(Time(2_000).plus_seconds(round * 30)).await;
    }
    assert_eq!(log(&engine, "a").await, [], "{what}: what is over is trimmed");
    assert_eq!(engine.sweep(Time(2_000).plus_seconds(50 * 30)).await, Ok(()), "{what}");
    let append = Append { key: None, ..message(2_000, &["a"], 700) };
    assert_eq!(engine.append(append).await.map(drop), Ok(()), "{what}: there is space again");
    engine.stop().await;
    let again = open(&volume).expect("the store opens again");
    assert_eq!(log(&again, "a").await, ids([2_000]), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_retention_needs_no_space_on_a_full_disk() {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::FullAt(60_000));
    for bits in 0..1_000 {
        let _ = engine.append(message(bits, &["a"], 40 + bits as usize % 300)).await;
    }
    engine.stop().await;
    let retention = Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    let engine = open_with(&volume, rules).expect("the store opens with less to keep");
    engine.sweep(Time(2)).await.expect("there is space for a sweep");
    assert_eq!(log(&engine, "a").await.len(), 3);
}

/// A disk is full of what is not needed any more, and an operator deletes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_needs_no_space_on_a_full_disk() {
    let volume = MemoryVolume::default();
    let engine = open(&volume).expect("a new store opens");
    volume.fail(Fail::FullAt(60_000));
    for bits in 0..1_000 {
        let _ = engine.append(message(bits, &["a"], 40 + bits as usize % 300)).await;
    }
    assert!(engine.append(message(1_000, &["a"], 300)).await.is_err(), "it is full");
    let channel = encke_proto::ChannelName::any("a").expect("it is a name");
    assert_eq!(engine.delete(&channel).await, Ok(true));
    assert_eq!(engine.delete(&channel).await, Ok(false), "it is gone");
    engine.stop().await;
    let engine = open(&volume).expect("it opens");
    assert_eq!(log(&engine, "a").await.len(), 0);
}
