//! The audit trail: who did what with which right, from where, and what came of it. A line of the log each,
//! with target `encke::audit` and the fields `who`, `action`, `what`, `outcome` and `from`; and a message of
//! a channel, if one is configured. No secret is among them.

use std::{
    net::IpAddr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use encke_proto::ErrorCode;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    config::{AUDIT_TARGET as TARGET, AuditLevel},
    metrics::Metrics,
};

/// The most refusals of which each gets a line within [`EVERY`]: any client can bring them about.
const REFUSALS_MAX: u64 = 100;
const EVERY: Duration = Duration::from_secs(1);
/// The most records that wait to be appended to the channel.
const RECORDS_MAX: usize = 4_096;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// The name of the key of the server API; `-` of a caller that is not known.
    pub who: Box<str>,
    /// `push`, `publish`, `close`, `delete_user`, `delete_channel`, `cancel_push`, `check_url`,
    /// `revoke` or `refuse`.
    pub action: &'static str,
    /// What it was about: users, a channel, a session, a push; of a refusal the route.
    pub what: Box<str>,
    /// `ok`, or the code of the error.
    pub outcome: &'static str,
    /// The address that the request came from; none where it is not known.
    pub from: Option<IpAddr>,
    /// How many refusals were left out before this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is written down, and how many refusals there were within a second.
#[derive(Debug)]
pub struct Audit {
    level: AuditLevel,
    refusals: Mutex<Refusals>,
    channel: OnceLock<mpsc::Sender<AuditRecord>>,
    /// Records that the channel did not take.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Refusals {
    since: Instant,
    count: u64,
    left_out: u64,
}

impl Audit {
    /// With what gets a line.
    #[must_use]
    pub fn new(level: AuditLevel) -> Self {
        let refusals = Mutex::new(Refusals { since: Instant::now(), count: 0, left_out: 0 });
        Self { level, refusals, channel: OnceLock::new(), lost: AtomicU64::new(0) }
    }

    /// Whether anything gets a line.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.level >= AuditLevel::Control
    }

    /// Whether a refusal with this code is one of a key or a token, which is written down.
    #[must_use]
    pub fn is_about(code: ErrorCode) -> bool {
        matches!(
            code,
            ErrorCode::Unauthorized
                | ErrorCode::TokenExpired
                | ErrorCode::Revoked
                | ErrorCode::Banned
                | ErrorCode::Forbidden
        )
    }

    /// Whether pushes and publishes do too.
    #[must_use]
    pub fn has_messages(&self) -> bool {
        self.level >= AuditLevel::All
    }

    /// The records, for what appends them to a channel. They can be had once.
    pub fn records(&self) -> mpsc::Receiver<AuditRecord> {
        let (sender, receiver) = mpsc::channel(RECORDS_MAX);
        let _ = self.channel.set(sender);
        receiver
    }

    /// A record could not be appended to the channel.
    pub fn lose(&self) {
        Metrics::global().audit_lost.inc();
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(lost, "the audit channel did not take a record; the log has it");
    }

    /// Writes down what was done.
    pub fn record(&self, record: AuditRecord) {
        if !self.is_on() {
            return;
        }
        let AuditRecord { who, action, what, outcome, from, left_out } = &record;
        let from = from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        match left_out {
            0 => tracing::info!(
                target: TARGET, who = &**who, action, what = &**what, outcome, from = from.as_str()
            ),
            left_out => tracing::info!(
                target: TARGET, who = &**who, action, what = &**what, outcome, from = from.as_str(), left_out
            ),
        }
        if let Some(channel) = self.channel.get()
            && channel.try_send(record).is_err()
        {
            self.lose();
        }
    }

    /// Writes down that a key or a token was refused. Beyond so many a second they are counted, and the next
    /// line says how many were left out.
    pub fn refuse(&self, who: Box<str>, what: &str, outcome: &'static str, from: Option<IpAddr>) {
        self.refuse_at(who, what, outcome, from, Instant::now());
    }

    fn refuse_at(
        &self,
        who: Box<str>,
        what: &str,
        outcome: &'static str,
        from: Option<IpAddr>,
        now: Instant,
    ) {
        if !self.is_on() {
            return;
        }
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(refusals.since) >= EVERY {
            (refusals.since, refusals.count) = (now, 0);
        }
        refusals.count += 1;
        if refusals.count > REFUSALS_MAX {
            refusals.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut refusals.left_out);
        drop(refusals);
        self.record(AuditRecord { who, action: "refuse", what: what.into(), outcome, from, left_out });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_a_bound_and_what_is_left_out_is_counted() {
        let audit = Audit::new(AuditLevel::Control);
        let mut records = audit.records();
        let began = Instant::now();
        let refuse = |count: u64, at: Instant| {
            (0..count).for_each(|_| audit.refuse_at("-".into(), "/api/push", "unauthorized", None, at));
        };
        refuse(REFUSALS_MAX + 7, began);
        let mut taken = || std::iter::from_fn(|| records.try_recv().ok()).collect::<Vec<_>>();
        assert!(taken().iter().all(|record| record.left_out == 0 && record.action == "refuse"));
        // What is no refusal is left out never.
        for _ in 0..2 * REFUSALS_MAX {
            audit.record(AuditRecord {
                who: "a".into(),
                action: "close",
                what: "user alice".into(),
                outcome: "ok",
                from: None,
                left_out: 0,
            });
        }
        assert_eq!(taken().len() as u64, 2 * REFUSALS_MAX);
        refuse(2, began + EVERY);
        let left_out: Vec<u64> = taken().iter().map(|record| record.left_out).collect();
        assert_eq!(left_out, [7, 0]);
    }

    #[test]
    fn a_channel_that_takes_no_more_does_not_hold_up_what_is_done() {
        let audit = Audit::new(AuditLevel::All);
        let _records = audit.records();
        let record = || AuditRecord {
            who: "a".into(),
            action: "push",
            what: "".into(),
            outcome: "ok",
            from: None,
            left_out: 0,
        };
        (0..RECORDS_MAX + 3).for_each(|_| audit.record(record()));
        assert_eq!(audit.lost.load(Ordering::Relaxed), 3);
        assert!(!Audit::new(AuditLevel::Off).is_on() && !Audit::new(AuditLevel::Control).has_messages());
    }
}
