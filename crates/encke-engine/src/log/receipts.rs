//! Receipts, derived: how far a user was handed messages, and what was trimmed before that. A push to a user
//! costs no receipt of its own; what happened to it follows from the steps that the user's log has made.

use encke_proto::{Offset, Time};

use crate::ReceiptState;

/// The most steps that are kept of one log. Beyond it a step that a later one of its kind covers as well is
/// forgotten: what it reached keeps its state, and has the time of the later one.
pub(super) const STEPS_MAX: usize = 1024;
/// The most steps that say that a trimmed message was cancelled.
const CANCELLED_MAX: usize = STEPS_MAX / 2;
/// A step's kind takes the lowest bits of its time.
const KIND_BITS: u32 = 3;

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    /// A connection of the user was handed everything up to there.
    Delivered = 0,
    /// The user was shown everything up to there.
    Shown = 1,
    /// Everything up to there was trimmed.
    Trimmed = 2,
    /// Steps that handed over or showed everything up to there were forgotten. There is at most one of these.
    Forgotten = 3,
    /// The message at this place, and no other, was cancelled.
    Cancelled = 4,
}

impl StepKind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Delivered),
            1 => Some(Self::Shown),
            2 => Some(Self::Trimmed),
            3 => Some(Self::Forgotten),
            4 => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// One step of a user's own log. There may be a thousand of a user, so its fields are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Up to here, this one included; of what was cancelled here alone.
    pub(super) to: Offset,
    at_and_kind: u64,
}

impl Step {
    pub(super) fn new(kind: StepKind, to: Offset, at: Time) -> Self {
        let at = at.0.min(u64::MAX >> KIND_BITS);
        Self { to, at_and_kind: at << KIND_BITS | kind as u64 }
    }

    pub(super) fn at(self) -> Time {
        Time(self.at_and_kind >> KIND_BITS)
    }

    pub(super) fn kind(self) -> StepKind {
        match self.at_and_kind & ((1 << KIND_BITS) - 1) {
            0 => StepKind::Delivered,
            1 => StepKind::Shown,
            2 => StepKind::Trimmed,
            4 => StepKind::Cancelled,
            _ => StepKind::Forgotten,
        }
    }
}

/// Adds a step, and forgets an old one if there are too many.
pub(super) fn add_step(steps: &mut Vec<Step>, step: Step) {
    while steps.len() >= STEPS_MAX && (forget_trimmed(steps) || forget_reached(steps)) {}
    steps.push(step);
}

/// Adds that the message at an offset was cancelled. Where that is too many, what came before `tail` is
/// forgotten, the oldest first: its receipt says then what became of the messages around it. What a log still
/// has must stay cancelled, so there are at most [`CANCELLED_MAX`] and one for each message that is kept.
pub(super) fn add_cancelled(steps: &mut Vec<Step>, offset: Offset, at: Time, tail: Offset) {
    let is_cancelled = |step: &Step| step.kind() == StepKind::Cancelled;
    if steps.iter().filter(|step| is_cancelled(step)).count() >= CANCELLED_MAX
        && let Some(oldest) = steps.iter().position(|step| is_cancelled(step) && step.to < tail)
    {
        steps.remove(oldest);
    }
    add_step(steps, Step::new(StepKind::Cancelled, offset, at));
}

/// Forgets the oldest step that trimmed and that one like it follows. One sweep makes many of them, so they
/// go first.
fn forget_trimmed(steps: &mut Vec<Step>) -> bool {
    let is_pair = |pair: &[Step]| pair.iter().all(|step| step.kind() == StepKind::Trimmed);
    let found = steps.windows(2).position(is_pair);
    found.map(|at| steps.remove(at)).is_some()
}

/// Forgets the oldest step that handed over or showed and that a later one of its kind covers, but keeps how
/// far it reached: the later one may lie behind the expiry of what was reached in time.
fn forget_reached(steps: &mut Vec<Step>) -> bool {
    let is_covered = |at: &usize| {
        let kind = steps[*at].kind();
        matches!(kind, StepKind::Delivered | StepKind::Shown)
            && steps[at + 1..].iter().any(|later| later.kind() == kind)
    };
    let Some(at) = (0..steps.len()).find(is_covered) else { return false };
    let step = steps[at];
    match steps.iter_mut().find(|known| known.kind() == StepKind::Forgotten) {
        Some(known) => {
            *known = Step::new(StepKind::Forgotten, known.to.max(step.to), known.at().max(step.at()));
            steps.remove(at);
        }
        None => steps[at] = Step::new(StepKind::Forgotten, step.to, step.at()),
    }
    true
}

/// What became of a push, for the user whose steps these are.
pub(super) fn receipt(
    steps: &[Step],
    offset: Offset,
    pushed: Time,
    expires: Option<Time>,
    now: Time,
) -> (ReceiptState, Time) {
    let (mut state, mut at) = (ReceiptState::Queued, pushed);
    let (mut handed, mut shown, mut reached) = (false, false, false);
    for step in steps.iter().filter(|step| step.to >= offset) {
        // What was skipped because its time was over does not become delivered by what came behind.
        let over = !reached && state == ReceiptState::Queued && expires.is_some_and(|end| end <= step.at());
        match step.kind() {
            StepKind::Delivered if !std::mem::replace(&mut handed, true) => {
                if state == ReceiptState::Queued && !over {
                    (state, at) = (ReceiptState::Delivered, step.at());
                }
            }
            StepKind::Shown if !std::mem::replace(&mut shown, true) => {
                if !over {
                    (state, at) = (ReceiptState::Shown, step.at());
                }
            }
            StepKind::Forgotten => reached = true,
            StepKind::Trimmed if state == ReceiptState::Queued && !reached => {
                return (ReceiptState::Expired, expires.map_or(step.at(), |end| end.min(step.at())));
            }
            StepKind::Cancelled if step.to == offset && state == ReceiptState::Queued && !over => {
                return (ReceiptState::Cancelled, step.at());
            }
            StepKind::Delivered | StepKind::Shown | StepKind::Trimmed | StepKind::Cancelled => {}
        }
    }
    match expires {
        Some(end) if state == ReceiptState::Queued && end <= now => (ReceiptState::Expired, end),
        _ => (state, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_packed_and_unpacked() {
        for kind in [
            StepKind::Delivered,
            StepKind::Shown,
            StepKind::Trimmed,
            StepKind::Forgotten,
            StepKind::Cancelled,
        ] {
            assert_eq!(StepKind::from_byte(kind as u8), Some(kind));
            let step = Step::new(kind, u64::MAX, Time(1_763_800_000_123));
            assert_eq!((step.kind(), step.to, step.at()), (kind, u64::MAX, Time(1_763_800_000_123)));
        }
    }

    #[test]
    fn steps_are_bounded_and_old_receipts_keep_their_state() {
        let mut steps = Vec::new();
        add_step(&mut steps, Step::new(StepKind::Shown, 5, Time(50)));
        for offset in 1..=3 * STEPS_MAX as u64 {
            add_step(&mut steps, Step::new(StepKind::Delivered, offset, Time(offset * 10)));
        }
        assert_eq!(steps.len(), STEPS_MAX);
        let state = |offset| receipt(&steps, offset, Time(0), None, Time(u64::MAX)).0;
        assert_eq!([1, 5].map(state), [ReceiptState::Shown; 2], "no later step says that they were shown");
        assert_eq!([6, 100, 3000].map(state), [ReceiptState::Delivered; 3]);
        assert_eq!(
            receipt(&steps, 3000, Time(0), None, Time(0)).1,
            Time(30_000),
            "what is young has its own time"
        );
    }

    #[test]
    fn what_was_delivered_in_time_does_not_expire_when_its_step_is_forgotten() {
        let mut steps = Vec::new();
        for offset in 1..=3 * STEPS_MAX as u64 {
            let kind = if offset % 3 == 0 { StepKind::Trimmed } else { StepKind::Delivered };
            add_step(&mut steps, Step::new(kind, offset, Time(offset * 10)));
        }
        assert!(steps.len() <= STEPS_MAX);
        let end = Time(3 * 10 * STEPS_MAX as u64);
        for offset in (1..=3 * STEPS_MAX as u64).filter(|offset| offset % 3 != 0) {
            // Each ends right behind the step that delivered it.
            let expires = Some(Time(offset * 10 + 1));
            assert_eq!(receipt(&steps, offset, Time(0), expires, end).0, ReceiptState::Delivered, "{offset}");
        }
        let state = |offset| receipt(&steps, offset, Time(0), Some(Time(offset * 10)), end).0;
        assert_eq!(state(3 * STEPS_MAX as u64), ReceiptState::Expired, "what was trimmed stays so");
        let never = receipt(&steps, 3 * STEPS_MAX as u64 + 1, Time(0), Some(end), end).0;
        assert_eq!(never, ReceiptState::Expired, "what no step reached expires");
    }

    #[test]
    fn what_a_log_still_has_stays_cancelled_however_much_is() {
        let mut steps = Vec::new();
        let (count, tail) = (5 * STEPS_MAX as u64, 4 * STEPS_MAX as u64);
        for offset in 1..=count {
            add_cancelled(&mut steps, offset, Time(offset), if offset < tail { 1 } else { tail });
            add_step(&mut steps, Step::new(StepKind::Delivered, offset, Time(offset + 1)));
        }
        let state = |offset| receipt(&steps, offset, Time(0), None, Time(u64::MAX)).0;
        assert!((tail..=count).all(|offset| state(offset) == ReceiptState::Cancelled));
        assert!(steps.len() < 6 * STEPS_MAX, "{} steps", steps.len());
        let delivered = receipt(&[Step::new(StepKind::Cancelled, 7, Time(1))], 6, Time(0), None, Time(9)).0;
        assert_eq!(delivered, ReceiptState::Queued, "one that was cancelled says nothing of others");
    }

    #[test]
    fn what_is_trimmed_does_not_displace_what_was_delivered() {
        let mut steps = Vec::new();
        add_step(&mut steps, Step::new(StepKind::Delivered, 1, Time(10)));
        add_step(&mut steps, Step::new(StepKind::Delivered, 2, Time(20)));
        for offset in 3..=3 * STEPS_MAX as u64 {
            add_step(&mut steps, Step::new(StepKind::Trimmed, offset, Time(30 + offset / 200)));
        }
        assert!(steps.len() <= STEPS_MAX);
        let all = |offset| receipt(&steps, offset, Time(0), None, Time(u64::MAX));
        assert_eq!(all(1), (ReceiptState::Delivered, Time(10)));
        assert_eq!(all(2), (ReceiptState::Delivered, Time(20)));
        assert_eq!(all(3).0, ReceiptState::Expired);
    }
}
