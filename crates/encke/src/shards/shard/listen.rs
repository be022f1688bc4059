//! Duplex connections: clients that send on the connection that they wait on.

use encke_hub::Key;

use super::{Shard, Until, conn_key};
use crate::{
    admission::{Asked, Reply},
    shards::{EngineRequest, Hears, ShardCommand, State, Work},
    transports::{Command, Duplex, NextAction},
};

impl Shard {
    /// Gives a transport what was read into the scratch buffer.
    pub(super) fn listen_to(&mut self, key: Key, count: usize) {
        // Borrowed from the shard while its transport works, which does not read.
        let inbound = std::mem::take(&mut self.inbound);
        self.listen(key, &inbound[..count]);
        self.inbound = inbound;
    }

    fn listen(&mut self, key: Key, bytes: &[u8]) {
        let mut rest = bytes;
        let Some(after) = self.act_alone(key, |service, context| service.on_bytes(context, &mut rest)) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(key)
            && slot.hears() == Hears::Later
            && !rest.is_empty()
        {
            slot.inbound = Some(Box::new(rest.to_vec()));
        }
        // What breaks no silence must not put off the next heartbeat.
        if after != NextAction::Wait || !self.outbound.is_empty() {
            self.send(key, after);
        }
        self.await_message(key);
    }

    /// A message that a client has begun is looked at when it is due, and so is what its dialect waits for,
    /// if that is before the next heartbeat.
    fn await_message(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let deadline_ms = slot.deadline_ms;
        if let Some(due_ms) =
            slot.state.service().and_then(|service| service.duplex()).and_then(Duplex::due_ms)
            && due_ms < deadline_ms
        {
            self.set_deadline(key, due_ms.saturating_sub(self.now.mono_ms));
        }
    }

    /// Listens again to a client that was made to wait.
    pub(super) fn resume(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if matches!(slot.state, State::Head) {
            return self.readable(key, Until::Empty);
        }
        if slot.hears() != Hears::Now {
            return;
        }
        if let Some(duplex) = slot.state.service().and_then(|service| service.duplex_mut()) {
            // While it was not listened to, the delay of a message that it had begun was not the client's.
            duplex.reader.wait_anew(self.now.mono_ms);
        }
        if let Some(bytes) = slot.inbound.take() {
            self.listen(key, &bytes);
        }
        // The kernel has told already that there is something, or that there will be nothing more.
        self.readable(key, Until::Empty);
    }

    /// Leaves what a client asks with its dialect's handler, and does not listen until the answer is there.
    pub(super) fn pass_on(&mut self, place: Key, command: Command) {
        let session = self.hub.session_of(conn_key(place));
        let Some(slot) = self.slots.get_mut(place) else { return };
        let from = slot.sink.peer();
        let Some(service) = slot.state.service() else { return };
        let dialect = service.transport.dialect();
        let Some(duplex) = service.duplex_mut() else { return };
        duplex.asked = true;
        let reply = (self.parts.command_handler.0)(Asked {
            dialect,
            identity: duplex.identity.clone(),
            session,
            from,
            command,
        });
        self.request_engine(EngineRequest::Work(Work(Box::pin(async move {
            ShardCommand::Answered { place, reply: reply.await }
        }))));
    }

    /// The handler has answered.
    pub(super) fn answered(&mut self, place: Key, reply: Reply) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let waits = matches!(slot.state, State::Waits(_) | State::Unclaimed(_));
        let Some(duplex) = slot.state.service().and_then(|service| service.duplex_mut()) else { return };
        duplex.asked = false;
        if waits {
            let Reply { answer, identified } = reply;
            self.turn(place, |service, context| service.answered(context, answer));
            self.await_message(place);
            if let Some(identified) = identified {
                self.identified(place, *identified);
            }
        }
        self.resume(place);
    }
}
