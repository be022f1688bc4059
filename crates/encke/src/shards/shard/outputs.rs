//! What the hub says, and the connections that have something to pull.

use encke_hub::{Ending, Key, Output, Receipt};
use encke_proto::{ChannelName, CloseCode, UserId};

use super::{Shard, conn_key, receipts::outstanding_of, slot_key_of};
use crate::{
    admission::Admission,
    shards::{EngineRequest, SessionObserver, Slot, State},
    transports::{ConnectionState, NextAction, Transport, TransportContext, Written},
};

/// The most connections of a broadcast served in one turn: a slice of time well under a millisecond, behind
/// which all other connections come first.
pub(super) const BROADCAST_PER_TURN: usize = 64;
/// The most connections served in one turn that became ready alone.
const TARGETED_PER_TURN: usize = 1_024;

impl Shard {
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Begun { conn, .. } => self.begun(slot_key_of(conn)),
                Output::Ready { conn, broadcast } => {
                    let key = slot_key_of(conn);
                    if let Some(Slot { state: State::Waits(service), .. }) = self.slots.get_mut(key) {
                        service.ready = true;
                        if broadcast {
                            self.scheduler.put_broadcast(key, &mut service.queued, self.now.mono_ms);
                        } else {
                            self.scheduler.put_targeted(key, &mut service.queued);
                        }
                    }
                }
                Output::Ended { conn, mut ending } => {
                    self.reconnect_jitter.put_into(&mut ending, &mut self.random_pool);
                    self.ended(slot_key_of(conn), &ending);
                }
                Output::Open { key, channel } => self.request_engine(EngineRequest::Open(key, channel)),
                Output::Read { key, channel, after } => {
                    self.request_engine(EngineRequest::Read(key, channel, after))
                }
                Output::Handed { user, position } => {
                    self.trace_receipt("delivered", &user, position);
                    self.note_mark(Receipt { user, position, device: None });
                }
                Output::Reached(reached) => self.note_place(reached),
                Output::Shown { user, position } => self.trace_receipt("shown", &user, position),
                Output::Traced(message) => self.trace_delivery(*message),
                Output::Present(user) => self.parts.shards.online_users().insert(user),
                Output::Absent(user) => self.parts.shards.online_users().remove(&user),
                Output::Online(user) => {
                    self.tell_peers(|peers| peers.came(&user));
                    self.tell_observer(|observer| observer.came(&user.channel()));
                    self.request_engine(EngineRequest::Seen(user));
                }
                Output::Offline(user) => {
                    self.tell_peers(|peers| peers.went(user.clone()));
                    self.tell_observer(|observer| observer.went(&user.channel()));
                    self.request_engine(EngineRequest::Seen(user));
                }
                Output::Watch(channel) => self.watch(&channel),
                Output::Unwatch(channel) => self.unwatch(&channel),
                Output::Closed { user, session } => self.tell_peers(|peers| peers.mark_closed(user, session)),
                Output::Replied { ticket, reply } => {
                    if let Some(answer) = self.asked.remove(&ticket) {
                        // The caller may have gone.
                        let _ = answer.send(reply);
                    }
                }
            }
        }
    }

    /// The hub has the first receiver for a channel. Engines of one node tell it everything; those of several
    /// what one of its shards watches.
    fn watch(&self, channel: &ChannelName) {
        let tell = || self.tell_peers(|peers| peers.watch(channel));
        if channel.is_own() {
            // All sessions of a user are in one shard.
            return tell();
        }
        self.parts.shards.followed_channels().insert(channel, self.parts.index, || {
            tell();
            self.tell_observer(|observer| observer.came(channel));
        });
    }

    fn unwatch(&self, channel: &ChannelName) {
        let tell = || self.tell_peers(|peers| peers.unwatch(channel));
        if channel.is_own() {
            return tell();
        }
        self.parts.shards.followed_channels().remove(channel, self.parts.index, || {
            tell();
            self.tell_observer(|observer| observer.went(channel));
        });
    }

    /// What a new session begins to follow, if that is written down.
    pub(super) fn subscribed_by(&self, admission: &Admission) -> Option<(UserId, Vec<ChannelName>)> {
        let is_told =
            self.parts.observer.is_some() && admission.session.is_none() && !admission.channels.is_empty();
        is_told.then(|| (admission.user.clone(), admission.channels.clone()))
    }

    /// Tells of that, behind what is told of the user.
    pub(super) fn tell_subscribed(&mut self, subscribed: Option<(UserId, Vec<ChannelName>)>) {
        let Some((user, channels)) = subscribed else { return };
        self.carry_out();
        self.tell_observer(|observer| observer.subscribed(&user, &channels));
    }

    /// Tells who writes down what becomes of sessions, if that is written down.
    pub(super) fn tell_observer(&self, tell: impl FnOnce(&dyn SessionObserver)) {
        if let Some(observer) = &self.parts.observer {
            tell(&**observer);
        }
    }

    pub(super) fn ended(&mut self, key: Key, ending: &Ending) {
        let Some(slot) = self.slots.get(key) else { return };
        if matches!(slot.state, State::Parting(_) | State::HungUp) {
            return;
        }
        match ending {
            Ending::Closed(close_notice) => self.note_close(key, close_notice.close.code),
            Ending::TakenOver => self.note_close(key, CloseCode::TakenOver),
            Ending::Refused(code) => self.note_refusal(key, *code),
        }
        let Some(slot) = self.slots.get(key) else { return };
        let slow =
            matches!(ending, Ending::Closed(close_notice) if close_notice.close.code == CloseCode::Slow);
        if slot.unsent.is_some() && !slow {
            // Its receiver takes nothing; the socket is freed at once, which says enough. Only who is slow
            // still has its time to take what it was sent, and reads why behind that.
            return self.drop_slot(key);
        }
        let had_asked = self.settle_asked(key);
        self.turn(key, |service, context| service.ended(context, ending));
        if had_asked {
            // It was not listened to. What its client has sent meanwhile is read in a turn of its own, and so
            // is its answer to the close.
            self.reads.defer(key);
        }
    }

    /// Serves the connections that have something to pull: first those that are alone in what they got, and
    /// of the broadcasts some.
    pub(super) fn serve_ready(&mut self) {
        let (targeted, broadcast) = self.scheduler.counts(self.now.mono_ms);
        for _ in 0..targeted.min(TARGETED_PER_TURN) {
            let Some(key) = self.scheduler.next_targeted() else { break };
            self.serve(key, false);
        }
        self.send_gathered();
        for _ in 0..broadcast.min(BROADCAST_PER_TURN) {
            let Some(key) = self.scheduler.next_broadcast() else { break };
            self.serve(key, true);
        }
        self.send_gathered();
        self.scheduler.make_small();
        self.carry_out();
    }

    /// Gives a connection's transport its turn, and sends what it wrote.
    pub(super) fn turn(
        &mut self,
        key: Key,
        act: impl FnOnce(&'static dyn Transport, &mut TransportContext<'_>) -> NextAction,
    ) {
        if let Some(after) = self.act_alone(key, act) {
            self.send(key, after);
            if after == NextAction::More
                && let Some(Slot { state: State::Waits(service), .. }) = self.slots.get_mut(key)
            {
                service.ready = true;
                self.scheduler.put_targeted(key, &mut service.queued);
            }
        }
    }

    /// Gives a connection's transport its turn; what it wrote stands alone in the buffer that all connections
    /// share.
    pub(super) fn act_alone(
        &mut self,
        key: Key,
        act: impl FnOnce(&'static dyn Transport, &mut TransportContext<'_>) -> NextAction,
    ) -> Option<NextAction> {
        // Borrowed from the shard while the transport writes.
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.clear();
        let after = self.act(key, &mut outbound, act);
        self.outbound = outbound;
        after
    }

    /// Gives a connection's transport its turn; what it writes behind what is in `out` is still to be sent.
    pub(super) fn act(
        &mut self,
        key: Key,
        out: &mut Vec<u8>,
        act: impl FnOnce(&'static dyn Transport, &mut TransportContext<'_>) -> NextAction,
    ) -> Option<NextAction> {
        let Slot { sink, state, written, unsent, .. } = self.slots.get_mut(key)?;
        let service = state.service()?;
        let transport = service.transport;
        let outstanding = || outstanding_of(sink, unsent.as_deref());
        let written =
            Written { before: *written, start: out.len(), sealed: sink.is_tls(), outstanding: &outstanding };
        let (duplex, request) = match service.state.as_deref_mut() {
            Some(ConnectionState::Duplex(duplex)) => (Some(duplex), None),
            Some(ConnectionState::Request(state)) => (None, Some(&mut **state)),
            None => (None, None),
        };
        let mut context = TransportContext {
            hub: &mut self.hub,
            conn: conn_key(key),
            request_state: &mut service.request_state,
            out,
            cursor: &mut self.cursor,
            now: self.now,
            date: self.date.at(self.now.wall),
            site: &self.site,
            duplex,
            request,
            asked: None,
            written,
        };
        let after = act(transport, &mut context);
        if let Some(command) = context.asked.take() {
            self.pass_on(key, command);
        }
        Some(after)
    }
}
