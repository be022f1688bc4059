//! Whether receipts say what happened. What was pushed and handed over is not looked at here.

use std::collections::{BTreeMap, BTreeSet};

use encke_client::ReceiptState;
use encke_history::Kind;
use encke_proto::{Position, UserId};

use super::{Losses, Verdict};
use crate::chaos::evidence::{Id, Note};

/// Receipts say what happened, and never take it back.
pub(super) fn receipts(notes: &[(u64, Note)], losses: &Losses, verdict: &mut Verdict) {
    // What the engine lost of a push or of its receipts cannot be known.
    let mut in_doubt: BTreeSet<Id> = BTreeSet::new();
    let mut users: BTreeMap<usize, UserId> = BTreeMap::new();
    let mut had: BTreeSet<(UserId, Id)> = BTreeSet::new();
    let mut shown: BTreeMap<UserId, Position> = BTreeMap::new();
    let mut places: BTreeMap<(UserId, Id), Position> = BTreeMap::new();
    let mut told: BTreeMap<(UserId, Id), usize> = BTreeMap::new();
    for (at, (ms, note)) in notes.iter().enumerate() {
        match note {
            Note::Accepted { id, .. } if losses.doubt(*ms) => {
                in_doubt.insert(*id);
            }
            Note::Began { client, user, .. } => {
                users.insert(*client, user.clone());
            }
            Note::Delivered { channel, position, id, .. } => {
                if let Some(user) = channel.owner() {
                    places.insert((user.clone(), *id), *position);
                    // The mark may be lost, and the message kept.
                    if !losses.doubt(*ms) {
                        had.insert((user, *id));
                    }
                }
            }
            Note::Acked { .. } if losses.doubt(*ms) => {}
            Note::Acked { client, cursor } => {
                let Some(user) = users.get(client) else { continue };
                let Some(position) = cursor.position(&user.channel()) else { continue };
                let known = shown.entry(user.clone()).or_insert(position);
                if known.epoch != position.epoch || known.offset < position.offset {
                    *known = position;
                }
            }
            Note::Receipt { id, .. } if in_doubt.contains(id) => {}
            Note::Receipt { id, user, state } => {
                let key = (user.clone(), *id);
                let Some(rank) = rank(*state) else {
                    let what = format!("the receipt of {user} for message {id} is {state:?}");
                    verdict.wrong(Kind::Receipt, at, what);
                    continue;
                };
                let seen = places
                    .get(&key)
                    .zip(shown.get(user))
                    .is_some_and(|(at, upto)| at.epoch == upto.epoch && at.offset <= upto.offset);
                let least = if seen { 2 } else { usize::from(had.contains(&key)) };
                if rank < least {
                    let what = format!(
                        "the receipt of {user} for message {id} is {state:?}, but it was {}",
                        ["", "handed over", "shown"][least]
                    );
                    verdict.wrong(Kind::Receipt, at, what);
                }
                if told.insert(key, rank).is_some_and(|before| before > rank) {
                    verdict.wrong(
                        Kind::Receipt,
                        at,
                        format!("the receipt of {user} for message {id} went back to {state:?}"),
                    );
                }
            }
            _ => {}
        }
    }
}

/// The place of a state in the order in which a receipt has them; none for one that no receipt has here.
fn rank(state: ReceiptState) -> Option<usize> {
    match state {
        ReceiptState::Queued => Some(0),
        ReceiptState::Delivered => Some(1),
        ReceiptState::Shown => Some(2),
        _ => None,
    }
}
