//! Connections that are open before they are of any user: who it is, their client says in what it sends then.

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};

use super::{Shard, conn_key};
use crate::{
    admission::{Admission, Identified, Opened},
    http::refusal::sentence,
    shards::{Service, Slot, State},
    transports::Duplex,
};

/// How long a connection may be open before its client has named the user, in milliseconds, the server's own
/// time to verify that included.
pub(super) const IDENTIFY_WITHIN_MS: u64 = 10_000;

impl Shard {
    /// Opens a connection that is of no user yet.
    pub(super) fn open(&mut self, key: Key, opened: Opened) {
        let Opened { transport, request_state, mut state } = opened;
        if self.drains {
            return self.refuse(key, &shutting_down(), &request_state);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        let identify_by_ms = self.now.mono_ms + IDENTIFY_WITHIN_MS;
        if let Some(duplex) = state.duplex_mut() {
            duplex.keep(|kept| kept.identify_by_ms = Some(identify_by_ms));
        }
        slot.state = State::Unclaimed(slot.new_service(transport, request_state, Some(state)));
        self.set_deadline(key, IDENTIFY_WITHIN_MS);
        self.turn(key, |transport, context| transport.open(context));
        // In a turn of its own, since the head may just be read from the buffer that all connections share.
        self.reads.defer(key);
    }

    /// The client has named its user. The connection goes to where that user lives, with what was read and
    /// what is not sent yet, and is listened to again when its session is there.
    pub(super) fn identified(&mut self, key: Key, identified: Identified) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let service = match std::mem::replace(&mut slot.state, State::Head) {
            State::Waits(service) | State::Unclaimed(service) => service,
            other => {
                slot.state = other;
                return;
            }
        };
        let Service { transport, request_state, mut state, .. } = service;
        let Identified {
            user,
            identity,
            token_ends,
            token,
            granted,
            session,
            fresh,
            lasting,
            start,
            channels,
            ticket,
        } = identified;
        if let Some(duplex) = state.as_mut().and_then(|state| state.duplex_mut()) {
            duplex.asked = true;
            duplex.identity = identity;
            duplex.keep(|kept| kept.identify_by_ms = None);
        }
        // A connection that was of another user before leaves that session.
        self.hub.detach(conn_key(key), self.now);
        let admission = Admission {
            transport,
            request_state,
            user,
            token_ends,
            token,
            granted,
            session,
            fresh,
            lasting,
            start,
            device: None,
            channels,
            state,
            ticket,
            looks_on: None,
        };
        self.hand_to_home(key, Box::new(admission));
    }

    /// The session of a connection is there.
    pub(super) fn begun(&mut self, key: Key) {
        self.settle_asked(key);
        self.turn(key, |transport, context| transport.begin(context));
        self.resume(key);
    }

    /// Does not serve a connection, and says so as its transport does.
    pub(super) fn refuse_admission(&mut self, key: Key, admission: Admission, refusal: &Refusal) {
        let Admission { transport, mut request_state, state, .. } = admission;
        let Some(slot) = self.slots.get_mut(key) else { return };
        request_state.keep_alive &= !self.drains;
        slot.state = State::Unclaimed(slot.new_service(transport, request_state, state));
        self.refuse_unclaimed(key, refusal);
    }

    /// Looks at a connection whose time to name its user may be over.
    pub(super) fn look_at_unclaimed(&mut self, key: Key) {
        let Some(Slot { state: State::Unclaimed(service), .. }) = self.slots.get(key) else { return };
        let left_ms = service
            .duplex()
            .and_then(Duplex::identify_by_ms)
            .map_or(0, |by_ms| by_ms.saturating_sub(self.now.mono_ms));
        if left_ms > 0 {
            return self.set_deadline(key, left_ms);
        }
        self.refuse_unclaimed(key, &Refusal::new(ErrorCode::RequestTimeout, "no user was named in time"));
    }

    /// The server stops.
    pub(super) fn send_away(&mut self, key: Key) {
        self.refuse_unclaimed(key, &shutting_down());
    }

    /// What the client of a duplex connection asked is answered by what it is told now. Whether it had asked.
    pub(super) fn settle_asked(&mut self, key: Key) -> bool {
        self.slots
            .get_mut(key)
            .and_then(|slot| slot.state.service())
            .and_then(Service::duplex_mut)
            .is_some_and(|duplex| std::mem::take(&mut duplex.asked))
    }

    fn refuse_unclaimed(&mut self, key: Key, refusal: &Refusal) {
        self.settle_asked(key);
        self.turn(key, |transport, context| transport.refused(context, refusal));
        // What its client has sent meanwhile is read in a turn of its own, as above.
        self.reads.defer(key);
    }
}

/// Why a stopping server does not serve.
pub(super) fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, sentence(ErrorCode::ShuttingDown))
}
