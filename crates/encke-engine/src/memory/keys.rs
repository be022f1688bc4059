//! The memory engine's idempotency keys: the result of the first append for each, forgotten by age, and the
//! oldest of a publisher who has too many.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use encke_proto::{Time, UserId};

use crate::{Appended, KEY_KEPT_S, Key, USER_KEYS_MAX, passed::Passed};

/// The most keys of backends that are remembered at once, and the most of all clients together.
const KEYS_MAX: usize = 1_000_000;
/// The most old keys of each of the two that one sweep forgets.
const FORGET_MAX_KEYS: usize = 10_000;

/// What a key led to.
#[derive(Debug)]
struct Kept {
    /// Which one of its order it is.
    number: u64,
    of_client: bool,
    /// The hash of its request.
    request: Option<u64>,
    first: Appended,
}

/// A key in its order.
#[derive(Debug)]
struct InOrder {
    stamp: Time,
    user: Option<UserId>,
    text: Arc<str>,
}

/// Keys in the order in which they came, which is that of their stamps.
#[derive(Debug, Default)]
struct Order {
    all: BTreeMap<u64, InOrder>,
    of_users: HashMap<UserId, BTreeSet<u64>>,
}

impl Order {
    fn push(&mut self, number: u64, key: InOrder) {
        if let Some(user) = &key.user {
            self.of_users.entry(user.clone()).or_default().insert(number);
        }
        self.all.insert(number, key);
    }

    fn remove(&mut self, number: u64) -> Option<InOrder> {
        let key = self.all.remove(&number)?;
        if let Some(user) = &key.user
            && let Some(numbers) = self.of_users.get_mut(user)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.of_users.remove(user);
            }
        }
        Some(key)
    }

    /// The one that has to go for the next one of this publisher, if there are too many.
    fn over(&self, user: Option<&UserId>) -> Option<u64> {
        let own = user.and_then(|user| self.of_users.get(user)).filter(|own| own.len() >= USER_KEYS_MAX);
        let oldest = || self.all.keys().next().filter(|_| self.all.len() >= KEYS_MAX);
        own.and_then(BTreeSet::first).or_else(oldest).copied()
    }
}

/// The idempotency keys of the last minutes, and what they led to.
#[derive(Debug)]
pub(super) struct Keys {
    results: HashMap<Arc<str>, Kept>,
    backends: Order,
    clients: Order,
    next: u64,
    passed: Passed,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            results: HashMap::new(),
            backends: Order::default(),
            clients: Order::default(),
            next: 0,
            passed: Passed::from(Time(0)),
        }
    }
}

impl Keys {
    /// How much time has gone by at this time of the clock.
    pub(super) fn stamp(&mut self, now: Time) -> Time {
        self.passed.at(now)
    }

    /// What a key led to, and the hash of the request that it came with.
    pub(super) fn find(&self, key: &str) -> Option<(Appended, Option<u64>)> {
        let kept = self.results.get(key)?;
        Some((Appended { repeated: true, ..kept.first.clone() }, kept.request))
    }

    /// Remembers a key of a user, or of a backend.
    pub(super) fn remember(&mut self, key: Key, user: Option<&UserId>, time: Time, first: Appended) {
        let stamp = self.passed.at(time);
        if let Some(number) = self.order(user.is_some()).over(user) {
            self.forget(user.is_some(), number);
        }
        // One whose logs were deleted comes anew.
        if let Some(before) = self.results.get(key.text.as_str()) {
            self.forget(before.of_client, before.number);
        }
        let (number, text): (_, Arc<str>) = (self.next, key.text.into());
        self.next += 1;
        let in_order = InOrder { stamp, user: user.cloned(), text: Arc::clone(&text) };
        self.order(user.is_some()).push(number, in_order);
        let kept = Kept { number, of_client: user.is_some(), request: key.request, first };
        self.results.insert(text, kept);
    }

    pub(super) fn forget_old(&mut self, now: Time) {
        let now = self.passed.at(now);
        for of_client in [false, true] {
            for _ in 0..FORGET_MAX_KEYS {
                let first = self.order(of_client).all.first_key_value();
                let is_old = |key: &InOrder| key.stamp.plus_seconds(KEY_KEPT_S) < now;
                let Some(number) = first.filter(|(_, key)| is_old(key)).map(|(number, _)| *number) else {
                    break;
                };
                self.forget(of_client, number);
            }
        }
    }

    /// Forgets all keys of a user.
    pub(super) fn forget_user(&mut self, user: &UserId) {
        for number in self.clients.of_users.remove(user).unwrap_or_default() {
            self.forget(true, number);
        }
    }

    fn forget(&mut self, of_client: bool, number: u64) {
        if let Some(key) = self.order(of_client).remove(number) {
            self.results.remove(&key.text);
        }
    }

    fn order(&mut self, of_client: bool) -> &mut Order {
        if of_client { &mut self.clients } else { &mut self.backends }
    }
}
