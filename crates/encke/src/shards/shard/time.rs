//! Deadlines, and what happens at them.

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};

use super::{Shard, conn_key};
use crate::{connection::head::origin_of, http::response::whole, shards::State, transports::NextAction};

/// How often the hub is told that time goes on, in milliseconds.
const HUB_TICK_MS: u64 = 250;

impl Shard {
    pub(super) fn set_deadline(&mut self, key: Key, in_ms: u64) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.deadline_ms = self.now.mono_ms + in_ms;
        slot.look_in_time(&mut self.wheel, key);
    }

    /// Has the wheel look at a connection no later than something is to happen.
    pub(super) fn look_in_time(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.look_in_time(&mut self.wheel, key);
    }

    pub(super) fn tick(&mut self) {
        for place in self.wheel.due(self.now.mono_ms) {
            if let Some(key) = self.slots.key_at(place) {
                self.look_at(key);
            }
        }
        if self.now.mono_ms >= self.hub_tick_ms {
            self.hub_tick_ms = self.now.mono_ms + HUB_TICK_MS;
            self.hub.tick(self.now);
        }
        self.look_at_receipts();
        self.accept();
    }

    pub(super) fn look_at(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.look_ms > self.now.mono_ms {
            // It was put in again for an earlier time, which has been, or by one that stood here before; this
            // is left over.
            return;
        }
        let due_ms = slot.due_ms();
        if due_ms > self.now.mono_ms {
            slot.look_ms = self.wheel.insert(due_ms, key.index);
            return;
        }
        // Whatever happens next sets a deadline of its own, or the slot is gone.
        slot.look_ms = u64::MAX;
        if self.look_at_laggard(key) {
            return;
        }
        let Some(slot) = self.slots.get(key) else { return };
        match &slot.state {
            State::Waits(service) => {
                // A service that the engine has not yet let begin is looked at again, like a stream at its
                // next silence.
                let silence_ms = service.silence_ms(self.parts.timeouts.heartbeat_ms, self.now);
                self.set_deadline(key, silence_ms);
                if self.hub.has_begun(conn_key(key)) {
                    self.turn(key, |service, context| service.elapsed(context));
                }
            }
            State::Unclaimed(_) => self.look_at_unclaimed(key),
            State::Head if slot.inbound.is_some() => {
                let origin =
                    self.parts.admit.readable_by(slot.inbound.as_ref().and_then(|bytes| origin_of(bytes)));
                let refusal = Refusal::new(ErrorCode::RequestTimeout, "the request took too long to come");
                self.outbound.clear();
                whole(&mut self.outbound, &refusal, origin, self.date.at(self.now.wall));
                self.send(key, NextAction::Close);
            }
            _ => self.free(key),
        }
    }
}
