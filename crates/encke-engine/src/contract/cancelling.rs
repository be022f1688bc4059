//! The contract's tests of cancelling: what was still queued is not delivered, what was delivered stays so,
//! and nothing is moved in the logs. A cancellation over a reopening is in `reopening.rs`.

use encke_proto::{MessageId, Time};

use super::{
    Bed,
    lab::{ALL, Lab, NOON, everywhere, ids, message, new_id, offsets, to_users, user},
};
use crate::{Append, CANCELLED, ReadFrom, Receipt, ReceiptState, Retention, Targets};

fn at(second: u64) -> Time {
    NOON.plus_seconds(second)
}

pub(super) async fn cancel(lab: &Lab, push: &MessageId, now: Time) -> Option<usize> {
    lab.engine.cancel(push, now).await.expect("a healthy engine cancels")
}

/// The messages of a user's own channel, and which of them are cancelled.
pub(super) async fn cancelled(lab: &Lab, name: &str) -> Vec<(MessageId, bool)> {
    let page = lab.all(&user(name).channel()).await;
    let one = |entry: &std::sync::Arc<encke_proto::Entry>| {
        (entry.message().id.clone(), entry.message().expires == Some(CANCELLED))
    };
    page.entries.iter().map(one).collect()
}

pub(super) async fn a_cancelled_push_is_told_as_expired_where_it_was_queued(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let names = ["alice", "bob", "carol", "dave"];
    let before = lab.append(to_users(&names)).await;
    let push = lab.append(Append { expires: Some(at(600)), ..to_users(&names) }).await;
    let behind = lab.append(to_users(&names)).await;
    lab.mark("bob", 2, ReceiptState::Delivered, at(1)).await;
    lab.mark("carol", 2, ReceiptState::Delivered, at(1)).await;
    lab.mark("carol", 2, ReceiptState::Shown, at(2)).await;
    assert_eq!(cancel(&lab, &push.id, at(5)).await, Some(2), "for alice and dave");
    let mut receipts = Vec::new();
    for (name, state, time) in [
        ("alice", ReceiptState::Cancelled, at(5)),
        ("bob", ReceiptState::Delivered, at(1)),
        ("carol", ReceiptState::Shown, at(2)),
        ("dave", ReceiptState::Cancelled, at(5)),
    ] {
        receipts.push((name.to_owned(), state, time));
        let is_cancelled = state == ReceiptState::Cancelled;
        let (before, push, behind) = (before.id.clone(), push.id.clone(), behind.id.clone());
        assert_eq!(
            cancelled(&lab, name).await,
            [(before, false), (push, is_cancelled), (behind, false)],
            "{name}"
        );
        for from in [ReadFrom::After(1), ReadFrom::Before(u64::MAX)] {
            let page = lab.read(&user(name).channel(), from, ALL).await;
            assert_eq!((page.tail, page.head), (1, 3), "nothing is moved");
        }
    }
    assert_eq!(lab.receipts(&push.id, at(6)).await, receipts);
    // What comes behind says nothing of it, nor does the end of its time, nor asking once more.
    for name in names {
        lab.mark(name, 3, ReceiptState::Delivered, at(7)).await;
        lab.mark(name, 3, ReceiptState::Shown, at(8)).await;
    }
    assert_eq!(cancel(&lab, &push.id, at(9)).await, Some(0));
    let states = |receipts: Vec<(String, ReceiptState, Time)>| {
        receipts.into_iter().map(|(_, state, _)| state).collect::<Vec<_>>()
    };
    let (gone, shown) = (ReceiptState::Cancelled, ReceiptState::Shown);
    assert_eq!(states(lab.receipts(&push.id, at(700)).await), [gone, shown, shown, gone]);
    assert_eq!(states(lab.receipts(&behind.id, at(700)).await), [shown; 4], "others go on");
    lab.sweep(at(700)).await;
    assert_eq!(states(lab.receipts(&push.id, at(701)).await), [gone, shown, shown, gone], "after a sweep");
    let next = lab.append(to_users(&["alice"])).await;
    assert_eq!(next.positions[0].1.offset, 4);
}

pub(super) async fn only_what_is_queued_can_be_cancelled(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert_eq!(cancel(&lab, &new_id(), NOON).await, None, "there is no such push");
    let published = lab.append(super::lab::to_channel("a")).await.id;
    assert_eq!(cancel(&lab, &published, NOON).await, None, "it was published, not pushed");
    let short = lab.append(Append { expires: Some(at(10)), ..to_users(&["alice"]) }).await.id;
    assert_eq!(cancel(&lab, &short, at(10)).await, Some(0), "it has expired");
    assert_eq!(lab.receipt(&short, at(11)).await, (ReceiptState::Expired, at(10)));
    let empty = lab.append(message(Targets::Users(Vec::new()))).await.id;
    assert_eq!(cancel(&lab, &empty, at(1)).await, Some(0));
    let gone = lab.append(to_users(&["alice", "bob"])).await.id;
    assert!(lab.delete("@alice").await);
    assert_eq!(cancel(&lab, &gone, at(12)).await, Some(1), "a user who was deleted is not asked for");
    let bob = [("bob".to_owned(), ReceiptState::Cancelled, at(12))];
    assert_eq!(lab.receipts(&gone, at(13)).await, bob);
}

pub(super) async fn a_push_to_all_and_one_to_many_are_cancelled_for_each(bed: &dyn Bed) {
    const USERS: usize = 1_200;
    let lab = Lab::open(bed).await;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number:04}")).collect();
    let many = lab.append(message(Targets::Users(names.iter().map(|name| user(name)).collect()))).await;
    let all = lab.append(message(Targets::AllUsers)).await;
    lab.mark("user-0007", 2, ReceiptState::Delivered, at(1)).await;
    for (push, offset, count) in [(&all, 2, USERS - 1), (&many, 1, USERS - 1)] {
        assert_eq!(cancel(&lab, &push.id, at(2)).await, Some(count));
        let receipts = lab.engine.receipts(&push.id, None, 2 * USERS, at(3)).await;
        let receipts = receipts.expect("a healthy engine reads").expect("it is a push");
        let is_cancelled = |receipt: &&Receipt| receipt.state == ReceiptState::Cancelled;
        assert_eq!(receipts.iter().filter(is_cancelled).count(), count);
        for name in ["user-0000", "user-0007", "user-1199"] {
            let found = cancelled(&lab, name).await;
            assert_eq!(found[offset - 1], (push.id.clone(), name != "user-0007"), "{name}");
        }
    }
}

pub(super) async fn the_feed_is_told_of_a_cancellation(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let channels = ["alice", "bob"].map(|name| user(name).channel());
    lab.watch(channels.clone()).await;
    let push = lab.append(to_users(&["alice", "bob"])).await;
    lab.feed.wait_for(2).await;
    lab.mark("bob", 1, ReceiptState::Delivered, at(1)).await;
    assert_eq!(cancel(&lab, &push.id, at(2)).await, Some(1));
    lab.feed.wait_for_retracted(&channels[0], 1).await;
    assert!(!lab.feed.retracted_of().contains(&channels[1]), "bob has it");
    let next = lab.append(to_users(&["alice"])).await;
    assert_eq!(lab.feed.wait_for(3).await[2].message().id, next.id, "and then goes on");
}

pub(super) async fn a_cancelled_message_is_trimmed_like_others(bed: &dyn Bed) {
    let lab =
        Lab::with(bed, everywhere(Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 3600 })).await;
    let first = lab.append(to_users(&["alice"])).await.id;
    assert_eq!(cancel(&lab, &first, at(1)).await, Some(1));
    let mut left = Vec::new();
    for _ in 0..5 {
        left.push(lab.append(Append { time: at(2), ..to_users(&["alice"]) }).await.id);
    }
    let page = lab.all(&user("alice").channel()).await;
    assert_eq!((offsets(&page), ids(&page)), (vec![4, 5, 6], left.split_off(2)));
    assert_eq!(lab.receipt(&first, at(3)).await, (ReceiptState::Cancelled, at(1)));
    // One of the middle leaves no hole, and what is trimmed already has expired.
    assert_eq!(cancel(&lab, &left[0], at(4)).await, Some(0));
    let middle = ids(&page)[1].clone();
    assert_eq!(cancel(&lab, &middle, at(4)).await, Some(1));
    assert_eq!(
        cancelled(&lab, "alice").await.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(),
        [false, true, false]
    );
}
