//! What a shard is told and asked by the rest of the server.

use std::net::Shutdown;

use encke_hub::Key;
use socket2::SockRef;

use super::{COMMANDS_PER_TURN, ReconnectJitter, Shard};
use crate::shards::{Counts, EngineRequest, ShardCommand, State};

impl Shard {
    pub(super) fn take_commands(&mut self) {
        if self.parts.commands.missed() {
            self.hub.stale();
        }
        // What is left is there in the next turn: a shard with commands does not rest.
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.parts.commands.next() else { return };
            self.take(command);
        }
    }

    pub(super) fn take(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Appended(entry) => self.hub.appended(&entry, self.now),
            ShardCommand::Behind(channel) => self.hub.behind(&channel),
            ShardCommand::Retracted(channel) => self.hub.retracted(&channel),
            ShardCommand::Opened(key, opening) => self.hub.opened(key, opening, self.now),
            ShardCommand::Read(key, page) => self.hub.read(key, page, self.now),
            ShardCommand::Prefaced { socket, client, is_tls } => self.prefaced(socket, client, is_tls),
            ShardCommand::Rests(resting) => self.rests(*resting),
            ShardCommand::Arrived(arrival) => self.arrived(*arrival),
            ShardCommand::Control { request, answer } => self.control(*request, answer),
            ShardCommand::Settle(answer) => self.request_engine(EngineRequest::Settle(answer)),
            ShardCommand::Claimed { place, admission, claim } => self.claimed(place, *admission, claim),
            ShardCommand::Placed { placing, is_answered } => self.placed(*placing, is_answered),
            ShardCommand::Counts { answer } => {
                // Who is counted follows its channels by then: what is published behind the answer comes.
                self.carry_out();
                // The caller may have gone.
                let _ = answer.send(Box::new(self.counts()));
            }
            ShardCommand::Answered { place, reply } => self.answered(place, reply),
            ShardCommand::Decided { place, verdict } => self.decided(place, verdict),
            ShardCommand::Go(place) => self.go_on(place),
            ShardCommand::Drained(id) => {
                if let Some(key) = self.body_sink.get(&id).copied() {
                    self.writable(key);
                }
            }
            ShardCommand::Gone(id) => {
                if let Some(key) = self.body_sink.get(&id).copied() {
                    self.free(key);
                }
            }
            ShardCommand::Rules(rules) => self.hub.set_rules(rules),
            ShardCommand::UserBounds { max_sessions, max_channels } => {
                self.hub.set_user_bounds(max_sessions, max_channels);
            }
            ShardCommand::Drain { elsewhere } => self.drain(elsewhere),
            ShardCommand::Stop => self.stops = true,
        }
        self.carry_out();
    }

    /// Accepts no more connections, and closes those between two requests. Those that are served are closed
    /// by a command of its own.
    pub(super) fn drain(&mut self, elsewhere: bool) {
        let _ = self.parts.poll.registry().deregister(&mut self.parts.listener);
        // While the listener is open the kernel accepts connections that will never be served. Refused at
        // once, their clients go to another node, or try again.
        self.parts.listener.refuse();
        if let Some(tls) = &mut self.parts.tls {
            let _ = self.parts.poll.registry().deregister(&mut tls.listener);
            let _ = SockRef::from(&tls.listener).shutdown(Shutdown::Both);
        }
        if let Some(admin) = &mut self.parts.admin {
            let _ = self.parts.poll.registry().deregister(&mut admin.listener);
            admin.listener.refuse();
        }
        self.drains = true;
        self.reconnect_jitter =
            ReconnectJitter::over(self.hub.connection_count(), self.parts.spread_ms, elsewhere);
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if matches!(slot.state, State::Unclaimed(_)) {
                self.send_away(key);
            } else if let Some(service) = slot.state.service() {
                // The connection ends with the answer, which says so.
                service.request_state.keep_alive = false;
            } else if matches!(slot.state, State::Head) {
                self.free(key);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let (users, sessions) = (self.hub.online().count(), self.hub.session_count());
        let (slow, unsent_bytes) = self.laggards.counts();
        let (held, sockets, channels) =
            (self.hub.connection_count(), self.slots.len(), self.hub.channel_count());
        Counts {
            users,
            sessions,
            held,
            sockets,
            channels,
            slow,
            unsent_bytes,
            lag: self.farthest_behind(),
            traffic: self.hub.traffic().clone(),
            read_bytes: self.read_bytes,
            written_bytes: self.written_bytes,
        }
    }
}
