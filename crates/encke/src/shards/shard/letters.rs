//! What a shard is told and asked by the rest of the server.

use std::net::Shutdown;

use encke_hub::{Key, Reply};
use socket2::SockRef;
use tokio::sync::oneshot;

use super::{LETTERS_PER_TURN, Shard, Spread, Until};
use crate::shards::{Counts, Letter, State, Wish};

impl Shard {
    pub(super) fn take_letters(&mut self) {
        if self.parts.letters.missed() {
            self.hub.stale();
        }
        // What is left is there in the next turn: a shard with letters does not rest.
        for _ in 0..LETTERS_PER_TURN {
            let Some(letter) = self.parts.letters.next() else { return };
            self.take(letter);
        }
    }

    pub(super) fn take(&mut self, letter: Letter) {
        self.turns.heard();
        match letter {
            Letter::Appended(entry) => self.hub.appended(&entry, self.now),
            Letter::Behind(channel) => self.hub.behind(&channel),
            Letter::Opened(key, opening) => self.hub.opened(key, opening, self.now),
            Letter::Read(key, page) => self.hub.read(key, page, self.now),
            Letter::Rests(resting) => self.rests(*resting),
            Letter::Arrived(arrival) => self.arrived(*arrival),
            Letter::Close { target, close, answer } => {
                let ticket = self.ask(answer);
                self.hub.close(ticket, &target, &close, self.now);
            }
            Letter::Subscribe { session, user, channels, answer } => {
                let ticket = self.ask(answer);
                self.hub.subscribe(ticket, session, &user, &channels);
            }
            Letter::Unsubscribe { session, user, channels, answer } => {
                let ticket = self.ask(answer);
                self.hub.unsubscribe(ticket, session, &user, &channels);
            }
            Letter::Ack { session, user, cursor, answer } => {
                let ticket = self.ask(answer);
                self.hub.ack(ticket, session, &user, &cursor);
            }
            Letter::GiveUp { session, user, answer } => {
                let ticket = self.ask(answer);
                self.hub.give_up(ticket, session, &user, self.now);
            }
            Letter::Settle(answer) => self.wish(Wish::Settle(answer)),
            Letter::Claimed { place, admission, claim } => self.claimed(place, *admission, claim),
            Letter::Followers { channels, answer } => {
                reply(answer, channels.iter().map(|channel| self.hub.followers(channel)).collect())
            }
            Letter::SessionsOf { users, answer } => {
                reply(answer, users.iter().map(|user| self.hub.sessions_of(user)).collect())
            }
            Letter::Online { answer } => {
                reply(answer, self.hub.online().map(|(user, count)| (user.clone(), count)).collect())
            }
            Letter::Sessions { user, answer } => reply(answer, self.hub.sessions(user.as_ref())),
            Letter::Channel { channel, answer } => reply(answer, self.hub.channel(&channel)),
            Letter::Counts { answer } => reply(answer, self.counts()),
            Letter::Answered { place, answer } => self.answered(place, &answer),
            Letter::Go(place) => self.go_on(place),
            Letter::Drained(id) => {
                if let Some(key) = self.lent.get(&id).copied() {
                    self.writable(key);
                }
            }
            Letter::Heard(id) => {
                if let Some(key) = self.lent.get(&id).copied() {
                    self.readable(key, Until::Empty);
                }
            }
            Letter::Gone(id) => {
                if let Some(key) = self.lent.get(&id).copied() {
                    self.free(key);
                }
            }
            Letter::Drain { elsewhere } => self.drain(elsewhere),
            Letter::Stop => self.stops = true,
        }
        self.carry_out();
    }

    /// Lets nobody in any more, and those go who are between two requests. Those who are served are closed by
    /// a letter of its own.
    pub(super) fn drain(&mut self, elsewhere: bool) {
        let _ = self.parts.poll.registry().deregister(&mut self.parts.door);
        // While the door is open the kernel lets people in whom nobody will ever serve. Refused at once, they
        // go to another node, or try again.
        let _ = SockRef::from(&self.parts.door).shutdown(Shutdown::Both);
        self.drains = true;
        self.spread = Spread::over(self.hub.connection_count(), self.parts.spread_ms, elsewhere);
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if let Some(service) = slot.state.service() {
                // The connection ends with the answer, which says so.
                service.held.keep_alive = false;
            } else if matches!(slot.state, State::Head) {
                self.free(key);
            }
        }
    }

    pub(super) fn ask(&mut self, answer: oneshot::Sender<Reply>) -> u64 {
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket, answer);
        self.next_ticket
    }

    pub(super) fn counts(&self) -> Counts {
        let (users, sessions) = (self.hub.online().count(), self.hub.session_count());
        let (slow, unsent_bytes) = self.laggards.counts();
        let (held, sockets, channels) =
            (self.hub.connection_count(), self.slots.len(), self.hub.channel_count());
        Counts { users, sessions, held, sockets, channels, slow, unsent_bytes }
    }
}

fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // Whoever asked may have gone.
    let _ = answer.send(value);
}
