//! Answers that are good for a while, found by what was asked.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::Time;

/// The most answers. Past it those that are over are let go of, and if all are good, all.
const ANSWERS_MAX: usize = 16_384;

/// What was answered, until when it is good.
pub struct AnswerCache<K, V>(Mutex<HashMap<K, (V, Time)>>);

impl<K: Eq + Hash, V: Clone> AnswerCache<K, V> {
    /// The answer, if there is one that is good now.
    pub fn get(&self, key: &K, now: Time) -> Option<V> {
        self.lock().get(key).filter(|(_, until)| now < *until).map(|(answer, _)| answer.clone())
    }

    /// Keeps an answer that was given now.
    pub fn put(&self, key: K, answer: V, until: Time, now: Time) {
        let mut answers = self.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, until)| now < *until);
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(key, (answer, until));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Time)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for AnswerCache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Answers say who is who.
impl<K, V> fmt::Debug for AnswerCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_its_time_and_there_are_never_too_many() {
        let answers = AnswerCache::default();
        answers.put(0, "yes", Time(10), Time(0));
        assert_eq!((answers.get(&0, Time(9)), answers.get(&0, Time(10))), (Some("yes"), None));
        for key in 1..2 * ANSWERS_MAX {
            answers.put(key, "no", Time(20), Time(11));
            assert!(answers.lock().len() <= ANSWERS_MAX);
        }
        assert_eq!(answers.get(&(2 * ANSWERS_MAX - 1), Time(11)), Some("no"));
    }
}
