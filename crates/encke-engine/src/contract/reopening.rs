//! What an engine knew before it was closed and opened again.

use std::sync::Arc;

use encke_proto::{MessageId, Time};

use super::{
    Bed,
    cancelling::{cancel, cancelled},
    closing::with_message,
    keys::{asking, keyed, sweep_for},
    lab::{Lab, Listener, NOON, channel, everywhere, ids, to_channel, to_users, update, user},
    producing::producer,
};
use crate::{
    Append, Appended, Configure, EngineError, Feed, KEY_KEPT_S, Lifetime, LogConfig, LogUpdate, ReadFrom,
    ReceiptState, Retention, RetentionTable,
};

fn at(second: u64) -> Time {
    NOON.plus_seconds(second)
}

/// The engine that comes after a stop, or none when it has nothing of what was there, as its epoch says.
async fn reopen(bed: &dyn Bed, lab: &Lab, retention: RetentionTable) -> Option<Lab> {
    let before = lab.read(&channel("any"), ReadFrom::Head, super::lab::ALL).await.epoch;
    lab.engine.stop().await;
    let feed = Arc::new(Listener::default());
    let engine = bed.reopen(Arc::clone(&lab.engine), Arc::clone(&feed) as Arc<dyn Feed>, retention).await;
    let again = Lab { engine, feed };
    let after = again.read(&channel("any"), ReadFrom::Head, super::lab::ALL).await.epoch;
    (before == after).then_some(again)
}

pub(super) async fn a_key_is_kept_for_its_time_over_a_reopening(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    // The engine has counted more time than a key is kept before this one comes: only then does a count that
    // begins anew show.
    let come = NOON.plus_seconds(KEY_KEPT_S + 120);
    sweep_for(&lab, NOON, KEY_KEPT_S + 120).await;
    let first = lab.append(Append { time: come, ..keyed("api:1", to_channel("a")) }).await;
    let other = |request| Append { time: come, ..asking("api:2", request, to_channel("b")) };
    lab.append(other(1)).await;
    let Some(lab) = reopen(bed, &lab, RetentionTable::default()).await else { return };
    assert_eq!(lab.engine.append(other(2)).await, Err(EngineError::KeyReused));
    assert!(lab.append(other(1)).await.repeated);
    let last_moment = come.plus_seconds(KEY_KEPT_S);
    sweep_for(&lab, come, KEY_KEPT_S).await;
    let again = lab.append(Append { time: last_moment, ..keyed("api:1", to_channel("a")) }).await;
    assert_eq!(again, Appended { repeated: true, ..first }, "for at least {KEY_KEPT_S} s");
    sweep_for(&lab, last_moment, KEY_KEPT_S).await;
    let anew = lab
        .append(Append { time: last_moment.plus_seconds(KEY_KEPT_S), ..keyed("api:1", to_channel("a")) })
        .await;
    assert_eq!((anew.repeated, anew.positions[0].1.offset), (false, 2), "and not for ever");
}

pub(super) async fn what_was_deleted_stays_so_at_a_reopening(bed: &dyn Bed) {
    let mut lab = Lab::open(bed).await;
    let mut heads = [0, 0];
    for round in 0..3 {
        let names = [channel("a"), user("alice").channel()];
        let first = lab.append(keyed("api:1", to_channel("a"))).await;
        let push = lab.append(to_users(&["alice", "bob"])).await.id;
        assert!(!first.repeated, "round {round}");
        for (name, head) in names.iter().zip(&mut heads) {
            let page = lab.all(name).await;
            assert!(page.tail > *head && page.entries.len() == 1, "round {round}: {name}");
            *head = page.head + 1;
            assert!(lab.delete(name.as_str()).await);
        }
        lab.append(to_channel("other")).await;
        let Some(again) = reopen(bed, &lab, RetentionTable::default()).await else { return };
        lab = again;
        for (name, head) in names.iter().zip(heads) {
            let page = lab.all(name).await;
            assert!(page.entries.is_empty() && page.tail > head, "round {round}: {name}");
        }
        assert_eq!(lab.engine.user(&user("alice")).await, Ok(None));
        let bob = [owned(("bob", ReceiptState::Queued, NOON))];
        assert_eq!(receipts(&lab, &push).await, bob, "round {round}");
        let listed = lab.engine.channels(None, 10).await.expect("a healthy engine reads");
        assert_eq!(listed.len(), 1, "round {round}: {listed:?}");
    }
}

pub(super) async fn what_is_known_of_a_log_stays_so_at_a_reopening(bed: &dyn Bed) {
    let mut lab = Lab::open(bed).await;
    let idle = LogConfig::new(Some("a/b"), Some(Lifetime::Idle { seconds: 600 })).expect("this is one");
    let closing = LogUpdate { configure: Configure::Create(idle.clone()), close: true, ..update("closed") };
    lab.update(closing).await;
    let sent = async |lab: &Lab, name: &str, sequence: u64| {
        let (change, _) = with_message(LogUpdate { producer: producer("p", 4, sequence), ..update(name) });
        lab.update(change).await
    };
    for sequence in 0..7 {
        sent(&lab, "produced", sequence).await;
    }
    let until = LogConfig::new(None, Some(Lifetime::Until(at(50)))).expect("this has no content type");
    let ends = |name| LogUpdate { configure: Configure::Create(until.clone()), ..update(name) };
    lab.update(with_message(ends("ended")).0).await;
    lab.sweep(at(50)).await;
    lab.update(LogUpdate { time: at(60), ..update("closed") }).await;
    for round in 0..3 {
        let Some(again) = reopen(bed, &lab, RetentionTable::default()).await else { return };
        lab = again;
        let status = lab.engine.log_status(&channel("closed")).await.expect("a healthy engine reads");
        let status = status.expect("it is there");
        assert_eq!((status.closed, &status.config, status.ends), (true, &idle, Some(at(660))), "{round}");
        assert!(lab.engine.append(to_channel("closed")).await.is_err(), "{round}");
        assert!(lab.all(&channel("closed")).await.closed, "{round}");
        let again = sent(&lab, "produced", 6 + round).await;
        assert!(again.repeated && again.message.is_some_and(|(_, at)| at.offset == 7 + round), "{round}");
        assert!(!sent(&lab, "produced", 7 + round).await.repeated, "{round}");
        let ended = lab.engine.log_status(&channel("ended")).await.expect("a healthy engine reads");
        let page = lab.all(&channel("ended")).await;
        assert!(ended.is_none() && page.entries.is_empty() && page.head > 1, "{round}");
    }
    lab.sweep(at(660)).await;
    assert_eq!(lab.engine.log_status(&channel("closed")).await, Ok(None), "its time goes on");
}

pub(super) async fn what_was_cancelled_stays_so_at_a_reopening(bed: &dyn Bed) {
    let mut lab = Lab::open(bed).await;
    let mut pushes = Vec::new();
    for round in 0..3 {
        for is_cancelled in [false, true] {
            let push = lab.append(to_users(&["alice", "bob"])).await.id;
            if is_cancelled {
                assert_eq!(cancel(&lab, &push, at(round)).await, Some(2), "round {round}");
            }
            pushes.push((push, is_cancelled));
        }
        let Some(again) = reopen(bed, &lab, RetentionTable::default()).await else { return };
        lab = again;
        for name in ["alice", "bob"] {
            assert_eq!(cancelled(&lab, name).await, pushes, "round {round}");
        }
        for (push, is_cancelled) in &pushes {
            let state = if *is_cancelled { ReceiptState::Cancelled } else { ReceiptState::Queued };
            let receipts = lab.receipts(push, at(60)).await;
            assert!(receipts.iter().all(|(_, told, _)| *told == state), "round {round}: {receipts:?}");
        }
        lab.sweep(at(round)).await;
    }
}

pub(super) async fn nothing_begins_anew_at_a_reopening(bed: &dyn Bed) {
    let rules = everywhere(Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 3600 });
    let lab = Lab::with(bed, rules.clone()).await;
    for _ in 0..2 {
        lab.append(Append { expires: Some(at(5)), ..to_channel("emptied") }).await;
    }
    lab.append(to_users(&["alice"])).await;
    let both = lab.append(to_users(&["alice", "bob"])).await.id;
    // The newest of all, of which nothing but its receipt is left.
    let lost = lab.append(Append { expires: Some(at(5)), ..to_users(&["carol"]) }).await.id;
    lab.sweep(at(60)).await;
    lab.mark("alice", 2, ReceiptState::Delivered, at(61)).await;
    lab.mark("alice", 2, ReceiptState::Shown, at(62)).await;
    lab.engine.seen(&user("bob"), at(100)).await.expect("a healthy engine sees");
    let Some(lab) = reopen(bed, &lab, rules).await else { return };

    lab.mark("alice", 1, ReceiptState::Delivered, at(70)).await;
    lab.mark("alice", 2, ReceiptState::Shown, at(71)).await;
    let shown = [("alice", ReceiptState::Shown, at(62)), ("bob", ReceiptState::Queued, NOON)];
    assert_eq!(receipts(&lab, &both).await, shown.map(owned), "receipts do not go back");
    assert_eq!(
        lab.engine.handed(&user("alice")).await.expect("a healthy engine reads").offset,
        2,
        "nor does the place"
    );
    lab.engine.seen(&user("bob"), at(50)).await.expect("a healthy engine sees");
    let bob = lab.engine.user(&user("bob")).await.expect("a healthy engine reads").expect("he is known");
    assert_eq!(bob.last_seen, Some(at(100)), "nor does the time");

    let mut pushes = Vec::new();
    for _ in 0..3 {
        pushes.push(lab.append(Append { time: at(80), ..to_users(&["alice"]) }).await.id);
    }
    assert_eq!(ids(&lab.all(&user("alice").channel()).await), pushes, "it is trimmed as before");
    assert_eq!(
        ids(&lab.all(&user("bob").channel()).await),
        std::slice::from_ref(&both),
        "what two logs share is still there for the other"
    );
    assert_eq!(receipts(&lab, &both).await, shown.map(owned));
    assert_eq!(
        receipts(&lab, &lost).await,
        [owned(("carol", ReceiptState::Expired, at(5)))],
        "no new push takes its place"
    );
    assert_eq!(
        lab.append(to_channel("emptied")).await.positions[0].1.offset,
        3,
        "offsets go on where nothing is left"
    );
    for push in pushes {
        assert_eq!(receipts(&lab, &push).await, [owned(("alice", ReceiptState::Queued, at(80)))]);
    }
}

fn owned((name, state, at): (&str, ReceiptState, Time)) -> (String, ReceiptState, Time) {
    (name.to_owned(), state, at)
}

async fn receipts(lab: &Lab, push: &MessageId) -> Vec<(String, ReceiptState, Time)> {
    lab.receipts(push, at(90)).await
}

/// An engine that counts what it keeps counts each message once for each log that has it, whatever becomes of
/// it, and after a reopening too.
pub(super) async fn what_is_kept_is_counted(bed: &dyn Bed) {
    let few = Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 3600 };
    let lab = Lab::with(bed, everywhere(few)).await;
    let counted = async |lab: &Lab| lab.engine.stats().await.messages;
    if counted(&lab).await.is_none() {
        return;
    }
    assert_eq!(counted(&lab).await, Some(0));
    lab.fill("a", 2).await;
    lab.append(to_users(&["alice", "bob"])).await;
    assert_eq!(counted(&lab).await, Some(4));
    lab.fill("a", 4).await;
    assert_eq!(counted(&lab).await, Some(5), "three in each log at most");
    lab.append(Append { expires: Some(at(5)), ..to_channel("b") }).await;
    lab.sweep(at(6)).await;
    assert_eq!(counted(&lab).await, Some(5), "what expired is swept away");
    if lab.engine.delete(&channel("a")).await.is_ok() {
        assert_eq!(counted(&lab).await, Some(2));
    }
    let kept = counted(&lab).await;
    if let Some(lab) = reopen(bed, &lab, everywhere(few)).await {
        assert_eq!(counted(&lab).await, kept);
    }
}

pub(super) async fn other_rules_of_retention_hold_from_then_on(bed: &dyn Bed) {
    let of = |max_messages, max_age_s| Retention { max_messages, max_bytes: 1 << 20, max_age_s };
    let lab = Lab::with(bed, everywhere(of(100, 3600))).await;
    lab.fill("a", 6).await;
    lab.append(Append { time: NOON, ..to_channel("old") }).await;
    match lab.engine.set_retention(everywhere(of(4, 60))).await {
        Err(EngineError::Unsupported(_)) => return,
        changed => changed.expect("a healthy engine changes its rules"),
    }
    let kept = async |lab: &Lab, name| lab.all(&channel(name)).await.entries.len();
    lab.sweep(at(30)).await;
    assert_eq!((kept(&lab, "a").await, kept(&lab, "old").await), (4, 1), "what is over them is swept");
    lab.fill("a", 3).await;
    assert_eq!(kept(&lab, "a").await, 4, "and trimmed at once from then on");
    lab.sweep(at(61)).await;
    assert_eq!(kept(&lab, "old").await, 0, "by age as well");
    lab.engine.set_retention(everywhere(of(9, 60))).await.expect("they become wider too");
    let next = Append { time: at(61), ..to_channel("b") };
    for _ in 0..12 {
        lab.append(Append { id: super::lab::new_id(), ..next.clone() }).await;
    }
    assert_eq!(kept(&lab, "b").await, 9);
    if let Some(lab) = reopen(bed, &lab, everywhere(of(9, 60))).await {
        assert_eq!(kept(&lab, "b").await, 9);
    }
}
