//! Sessions that may be on another node, where there are others.

use encke_hub::{Following, Key};
use encke_proto::{ErrorCode, Refusal};

use super::Shard;
use crate::{
    admission::Admission,
    shards::Peers,
    shards::{Claim, EngineRequest, Placing, ShardCommand, State, Work},
};

/// How long a request waits for the other nodes, in milliseconds; they answer sooner, or the engine's
/// deadlines are over.
pub(super) const CLAIM_MAX_MS: u64 = 10_000;

impl Shard {
    /// Serves a request that may wait: at once when no other node is to be asked.
    pub(super) fn come_in(&mut self, key: Key, admission: Admission) {
        if admission.session.is_none()
            && admission.looks_on.is_none()
            && let Err(refusal) = self.parts.admit.rate_limits.user_connect(&admission.user, self.now.wall)
        {
            return if admission.request_state.began {
                self.refuse_admission(key, admission, &refusal)
            } else {
                self.refuse(key, &refusal, &admission.request_state)
            };
        }
        match self.parts.peers.clone().filter(|_| self.must_claim(&admission)) {
            None if self.must_find_place(&admission) => {
                self.find_place(Placing { place: key, admission, claiming: None });
            }
            None => self.attach(key, admission, Following::default()),
            Some(peers) => {
                let (user, session, ticket) =
                    (admission.user.clone(), admission.session, admission.ticket.clone());
                let Some(slot) = self.slots.get_mut(key) else { return };
                slot.state = State::Claims { read_closed: false };
                self.set_deadline(key, CLAIM_MAX_MS);
                let claim = async move {
                    let claim = peers.claim(user, session, ticket).await;
                    ShardCommand::Claimed { place: key, admission: Box::new(admission), claim }
                };
                self.request_engine(EngineRequest::Work(Work(Box::pin(claim))));
            }
        }
    }

    /// Whether the session may be elsewhere, or the user is not found here by the other nodes.
    fn must_claim(&self, admission: &Admission) -> bool {
        let here = match admission.session {
            Some(session) => self.hub.has_session(session, &admission.user),
            // Other nodes do not find a user by a session that ends with its connection.
            None => self.hub.is_known(&admission.user),
        };
        // The other nodes write down how far its device has got there.
        (admission.lasting && !here) || admission.ticket.is_some() || self.must_find_place(admission)
    }

    /// The other nodes have answered.
    pub(super) fn claimed(&mut self, place: Key, mut admission: Admission, claim: Result<Claim, ErrorCode>) {
        let user = admission.user.clone();
        // The client may have gone meanwhile.
        let waits = self.waits_for_claim(place, &mut admission);
        let claiming = match claim {
            Ok(Claim { carried: None, claiming }) if waits && self.must_find_place(&admission) => {
                return self.find_place(Placing { place, admission, claiming: Some(claiming) });
            }
            Ok(Claim { carried, claiming }) => {
                if waits {
                    if carried.is_some() {
                        admission.fresh = admission.session;
                    }
                    self.attach(place, admission, carried.unwrap_or_default());
                }
                Some(claiming)
            }
            Err(code) => {
                if waits {
                    self.refuse_admission(place, admission, &Refusal::new(code, why(code)));
                }
                None
            }
        };
        self.end_claim(user);
        drop(claiming);
    }

    /// Tells the other nodes, if there are any.
    pub(super) fn tell_peers(&self, tell: impl FnOnce(&dyn Peers)) {
        if let Some(peers) = &self.parts.peers {
            tell(&**peers);
        }
    }
}

fn why(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::SessionClosed => "the session was closed on purpose",
        ErrorCode::Unauthorized => "this ticket was used before",
        _ => "the other nodes cannot be asked for the session now",
    }
}
