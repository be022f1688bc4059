//! Devices: where one goes on is looked up before it is served, and how far it has got is written down.

use encke_hub::{Following, Key, Reached, Start};
use encke_proto::{ErrorCode, Refusal, UserId};

use super::{Shard, claims::CLAIM_MAX_MS};
use crate::{
    admission::Admission,
    shards::{EngineRequest, Placing, State},
};

impl Shard {
    /// Whether a request is of a device that goes on where it was: its client says no place in the user's own
    /// channel, and no session that lives has one.
    pub(super) fn must_find_place(&self, admission: &Admission) -> bool {
        let names_place = match &admission.start {
            Start::Absent => false,
            Start::Earliest => true,
            Start::Cursor(cursor) => cursor.position(&admission.user.channel()).is_some(),
        };
        let lives =
            || admission.session.is_some_and(|session| self.hub.has_session(session, &admission.user));
        admission.device.is_some() && !names_place && !lives()
    }

    /// Has the place of a request's device looked up.
    pub(super) fn find_place(&mut self, placing: Placing) {
        let key = placing.place;
        // A client that asks again over the same connection has what it was answered before.
        self.look_for_receipts(key);
        self.carry_out();
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.state = State::Claims { read_closed: false };
        self.set_deadline(key, CLAIM_MAX_MS);
        self.request_engine(EngineRequest::Place(Box::new(placing)));
    }

    /// The place was looked up.
    pub(super) fn placed(&mut self, placing: Placing, is_answered: bool) {
        let Placing { place, mut admission, claiming } = placing;
        let user = admission.user.clone();
        // The client may have gone meanwhile.
        if self.waits_for_claim(place, &mut admission) {
            if is_answered {
                self.attach(place, admission, Following::default());
            } else {
                let refusal = Refusal::new(ErrorCode::EngineUnavailable, "the log cannot be read now");
                self.refuse_admission(place, admission, &refusal);
            }
        }
        self.end_claim(user);
        drop(claiming);
    }

    /// Whether the client of a request still waits for what was asked about it.
    pub(super) fn waits_for_claim(&self, place: Key, admission: &mut Admission) -> bool {
        let Some(State::Claims { read_closed }) = self.slots.get(place).map(|slot| &slot.state) else {
            return false;
        };
        if *read_closed {
            admission.request_state.end_now();
        }
        true
    }

    /// The nodes are told what has become of the user before the claim ends. Else they would take the user
    /// for gone when an earlier session has ended while it was claimed.
    pub(super) fn end_claim(&mut self, user: UserId) {
        self.carry_out();
        if !self.hub.is_known(&user) {
            self.tell_peers(|peers| peers.went(user));
        }
    }

    /// How far a device has got is to be written down.
    pub(super) fn note_place(&self, reached: Box<Reached>) {
        let _ = self.parts.engine_io.send(EngineRequest::Reached(reached));
    }
}
