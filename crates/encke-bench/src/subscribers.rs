//! The subscribers: all that wait for messages.

use std::{collections::BTreeMap, io, net::IpAddr};

use crate::{
    http::{Head, NotHttp, Piece, ResponseReader},
    http2,
    net::{ConnId, Net, Role},
    payload,
    peers::{Greeting, Peer, Place, Transport, Who},
    sse::SseReader,
    tally::Tally,
    websocket::{self, FrameReader, Incoming},
};

/// The most connections from one address: there are 28,000 ports, and those of closed connections rest for a
/// minute.
const PER_ADDRESS: usize = 20_000;
/// Where requests wait that are there to be held, and get nothing.
const BESIDE: Place = Place::Channel(u32::MAX);

/// How far a subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its request is not answered, or its first poll is under way.
    Asking,
    /// It waits for messages.
    Waiting,
    /// It has no connection.
    Gone,
}

/// One subscriber.
#[derive(Debug)]
pub struct Subscriber {
    /// Who it is.
    pub who: Who,
    /// The lanes it gets messages of: the first, and how many.
    pub lanes: (u32, u32),
    /// How far it is.
    pub stage: Stage,
    /// Where it goes on.
    pub resume: String,
    /// How often it has connected; with its own number that says to which node it connects next.
    turns: usize,
    conn: Option<ConnId>,
    http: Http,
    stream: Stream,
}

impl Subscriber {
    /// What it says on its WebSocket, as long as it does not wait yet.
    fn greeting(&self, peer: &dyn Peer, transport: Transport) -> Option<Greeting> {
        let is_asking = transport == Transport::Ws && self.stage == Stage::Asking;
        is_asking.then(|| peer.greeting(self.who)).flatten()
    }
}

/// By which version requests are made.
#[derive(Debug)]
enum Http {
    One(ResponseReader),
    Two(Box<http2::Connection>),
}

impl Http {
    fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), NotHttp> {
        match self {
            Self::One(reader) => reader.feed(bytes, sink),
            Self::Two(connection) => connection.feed(bytes, sink),
        }
    }

    /// Adds what the server is to be sent for what has come.
    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        if let Self::Two(connection) = self {
            out.append(&mut connection.out);
        }
    }
}

/// What is read within the response.
#[derive(Debug)]
enum Stream {
    Poll(Box<crate::http::Head>, Vec<u8>),
    Sse(SseReader),
    Ws(FrameReader),
}

/// All subscribers.
#[derive(Debug)]
pub struct Subscribers {
    /// How messages come to them.
    pub transport: Transport,
    /// Each of them.
    pub all: Vec<Subscriber>,
    /// How many of them wait.
    pub waiting: usize,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    size: usize,
    /// From how many addresses they connect in turn; 1: from any.
    pub addresses: u8,
    /// Whether each poll is a connection of its own, to the next node: what a load balancer does that
    /// remembers no client.
    pub wander: bool,
    /// How many more requests wait on each connection over HTTP/2, in a channel that nothing is published to.
    pub beside: u32,
    connects: usize,
    out: Vec<u8>,
}

impl Subscribers {
    /// No subscribers yet. Payloads have `size` bytes.
    #[must_use]
    pub fn new(transport: Transport, size: usize) -> Self {
        Self {
            transport,
            all: Vec::new(),
            waiting: 0,
            errors: BTreeMap::new(),
            size,
            addresses: 1,
            wander: false,
            beside: 0,
            connects: 0,
            out: Vec::new(),
        }
    }

    /// Adds a subscriber, without a connection.
    pub fn add(&mut self, who: Who, lanes: (u32, u32)) -> usize {
        let (stream, http) = (fresh(self.transport), Http::One(ResponseReader::default()));
        let (stage, resume) = (Stage::Gone, String::new());
        self.all.push(Subscriber { who, lanes, stage, resume, turns: 0, conn: None, http, stream });
        self.all.len() - 1
    }

    /// Connects a subscriber.
    pub fn connect(&mut self, net: &mut Net, peer: &dyn Peer, index: usize) {
        self.connects += 1;
        let turn = match self.addresses {
            1 => self.connects / PER_ADDRESS,
            addresses => self.connects % usize::from(addresses) + 1,
        };
        let from = u8::try_from(turn)
            .ok()
            .filter(|turn| *turn > 0)
            .map(|turn| IpAddr::from([127, 0, 0, turn.saturating_add(1)]));
        let one = &mut self.all[index];
        let at = peer.wait_at(index + one.turns);
        one.turns += 1;
        match net.connect(at, from, Role::Subscriber(index)) {
            Ok(conn) => {
                (one.conn, one.stage) = (Some(conn), Stage::Asking);
                let http2 = peer.tls().is_some_and(|tls| tls.http2);
                one.http =
                    if http2 { Http::Two(Box::default()) } else { Http::One(ResponseReader::default()) };
                one.stream = fresh(self.transport);
                self.ask(net, peer, index);
            }
            Err(error) => self.note(format!("connecting: {error}")),
        }
    }

    /// Takes a subscriber's connection away.
    pub fn disconnect(&mut self, net: &mut Net, index: usize) {
        let one = &mut self.all[index];
        if let Some(conn) = one.conn.take() {
            net.close(conn);
        }
        if one.stage == Stage::Waiting {
            self.waiting -= 1;
        }
        one.stage = Stage::Gone;
    }

    /// Lets a subscriber read nothing more, with the connection open.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn deafen(&mut self, net: &mut Net, index: usize) -> io::Result<()> {
        self.all[index].conn.map_or(Ok(()), |conn| net.deafen(conn))
    }

    /// The connection is over, and not because this side ended it.
    pub fn broken(&mut self, net: &mut Net, index: usize, why: &str) {
        self.note(format!("a subscriber's connection ended: {why}"));
        self.disconnect(net, index);
    }

    fn ask(&mut self, net: &mut Net, peer: &dyn Peer, index: usize) {
        let one = &mut self.all[index];
        let Some(conn) = one.conn else { return };
        self.out.clear();
        peer.subscribe(&mut self.out, self.transport, one.who, &one.resume);
        // A poll that need not be answered at once waits from the moment it is sent.
        if self.transport == Transport::Poll
            && one.stage == Stage::Asking
            && !peer.answers_at_once(&one.resume)
        {
            one.stage = Stage::Waiting;
            self.waiting += 1;
        }
        if let Http::Two(connection) = &mut one.http {
            let text = std::mem::take(&mut self.out);
            let mut asked = connection.request(&mut self.out, &text);
            for _ in 0..self.beside {
                let mut text = Vec::new();
                let who = Who { place: BESIDE, ..one.who };
                peer.subscribe(&mut text, self.transport, who, "");
                asked = asked.and_then(|()| connection.request(&mut self.out, &text));
            }
            if let Err(error) = asked {
                return self.broken(net, index, error.0);
            }
        }
        if let Err(error) = net.send(conn, &self.out) {
            self.broken(net, index, &error.to_string());
        }
    }

    /// Takes in what a subscriber's connection brought.
    pub fn take(
        &mut self,
        net: &mut Net,
        peer: &dyn Peer,
        index: usize,
        bytes: &[u8],
        tally: &mut Tally,
        now_us: u64,
    ) {
        let (receiver, size) = (u32::try_from(index).unwrap_or(u32::MAX), self.size);
        let one = &mut self.all[index];
        let greeting = one.greeting(peer, self.transport);
        let Subscriber { http, stream, lanes, stage, resume, .. } = one;
        let (mut fault, mut asks_again, mut began, mut closes) = (None, false, false, false);
        let mut answers = Vec::new();
        let mut received = |bytes: &[u8]| {
            payload::find_all(bytes, size, |stamp| tally.receive(receiver, lanes.0, lanes.1, stamp, now_us));
        };
        let mut sink = |piece: Piece<'_>| match (piece, &mut *stream) {
            (Piece::Head(head), Stream::Poll(kept, body)) => {
                if head.status != 200 {
                    found(&mut fault, format!("a poll was answered {}", head.status));
                }
                closes = head.closes;
                **kept = head;
                body.clear();
            }
            (Piece::Head(Head { status: 200 | 101, .. }), _) => match &greeting {
                Some(greeting) => websocket::write_text(&mut answers, &greeting.says),
                None => began = true,
            },
            (Piece::Head(head), _) => found(&mut fault, format!("a stream was answered {}", head.status)),
            (Piece::Body(bytes), Stream::Poll(_, body)) => body.extend_from_slice(bytes),
            (Piece::Body(bytes), Stream::Sse(reader)) => reader.feed(bytes, &mut received),
            (Piece::Body(bytes), Stream::Ws(reader)) => {
                let mut each = |message: &[u8]| {
                    began |= greeting.as_ref().is_some_and(|greeting| greeting.is_answered_by(message));
                    received(message);
                };
                feed_websocket(reader, bytes, &mut each, &mut answers)
                    .unwrap_or_else(|what| found(&mut fault, what));
            }
            (Piece::End, Stream::Poll(head, body)) => {
                received(body);
                let resumed = peer.resume(head, body, resume);
                asks_again = resumed.map_err(|error| found(&mut fault, error)).is_ok();
                if body.capacity() > 4096 {
                    *body = Vec::new();
                }
            }
            (Piece::End, _) => found(&mut fault, "a stream ended".to_owned()),
        };
        if let Err(error) = http.feed(bytes, &mut sink) {
            found(&mut fault, error.0.to_owned());
        }
        if let Some(fault) = fault {
            self.note(fault);
            return self.disconnect(net, index);
        }
        if began && *stage == Stage::Asking {
            *stage = Stage::Waiting;
            self.waiting += 1;
        }
        one.http.acknowledge(&mut answers);
        answer(net, one.conn, &answers);
        if asks_again {
            self.ask_again(net, peer, index, closes);
        }
    }

    /// A poll was answered, on a connection that its server may close.
    fn ask_again(&mut self, net: &mut Net, peer: &dyn Peer, index: usize, closes: bool) {
        if self.wander {
            self.disconnect(net, index);
            self.connect(net, peer, index);
        } else if !closes {
            self.ask(net, peer, index);
        }
    }

    fn note(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }
}

fn answer(net: &mut Net, conn: Option<ConnId>, bytes: &[u8]) {
    if let (false, Some(conn)) = (bytes.is_empty(), conn) {
        // A broken connection is told by its next event.
        let _ = net.send(conn, bytes);
    }
}

/// Hands the messages in these bytes to `received`, and writes the pongs that they ask for.
fn feed_websocket(
    reader: &mut FrameReader,
    bytes: &[u8],
    received: &mut impl FnMut(&[u8]),
    pongs: &mut Vec<u8>,
) -> Result<(), String> {
    let mut closed = false;
    let mut incoming = |incoming: Incoming<'_>| match incoming {
        Incoming::Message(bytes) => received(bytes),
        Incoming::Ping(body) => websocket::write_pong(pongs, body),
        Incoming::Close => closed = true,
    };
    reader.feed(bytes, &mut incoming).map_err(|error| error.0.to_owned())?;
    if closed { Err("a WebSocket was closed".to_owned()) } else { Ok(()) }
}

/// Keeps the first fault: those that follow come from it.
fn found(fault: &mut Option<String>, what: String) {
    fault.get_or_insert(what);
}

fn fresh(transport: Transport) -> Stream {
    match transport {
        Transport::Poll => Stream::Poll(Box::default(), Vec::new()),
        Transport::Sse => Stream::Sse(SseReader::default()),
        Transport::Ws => Stream::Ws(FrameReader::default()),
    }
}
