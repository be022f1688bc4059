//! The memory engine's idempotency keys: the result of the first append for each, forgotten by age.

use std::collections::{HashMap, VecDeque};

use encke_proto::Time;

use crate::{Appended, EngineError, KEY_KEPT_S, Key, passed::Passed};

/// The most idempotency keys that are remembered at once.
const KEYS_MAX: usize = 1_000_000;
/// The most old keys that one append or one sweep forgets.
const FORGET_MAX_KEYS: usize = 10_000;

/// What a key led to.
#[derive(Debug)]
struct Kept {
    stamp: Time,
    /// The hash of its request.
    request: Option<u64>,
    first: Appended,
}

/// The idempotency keys of the last minutes, and what they led to.
#[derive(Debug)]
pub(super) struct Keys {
    results: HashMap<String, Kept>,
    /// In the order in which they came, which is that of their stamps.
    order: VecDeque<(Time, String)>,
    passed: Passed,
}

impl Default for Keys {
    fn default() -> Self {
        Self { results: HashMap::new(), order: VecDeque::new(), passed: Passed::from(Time(0)) }
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

    /// Makes sure that one more key can be remembered. Refusing is better than forgetting a key too early:
    /// that could become a second message.
    pub(super) fn make_room(&mut self, now: Time) -> Result<(), EngineError> {
        if self.results.len() >= KEYS_MAX {
            self.forget_old(now);
        }
        if self.results.len() >= KEYS_MAX {
            return Err(EngineError::Unavailable(format!(
                "{KEYS_MAX} idempotency keys came within {KEY_KEPT_S} seconds"
            )));
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, key: Key, time: Time, first: Appended) {
        let stamp = self.passed.at(time);
        self.order.push_back((stamp, key.text.clone()));
        // One whose logs were deleted is overwritten: its former place in the order means nothing then.
        self.results.insert(key.text, Kept { stamp, request: key.request, first });
    }

    pub(super) fn forget_old(&mut self, now: Time) {
        let now = self.passed.at(now);
        for _ in 0..FORGET_MAX_KEYS {
            match self.order.front() {
                Some((time, _)) if time.plus_seconds(KEY_KEPT_S) < now => {
                    if let Some((stamp, key)) = self.order.pop_front()
                        && self.results.get(&key).is_some_and(|kept| kept.stamp == stamp)
                    {
                        self.results.remove(&key);
                    }
                }
                _ => break,
            }
        }
    }
}
