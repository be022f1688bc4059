//! A circuit breaker: while an endpoint fails again and again it is asked once in a while, and all others
//! are told at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::BreakerState;

/// After so many failures in a row nothing is asked for a while.
const FAILURES_MAX: u32 = 5;
/// For how long, in milliseconds: at first, and at most. Each failure doubles it.
const PAUSE_MIN_MS: u64 = 500;
const PAUSE_MAX_MS: u64 = 15_000;

/// Whether an endpoint is worth asking.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Before this nothing is asked.
    opens_ms: u64,
    pause_ms: u64,
    /// Whether one is asking after a pause.
    is_tried: bool,
}

impl CircuitBreaker {
    /// Whether it may be asked now. After a pause one may, and the others when that one has got an answer.
    pub(super) fn permits(&self, now_ms: u64) -> bool {
        let mut state = self.lock();
        if state.failures < FAILURES_MAX {
            return true;
        }
        if now_ms < state.opens_ms {
            return false;
        }
        (state.opens_ms, state.is_tried) = (now_ms + state.pause_ms, true);
        true
    }

    /// Whether it is asked, and how often in a row it has failed.
    pub(super) fn state(&self, now_ms: u64) -> (BreakerState, u32) {
        let state = self.lock();
        let is_asked = match state.failures {
            failures if failures < FAILURES_MAX => BreakerState::Closed,
            _ if now_ms < state.opens_ms => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        };
        (is_asked, state.failures)
    }

    /// It has answered.
    pub(super) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// It has not.
    pub(super) fn failed(&self, now_ms: u64) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        // Those that were asking already when it paused say nothing new.
        if state.failures == FAILURES_MAX || state.is_tried {
            state.is_tried = false;
            state.pause_ms = (state.pause_ms * 2).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS);
            state.opens_ms = now_ms + state.pause_ms;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_once_in_a_while_until_there_is_an_answer() {
        let breaker = CircuitBreaker::default();
        for at in 0..u64::from(FAILURES_MAX) {
            assert!(breaker.permits(at));
            breaker.failed(at);
        }
        let mut now_ms = u64::from(FAILURES_MAX) - 1;
        let mut pause_ms = PAUSE_MIN_MS;
        for _ in 0..10 {
            assert!(!breaker.permits(now_ms + pause_ms - 1));
            assert_eq!(breaker.state(now_ms + pause_ms - 1).0, BreakerState::Open);
            now_ms += pause_ms;
            assert_eq!(breaker.state(now_ms).0, BreakerState::HalfOpen);
            assert!(breaker.permits(now_ms), "one may, after {pause_ms}");
            assert!(!breaker.permits(now_ms), "the others may not");
            breaker.failed(now_ms);
            breaker.failed(now_ms);
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
        }
        breaker.succeeded();
        assert_eq!(breaker.state(now_ms), (BreakerState::Closed, 0));
        assert!((0..10).all(|_| breaker.permits(now_ms)));
    }
}
