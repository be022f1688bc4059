//! When those come back who are sent away because the server stops: not all at once.

use encke_hub::Ending;
use encke_proto::CloseCode;

use crate::random::RandomPool;

/// The soonest, in milliseconds: a server takes a moment to be there again.
const LEAST_MS: u64 = 500;
/// The shortest time over which they are spread, in milliseconds, however few they are.
const WINDOW_MIN_MS: u64 = 1_000;
/// The same where another node can take them at once: what is spread then is no more than their arrival
/// there.
const WINDOW_MIN_ELSEWHERE_MS: u64 = 200;
/// How many a shard would have come back in a second.
const PER_S: u64 = 1_000;

/// Over how long those of a shard are spread who are sent away.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReconnectJitter {
    least_ms: u64,
    window_ms: u64,
}

impl Default for ReconnectJitter {
    fn default() -> Self {
        Self { least_ms: LEAST_MS, window_ms: WINDOW_MIN_MS }
    }
}

impl ReconnectJitter {
    /// For so many, and at most over so long; `elsewhere` if there are other nodes that they can go to.
    pub(super) fn over(count: usize, max_ms: u64, elsewhere: bool) -> Self {
        let (least_ms, min_ms) =
            if elsewhere { (0, WINDOW_MIN_ELSEWHERE_MS) } else { (LEAST_MS, WINDOW_MIN_MS) };
        let needed_ms = (count as u64).saturating_mul(1000) / PER_S;
        Self { least_ms, window_ms: needed_ms.max(min_ms).min(max_ms.max(min_ms)) }
    }

    /// Says in an ending when its client should come back, if the server stops.
    pub(super) fn put_into(self, ending: &mut Ending, random_pool: &mut RandomPool) {
        if let Ending::Closed(close_notice) = ending
            && close_notice.close.code == CloseCode::Shutdown
        {
            close_notice.close.retry_ms = Some(self.least_ms + random_pool.numbers().0 % self.window_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encke_hub::CloseNotice;
    use encke_proto::{Close, SessionId};

    fn ending(code: CloseCode) -> Ending {
        let close = Close { code, reason: String::new(), reconnect: true, retry_ms: None };
        Ending::Closed(Box::new(CloseNotice {
            close,
            session: SessionId::from_bits(1),
            cursor: String::new(),
        }))
    }

    fn retry_ms(ending: &Ending) -> Option<u64> {
        match ending {
            Ending::Closed(close_notice) => close_notice.close.retry_ms,
            _ => None,
        }
    }

    #[test]
    fn the_more_they_are_the_longer_it_takes_up_to_a_bound() {
        let window_ms = |count| ReconnectJitter::over(count, 10_000, false).window_ms;
        assert_eq!([0, 500, 5_000, 1_000_000].map(window_ms), [1_000, 1_000, 5_000, 10_000]);
        assert_eq!(ReconnectJitter::over(5_000, 0, false).window_ms, WINDOW_MIN_MS);
        let elsewhere = [0, 5_000].map(|count| ReconnectJitter::over(count, 10_000, true));
        assert_eq!(
            elsewhere.map(|reconnect_jitter| (reconnect_jitter.least_ms, reconnect_jitter.window_ms)),
            [(0, 200), (0, 5_000)],
            "no client waits for this node"
        );
    }

    #[test]
    fn they_are_spread_over_all_of_it_and_no_others_are() {
        let (reconnect_jitter, mut random_pool) =
            (ReconnectJitter::over(4_000, 10_000, false), RandomPool::default());
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let mut ending = ending(CloseCode::Shutdown);
            reconnect_jitter.put_into(&mut ending, &mut random_pool);
            let at = retry_ms(&ending).unwrap() - LEAST_MS;
            tenths[usize::try_from(at / 400).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| *count > 40), "{tenths:?}");
        let mut ending = ending(CloseCode::Operator);
        reconnect_jitter.put_into(&mut ending, &mut random_pool);
        assert_eq!(retry_ms(&ending), None);
    }
}
