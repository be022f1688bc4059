//! Pushes, marks, cancellations and deletions in whatever order, beside a model that is a few lines long.

use std::{collections::BTreeMap, sync::Arc};

use encke_proto::{Entry, MessageId, Offset};

use super::{
    Bed,
    lab::{Lab, NOON, to_users, user},
};
use crate::{CANCELLED, ReceiptState};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// How many things happen in a run, and how many runs there are.
const STEPS: usize = 60;
const SEEDS: u64 = 3;

/// Chance that is the same each time (the constants are Knuth's).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound
    }
}

/// What each user's log must hold, and what became of it; users who are not in it are not known.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Vec<(Offset, MessageId, ReceiptState)>>);

impl Model {
    fn receipts(&self, push: &MessageId) -> Vec<(String, ReceiptState)> {
        let of_user = |(name, log): (&&str, &Vec<(Offset, MessageId, ReceiptState)>)| {
            let found = log.iter().find(|(_, id, _)| id == push)?;
            Some(((*name).to_owned(), found.2))
        };
        self.0.iter().filter_map(of_user).collect()
    }

    fn cancel(&mut self, push: &MessageId) -> usize {
        let all = self.0.values_mut().flatten();
        let queued = all.filter(|(_, id, state)| id == push && *state == ReceiptState::Queued);
        queued.map(|(.., state)| *state = ReceiptState::Cancelled).count()
    }

    async fn compare(&self, lab: &Lab, pushes: &[MessageId], what: &str) {
        for name in NAMES {
            let page = lab.all(&user(name).channel()).await;
            let one = |entry: &Arc<Entry>| {
                let message = entry.message();
                (message.position.offset, message.id.clone(), message.expires == Some(CANCELLED))
            };
            let found: Vec<_> = page.entries.iter().map(one).collect();
            let log = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
            // What is cancelled may be trimmed at once.
            let (gone, kept): (Vec<_>, Vec<_>) = log.iter().partition(|(offset, ..)| *offset < page.tail);
            let is_cancelled = |state: ReceiptState| state == ReceiptState::Cancelled;
            assert!(gone.iter().all(|(.., state)| is_cancelled(*state)), "{what}: {name}");
            let kept =
                kept.into_iter().map(|(offset, id, state)| (*offset, id.clone(), is_cancelled(*state)));
            assert_eq!(found, kept.collect::<Vec<_>>(), "{what}: {name}");
            let known = lab.engine.user(&user(name)).await.expect("a healthy engine reads").is_some();
            assert_eq!(known, self.0.contains_key(name), "{what}: {name}");
        }
        for push in pushes {
            let found = lab.engine.receipts(push, None, 10, NOON).await.expect("a healthy engine reads");
            let found = found.expect("it is a push").into_iter();
            let found: Vec<_> = found.map(|receipt| (receipt.user.to_string(), receipt.state)).collect();
            assert_eq!(found, self.receipts(push), "{what}: {push}");
        }
    }
}

pub(super) async fn pushes_marks_cancellations_and_deletions_are_as_in_a_model(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let mut model = Model::default();
    let mut pushes: Vec<MessageId> = Vec::new();
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        for step in 0..STEPS {
            let what = format!("seed {seed} step {step}");
            let name = NAMES[chance.below(NAMES.len())];
            match chance.below(10) {
                0..4 => {
                    let first = chance.below(NAMES.len());
                    let to = &NAMES[first..=first + chance.below(NAMES.len() - first)];
                    let pushed = lab.append(to_users(to)).await;
                    for (name, (_, position)) in to.iter().zip(&pushed.positions) {
                        let message = (position.offset, pushed.id.clone(), ReceiptState::Queued);
                        model.0.entry(name).or_default().push(message);
                    }
                    pushes.push(pushed.id);
                }
                4..6 => {
                    let Some(log) = model.0.get_mut(name).filter(|log| !log.is_empty()) else { continue };
                    let to = log[chance.below(log.len())].0;
                    lab.mark(name, to, ReceiptState::Delivered, NOON).await;
                    let queued =
                        log.iter_mut().filter(|(at, _, state)| *at <= to && *state == ReceiptState::Queued);
                    queued.for_each(|(.., state)| *state = ReceiptState::Delivered);
                }
                6..9 if !pushes.is_empty() => {
                    // The young ones more often.
                    let back = chance.below(pushes.len()).min(chance.below(pushes.len()));
                    let push = &pushes[pushes.len() - 1 - back];
                    let count = model.cancel(push);
                    assert_eq!(lab.engine.cancel(push, NOON).await, Ok(Some(count)), "{what}");
                }
                9 => {
                    let known = model.0.remove(name).is_some();
                    assert_eq!(lab.delete(&format!("@{name}")).await, known, "{what}: {name}");
                }
                _ => {}
            }
            if step % 10 == 9 {
                model.compare(&lab, &pushes, &what).await;
            }
        }
        lab.sweep(NOON).await;
        model.compare(&lab, &pushes, "after a sweep").await;
    }
}
