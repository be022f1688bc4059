//! A run: a peer, subscribers, publishers, and the books, driven by one loop.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    net::{Bytes, Net, Ready, Role},
    peers::{Peer, Place, Transport, Who},
    publishers::Publishers,
    subscribers::{Stage, Subscribers},
    tally::Tally,
};

/// The most connections that are made at the same time.
const CONNECTING_MAX: usize = 100;
/// How long all subscribers may take to be there, and messages to arrive after the last was sent.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Messages a second, each at its own moment.
    pub rate: f64,
    /// How many are due at the same moment; then `rate` counts bursts.
    pub burst: u32,
    /// Whether these are published in one request, where the server has one for that.
    pub together: bool,
    /// How long.
    pub time: Duration,
}

/// A run.
pub struct Run<'p> {
    /// The server.
    pub peer: &'p dyn Peer,
    /// All connections.
    pub net: Net,
    /// Who waits.
    pub subscribers: Subscribers,
    /// Who publishes.
    pub publishers: Publishers,
    /// What happened.
    pub tally: Tally,
    /// The size of each payload.
    pub size: usize,
    began: Instant,
    ready: Vec<Ready>,
}

impl<'p> Run<'p> {
    /// A run without subscribers.
    ///
    /// # Errors
    /// When the peer does not speak the transport, or the kernel gives no poll.
    pub fn new(
        peer: &'p dyn Peer,
        transport: Transport,
        size: usize,
        publishers: usize,
        pipeline: usize,
    ) -> io::Result<Self> {
        if !peer.speaks(transport) {
            let why = format!("{} does not speak {}", peer.name(), transport.name());
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if transport == Transport::Ws && peer.tls().is_some_and(|tls| tls.http2) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "WebSockets are not measured over HTTP/2",
            ));
        }
        let (net, publishers) = (Net::new(peer.tls().cloned())?, Publishers::new(publishers, pipeline));
        let subscribers = Subscribers::new(transport, size);
        let ready = Vec::new();
        Ok(Self {
            peer,
            net,
            subscribers,
            publishers,
            tally: Tally::new([]),
            size,
            began: Instant::now(),
            ready,
        })
    }

    /// The time, in microseconds since the run began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        us(self.began.elapsed())
    }

    /// Lets `places` subscribe, user by user, and waits until all of them do.
    ///
    /// # Errors
    /// When not all of them can.
    pub fn gather(&mut self, places: impl Iterator<Item = (Place, (u32, u32))>) -> io::Result<()> {
        let first = self.subscribers.all.len();
        let places: Vec<_> = places.collect();
        self.peer.prepare(&places.iter().map(|(place, _)| *place).collect::<Vec<_>>())?;
        for (place, lanes) in places {
            let user = u32::try_from(self.subscribers.all.len()).unwrap_or(u32::MAX);
            self.subscribers.add(Who { user, place }, lanes);
        }
        self.connect_all(first)
    }

    /// Connects all subscribers from `first` on that are not connected.
    ///
    /// # Errors
    /// When not all of them can.
    pub fn connect_all(&mut self, first: usize) -> io::Result<()> {
        let ends = Instant::now() + TIMEOUT;
        let mut next = first;
        let (all, before) = (self.subscribers.all.len(), self.errors());
        loop {
            let mut asking =
                self.subscribers.all[first..next].iter().filter(|one| one.stage == Stage::Asking).count();
            while next < all && asking < CONNECTING_MAX {
                if self.subscribers.all[next].stage == Stage::Gone {
                    self.subscribers.connect(&mut self.net, self.peer, next);
                    asking += 1;
                }
                next += 1;
            }
            if next == all && asking == 0 {
                break;
            }
            if Instant::now() > ends || self.errors() > before {
                return Err(io::Error::other(format!(
                    "{} of {all} subscribers wait: {:?}",
                    self.subscribers.waiting, self.subscribers.errors
                )));
            }
            self.turn(Instant::now() + Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// How many errors there were.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.subscribers.errors.values().chain(self.publishers.errors.values()).sum()
    }

    /// Serves all connections for a while.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn rest(&mut self, time: Duration) -> io::Result<()> {
        let ends = Instant::now() + time;
        while Instant::now() < ends {
            self.turn(ends)?;
        }
        Ok(())
    }

    /// Waits for what is ready, at most until the given moment, and serves it.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn turn(&mut self, until: Instant) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.net.wait(until, &mut ready);
        for event in ready.drain(..) {
            self.serve(event);
        }
        self.ready = ready;
        waited
    }

    fn serve(&mut self, event: Ready) {
        if event.writable
            && let Err(error) = self.net.flush(event.conn)
        {
            return self.broken(event, &error.to_string());
        }
        if !event.readable {
            return;
        }
        loop {
            let (count, more) = match self.net.read(event.conn) {
                Bytes::Some(count, more) => (count, more),
                Bytes::Nothing => return,
                Bytes::End => return self.broken(event, "by the server"),
                Bytes::Broken(error) => return self.broken(event, &error.to_string()),
            };
            let now_us = self.now_us();
            let buffer = std::mem::take(&mut self.net.buffer);
            match event.role {
                Role::Subscriber(index) => {
                    self.subscribers.take(
                        &mut self.net,
                        self.peer,
                        index,
                        &buffer[..count],
                        &mut self.tally,
                        now_us,
                    );
                }
                Role::Publisher(index) => {
                    self.publishers.take(&mut self.net, index, &buffer[..count], now_us)
                }
            }
            self.net.buffer = buffer;
            if !more {
                return;
            }
        }
    }

    fn broken(&mut self, event: Ready, why: &str) {
        match event.role {
            Role::Subscriber(index) => self.subscribers.broken(&mut self.net, index, why),
            Role::Publisher(index) => self.publishers.broken(&mut self.net, index, why),
        }
    }

    /// Publishes by an open loop: each message at its moment, whether or not those before have arrived.
    /// `target` says for the n-th message its lane, where it goes, and the publisher.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn publish(
        &mut self,
        load: Load,
        mut target: impl FnMut(u64) -> (u32, Place, usize),
    ) -> io::Result<()> {
        let (begins, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / load.rate));
        let begins_us = us(begins - self.began);
        let total = (load.time.as_secs_f64() * load.rate).round() as u64;
        let mut number = 0;
        for moment in 0..total {
            let after = gap.mul_f64(moment as f64);
            while Instant::now() < begins + after {
                self.turn(begins + after)?;
            }
            let due_us = begins_us + us(after);
            let mut messages = Vec::with_capacity(load.burst.max(1) as usize);
            for _ in 0..load.burst.max(1) {
                let (lane, place, publisher) = target(number);
                number += 1;
                messages.push((place, self.tally.send(lane, due_us).payload(self.size)));
                // What is published in one request goes by the publisher of the last.
                if !load.together || messages.len() == load.burst.max(1) as usize {
                    self.submit(publisher, due_us, &mut messages);
                }
            }
            // A publisher that is late for the next moment still looks at what has come.
            if Instant::now() >= begins + gap.mul_f64(moment as f64 + 1.0) {
                self.turn(Instant::now())?;
            }
        }
        while Instant::now() < begins + load.time {
            self.turn(begins + load.time)?;
        }
        Ok(())
    }

    /// Publishes: in one request, when there are several and the server has one for that.
    fn submit(&mut self, publisher: usize, due_us: u64, messages: &mut Vec<(Place, String)>) {
        let mut request = Vec::with_capacity(512);
        if messages.len() > 1 && self.peer.publish_together(&mut request, messages) {
            messages.clear();
            return self.publishers.submit(&mut self.net, self.peer, publisher, due_us, request);
        }
        for (place, payload) in messages.drain(..) {
            let mut request = Vec::with_capacity(512);
            self.peer.publish(&mut request, place, &payload);
            self.publishers.submit(&mut self.net, self.peer, publisher, due_us, request);
        }
    }

    /// Waits until everything that was sent has arrived, or nothing more comes.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn drain(&mut self) -> io::Result<()> {
        let (mut ends, mut delivered) = (Instant::now() + TIMEOUT, self.tally.delivered);
        while (delivered < self.tally.expected() || self.publishers.open() > 0) && Instant::now() < ends {
            self.turn(Instant::now() + Duration::from_millis(100))?;
            // Late is not lost: as long as anything comes, the rest may.
            if self.tally.delivered > delivered {
                (ends, delivered) = (Instant::now() + TIMEOUT, self.tally.delivered);
            }
        }
        // A message too many would come now.
        self.rest(Duration::from_millis(200))
    }

    /// Begins to measure: what was published before counts for nothing but its faults.
    pub fn measure_from_now(&mut self) {
        self.tally.measured_from_us = self.now_us();
        self.tally.each.reset();
        self.tally.last.reset();
        self.publishers.answered.reset();
    }

    /// What is wrong with the run, if anything.
    #[must_use]
    pub fn verdict(&self) -> Option<String> {
        let faults = self.tally.faults();
        let errors: Vec<String> = self
            .subscribers
            .errors
            .iter()
            .chain(&self.publishers.errors)
            .map(|(what, n)| format!("{n} x {what}"))
            .collect();
        (!faults.none() || !errors.is_empty()).then(|| {
            format!("{faults}; {}", if errors.is_empty() { "no errors".into() } else { errors.join(", ") })
        })
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
