//! Control requests, which the hub answers, and what of a fresh token is no business of the hub: whether it
//! may be used, and what the client of a connection may ask from then on.

use std::sync::Arc;

use encke_hub::{ControlReply, ControlRequest, FreshToken};
use encke_proto::{SessionId, UserId};
use tokio::sync::oneshot;

use super::{Shard, slot_key_of};
use crate::auth::Grants;

impl Shard {
    pub(super) fn control(&mut self, request: ControlRequest, answer: oneshot::Sender<ControlReply>) {
        if let ControlRequest::Refresh { session, user, token } = &request {
            // It may have been revoked since it was looked at, and the sessions of this shard ended before.
            let permitted = self.parts.admit.auth.permit(user, Some(&token.info), self.now.wall);
            if let Err(refusal) = permitted {
                // The caller may have gone.
                let _ = answer.send(ControlReply::Refused(refusal.code));
                return;
            }
            self.grant_anew(*session, user, token);
        }
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket, answer);
        self.hub.control(self.next_ticket, request, self.now);
    }

    /// What the client of a session may ask over its connection is what the fresh token grants.
    fn grant_anew(&mut self, session: SessionId, user: &UserId, token: &FreshToken) {
        let Some(conn) = self.hub.conn_of(session, user) else { return };
        let slot = self.slots.get_mut(slot_key_of(conn));
        let duplex = slot.and_then(|slot| slot.state.service()).and_then(|service| service.duplex_mut());
        if let Some(identity) = duplex.and_then(|duplex| duplex.identity.as_mut()) {
            let FreshToken { ends, channels, publish, .. } = token;
            identity.expires = *ends;
            identity.grants = Arc::new(Grants { channels: channels.clone(), publish: publish.clone() });
        }
    }
}
