//! The contract's tests of idempotency keys: one message for each key, its scope, and how long it is kept.

use std::collections::HashSet;

use encke_proto::Time;
use futures_util::future::join_all;

use super::{
    Bed,
    lab::{Lab, NOON, channel, data, everywhere, message, to_channel, to_users, user},
};
use crate::{Append, Appended, EngineError, KEY_KEPT_S, Key, Retention, Targets, USER_KEYS_MAX};

pub(super) fn keyed(key: &str, append: Append) -> Append {
    Append { key: Some(Key::new(key)), ..append }
}

pub(super) async fn a_repeated_key_appends_nothing_and_returns_the_first_result(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.fill("a", 3).await;
    let first = lab.append(keyed("api:1", to_channel("a"))).await;
    assert!(!first.repeated);
    lab.fill("a", 2).await;
    // Where the request is not told, what else the repeat says does not count: the key is what makes it one.
    let other =
        Append { body: data("\"other\""), ..message(Targets::Channels(vec![channel("a"), channel("b")])) };
    for repeat in [to_channel("a"), other] {
        let again = lab.append(keyed("api:1", repeat)).await;
        assert_eq!(again, Appended { repeated: true, ..first.clone() });
    }
    assert_eq!(lab.all(&channel("a")).await.head, 6);
    assert_eq!(lab.all(&channel("b")).await.head, 0);
}

/// With a key that says its request.
pub(super) fn asking(key: &str, request: u64, append: Append) -> Append {
    Append { key: Some(Key { request: Some(request), ..Key::new(key) }), ..append }
}

pub(super) async fn a_key_that_comes_with_another_request_is_refused(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.append(to_users(&["carol"])).await;
    let many = Targets::Channels((0..40).map(|index| channel(&format!("c{index}"))).collect());
    for (key, append) in [
        ("api:1", to_channel("a")),
        ("api:2", message(many)),
        ("api:3", to_users(&["alice", "bob"])),
        ("api:4", message(Targets::AllUsers)),
    ] {
        let first = lab.append(asking(key, u64::MAX, append.clone())).await;
        let heads = async || {
            let mut heads = Vec::new();
            for (channel, _) in &first.positions {
                heads.push(lab.all(channel).await.head);
            }
            heads
        };
        let before = heads().await;
        for request in [0, 1, u64::MAX - 1] {
            let refused = lab.engine.append(asking(key, request, append.clone())).await;
            assert_eq!(refused, Err(EngineError::KeyReused), "{key}");
        }
        assert_eq!(heads().await, before, "nothing was appended");
        for again in [asking(key, u64::MAX, append.clone()), keyed(key, append)] {
            let again = lab.append(again).await;
            assert_eq!(again, Appended { repeated: true, ..first.clone() }, "{key}");
        }
    }
    // A key that was first sent without its request is not known to be another one's.
    let first = lab.append(keyed("api:5", to_channel("a"))).await;
    let again = lab.append(asking("api:5", 7, to_channel("a"))).await;
    assert_eq!(again, Appended { repeated: true, ..first });
    // What is refused does not become the key's request.
    lab.append(asking("api:6", 1, to_channel("a"))).await;
    assert!(lab.engine.append(asking("api:6", 2, to_channel("a"))).await.is_err());
    assert!(lab.append(asking("api:6", 1, to_channel("a"))).await.repeated);
}

pub(super) async fn of_concurrent_appends_with_one_key_and_two_requests_one_is_done(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let mut tasks = Vec::new();
    for task in 0..32 {
        let engine = lab.engine.clone();
        let append = asking("api:same", task % 2, to_channel("a"));
        tasks.push(tokio::spawn(async move { (task % 2, engine.append(append).await) }));
    }
    let mut done = HashSet::new();
    let mut refused = HashSet::new();
    for task in tasks {
        match task.await.expect("no task panics") {
            (request, Ok(_)) => done.insert(request),
            (request, Err(EngineError::KeyReused)) => refused.insert(request),
            (_, Err(error)) => panic!("a healthy engine appends: {error}"),
        };
    }
    assert_eq!((done.len(), refused.len(), done.intersection(&refused).count()), (1, 1, 0));
    assert_eq!(lab.all(&channel("a")).await.head, 1);
}

pub(super) async fn of_concurrent_appends_with_one_key_one_appends(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let engine = lab.engine.clone();
        tasks.push(tokio::spawn(async move { engine.append(keyed("api:same", to_channel("a"))).await }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no task panics").expect("a healthy engine appends"));
    }
    assert_eq!(results.iter().filter(|result| !result.repeated).count(), 1, "one is the first");
    assert!(
        results
            .iter()
            .all(|result| (&result.id, &result.positions) == (&results[0].id, &results[0].positions))
    );
    assert_eq!(lab.all(&channel("a")).await.head, 1);
}

pub(super) async fn two_scopes_share_no_key(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let scopes = ["api:1", "user:alice:1", "user:bob:1", "API:1", "api:1 "];
    for (index, key) in scopes.iter().enumerate() {
        let appended = lab.append(keyed(key, to_channel("a"))).await;
        assert_eq!((appended.repeated, appended.positions[0].1.offset), (false, index as u64 + 1), "{key}");
    }
    let without = lab.append(to_channel("a")).await;
    assert!(!without.repeated && !lab.append(to_channel("a")).await.repeated, "no key is no key");
}

pub(super) async fn a_repeated_push_returns_every_place_in_order(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.append(to_users(&["carol"])).await;
    let some = lab.append(keyed("api:some", to_users(&["carol", "alice", "bob"]))).await;
    let all = lab.append(keyed("api:all", message(Targets::AllUsers))).await;
    lab.engine.seen(&user("dave"), NOON).await.expect("a healthy engine sees");
    let some_again = lab.append(keyed("api:some", to_users(&["carol"]))).await;
    let all_again = lab.append(keyed("api:all", message(Targets::AllUsers))).await;
    assert_eq!(some_again, Appended { repeated: true, ..some });
    assert_eq!(all_again, Appended { repeated: true, ..all });
    assert_eq!(lab.all(&user("dave").channel()).await.head, 0);
}

pub(super) async fn a_key_is_kept_for_its_time_and_not_for_ever(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let first = lab.append(keyed("api:1", to_channel("a"))).await;
    let last_moment = NOON.plus_seconds(KEY_KEPT_S);
    sweep_for(&lab, NOON, KEY_KEPT_S).await;
    let again = lab.append(Append { time: last_moment, ..keyed("api:1", to_channel("a")) }).await;
    assert_eq!(again, Appended { repeated: true, ..first }, "for at least {KEY_KEPT_S} s");
    let much_later = last_moment.plus_seconds(KEY_KEPT_S);
    sweep_for(&lab, last_moment, KEY_KEPT_S).await;
    let anew = lab.append(Append { time: much_later, ..keyed("api:1", to_channel("a")) }).await;
    assert_eq!((anew.repeated, anew.positions[0].1.offset), (false, 2), "the sweep forgets old keys");
}

/// Sweeps every few seconds, as a server does.
pub(super) async fn sweep_for(lab: &Lab, from: Time, seconds: u64) {
    for step in (0..=seconds).step_by(10) {
        lab.sweep(from.plus_seconds(step)).await;
    }
}

pub(super) async fn a_key_outlives_a_clock_that_is_set(bed: &dyn Bed) {
    const DAY_S: u64 = 24 * 3600;
    let lab = Lab::open(bed).await;
    let first = lab.append(keyed("api:1", to_channel("a"))).await;
    sweep_for(&lab, NOON, 60).await;
    for time in [NOON.plus_seconds(2 * DAY_S), NOON.minus_seconds(2 * DAY_S), NOON.plus_seconds(DAY_S)] {
        sweep_for(&lab, time, 60).await;
        let again = lab.append(Append { time, ..keyed("api:1", to_channel("a")) }).await;
        assert_eq!(again, Appended { repeated: true, ..first.clone() });
    }
}

pub(super) async fn a_key_outlives_its_message(bed: &dyn Bed) {
    let lab =
        Lab::with(bed, everywhere(Retention { max_messages: 2, max_bytes: 1 << 20, max_age_s: 3600 })).await;
    let first = lab.append(keyed("api:1", to_channel("a"))).await;
    lab.fill("a", 5).await;
    assert_eq!(lab.append(keyed("api:1", to_channel("a"))).await, Appended { repeated: true, ..first });
}

/// A key of a user, as a client sends it.
fn of_user(name: &str, number: usize) -> Append {
    Append { from: Some(user(name)), ..keyed(&format!("user:{name}:{number}"), to_channel("a")) }
}

pub(super) async fn a_user_with_many_keys_takes_no_others_room(bed: &dyn Bed) {
    const SENT: usize = USER_KEYS_MAX + USER_KEYS_MAX / 4;
    const AT_ONCE: usize = 250;
    let all = everywhere(Retention { max_messages: 100_000, max_bytes: 1 << 30, max_age_s: 3600 });
    let lab = Lab::with(bed, all).await;
    let backend = lab.append(keyed("api:1", to_channel("a"))).await;
    let other = lab.append(of_user("alice", 1)).await;
    for begin in (0..SENT).step_by(AT_ONCE) {
        let some = (begin..begin + AT_ONCE).map(|number| lab.append(of_user("mallory", number)));
        assert!(join_all(some).await.iter().all(|appended| !appended.repeated), "none is refused");
    }
    let (backend_again, other_again) =
        (lab.append(keyed("api:1", to_channel("a"))).await, lab.append(of_user("alice", 1)).await);
    assert_eq!(backend_again, Appended { repeated: true, ..backend });
    assert_eq!(other_again, Appended { repeated: true, ..other });
    for newer in [SENT - USER_KEYS_MAX + AT_ONCE, SENT - USER_KEYS_MAX / 2, SENT - 1] {
        assert!(lab.append(of_user("mallory", newer)).await.repeated, "{newer} is one of the newest");
    }
    let oldest = lab.append(of_user("mallory", 0)).await;
    assert!(!oldest.repeated, "the oldest made room for the others");
    assert!(lab.append(of_user("mallory", 0)).await.repeated, "it is the newest now");
}
