//! The publishers: requests over kept connections, in order on each of them; over one for each request where
//! the server keeps none.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use hdrhistogram::Histogram;

use crate::{
    http::{Piece, ResponseReader},
    net::{ConnId, Net, Role},
    peers::Peer,
};

#[derive(Debug)]
struct Publisher {
    conn: Option<ConnId>,
    /// Where it publishes.
    at: Option<SocketAddr>,
    /// Whether the server keeps the connection behind an answer; none as long as it has not answered there.
    keeps: Option<bool>,
    http: ResponseReader,
    /// Requests that wait for their turn, with the moment each was due.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// When each of the requests under way was due.
    flying: VecDeque<u64>,
}

/// All publishers.
#[derive(Debug)]
pub struct Publishers {
    all: Vec<Publisher>,
    /// The most requests under way on one connection.
    pipeline: usize,
    /// How long each request took from when it was due to its answer, in microseconds.
    pub answered: Histogram<u64>,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
}

impl Publishers {
    /// So many publishers, each of whom connects with its first request: servers do not keep a connection
    /// long that says nothing.
    #[must_use]
    pub fn new(count: usize, pipeline: usize) -> Self {
        let fresh = || Publisher {
            conn: None,
            at: None,
            keeps: None,
            http: ResponseReader::default(),
            queue: VecDeque::new(),
            flying: VecDeque::new(),
        };
        let all = std::iter::repeat_with(fresh).take(count).collect();
        // Three digits are a form that the library has.
        let answered =
            Histogram::new_with_bounds(1, 600_000_000, 3).unwrap_or_else(|error| unreachable!("{error}"));
        Self { all, pipeline: pipeline.max(1), answered, errors: BTreeMap::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How many requests are not answered.
    #[must_use]
    pub fn open(&self) -> usize {
        self.all.iter().map(|one| one.queue.len() + one.flying.len()).sum()
    }

    /// Sends a request, or lets it wait for its turn.
    pub fn submit(&mut self, net: &mut Net, peer: &dyn Peer, index: usize, due_us: u64, request: Vec<u8>) {
        let one = &mut self.all[index];
        one.queue.push_back((due_us, request));
        one.at = Some(peer.publish_at(index));
        self.send(net, index);
    }

    fn connect(&mut self, net: &mut Net, index: usize) {
        let one = &mut self.all[index];
        let Some(at) = one.at.filter(|_| one.conn.is_none() && !one.queue.is_empty()) else { return };
        (one.http, one.keeps) = (ResponseReader::default(), None);
        match net.connect(at, None, Role::Publisher(index)) {
            Ok(conn) => one.conn = Some(conn),
            Err(error) => *self.errors.entry(format!("connecting to publish: {error}")).or_default() += 1,
        }
    }

    fn send(&mut self, net: &mut Net, index: usize) {
        self.connect(net, index);
        let one = &mut self.all[index];
        let Some(conn) = one.conn else { return };
        // What follows a request is lost where the server keeps no connection.
        let most = if one.keeps == Some(true) { self.pipeline } else { 1 };
        let room = most.saturating_sub(one.flying.len()).min(one.queue.len());
        let mut bytes = Vec::new();
        for (due_us, request) in one.queue.drain(..room) {
            one.flying.push_back(due_us);
            if bytes.is_empty() { bytes = request } else { bytes.extend_from_slice(&request) }
        }
        if !bytes.is_empty()
            && let Err(error) = net.send(conn, &bytes)
        {
            self.broken(net, index, &error.to_string());
        }
    }

    /// Takes in answers.
    pub fn take(&mut self, net: &mut Net, index: usize, bytes: &[u8], now_us: u64) {
        let Publisher { conn, http, keeps, flying, .. } = &mut self.all[index];
        let mut faults = Vec::new();
        let mut sink = |piece: Piece<'_>| match piece {
            Piece::Head(head) => {
                *keeps = Some(!head.closes);
                if !(200..300).contains(&head.status) {
                    faults.push(format!("publishing was answered {}", head.status));
                }
            }
            Piece::Body(_) => {}
            Piece::End => {
                if let Some(due_us) = flying.pop_front() {
                    self.answered.saturating_record(now_us.saturating_sub(due_us));
                }
            }
        };
        if let Err(error) = http.feed(bytes, &mut sink) {
            faults.push(error.0.to_owned());
        }
        for fault in faults {
            *self.errors.entry(fault).or_default() += 1;
        }
        if *keeps == Some(false)
            && flying.is_empty()
            && let Some(conn) = conn.take()
        {
            net.close(conn);
        }
        self.send(net, index);
    }

    /// A connection is over, and not because this side ended it.
    pub fn broken(&mut self, net: &mut Net, index: usize, why: &str) {
        let one = &mut self.all[index];
        if let Some(conn) = one.conn.take() {
            net.close(conn);
        }
        let lost = one.queue.len() + one.flying.len();
        // A server may end a connection on which nothing has happened for a while; the next request makes a
        // new one.
        if lost == 0 {
            return;
        }
        one.queue.clear();
        one.flying.clear();
        *self
            .errors
            .entry(format!("a publisher's connection ended with {lost} requests open: {why}"))
            .or_default() += 1;
    }
}
