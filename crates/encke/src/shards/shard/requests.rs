//! Sockets that are in the table: what they send, and where it leads them.

use std::io;

use encke_hub::{Attach, Following, Key, Look};
use encke_proto::{ErrorCode, Refusal, SessionId};
use mio::event::Event;
use tokio::sync::mpsc;

use super::{
    Shard, Until, conn_key,
    read_budget::{CONNECTION_MAX_BYTES, REQUESTS_MAX},
    unclaimed::shutting_down,
};
use crate::{
    admission::{Admission, Answer, Verdict, Waiting},
    auth::Audit,
    connection::{ForwardedFields, ListenerRole, Peer, Permit, head, peer_ip},
    http::{
        refusal::retry_after_s,
        response::{self, Body, Head, whole},
    },
    shards::{Arrival, Handoff, Hears, Received, Resting, ShardCommand, Sink, Slot, State},
    transports::{HoldKind, NextAction, RequestState},
};

/// What the paths of the native protocol begin with.
const NATIVE: &str = "/v1/";

impl Shard {
    pub(super) fn touched(&mut self, key: Key, event: &Event) {
        if event.is_writable() {
            self.writable(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let ends = event.is_read_closed() || event.is_error();
            self.readable(key, if ends { Until::Empty } else { Until::Short });
        }
    }

    /// Reads what there is, as the kernel tells only once that there is something; what is beyond the
    /// connection's share of the turn, in the next one.
    pub(super) fn readable(&mut self, key: Key, until: Until) {
        let mut cost = 0;
        loop {
            let Some(slot) = self.slots.get_mut(key) else { return };
            let hears = slot.hears();
            if hears == Hears::Later || self.reads.is_deferred(key) {
                return;
            }
            if cost >= CONNECTION_MAX_BYTES || self.reads.is_spent() {
                return self.reads.defer(key);
            }
            if slot.sink.is_handshaking() {
                // Not before its client says something: until then it can be ended here for another.
                if slot.sink.is_silent() && self.parts.tls.as_ref().is_some_and(|tls| tls.signs_slowly()) {
                    return self.hand_to_hyper(key, Vec::new());
                }
                if !self.handshakes.has_left(key) {
                    return;
                }
            }
            let is_tls = slot.sink.is_tls();
            let drained = match slot.sink.read(&mut self.inbound) {
                Ok(Received::End { orderly: true }) => return self.read_ended(key),
                // What was said may not be all, so nothing of it counts any more.
                Ok(Received::End { orderly: false }) => return self.free(key),
                Ok(Received::Bytes { count, taken, is_all }) => {
                    self.read_bytes += taken as u64;
                    cost += self.reads.take(taken);
                    if is_tls && !self.after_read(key, count) {
                        return;
                    }
                    if count > 0 {
                        self.take_in(key, hears, count);
                    }
                    until == Until::Short && is_all
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(_) => return self.free(key),
            };
            if drained {
                return;
            }
        }
    }

    /// Reads on what was put off in former turns, each connection once.
    pub(super) fn read_deferred(&mut self) {
        for _ in 0..self.reads.begin() {
            if self.reads.is_spent() {
                break;
            }
            let Some(key) = self.reads.next() else { break };
            if self.answer_ahead(key) {
                self.reads.defer(key);
            } else if self
                .slots
                .get(key)
                .is_some_and(|slot| slot.inbound.is_some() && slot.hears() == Hears::Now)
            {
                // What was sent behind the head of a WebSocket.
                self.resume(key);
            } else {
                self.readable(key, Until::Empty);
            }
        }
        self.reads.admit_others();
    }

    /// Answers requests that a client has sent ahead, a bounded number of them. True when there may be more.
    fn answer_ahead(&mut self, key: Key) -> bool {
        for _ in 0..REQUESTS_MAX {
            let Some(Slot { state: State::Head, inbound: Some(ahead), .. }) = self.slots.get(key) else {
                return false;
            };
            if self.reads.is_spent() {
                return true;
            }
            let length = ahead.len();
            self.hear(key);
            let left =
                self.slots.get(key).and_then(|slot| slot.inbound.as_ref()).map_or(0, |left| left.len());
            // A request that is not whole waits for what is still to be read.
            if left == length {
                return false;
            }
            self.reads.take(length.saturating_sub(left));
        }
        true
    }

    /// The client has ended its side of the connection. Most are gone then, and a browser does not do so
    /// while it waits. But one that has said all that it has to say may still read its answer (RFC 9112
    /// section 9.6), so a poll is answered at once with what there is, and what was written already goes out.
    fn read_ended(&mut self, key: Key) {
        let begun = self.hub.has_begun(conn_key(key));
        let Some(slot) = self.slots.get_mut(key) else { return };
        match &mut slot.state {
            State::Waits(service)
                if service.transport.hold_kind() == HoldKind::Once && !slot.sink.is_body() =>
            {
                service.request_state.end_now();
                if begun && slot.unsent.is_none() {
                    self.turn(key, |service, context| service.elapsed(context));
                }
            }
            State::Claims { read_closed } | State::Decides { read_closed } => *read_closed = true,
            // What was sent ahead is answered yet; the end is found again behind it.
            State::Answered if slot.inbound.is_some() => {}
            State::Answered if !slot.sink.is_body() => slot.state = State::Closing,
            State::Closing => {}
            _ => self.free(key),
        }
    }

    /// Takes in what was read into the scratch buffer.
    pub(super) fn take_in(&mut self, key: Key, hears: Hears, count: usize) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        match hears {
            Hears::Now => self.listen_to(key, count),
            // It should have nothing to say any more; whatever it is, it is taken in so that the socket can
            // be closed.
            Hears::NoMore => {}
            Hears::Requests | Hears::Later => match (&slot.state, &mut slot.inbound) {
                // Nearly always a whole request, which is read where it is.
                (State::Head, None) => {
                    let inbound = std::mem::take(&mut self.inbound);
                    self.on_bytes(key, &inbound[..count]);
                    self.inbound = inbound;
                }
                (State::Head, Some(inbound)) => {
                    inbound.extend_from_slice(&self.inbound[..count]);
                    self.hear(key);
                }
                // The next request of a client that does not wait for the answer to this one.
                (_, inbound) => inbound.get_or_insert_default().extend_from_slice(&self.inbound[..count]),
            },
        }
    }

    /// Looks at what a connection between requests has sent before, if anything.
    pub(super) fn hear(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(bytes) = slot.inbound.take() {
            self.on_bytes(key, &bytes);
        }
    }

    /// Looks at all that a connection between requests has sent.
    pub(super) fn on_bytes(&mut self, key: Key, bytes: &[u8]) {
        let is_led_away = self.parts.redirects
            && self
                .slots
                .get(key)
                .is_some_and(|slot| !slot.sink.is_tls() && slot.sink.role() != ListenerRole::Admin);
        if self.parts.inline.may_begin_with(bytes) && !is_led_away && self.serves_operators(key) {
            return self.on_inline_bytes(key, bytes);
        }
        match head::read(bytes, &self.parts.endpoints) {
            head::Verdict::Waits(..) if is_led_away => self.hand_to_hyper(key, bytes.to_vec()),
            head::Verdict::Handoff => self.hand_to_hyper(key, bytes.to_vec()),
            head::Verdict::More => self.hear_more(key, bytes.to_vec()),
            head::Verdict::Waits(number, mut waiting, length) => {
                let for_operators = self.parts.endpoints.is_for_operators(number);
                if for_operators && !self.serves_operators(key) {
                    return self.hand_to_hyper(key, bytes.to_vec());
                }
                if self.slots.get(key).is_some_and(|slot| !slot.sink.is_plain())
                    && !self.may_wait(key, bytes, &mut waiting, for_operators)
                {
                    return;
                }
                if self.slots.get(key).is_some_and(|slot| slot.sink.is_tls()) {
                    // Whatever a proxy or the client says.
                    waiting.forwarded_proto = Some("https");
                }
                if !waiting.path.starts_with(NATIVE) {
                    waiting.from = self.slots.get(key).and_then(|slot| slot.sink.peer());
                }
                if let (rest @ [_, ..], Some(slot)) = (&bytes[length..], self.slots.get_mut(key)) {
                    slot.inbound = Some(Box::new(rest.to_vec()));
                }
                match self.parts.endpoints.decide(number, &waiting, self.now.wall) {
                    Verdict::Admitted(admission) => self.hand_to_home(key, admission),
                    Verdict::Refused(refusal, request_state) if waiting.brings_credentials() => {
                        let refusal = self.count_failure(key, refusal);
                        self.refuse(key, &refusal, &request_state);
                    }
                    verdict => self.carry_out_verdict(key, verdict),
                }
            }
        }
    }

    /// Whether a request may wait that came in otherwise than most; if not, it is answered. A proxy says
    /// whose it is, and what others say of that is passed over. Where operators alone come in, only what is
    /// for them waits.
    fn may_wait(&mut self, key: Key, bytes: &[u8], waiting: &mut Waiting<'_>, for_operators: bool) -> bool {
        let Some(permit) = self.slots.get(key).and_then(|slot| slot.sink.permit()) else { return false };
        if permit.role() == ListenerRole::Admin && !for_operators {
            self.hand_to_hyper(key, bytes.to_vec());
            return false;
        }
        let has_place = match permit.peer() {
            Peer::Undeclared => true,
            Peer::Client => {
                waiting.forwarded_proto = None;
                true
            }
            Peer::Proxy => {
                let socket = self.slots.get(key).and_then(|slot| slot.sink.socket());
                let Some(proxy) = socket.map(|socket| peer_ip(socket.peer_addr())) else { return false };
                let client = permit.proxies().client(proxy, &ForwardedFields::of_head(bytes));
                if let Some(https) = client.https {
                    waiting.forwarded_proto = https.then_some("https");
                }
                permit.move_to(client.address)
            }
        };
        let has_place = has_place && !permit.is_reserved();
        if !has_place {
            self.refuse_in_reserve(key, waiting.origin);
        }
        has_place
    }

    fn serves_operators(&self, key: Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.sink.role().serves_operators())
    }

    /// Keeps what is not yet a whole request.
    pub(super) fn hear_more(&mut self, key: Key, bytes: Vec<u8>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.inbound = Some(Box::new(bytes));
        // Its time begins with its first byte; more bytes do not buy more time.
        if slot.deadline_ms > self.now.mono_ms + self.parts.timeouts.head_ms {
            self.set_deadline(key, self.parts.timeouts.head_ms);
        }
    }

    /// Gives a connection to hyper, with what was read.
    pub(super) fn hand_to_hyper(&mut self, key: Key, bytes: Vec<u8>) {
        let Some((mut socket, permit, tls)) = self.take_out(key).and_then(|slot| slot.sink.into_socket())
        else {
            return;
        };
        if let Err(error) = self.parts.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a socket cannot be given away");
            return;
        }
        let address = tls.as_ref().and_then(|tls| tls.handshake_address());
        let ends = address.map(|address| self.expect_elsewhere(address));
        let handoff = Handoff { socket: socket.into(), tls, bytes, permit, shard: self.parts.index, ends };
        if let Err(mpsc::error::TrySendError::Full(handoff)) = self.parts.handoffs.try_send(handoff) {
            handoff.refuse(&self.parts.admit, self.date.at(self.now.wall));
        }
    }

    /// Serves a request in the shard where its user lives.
    pub(super) fn hand_to_home(&mut self, key: Key, admission: Box<Admission>) {
        let home = self.parts.shards.home_index(&admission.user);
        if home == self.parts.index {
            return self.come_in(key, *admission);
        }
        let Some(mut slot) = self.take_out(key) else { return };
        self.laggards.forget(key);
        if let Some(unsent) = &slot.unsent {
            self.laggards.release(unsent);
        }
        let mailbox = self.parts.shards.at(home);
        if let Sink::Body(body_sink) = &slot.sink {
            self.body_sink.remove(&body_sink.id);
            body_sink.move_to(mailbox);
        }
        if let Some(socket) = slot.sink.socket_mut()
            && self.parts.poll.registry().deregister(socket).is_err()
        {
            return;
        }
        let inbound = slot.inbound.map(|bytes| *bytes).unwrap_or_default();
        let verdict = Verdict::Admitted(admission);
        let arrival = Arrival { sink: slot.sink, inbound, verdict, unsent: slot.unsent };
        // A shard that cannot take it drops it; the client comes back.
        let _ = mailbox.post(ShardCommand::Arrived(Box::new(arrival)));
    }

    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let Arrival { sink, inbound, verdict, unsent } = arrival;
        if sink.is_gone() {
            // Nothing tells of it any more, since that was said to the shard that it comes from.
            return;
        }
        let Some(key) = self.seat(sink, self.parts.timeouts.idle_ms) else { return };
        if let Some(slot) = self.slots.get_mut(key)
            && !inbound.is_empty()
        {
            slot.inbound = Some(Box::new(inbound));
        }
        if let Some(unsent) = unsent {
            self.keep_on(key, unsent);
        }
        self.carry_out_verdict(key, verdict);
        // What hyper had taken meanwhile was said to the shard that it comes from.
        self.writable(key);
    }

    /// Takes a connection that no request is under way on.
    pub(super) fn rests(&mut self, mut resting: Resting) {
        if self.drains {
            // As those that rested here already.
            return resting.sink.end();
        }
        let timeouts = &self.parts.timeouts;
        let timeout_ms = if resting.is_new { timeouts.head_ms } else { timeouts.idle_ms };
        let Some(key) = self.seat(resting.sink, timeout_ms) else { return };
        if !resting.inbound.is_empty() {
            self.on_bytes(key, &resting.inbound);
        }
    }

    pub(super) fn carry_out_verdict(&mut self, key: Key, verdict: Verdict) {
        match verdict {
            Verdict::Admitted(admission) => self.come_in(key, *admission),
            Verdict::Opened(opened) => self.open(key, *opened),
            Verdict::Refused(refusal, request_state) => self.refuse(key, &refusal, &request_state),
            Verdict::Answered(answer, request_state) => self.answer(key, &answer, &request_state),
            Verdict::StayAway(request_state) => self.keep_away(key, &request_state),
            Verdict::Later(later) => self.decide_later(key, later),
        }
    }

    /// Whether the user may still be here: the token may have been revoked since it was looked at, while the
    /// other nodes were asked, or on the way to this shard, whose sessions were ended before this one came.
    fn permit(&self, admission: &Admission) -> Result<(), Refusal> {
        if let Some(looks_on) = &admission.looks_on {
            // From here on the end of a key finds it.
            let is_so = looks_on.generation == self.parts.admit.auth.api_keys().generation();
            let changed = || Refusal::new(ErrorCode::Unauthorized, "other API keys have come into use");
            return is_so.then_some(()).ok_or_else(changed);
        }
        self.parts.admit.auth.permit(&admission.user, admission.token.as_ref(), self.now.wall)
    }

    /// Counts a refused token, and says so instead if there are too many from its client.
    pub(super) fn count_failure(&self, key: Key, refusal: Refusal) -> Refusal {
        if refusal.code != ErrorCode::Unauthorized {
            return refusal;
        }
        let permit = self.slots.get(key).and_then(|slot| slot.sink.permit());
        let Some(address) = permit.and_then(Permit::address) else { return refusal };
        self.parts.admit.rate_limits.failure(address, self.now.wall).err().unwrap_or(refusal)
    }

    /// The admission, if what it was granted by still is so; else it is answered.
    fn still_admitted(&mut self, key: Key, admission: Admission) -> Option<Admission> {
        if self.drains {
            // It was let in before, and was on its way here or asked for elsewhere while all clients were
            // sent away; it would not be sent away any more.
            if admission.request_state.began {
                self.refuse_admission(key, admission, &shutting_down());
            } else {
                self.free(key);
            }
            return None;
        }
        let Err(refusal) = self.permit(&admission) else { return Some(admission) };
        self.refuse_admission(key, admission, &refusal);
        None
    }

    /// Serves a request whose session is here, or may be.
    pub(super) fn attach(&mut self, key: Key, admission: Admission, carried: Following) {
        let Some(admission) = self.still_admitted(key, admission) else { return };
        let subscribed = self.subscribed_by(&admission);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Admission {
            transport,
            mut request_state,
            user,
            token_ends,
            token,
            granted,
            session,
            fresh,
            lasting,
            start,
            device,
            channels,
            state,
            ticket: _,
            looks_on,
        } = admission;
        let (bits, number) = self.random_pool.numbers();
        request_state.scratch = bits.to_be_bytes();
        slot.state = State::Waits(slot.new_service(transport, request_state, state));
        let timeout_ms = self.first_timeout_ms(transport.hold_kind(), request_state, number);
        self.set_deadline(key, timeout_ms);
        let (conn, bits) = (conn_key(key), self.random_pool.bits());
        let fresh = fresh.unwrap_or(SessionId::from_bits(bits));
        let who = looks_on.as_ref().map_or(user.as_str(), |looks_on| &looks_on.key);
        self.begin_access(key, who, transport);
        let transport = transport.name();
        if looks_on.is_some() {
            let look = Look { conn, id: fresh, user, transport, start, ends: token_ends };
            return self.hub.look_on(look, self.now);
        }
        let is_known = || session.is_some_and(|session| self.hub.has_session(session, &user));
        let beginner = (self.parts.peers.is_some() && lasting && !is_known()).then(|| user.clone());
        self.hub.attach(
            Attach {
                conn,
                session,
                fresh,
                user,
                transport,
                lasting,
                start,
                device,
                channels,
                carried,
                token_ends,
                token,
                granted,
            },
            self.now,
        );
        if let Some(user) = beginner {
            let here = self.hub.sessions_of(&user);
            self.tell_peers(|peers| peers.began(&user, here));
        }
        self.tell_subscribed(subscribed);
    }

    /// How long a request waits until it is looked at for the first time, by a random number.
    fn first_timeout_ms(&self, hold_kind: HoldKind, request_state: RequestState, number: u64) -> u64 {
        match hold_kind {
            // Clients that began to wait together should not all come back together.
            HoldKind::Once => {
                let hold_ms = u64::from(request_state.hold_s) * 1000;
                hold_ms - number % (hold_ms / 10 + 1)
            }
            // Clients that came together should not be written to together in each silence.
            HoldKind::Stream => {
                let heartbeat_ms = self.parts.timeouts.heartbeat_ms;
                heartbeat_ms - number % (heartbeat_ms / 4 + 1)
            }
        }
    }

    pub(super) fn refuse(&mut self, key: Key, refusal: &Refusal, request_state: &RequestState) {
        if Audit::is_about(refusal.code) {
            let from = self.slots.get(key).and_then(|slot| slot.sink.peer());
            self.parts.admit.auth.audit().refuse("-".into(), "data connection", refusal.code.as_str(), from);
        }
        let (status, json) = (refusal.code.status(), refusal.json());
        let body = Some((response::JSON, json.as_bytes()));
        self.write_whole(
            key,
            request_state,
            &Whole { status, body, retry_after_s: retry_after_s(refusal.code), fields: &[] },
        );
    }

    /// Answers a request in its dialect's own form.
    fn answer(&mut self, key: Key, answer: &Answer, request_state: &RequestState) {
        let fields: Vec<(&str, &str)> =
            answer.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = Some((answer.content_type, answer.body.as_slice()));
        self.write_whole(
            key,
            request_state,
            &Whole { status: answer.status, body, retry_after_s: None, fields: &fields },
        );
    }

    /// Refuses a request that wants to wait in a place that is kept for operators.
    fn refuse_in_reserve(&mut self, key: Key, origin: Option<&str>) {
        let refusal = Refusal::new(ErrorCode::Overloaded, "too many connections");
        let origin = self.parts.admit.readable_by(origin);
        self.outbound.clear();
        whole(&mut self.outbound, &refusal, origin, self.date.at(self.now.wall));
        self.send(key, NextAction::Close);
    }

    pub(super) fn keep_away(&mut self, key: Key, request_state: &RequestState) {
        self.write_whole(
            key,
            request_state,
            &Whole { status: 204, body: None, retry_after_s: None, fields: &[] },
        );
    }

    /// Writes the whole answer to a request that does not wait.
    fn write_whole(&mut self, key: Key, request_state: &RequestState, whole: &Whole<'_>) {
        self.outbound.clear();
        let keep_alive = request_state.keep_alive && !self.drains;
        let origin = request_state.origin.and_then(|number| self.parts.admit.auth.origins().text(number));
        let (content_type, bytes) = whole.body.unwrap_or((response::JSON, &[]));
        let head = Head {
            status: whole.status,
            content_type,
            body: if whole.body.is_some() { Body::Length(bytes.len()) } else { Body::None },
            keep_alive,
            origin: origin.as_deref(),
            date: self.date.at(self.now.wall),
            retry_after_s: whole.retry_after_s,
            fields: whole.fields,
        };
        head.write(&mut self.outbound);
        self.outbound.extend_from_slice(bytes);
        self.send(key, if keep_alive { NextAction::Done } else { NextAction::Close });
    }
}

/// What is in a whole answer.
struct Whole<'a> {
    status: u16,
    /// Its type, and its bytes.
    body: Option<(&'a str, &'a [u8])>,
    retry_after_s: Option<u64>,
    fields: &'a [(&'a str, &'a str)],
}
