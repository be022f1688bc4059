//! The stored form of one receipt, and how long it is kept. A receipt that is only queued has no record.

use encke_proto::Time;

use crate::{RECEIPTS_KEPT_S, ReceiptState, RetentionTable, nats::fault::Fault};

/// How much longer than promised a receipt is kept, in seconds: the servers' clock is not ours.
const SLACK_S: u64 = 24 * 3600;

/// What became of a push at one place of a user's log. What is only queued has no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipted {
    pub(super) state: ReceiptState,
    pub(super) at: Time,
}

impl Receipted {
    pub(super) fn text(self) -> String {
        format!("{} {}", self.state, self.at.0)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let parsed = text.split_once(' ').and_then(|(state, at)| {
            let state = match state {
                "delivered" => ReceiptState::Delivered,
                "shown" => ReceiptState::Shown,
                "expired" => ReceiptState::Expired,
                "cancelled" => ReceiptState::Cancelled,
                _ => return None,
            };
            Some(Self { state, at: Time(at.parse().ok()?) })
        });
        parsed.ok_or_else(|| Fault::damaged("a receipt is not understood"))
    }
}

/// Until when receipts of a push are kept.
pub(super) fn until(retention: &RetentionTable, time: Time, expires: Option<Time>) -> Time {
    expires.unwrap_or_else(|| time.plus_seconds(retention.own.max_age_s)).plus_seconds(RECEIPTS_KEPT_S)
}

/// How long a record that is written at `now` is kept, in seconds, by whatever clock.
pub(super) fn kept_s(retention: &RetentionTable, now: Time, expires: Option<Time>) -> u64 {
    until(retention, now, expires).0.saturating_sub(now.0) / 1_000 + SLACK_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_back() {
        for state in
            [ReceiptState::Delivered, ReceiptState::Shown, ReceiptState::Expired, ReceiptState::Cancelled]
        {
            let receipt = Receipted { state, at: Time(7) };
            assert_eq!(Receipted::parse(&receipt.text()), Ok(receipt));
        }
        for text in ["", "queued 7", "shown", "shown x"] {
            assert!(Receipted::parse(text).is_err(), "{text}");
        }
    }
}
