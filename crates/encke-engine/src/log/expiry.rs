//! The expiry index: which logs are to be looked at in which second. A second that is too early only makes
//! the sweep look in vain, so a log stays where it is when its oldest message goes.

use std::collections::BTreeMap;

use encke_proto::Time;

use super::record::LogId;

/// Logs by the second from which on something of theirs may be too old.
#[derive(Debug, Default)]
pub(super) struct ExpiryIndex {
    seconds: BTreeMap<u32, Vec<LogId>>,
}

/// The second in which a log is looked at that has something due then.
pub(super) fn second(due: Time) -> u32 {
    u32::try_from(due.0 / 1000).unwrap_or(u32::MAX)
}

impl ExpiryIndex {
    pub(super) fn insert(&mut self, second: u32, log: LogId) {
        self.seconds.entry(second).or_default().push(log);
    }

    /// Takes out up to `most` logs whose second has come, with the second of each.
    pub(super) fn take(&mut self, now: Time, most: usize) -> Vec<(u32, LogId)> {
        let mut taken = Vec::new();
        while let Some(mut first) = self.seconds.first_entry() {
            let at = *first.key();
            if at > second(now) || taken.len() >= most {
                break;
            }
            let logs = first.get_mut();
            let kept = logs.len().saturating_sub(most - taken.len());
            taken.extend(logs.drain(kept..).map(|log| (at, log)));
            if kept == 0 {
                first.remove();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_come_when_their_second_has_come() {
        let mut index = ExpiryIndex::default();
        for (at, log) in [(10, 1), (10, 2), (10, 3), (12, 4)] {
            index.insert(at, log);
        }
        assert_eq!(index.take(Time(9_999), 10), []);
        assert_eq!(index.take(Time(10_000), 2).len(), 2);
        assert_eq!(index.take(Time(12_000), 10), [(10, 1), (12, 4)]);
        assert_eq!(index.take(Time(u64::MAX), 10), []);
    }
}
