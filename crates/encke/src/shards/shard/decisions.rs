//! Requests of which it takes a while to find out what becomes of them.

use encke_hub::Key;

use super::Shard;
use crate::{
    admission::{Later, Verdict},
    shards::{EngineRequest, ShardCommand, Slot, State, Work},
};

/// How long it may take, in milliseconds. What is asked meanwhile (the engine, other nodes) answers sooner,
/// or its deadlines are over.
const DECIDE_MAX_MS: u64 = 20_000;

impl Shard {
    /// Lets it be found out what becomes of a request.
    pub(super) fn decide_later(&mut self, key: Key, later: Later) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.state = State::Decides { read_closed: false };
        self.set_deadline(key, DECIDE_MAX_MS);
        let decided = async move { ShardCommand::Decided { place: key, verdict: later.0.await } };
        self.request_engine(EngineRequest::Work(Work(Box::pin(decided))));
    }

    /// It was found out.
    pub(super) fn decided(&mut self, key: Key, mut verdict: Verdict) {
        let Some(Slot { state: State::Decides { read_closed }, .. }) = self.slots.get(key) else { return };
        if *read_closed && let Verdict::Admitted(admission) = &mut verdict {
            admission.request_state.end_now();
        }
        match verdict {
            Verdict::Admitted(admission) => self.hand_to_home(key, admission),
            // What was looked at for long was looked at because a token was there.
            Verdict::Refused(refusal, request_state) => {
                let refusal = self.count_failure(key, refusal);
                self.refuse(key, &refusal, &request_state);
            }
            verdict => self.carry_out_verdict(key, verdict),
        }
    }
}
