//! Connections over the HTTP transports: each is known by what its client has made up, and outlives the
//! requests by which it receives. What is said to one goes through a log of its own, so that it comes in
//! order and wakes the request that waits.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_proto::{ChannelName, Message, SessionId};

use super::connection::Connection;

/// How long one is kept without a request by which it receives, in milliseconds.
const KEPT_MS: u64 = 10_000;
/// The most of them.
const SESSIONS_MAX: usize = 65_536;
/// The most of one address.
const ADDRESS_SESSIONS_MAX: usize = SESSIONS_MAX / 8;

/// A connection over the HTTP transports.
#[derive(Debug)]
pub(super) struct FallbackSession {
    /// What its client calls it.
    pub(super) name: String,
    pub(super) connection: Connection,
    /// The session that brings it messages.
    pub(super) id: SessionId,
    /// The log through which it is told what is for it alone.
    pub(super) frames: ChannelName,
    /// Held while something is done for its client, who asks in several requests at a time.
    asking: tokio::sync::Mutex<()>,
    receiving: Mutex<Receiving>,
}

/// How its client receives.
#[derive(Debug)]
struct Receiving {
    /// How many requests wait; there may be two for a moment.
    requests: usize,
    /// Since when none does, in milliseconds of the clock that never goes back.
    idle_since_ms: u64,
    /// Whether it was told that the connection is open.
    is_open: bool,
    /// Whether it was told the id of its socket.
    is_greeted: bool,
    /// Whether its session was ended.
    is_ended: bool,
    /// How many requests there were.
    number: u32,
    /// Whether what it follows stands back behind an answer.
    held: Held,
}

/// What comes in a channel must not come before its client is told that it is subscribed.
#[derive(Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    No,
    /// Something that it asked is not answered yet.
    Asked,
    /// It is, by this frame, which is under way.
    Behind(Box<str>),
}

/// While something is done that a client asked. What stands back goes on when this is dropped, unless it is
/// answered.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    session: &'a FallbackSession,
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

impl Asking<'_> {
    /// From now on what its client follows stands back, if it is to.
    pub(super) fn holds(&self, is_to: bool) {
        if is_to {
            self.session.receiving().held = Held::Asked;
        }
    }

    /// Until its client is sent this frame, if it is to be.
    pub(super) fn holds_behind(&self, frame: Option<&String>) {
        if let Some(frame) = frame {
            self.session.receiving().held = Held::Behind(frame.as_str().into());
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut receiving = self.session.receiving();
        if receiving.held == Held::Asked {
            receiving.held = Held::No;
        }
    }
}

impl FallbackSession {
    pub(super) fn new(
        name: &str,
        connection: Connection,
        id: SessionId,
        frames: ChannelName,
        now_ms: u64,
    ) -> Self {
        let receiving = Receiving {
            requests: 0,
            idle_since_ms: now_ms,
            is_open: false,
            is_greeted: false,
            is_ended: false,
            number: 0,
            held: Held::No,
        };
        Self {
            name: name.to_owned(),
            connection,
            id,
            frames,
            asking: tokio::sync::Mutex::default(),
            receiving: Mutex::new(receiving),
        }
    }

    fn receiving(&self) -> MutexGuard<'_, Receiving> {
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing else is done for its client.
    pub(super) async fn ask(&self) -> Asking<'_> {
        Asking { session: self, _alone: self.asking.lock().await }
    }

    /// Whether what its client follows stands back, but for frames that are for it alone.
    pub(super) fn holds_back(&self) -> bool {
        self.receiving().held != Held::No
    }

    /// Nothing stands back any more.
    pub(super) fn goes_on(&self) {
        self.receiving().held = Held::No;
    }

    /// A frame for its client alone is written.
    pub(super) fn wrote_frame(&self, text: &str) {
        let mut receiving = self.receiving();
        if matches!(&receiving.held, Held::Behind(frame) if **frame == *text) {
            receiving.held = Held::No;
        }
    }

    /// Whether its client is to be told now that the connection is open; it is from then on.
    pub(super) fn opens(&self) -> bool {
        !std::mem::replace(&mut self.receiving().is_open, true)
    }

    /// Whether its client is to be told now the id of its socket; it is from then on.
    pub(super) fn greets(&self) -> bool {
        !std::mem::replace(&mut self.receiving().is_greeted, true)
    }

    /// Its session was ended: its client is served no more, and does not come back to go on if it is done.
    pub(super) fn end(&self, is_done: bool) {
        self.receiving().is_ended = true;
        self.connection.ends(is_done);
    }

    /// Takes note of a message that was written, or passed over. Whether its client has it, its next request
    /// says; of a stream, which goes on, that is not waited for.
    pub(super) fn wrote(&self, message: &Message, is_stream: bool) {
        let Some(tracked) = self.connection.tracked() else { return };
        let number = self.receiving().number;
        tracked.followed().sent(&message.channel, message.position, number);
        if is_stream {
            self.connection.acknowledged(number);
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        let receiving = self.receiving();
        let is_idle = now_ms.saturating_sub(receiving.idle_since_ms) >= KEPT_MS;
        receiving.requests == 0 && (receiving.is_ended || is_idle)
    }
}

/// A request by which a client receives.
#[derive(Debug)]
pub(super) struct Receiver(pub(super) Arc<FallbackSession>);

impl Receiver {
    pub(super) fn new(session: Arc<FallbackSession>) -> Self {
        let mut receiving = session.receiving();
        receiving.requests += 1;
        // What was answered before has come, or its client would have begun anew.
        let before = receiving.number;
        receiving.number = before.wrapping_add(1);
        drop(receiving);
        session.connection.acknowledged(before);
        Self(session)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let now_ms = self.0.connection.app.now().mono_ms;
        let mut receiving = self.0.receiving();
        receiving.requests = receiving.requests.saturating_sub(1);
        receiving.idle_since_ms = now_ms;
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct FallbackSessions(Mutex<Places>);

/// Each takes a place until it is taken out.
#[derive(Debug, Default)]
struct Places {
    by_name: HashMap<String, Place>,
    /// Those whose names others have now, which are to be taken out.
    replaced: Vec<Place>,
    /// How many there are of an address.
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Place {
    session: Arc<FallbackSession>,
    /// By which address it is counted, if by any.
    address: Option<IpAddr>,
}

impl FallbackSessions {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<FallbackSession>> {
        let places = self.lock();
        let session = places.by_name.get(name).map(|place| &place.session);
        session.filter(|session| !session.receiving().is_ended).cloned()
    }

    /// Takes one in, which counts by this address if by any; none if there are as many as there may be. One
    /// that had the name is taken out with those that are over.
    pub(super) fn insert(
        &self,
        session: FallbackSession,
        address: Option<IpAddr>,
    ) -> Option<Arc<FallbackSession>> {
        let mut places = self.lock();
        let of_address = address.and_then(|address| places.by_address.get(&address).copied());
        let count = places.by_name.len() + places.replaced.len();
        if count >= SESSIONS_MAX || of_address.is_some_and(|count| count >= ADDRESS_SESSIONS_MAX) {
            return None;
        }
        if let Some(address) = address {
            *places.by_address.entry(address).or_default() += 1;
        }
        let session = Arc::new(session);
        let place = Place { session: Arc::clone(&session), address };
        if let Some(replaced) = places.by_name.insert(session.name.clone(), place) {
            places.replaced.push(replaced);
        }
        Some(session)
    }

    /// Takes those out whose clients do not come back, or have begun anew.
    pub(super) fn take_over(&self, now_ms: u64) -> Vec<Arc<FallbackSession>> {
        let mut places = self.lock();
        let mut over = std::mem::take(&mut places.replaced);
        over.extend(
            places.by_name.extract_if(|_, place| place.session.is_over(now_ms)).map(|(_, place)| place),
        );
        for address in over.iter().filter_map(|place| place.address) {
            if let Entry::Occupied(mut count) = places.by_address.entry(address) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        over.into_iter().map(|place| place.session).collect()
    }

    /// Takes out all.
    pub(super) fn take_all(&self) -> Vec<Arc<FallbackSession>> {
        let places = std::mem::take(&mut *self.lock());
        places.replaced.into_iter().chain(places.by_name.into_values()).map(|place| place.session).collect()
    }
}
