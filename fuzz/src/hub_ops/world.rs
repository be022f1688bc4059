//! A hub with its driver, its engine, its feed and its clients, and the history of what happened.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use encke_history::{History, Record, check};
use encke_hub::{
    Attach, CloseTarget, ConnKey, ControlReply, ControlRequest, Ending, Following, Hub, HubConfig, Key, Now,
    Opening, Output, Pulled, ReadKey, Start,
};
use encke_proto::{
    ChannelName, Close, CloseCode, Cursor, Entry, ErrorCode, MessageId, Offset, Page, Position, SessionId,
    Time, UserId,
};

use super::{client::Client, log::Logs};

/// How many clients there are, and of how many users.
const CLIENTS: usize = 4;
const USERS: usize = 2;
/// How many public channels there are.
const CHANNELS: usize = 3;
/// How long a session lives without a connection, in milliseconds.
const GRACE_MS: u64 = 5_000;
/// After so many rounds of answers, ticks and pulls all must be at rest.
const ROUNDS_MAX: usize = 2_000;

#[derive(Debug)]
enum Answer {
    Opened(Key, Option<Opening>),
    Read(ReadKey, Option<Page>),
}

/// What a control request was for.
#[derive(Debug)]
enum Asked {
    Subscribe(usize, SessionId, ChannelName),
    Unsubscribe(SessionId, ChannelName),
    Ack(Position),
    Close,
    Release,
}

/// See the module.
pub struct World {
    hub: Hub,
    logs: Logs,
    now: Now,
    clients: Vec<Client>,
    channels: Vec<ChannelName>,
    /// Connections that the hub serves, and whose they are.
    conns: BTreeMap<u64, usize>,
    questions: VecDeque<Output>,
    answers: VecDeque<Answer>,
    /// Announcements on their way, in order.
    feed: VecDeque<Arc<Entry>>,
    announced: Vec<Arc<Entry>>,
    tickets: BTreeMap<u64, Asked>,
    online: BTreeSet<UserId>,
    given: Option<Box<Following>>,
    history: History,
    number: u64,
}

fn one_of(number: u8, count: usize) -> usize {
    usize::from(number) % count
}

impl World {
    /// All clients are away.
    pub fn new(window_messages: usize, page_max: usize, wide: bool) -> Self {
        let now = Now { mono_ms: 1_000_000, wall: Time(1_700_000_000_000) };
        let config = HubConfig {
            grace_ms: GRACE_MS,
            max_sessions_per_user: CLIENTS,
            window_messages,
            window_bytes: 1 << 20,
            window_ms: 3_000,
            broadcast_members: if wide { 2 } else { 64 },
            ..HubConfig::default()
        };
        let user = |number: usize| UserId::new(&format!("user {}", number % USERS)).expect("a name");
        let mut history = History::default();
        (0..CLIENTS).for_each(|client| history.note(Record::Incarnation { client }));
        Self {
            hub: Hub::new(config, now),
            logs: Logs::new(100, page_max),
            now,
            clients: (0..CLIENTS).map(|at| Client::new(at, user(at))).collect(),
            channels: (0..CHANNELS)
                .map(|n| ChannelName::public(&format!("room {n}")).expect("a name"))
                .collect(),
            conns: BTreeMap::new(),
            questions: VecDeque::new(),
            answers: VecDeque::new(),
            feed: VecDeque::new(),
            announced: Vec::new(),
            tickets: BTreeMap::new(),
            online: BTreeSet::new(),
            given: None,
            history,
            number: 0,
        }
    }

    /// A client by any number.
    pub fn pick(&self, number: u8) -> usize {
        one_of(number, self.clients.len())
    }

    /// A public channel, or a user's own, by any number.
    fn channel(&self, number: u8) -> ChannelName {
        let at = one_of(number, CHANNELS + USERS);
        self.channels.get(at).cloned().unwrap_or_else(|| self.clients[at - CHANNELS].user.channel())
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn ticket(&mut self, asked: Asked) -> u64 {
        let ticket = self.next();
        self.tickets.insert(ticket, asked);
        ticket
    }

    pub fn attach(&mut self, at: usize, earliest: bool, moved: bool, token_s: Option<u8>) {
        let number = self.next();
        let mut fresh = SessionId::from_bits(u128::from(number));
        let mut carried = Following::default();
        if let (true, Some(session)) = (moved, self.clients[at].session) {
            // It comes from another node, which has given its session up: here, the same one.
            let (ticket, user) = (self.ticket(Asked::Release), self.clients[at].user.clone());
            self.hub.control(ticket, ControlRequest::Release { session: Some(session), user }, self.now);
            self.pump();
            if let Some(given) = self.given.take() {
                (fresh, carried) = (session, *given);
            }
        }
        let old = self.clients[at].conn.take();
        let client = &mut self.clients[at];
        client.disconnected();
        client.conn = Some(number);
        let start = match &client.cursor {
            Some(cursor) => {
                Start::Cursor(Cursor::parse(&cursor.to_string()).expect("a cursor comes back from its text"))
            }
            None if earliest => Start::Earliest,
            None => Start::Absent,
        };
        let channels = client.unnamed();
        if client.session.is_none() {
            channels.iter().for_each(|channel| {
                self.history.note(Record::Released { client: at, channel: channel.clone() })
            });
        }
        let mut asked: Vec<ChannelName> = channels.iter().chain(&carried.channels).cloned().collect();
        asked.push(client.user.channel());
        asked.extend(carried.began.entries.iter().map(|(channel, _)| channel.clone()));
        asked.extend(
            client.cursor.iter().flat_map(|cursor| &cursor.entries).map(|(channel, _)| channel.clone()),
        );
        let attach = Attach {
            conn: ConnKey(number),
            session: client.session,
            fresh,
            user: client.user.clone(),
            transport: "sse",
            lasting: true,
            start,
            device: None,
            channels,
            carried,
            granted: encke_proto::Grant::all(),
            token: None,
            token_ends: token_s.map_or(Time(0), |seconds| self.now.wall.plus_seconds(u64::from(seconds) + 1)),
        };
        self.conns.insert(number, at);
        self.hub.attach(attach, self.now);
        if let Some(session) = self.hub.session_of(ConnKey(number)) {
            asked.into_iter().for_each(|channel| self.history.note(Record::Asked { session, channel }));
        }
        self.pump();
        if let Some(old) = old.filter(|old| self.conns.contains_key(old)) {
            // Another session serves the older connection; its client has left that one.
            self.gone(old);
        }
    }

    fn gone(&mut self, conn: u64) {
        self.conns.remove(&conn);
        self.hub.detach(ConnKey(conn), self.now);
        self.pump();
    }

    pub fn detach(&mut self, at: usize) {
        if let Some(conn) = self.clients[at].conn {
            self.clients[at].disconnected();
            self.gone(conn);
        }
    }

    pub fn pull(&mut self, at: usize, most: usize, lost: bool) {
        let Some(conn) = self.clients[at].conn.filter(|_| self.clients[at].begun) else { return };
        let key = ConnKey(conn);
        let session = self.hub.session_of(key).expect("a connection that has begun has a session");
        let mut items = Vec::new();
        while self.clients[at].ready && items.len() < most {
            match self.hub.pull(key, self.now) {
                Pulled::Nothing => self.clients[at].ready = false,
                item => items.push(item),
            }
        }
        for item in &items {
            let channel = match item {
                Pulled::Message(entry) => entry.message().channel.clone(),
                Pulled::Gap(gap) => gap.channel.clone(),
                Pulled::Unsubscribed(_) | Pulled::Expiring(_) | Pulled::Nothing => continue,
            };
            self.history.note(Record::Sent { session, channel });
        }
        let cursor = self.cursor_of(key);
        if let Some(receipt) = self.hub.owed(key) {
            self.hub.handed(receipt, self.now);
        }
        if lost {
            self.detach(at);
            return;
        }
        let (client, time) = (&mut self.clients[at], self.now.wall);
        items.into_iter().for_each(|item| client.take(item, time, &mut self.history));
        client.take_cursor(&cursor, time, &mut self.history);
    }

    fn cursor_of(&mut self, key: ConnKey) -> String {
        let mut text = String::new();
        self.hub.write_cursor(key, &mut text);
        let read = Cursor::parse(&text).expect("the hub writes cursors");
        assert_eq!(read.entries, self.hub.cursor(key).entries, "both forms of a cursor say the same");
        text
    }

    pub fn subscribe(&mut self, at: usize, channel: u8) {
        let channel = self.channels[one_of(channel, CHANNELS)].clone();
        let Some(session) = self.clients[at].session else { return };
        if !self.clients[at].wants.insert(channel.clone()) {
            return;
        }
        let user = self.clients[at].user.clone();
        let ticket = self.ticket(Asked::Subscribe(at, session, channel.clone()));
        let channels = vec![channel.clone()];
        self.hub.control(
            ticket,
            ControlRequest::Subscribe { session, user, channels, from: Cursor::default() },
            self.now,
        );
        self.history.note(Record::Asked { session, channel });
    }

    pub fn unsubscribe(&mut self, at: usize, channel: u8) {
        let channel = self.channels[one_of(channel, CHANNELS)].clone();
        let client = &mut self.clients[at];
        let Some(session) = client.session else { return };
        if !client.wants.remove(&channel) {
            return;
        }
        if let Some(cursor) = &mut client.cursor {
            cursor.entries.retain(|(other, _)| *other != channel);
        }
        let user = client.user.clone();
        self.history.note(Record::Released { client: at, channel: channel.clone() });
        let ticket = self.ticket(Asked::Unsubscribe(session, channel.clone()));
        let channels = vec![channel];
        self.hub.control(ticket, ControlRequest::Unsubscribe { session, user, channels }, self.now);
    }

    pub fn ack(&mut self, at: usize) {
        let client = &self.clients[at];
        let (Some(session), Some(cursor), user) =
            (client.session, client.cursor.clone(), client.user.clone())
        else {
            return;
        };
        let own = user.channel();
        let head = self.logs.head(&own);
        let ticket = self.ticket(Asked::Ack(head));
        self.hub.control(ticket, ControlRequest::Ack { session, user, cursor }, self.now);
    }

    pub fn close(&mut self, at: usize) {
        let Some(session) = self.clients[at].session else { return };
        let target = CloseTarget::SessionOf(session, self.clients[at].user.clone());
        let close =
            Close { code: CloseCode::Client, reason: String::new(), reconnect: false, retry_ms: None };
        let ticket = self.ticket(Asked::Close);
        self.hub.control(ticket, ControlRequest::Close { target, close }, self.now);
        self.pump();
        assert!(!self.hub.has_session(session, &self.clients[at].user), "a session that was closed is there");
        self.start_over(at);
    }

    pub fn end(&mut self, at: usize) {
        let Some(conn) = self.clients[at].conn else { return };
        let close = Close { code: CloseCode::Slow, reason: String::new(), reconnect: true, retry_ms: None };
        self.hub.end(ConnKey(conn), &close, self.now);
    }

    pub fn start_over(&mut self, at: usize) {
        self.detach(at);
        self.clients[at].forget(&mut self.history);
    }

    pub fn publish(&mut self, channel: u8, expires_s: Option<u8>, announced: bool) {
        let (channel, number) = (self.channel(channel), self.next());
        let id = MessageId::from_bits(u128::from(number));
        let expires = expires_s.map(|seconds| self.now.wall.plus_seconds(u64::from(seconds)));
        self.history.note(Record::Invoked(id.clone()));
        let entry = self.logs.append_as(&channel, id.clone(), self.now.wall, expires);
        let position = entry.message().position;
        self.history.note(Record::Appended { channel, position, id, expires });
        self.feed.push_back(entry);
        if announced {
            while !self.feed.is_empty() {
                self.announce(false);
            }
        }
    }

    pub fn announce(&mut self, lost: bool) {
        let Some(entry) = self.feed.pop_front() else { return };
        if !lost {
            self.hub.appended(&entry, self.now);
            self.announced.push(entry);
            self.pump();
        }
    }

    pub fn repeat(&mut self, entry: u8) {
        if !self.announced.is_empty() {
            let entry = Arc::clone(&self.announced[one_of(entry, self.announced.len())]);
            self.hub.appended(&entry, self.now);
        }
    }

    pub fn execute(&mut self, question: u8, fails: bool) {
        if self.questions.is_empty() {
            return;
        }
        let answer = match self.questions.remove(one_of(question, self.questions.len())) {
            Some(Output::Open { key, channel }) => {
                Answer::Opened(key, (!fails).then(|| self.logs.open(&channel)))
            }
            Some(Output::Read { key, channel, after }) => {
                Answer::Read(key, (!fails).then(|| self.logs.read(&channel, after)))
            }
            _ => return,
        };
        self.answers.push_back(answer);
    }

    pub fn arrive(&mut self, answer: u8) {
        if self.answers.is_empty() {
            return;
        }
        match self.answers.remove(one_of(answer, self.answers.len())) {
            Some(Answer::Opened(key, opening)) => self.hub.opened(key, opening, self.now),
            Some(Answer::Read(key, page)) => self.hub.read(key, page, self.now),
            None => {}
        }
        self.pump();
    }

    pub fn wait_ms(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            let step = (end - self.now.mono_ms).min(250);
            self.now.mono_ms += step;
            self.now.wall.0 += step;
            self.hub.tick(self.now);
            self.pump();
        }
    }

    pub fn stale(&mut self) {
        self.hub.stale();
    }

    pub fn behind(&mut self, channel: u8) {
        let channel = self.channel(channel);
        self.hub.behind(&channel);
    }

    pub fn trim(&mut self, channel: u8, keep: u8) {
        let channel = self.channel(channel);
        let kept = self.logs.trim(&channel, usize::from(keep)) as Offset;
        let head = self.logs.head(&channel);
        self.history.note(Record::Trimmed { channel, upto: Position { offset: head.offset - kept, ..head } });
    }

    pub fn lose(&mut self) {
        let epoch = self.logs.epoch.0 + 1;
        self.logs.forget(epoch);
        self.history.note(Record::Forgot);
        self.hub.stale();
    }

    /// Carries out what the hub says, and looks at its bookkeeping.
    pub fn pump(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Begun { conn, session } => self.begun(conn.0, session),
                Output::Ready { conn, .. } => {
                    let at = self.conns.get(&conn.0).copied();
                    let at = at.expect("a connection that is not served is not told to pull");
                    if self.clients[at].conn == Some(conn.0) {
                        self.clients[at].ready = true;
                    }
                }
                Output::Ended { conn, ending } => self.ended(conn.0, &ending),
                Output::Open { .. } | Output::Read { .. } => self.questions.push_back(output),
                Output::Handed { user, position } => self.logs.hand(&user.channel(), position),
                Output::Online(user) => self.presence(user, true),
                Output::Offline(user) => self.presence(user, false),
                Output::Replied { ticket, reply } => self.replied(ticket, reply),
                Output::Present(_)
                | Output::Absent(_)
                | Output::Watch(_)
                | Output::Unwatch(_)
                | Output::Closed { .. }
                | Output::Shown { .. }
                | Output::Reached(_)
                | Output::Traced(_) => {}
            }
        }
        if let Err(what) = self.hub.check() {
            panic!("the hub's bookkeeping: {what}");
        }
    }

    fn presence(&mut self, user: UserId, online: bool) {
        let changed = if online { self.online.insert(user.clone()) } else { self.online.remove(&user) };
        assert!(changed, "{user} is told twice to be online: {online}");
        self.history.note(Record::Presence { node: 0, user, online });
    }

    fn begun(&mut self, conn: u64, session: SessionId) {
        let at = *self.conns.get(&conn).expect("a connection that is not served does not begin");
        if self.clients[at].conn == Some(conn) {
            let cursor = self.cursor_of(ConnKey(conn));
            let client = &mut self.clients[at];
            client.begun = true;
            client.told_session(session, &mut self.history);
            client.take_cursor(&cursor, self.now.wall, &mut self.history);
        }
    }

    fn ended(&mut self, conn: u64, ending: &Ending) {
        let at = self.conns.remove(&conn).expect("a connection ends once");
        if self.clients[at].conn != Some(conn) {
            return;
        }
        self.clients[at].disconnected();
        match ending {
            Ending::Closed(notice) if notice.close.reconnect => {}
            Ending::Closed(_) | Ending::Refused(ErrorCode::SessionClosed) => {
                self.clients[at].forget(&mut self.history)
            }
            Ending::TakenOver | Ending::Refused(ErrorCode::EngineUnavailable) => {}
            Ending::Refused(code) => panic!("client {at} is refused as {code}"),
        }
    }

    fn replied(&mut self, ticket: u64, reply: ControlReply) {
        let asked = self.tickets.remove(&ticket).expect("a request is answered once");
        let refused = match &reply {
            ControlReply::Refused(ErrorCode::SessionUnknown | ErrorCode::SessionClosed) => true,
            ControlReply::Refused(code) => panic!("{asked:?} is refused as {code}"),
            _ => false,
        };
        match (asked, reply) {
            (Asked::Subscribe(at, session, channel), ControlReply::Following(_)) => {
                let client = &self.clients[at];
                if client.session == Some(session) && client.wants.contains(&channel) {
                    let position = self.logs.head(&channel);
                    self.history.note(Record::Promised { client: at, channel, position });
                }
            }
            (Asked::Unsubscribe(session, channel), ControlReply::Following(_)) => {
                self.history.note(Record::Unasked { session, channel })
            }
            (Asked::Ack(head), ControlReply::Shown(shown)) => {
                let shown = shown.filter(|shown| shown.epoch == head.epoch);
                assert!(
                    shown.is_none_or(|shown| shown.offset <= head.offset),
                    "{shown:?} was shown, and the log ends at {head:?}"
                );
            }
            (Asked::Release, ControlReply::Released(given)) => self.given = given,
            (Asked::Close, ControlReply::Closed(count)) => {
                assert!(count <= 1, "one session was to be closed")
            }
            (asked, reply) => assert!(refused, "{asked:?} is answered with {reply:?}"),
        }
    }

    /// Nothing fails any more: all clients come back and take all that there is, until all is at rest.
    pub fn heal(&mut self) {
        while !self.feed.is_empty() {
            self.announce(false);
        }
        self.hub.stale();
        self.pump();
        for _ in 0..ROUNDS_MAX {
            self.wait_ms(250);
            while !self.questions.is_empty() || !self.answers.is_empty() {
                self.execute(0, false);
                self.arrive(0);
            }
            for at in 0..self.clients.len() {
                if self.clients[at].conn.is_none() {
                    self.attach(at, false, false, None);
                }
                self.pull(at, 64, false);
                self.pump();
            }
            let rests = |client: &Client| client.conn.is_some() && client.begun && !client.ready;
            if self.questions.is_empty() && self.answers.is_empty() && self.clients.iter().all(rests) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// All clients should have everything now.
    pub fn judge(&mut self) {
        let own = self.clients.iter().take(USERS).map(|client| client.user.channel());
        let names: Vec<ChannelName> = self.channels.iter().cloned().chain(own).collect();
        let time = self.now.wall;
        for channel in names {
            let position = self.logs.head(&channel);
            self.history.note(Record::Head { channel, position, time });
        }
        (0..CLIENTS).for_each(|client| self.history.note(Record::Judged { client }));
    }

    /// All clients go, and nothing is left.
    pub fn leave(&mut self) {
        (0..CLIENTS).for_each(|at| self.detach(at));
        assert!(self.conns.is_empty(), "connections of no client: {:?}", self.conns);
        self.wait_ms(2 * GRACE_MS);
        for client in 0..USERS {
            let user = self.clients[client].user.clone();
            self.history.note(Record::Truth { node: 0, user, online: false });
        }
        assert_eq!(
            (self.hub.session_count(), self.hub.channel_count(), self.hub.connection_count()),
            (0, 0, 0)
        );
        assert!(self.tickets.is_empty(), "requests without an answer: {:?}", self.tickets);
    }

    /// Every promise was kept.
    pub fn verify(&self) {
        let found = check(&self.history);
        let Some(first) = found.first() else { return };
        for (at, record) in self.history.records.iter().enumerate().take(first.at + 1) {
            eprintln!("{at} {record:?}");
        }
        panic!("{} promises were broken, first {:?}: {}", found.len(), first.kind, first.what);
    }
}
