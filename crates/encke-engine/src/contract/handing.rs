//! The contract's tests of the position up to which a user was handed messages, from which a session without
//! a cursor begins. Receipts are in `receipts.rs`.

use super::{
    Bed,
    lab::{Lab, NOON, message, to_users, user},
};
use crate::{ReceiptState, Targets};

async fn handed(lab: &Lab, name: &str) -> u64 {
    let position = lab.engine.handed(&user(name)).await.expect("a healthy engine reads");
    assert_eq!(position.epoch, lab.all(&user(name).channel()).await.epoch, "in the epoch of the log");
    position.offset
}

pub(super) async fn a_new_user_begins_before_the_first_push(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert_eq!(handed(&lab, "unknown").await, 0);
    assert_eq!(lab.engine.user(&user("unknown")).await, Ok(None), "asking makes no user known");
    lab.append(to_users(&["alice"])).await;
    lab.append(message(Targets::AllUsers)).await;
    assert_eq!(handed(&lab, "alice").await, 0);
    lab.engine.seen(&user("alice"), NOON).await.expect("a healthy engine sees");
    assert_eq!(handed(&lab, "alice").await, 0, "being here is not being handed something");
}

pub(super) async fn handed_moves_with_delivered_and_never_back(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for _ in 0..5 {
        lab.append(to_users(&["alice", "bob"])).await;
    }
    lab.mark("alice", 3, ReceiptState::Delivered, NOON).await;
    assert_eq!((handed(&lab, "alice").await, handed(&lab, "bob").await), (3, 0));
    lab.mark("alice", 2, ReceiptState::Delivered, NOON).await;
    assert_eq!(handed(&lab, "alice").await, 3, "never back");
    lab.mark("alice", 5, ReceiptState::Shown, NOON).await;
    assert_eq!(handed(&lab, "alice").await, 3, "only what was delivered counts");
    lab.mark("alice", 99, ReceiptState::Delivered, NOON).await;
    assert_eq!(handed(&lab, "alice").await, 5, "not over the head");
    let next = lab.append(to_users(&["alice"])).await;
    assert_eq!((next.positions[0].1.offset, lab.receipt(&next.id, NOON).await.0), (6, ReceiptState::Queued));
}
