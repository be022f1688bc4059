//! The contract's tests of receipts: the order of their states, expiry, their pages and totals.

use encke_proto::{Epoch, MessageId, Position, Time, UserId};

use super::{
    Bed,
    lab::{ALL, Lab, NOON, everywhere, message, new_id, to_users, user},
};
use crate::{Append, Mark, RECEIPTS_KEPT_S, ReadFrom, ReceiptState, ReceiptTotals, Retention, Targets};

const WIDE: Retention = Retention { max_messages: 1000, max_bytes: 1 << 20, max_age_s: 3600 };

fn at(second: u64) -> Time {
    NOON.plus_seconds(second)
}

async fn push(lab: &Lab, expires: Option<Time>) -> MessageId {
    lab.append(Append { expires, ..to_users(&["alice"]) }).await.id
}

pub(super) async fn receipts_go_from_queued_over_delivered_to_shown(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let (first, second) = (push(&lab, None).await, push(&lab, None).await);
    assert_eq!(lab.receipt(&first, at(1)).await, (ReceiptState::Queued, NOON));
    lab.mark("alice", 1, ReceiptState::Delivered, at(2)).await;
    assert_eq!(lab.receipt(&first, at(3)).await, (ReceiptState::Delivered, at(2)));
    assert_eq!(lab.receipt(&second, at(3)).await, (ReceiptState::Queued, NOON), "behind the mark");
    lab.mark("alice", 2, ReceiptState::Shown, at(4)).await;
    assert_eq!(lab.receipt(&first, at(5)).await, (ReceiptState::Shown, at(4)));
    assert_eq!(
        lab.receipt(&second, at(5)).await,
        (ReceiptState::Shown, at(4)),
        "a mark reaches everything up to it"
    );
}

pub(super) async fn receipts_never_go_back(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let id = push(&lab, Some(at(100))).await;
    lab.mark("alice", 1, ReceiptState::Shown, at(2)).await;
    lab.mark("alice", 1, ReceiptState::Delivered, at(3)).await;
    lab.mark("alice", 1, ReceiptState::Shown, at(4)).await;
    assert_eq!(lab.receipt(&id, at(5)).await, (ReceiptState::Shown, at(2)));
    assert_eq!(
        lab.receipt(&id, at(1000)).await,
        (ReceiptState::Shown, at(2)),
        "what was shown does not expire"
    );
    let id = push(&lab, Some(at(100))).await;
    lab.mark("alice", 2, ReceiptState::Delivered, at(5)).await;
    lab.mark("alice", 2, ReceiptState::Delivered, at(6)).await;
    for state in [ReceiptState::Queued, ReceiptState::Expired] {
        lab.mark("alice", 2, state, at(7)).await;
    }
    assert_eq!(lab.receipt(&id, at(1000)).await, (ReceiptState::Delivered, at(5)));
}

pub(super) async fn a_push_that_was_not_handed_in_time_is_expired(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let id = push(&lab, Some(at(10))).await;
    assert_eq!(lab.receipt(&id, Time(at(10).0 - 1)).await.0, ReceiptState::Queued);
    assert_eq!(lab.receipt(&id, at(10)).await, (ReceiptState::Expired, at(10)), "from its expiry on");
    lab.sweep(at(60)).await;
    assert_eq!(lab.receipt(&id, at(60)).await, (ReceiptState::Expired, at(10)), "after the sweep as before");
    for state in [ReceiptState::Delivered, ReceiptState::Shown] {
        lab.mark("alice", 1, state, at(61)).await;
    }
    assert_eq!(lab.receipt(&id, at(62)).await, (ReceiptState::Expired, at(10)), "for ever");
}

pub(super) async fn what_was_skipped_as_expired_is_not_delivered_by_what_follows(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let (before, short, after) =
        (push(&lab, None).await, push(&lab, Some(at(10))).await, push(&lab, Some(at(90))).await);
    lab.mark("alice", 3, ReceiptState::Delivered, at(20)).await;
    lab.mark("alice", 3, ReceiptState::Shown, at(30)).await;
    assert_eq!(lab.receipt(&before, at(40)).await, (ReceiptState::Shown, at(30)));
    assert_eq!(lab.receipt(&short, at(40)).await, (ReceiptState::Expired, at(10)));
    assert_eq!(lab.receipt(&after, at(40)).await, (ReceiptState::Shown, at(30)));
}

pub(super) async fn a_trimmed_push_is_expired(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_messages: 2, ..WIDE })).await;
    let (handed, lost) = (push(&lab, None).await, push(&lab, None).await);
    lab.mark("alice", 1, ReceiptState::Delivered, at(1)).await;
    for _ in 0..2 {
        lab.append(Append { time: at(2), ..to_users(&["alice"]) }).await;
    }
    lab.mark("alice", 4, ReceiptState::Delivered, at(3)).await;
    assert_eq!(lab.receipt(&handed, at(4)).await, (ReceiptState::Delivered, at(1)));
    assert_eq!(
        lab.receipt(&lost, at(4)).await,
        (ReceiptState::Expired, at(2)),
        "no session will ever be handed it"
    );
    let old = Lab::with(bed, everywhere(Retention { max_age_s: 10, ..WIDE })).await;
    let id = push(&old, None).await;
    old.sweep(at(11)).await;
    assert_eq!(old.receipt(&id, at(12)).await, (ReceiptState::Expired, at(11)));
}

pub(super) async fn each_receipt_of_a_push_expires_with_the_log_that_it_is_for(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_messages: 2, ..WIDE })).await;
    let of = |name: &str, state, at| (name.to_owned(), state, at);
    let both = lab.append(to_users(&["alice", "bob"])).await.id;
    for _ in 0..2 {
        lab.append(Append { time: at(2), ..to_users(&["alice"]) }).await;
    }
    let now = lab.receipts(&both, at(3)).await;
    let expired = of("alice", ReceiptState::Expired, at(2));
    assert_eq!(
        now,
        [expired.clone(), of("bob", ReceiptState::Queued, NOON)],
        "the other log still holds the message"
    );
    lab.mark("bob", 1, ReceiptState::Delivered, at(3)).await;
    assert_eq!(lab.receipts(&both, at(4)).await, [expired, of("bob", ReceiptState::Delivered, at(3))]);
    // The same when all logs are appended to, and trimmed, by one call: those of users who were handed it and
    // of others.
    let all = lab.append(Append { time: at(5), ..message(Targets::AllUsers) }).await.id;
    lab.mark("alice", 4, ReceiptState::Delivered, at(6)).await;
    for second in [7, 8] {
        lab.append(Append { time: at(second), ..message(Targets::AllUsers) }).await;
    }
    let ended = [of("alice", ReceiptState::Delivered, at(6)), of("bob", ReceiptState::Expired, at(8))];
    assert_eq!(lab.receipts(&all, at(9)).await, ended);
}

pub(super) async fn shown_can_be_said_after_the_message_is_gone(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let id = push(&lab, Some(at(10))).await;
    lab.mark("alice", 1, ReceiptState::Delivered, at(9)).await;
    lab.sweep(at(60)).await;
    assert_eq!(lab.all(&user("alice").channel()).await.tail, 2, "the message was trimmed");
    lab.mark("alice", 1, ReceiptState::Shown, at(61)).await;
    assert_eq!(lab.receipt(&id, at(62)).await, (ReceiptState::Shown, at(61)));
}

pub(super) async fn marks_of_another_epoch_or_user_change_nothing(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let id = push(&lab, None).await;
    let epoch = lab.all(&user("alice").channel()).await.epoch;
    let of = |name: &str, epoch| Mark {
        user: user(name),
        position: Position { epoch, offset: 1 },
        state: ReceiptState::Delivered,
        at: at(1),
    };
    let marks = vec![of("alice", Epoch(epoch.0.wrapping_add(1))), of("bob", epoch)];
    lab.engine.mark(marks).await.expect("a healthy engine marks");
    assert_eq!(lab.receipt(&id, at(2)).await, (ReceiptState::Queued, NOON));
    assert_eq!(lab.engine.handed(&user("alice")).await.expect("a healthy engine reads").offset, 0);
    assert_eq!(lab.engine.user(&user("bob")).await, Ok(None), "a mark makes no user known");
    // One call may hold the marks of many users, and several of one.
    let third = Mark { state: ReceiptState::Shown, at: at(3), ..of("alice", epoch) };
    lab.engine.mark(vec![of("bob", epoch), of("alice", epoch), third]).await.expect("a healthy engine marks");
    assert_eq!(lab.receipt(&id, at(4)).await, (ReceiptState::Shown, at(3)));
}

pub(super) async fn receipts_come_in_pages_by_user(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let names = ["zoe", "A", "b", "@odd", "élise"];
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let id = lab.append(to_users(&names)).await.id;
    let to_all = lab.append(message(Targets::AllUsers)).await.id;
    for (push, offset) in [(id, 1), (to_all, 2)] {
        let (mut found, mut after) = (Vec::new(), None);
        for expected in [2, 2, 1, 0] {
            let page = lab
                .engine
                .receipts(&push, after.as_ref(), 2, NOON)
                .await
                .expect("a healthy engine reads receipts");
            let page = page.expect("the push is known");
            assert_eq!(page.len(), expected);
            assert!(page.iter().all(|receipt| receipt.offset == offset), "{page:?}");
            after = page.last().map(|receipt| receipt.user.clone()).or(after);
            found.extend(page.into_iter().map(|receipt| receipt.user.as_str().to_owned()));
        }
        assert_eq!(found, sorted);
    }
    assert_eq!(lab.engine.receipts(&new_id(), None, 2, NOON).await, Ok(None), "no such push");
    let publish = lab.append(super::lab::to_channel("a")).await.id;
    assert_eq!(lab.engine.receipts(&publish, None, 2, NOON).await, Ok(None), "a publish has no receipts");
}

pub(super) async fn receipts_outlive_their_messages_but_not_for_ever(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(WIDE)).await;
    let (short, long) = (push(&lab, Some(at(10))).await, push(&lab, None).await);
    lab.sweep(at(WIDE.max_age_s + 1)).await;
    assert_eq!(lab.all(&user("alice").channel()).await.entries.len(), 0, "the messages are gone");
    let still = at(10 + RECEIPTS_KEPT_S - 1);
    lab.sweep(still).await;
    assert_eq!(lab.receipt(&short, still).await.0, ReceiptState::Expired);
    let later = at(10 + RECEIPTS_KEPT_S);
    lab.sweep(later).await;
    assert_eq!(lab.engine.receipts(&short, None, 1, later).await, Ok(None), "its time is over");
    assert_eq!(lab.receipt(&long, later).await.0, ReceiptState::Expired, "the other's is not");
}

/// More users than one page of receipts has.
const MANY: usize = 1_203;

/// A push to many, of whom some were shown it, handed it, or deleted; the users who are left, by state.
async fn push_to_many(lab: &Lab) -> (MessageId, Vec<(ReceiptState, Vec<UserId>)>) {
    let users: Vec<UserId> = (0..MANY).map(|number| user(&format!("u{number:04}"))).collect();
    let all = Targets::Users(users.clone());
    let id = lab.append(Append { expires: Some(at(60)), ..message(all) }).await.id;
    let (mut marks, mut by_state) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for (number, user) in users.into_iter().enumerate() {
        let state = match number {
            0 | 700 => {
                lab.delete(user.channel().as_str()).await;
                continue;
            }
            _ if number % 10 == 0 => ReceiptState::Shown,
            _ if number % 10 == 1 => ReceiptState::Delivered,
            _ => ReceiptState::Queued,
        };
        if state != ReceiptState::Queued {
            let epoch = lab.read(&user.channel(), ReadFrom::Head, ALL).await.epoch;
            let position = Position { epoch, offset: 1 };
            marks.push(Mark { user: user.clone(), position, state, at: at(1) });
        }
        by_state[state as usize].push(user);
    }
    lab.engine.mark(marks).await.expect("a healthy engine marks");
    let states = [ReceiptState::Queued, ReceiptState::Delivered, ReceiptState::Shown];
    (id, states.into_iter().zip(by_state).collect())
}

pub(super) async fn totals_are_the_receipts_counted(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let (id, by_state) = push_to_many(&lab).await;
    let totals = async |now| {
        let totals = lab.engine.receipt_totals(&id, now).await.expect("a healthy engine reads receipts");
        totals.expect("the push is known")
    };
    let [queued, delivered, shown] = [0, 1, 2].map(|state: usize| by_state[state].1.len());
    let now = totals(at(2)).await;
    assert_eq!(now, ReceiptTotals { queued, delivered, shown, ..ReceiptTotals::default() });
    assert_eq!(now.users(), MANY - 2, "all but those who were deleted");
    let expired = ReceiptTotals { expired: queued, delivered, shown, ..ReceiptTotals::default() };
    assert_eq!(totals(at(60)).await, expired);
    let one = push(&lab, None).await;
    lab.engine.cancel(&one, at(3)).await.expect("a healthy engine cancels");
    let cancelled = ReceiptTotals { cancelled: 1, ..ReceiptTotals::default() };
    assert_eq!(lab.engine.receipt_totals(&one, at(4)).await, Ok(Some(cancelled)));
    assert_eq!(lab.engine.receipt_totals(&new_id(), at(4)).await, Ok(None), "no such push");
}

pub(super) async fn receipts_of_one_state_come_in_pages_by_user(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let (id, by_state) = push_to_many(&lab).await;
    for (state, users) in by_state {
        // So that a page ends within, at and behind the end of what is told at a time.
        let limit = users.len() / 2;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = lab.engine.receipts_in(&id, state, after.as_ref(), limit, at(2)).await;
            let page = page.expect("a healthy engine reads receipts").expect("the push is known");
            assert!(page.iter().all(|receipt| receipt.state == state) && page.len() <= limit);
            let is_last = page.len() < limit;
            found.extend(page.into_iter().map(|receipt| receipt.user));
            after = found.last().cloned();
            if is_last {
                break;
            }
        }
        assert_eq!(found, users, "{state}");
    }
    let none = lab.engine.receipts_in(&id, ReceiptState::Cancelled, None, 10, at(2)).await;
    assert_eq!(none, Ok(Some(Vec::new())));
    let unknown = lab.engine.receipts_in(&new_id(), ReceiptState::Queued, None, 10, at(2)).await;
    assert_eq!(unknown, Ok(None), "no such push");
}
