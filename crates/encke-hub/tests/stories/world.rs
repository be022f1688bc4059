//! A hub with its driver and its engine, small enough to tell a story with.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use encke_hub::{
    Attach, CloseTarget, ConnKey, ControlReply, ControlRequest, Ending, Following, Hub, HubConfig, Now,
    Output, Pulled, Receipt, Start,
};
use encke_proto::{ChannelName, Close, CloseCode, Cursor, Entry, ErrorCode, SessionId, Time, UserId};

use crate::support::{channel, log::Logs, session, user};

/// Whether the engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// At once.
    Answers,
    /// Not before it is told to.
    Waits,
    /// With a failure.
    Fails,
}

pub struct World {
    pub hub: Hub,
    pub logs: Logs,
    pub engine: Engine,
    pub now: Now,
    /// Who has a session of whatever kind, as far as was said.
    present: BTreeSet<UserId>,
    /// Who is online, as far as was said.
    online: BTreeSet<UserId>,
    /// Which sessions end with their connection, each with its user.
    fleeting: HashSet<(SessionId, UserId)>,
    said: Vec<Output>,
    asked: VecDeque<Output>,
    ids: u128,
    tickets: u64,
}

/// A user's connection without any wish.
pub fn attach(conn: u64, name: &str) -> Attach {
    Attach {
        conn: ConnKey(conn),
        session: None,
        fresh: session(1000 + u128::from(conn)),
        user: user(name),
        transport: "sse",
        lasting: true,
        start: Start::Absent,
        device: None,
        channels: Vec::new(),
        carried: Following::default(),
        token_ends: Time(0),
        token: None,
        granted: encke_proto::Grant::all(),
    }
}

/// The same, with these channels.
pub fn attach_to(conn: u64, name: &str, channels: &[&str]) -> Attach {
    Attach { channels: channels.iter().map(|name| channel(name)).collect(), ..attach(conn, name) }
}

/// What a client says that comes back with its session and its cursor.
pub fn back(conn: u64, name: &str, first: u64, cursor: &Cursor) -> Attach {
    Attach {
        session: Some(session(1000 + u128::from(first))),
        start: Start::Cursor(cursor.clone()),
        ..attach(conn, name)
    }
}

pub fn operator() -> Close {
    Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: None }
}

impl Default for World {
    fn default() -> Self {
        Self::new(HubConfig::default())
    }
}

impl World {
    pub fn new(config: HubConfig) -> Self {
        let now = Now { mono_ms: 1_000_000, wall: Time(1_700_000_000_000) };
        let hub = Hub::new(config, now);
        let (online, fleeting) = (BTreeSet::new(), HashSet::new());
        let (said, asked) = (Vec::new(), VecDeque::new());
        Self {
            hub,
            logs: Logs::new(7, 10),
            engine: Engine::Answers,
            now,
            online,
            present: BTreeSet::new(),
            fleeting,
            said,
            asked,
            ids: 0,
            tickets: 0,
        }
    }

    /// Carries out what the hub says, and keeps it for the story.
    pub fn settle(&mut self) {
        loop {
            self.hub.check().unwrap();
            let Some(output) = self.hub.poll_output() else {
                match self.asked.pop_front() {
                    Some(question) if self.engine != Engine::Waits => self.answer(&question),
                    Some(question) => {
                        self.asked.push_front(question);
                        return self.check_presence();
                    }
                    None => return self.check_presence(),
                }
                continue;
            };
            match &output {
                Output::Present(user) => {
                    assert!(self.present.insert(user.clone()), "{user} is present twice");
                    continue;
                }
                Output::Absent(user) => {
                    assert!(self.present.remove(user), "{user} is absent twice");
                    continue;
                }
                Output::Online(user) => {
                    assert!(self.online.insert(user.clone()), "{user} comes online twice")
                }
                Output::Offline(user) => assert!(self.online.remove(user), "{user} goes offline twice"),
                _ => {}
            }
            match &output {
                Output::Open { .. } | Output::Read { .. } => self.asked.push_back(output),
                Output::Handed { user, position } => {
                    self.logs.hand(&user.channel(), *position);
                    self.said.push(output);
                }
                _ => self.said.push(output),
            }
        }
    }

    /// The users who were said to be present are those that have a session, and those who were said to be
    /// online have one that lasts.
    fn check_presence(&self) {
        let present = self.hub.online().map(|(user, _)| user.clone()).collect();
        assert_eq!(self.present, present, "what was said of who is present is not what is so");
        let sessions = self.hub.sessions(None);
        let lasting =
            sessions.into_iter().filter(|view| !self.fleeting.contains(&(view.session, view.user.clone())));
        assert_eq!(
            self.online,
            lasting.map(|view| view.user).collect(),
            "what was said of presence is not what is so"
        );
    }

    fn answer(&mut self, question: &Output) {
        let works = self.engine != Engine::Fails;
        match question {
            Output::Open { key, channel } => {
                let answer = works.then(|| self.logs.open(channel));
                self.hub.opened(*key, answer, self.now);
            }
            Output::Read { key, channel, after } => {
                let answer = works.then(|| self.logs.read(channel, *after));
                self.hub.read(*key, answer, self.now);
            }
            _ => unreachable!(),
        }
    }

    /// The engine reads now what was asked of it, and answers only when the returned closure is called: an
    /// answer on its way.
    pub fn answers_on_their_way(&mut self) -> Vec<Late> {
        let mut late = Vec::new();
        for question in std::mem::take(&mut self.asked) {
            late.push(match question {
                Output::Open { key, channel } => Late::Opened(key, self.logs.open(&channel)),
                Output::Read { key, channel, after } => Late::Read(key, self.logs.read(&channel, after)),
                _ => unreachable!(),
            });
        }
        late
    }

    pub fn arrive(&mut self, late: Vec<Late>) {
        for late in late {
            match late {
                Late::Opened(key, opening) => self.hub.opened(key, Some(opening), self.now),
                Late::Read(key, page) => self.hub.read(key, Some(page), self.now),
            }
        }
        self.settle();
    }

    /// How many questions the engine has not answered.
    pub fn questions(&self) -> usize {
        self.asked.len()
    }

    pub fn engine(&mut self, engine: Engine) {
        self.engine = engine;
        self.settle();
    }

    pub fn come(&mut self, attach: Attach) {
        if !attach.lasting {
            self.fleeting.insert((attach.fresh, attach.user.clone()));
        }
        self.hub.attach(attach, self.now);
        self.settle();
    }

    pub fn go(&mut self, conn: u64) {
        self.hub.detach(ConnKey(conn), self.now);
        self.settle();
    }

    /// Appends a message and announces it.
    pub fn publish(&mut self, to: &str) {
        let entry = self.append(to);
        self.announce(&entry);
    }

    pub fn publish_many(&mut self, to: &str, count: usize) {
        (0..count).for_each(|_| self.publish(to));
    }

    /// Appends a message of which the feed says nothing.
    pub fn append(&mut self, to: &str) -> Arc<Entry> {
        self.append_until(to, None)
    }

    pub fn append_until(&mut self, to: &str, expires: Option<Time>) -> Arc<Entry> {
        self.ids += 1;
        self.logs.append(&channel(to), self.ids, self.now.wall, expires)
    }

    pub fn announce(&mut self, entry: &Arc<Entry>) {
        self.hub.appended(entry, self.now);
        self.settle();
    }

    /// Everything for a connection, as text: `news 7`, `gap news 3-5`, `gap news 3-` when it is not known how
    /// many.
    pub fn pull(&mut self, conn: u64) -> Vec<String> {
        let mut got = Vec::new();
        loop {
            match self.hub.pull(ConnKey(conn), self.now) {
                Pulled::Message(entry) => {
                    got.push(format!("{} {}", entry.message().channel, entry.message().position.offset))
                }
                Pulled::Gap(gap) => got.push(format!(
                    "gap {} {}-{}",
                    gap.channel,
                    gap.from,
                    gap.to.map_or(String::new(), |to| to.to_string())
                )),
                Pulled::Unsubscribed(told) => got.push(format!("{} lost", told.channel)),
                Pulled::Expiring(told) => got.push(format!("expires in {} s", told.in_s)),
                Pulled::Nothing => {
                    // What had to be asked for may be there already.
                    let asked = self.said.len();
                    self.settle();
                    let more =
                        self.said.iter().skip(asked).any(|output| matches!(output, Output::Ready { .. }));
                    if !more {
                        return got;
                    }
                }
            }
        }
    }

    /// What was pulled is acknowledged at once.
    pub fn flushed(&mut self, conn: u64) {
        if let Some(receipt) = self.hub.owed(ConnKey(conn)) {
            self.handed(receipt);
        }
    }

    pub fn handed(&mut self, receipt: Receipt) {
        self.hub.handed(receipt, self.now);
        self.settle();
    }

    /// The cursor as a client has it: written, carried as text, and read.
    pub fn cursor(&mut self, conn: u64) -> Cursor {
        let mut text = String::new();
        self.hub.write_cursor(ConnKey(conn), &mut text);
        let cursor = Cursor::parse(&text).unwrap();
        let same = self.hub.cursor(ConnKey(conn));
        assert_eq!(cursor.entries, same.entries, "both forms say the same");
        cursor
    }

    /// Milliseconds go by, with a tick each second.
    pub fn wait_ms(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            let step = (end - self.now.mono_ms).min(1_000);
            self.now.mono_ms += step;
            self.now.wall.0 += step;
            self.hub.tick(self.now);
            self.settle();
        }
    }

    pub fn subscribe(&mut self, first: u64, name: &str, channels: &[&str]) {
        let channels: Vec<ChannelName> = channels.iter().map(|name| channel(name)).collect();
        self.control(ControlRequest::Subscribe {
            session: session_of(first),
            user: user(name),
            channels,
            from: Cursor::default(),
        });
    }

    /// Subscribes to some of the channels from the positions in a cursor.
    pub fn subscribe_from(&mut self, first: u64, name: &str, channels: &[&str], from: &Cursor) {
        let names: Vec<ChannelName> = channels.iter().map(|name| channel(name)).collect();
        self.tickets += 1;
        let (session, user) = (session(1000 + u128::from(first)), user(name));
        let request = ControlRequest::Subscribe { session, user, channels: names, from: from.clone() };
        self.hub.control(self.tickets, request, self.now);
        self.settle();
    }

    pub fn unsubscribe(&mut self, first: u64, name: &str, channels: &[&str]) {
        let channels: Vec<ChannelName> = channels.iter().map(|name| channel(name)).collect();
        self.control(ControlRequest::Unsubscribe { session: session_of(first), user: user(name), channels });
    }

    pub fn ack(&mut self, first: u64, name: &str, cursor: &Cursor) {
        let cursor = cursor.clone();
        self.control(ControlRequest::Ack { session: session_of(first), user: user(name), cursor });
    }

    pub fn close(&mut self, target: &CloseTarget) {
        self.control(ControlRequest::Close { target: target.clone(), close: operator() });
    }

    pub fn control(&mut self, request: ControlRequest) {
        self.tickets += 1;
        self.hub.control(self.tickets, request, self.now);
        self.settle();
    }

    /// What the hub has said since it was last asked.
    pub fn said(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.said)
    }

    /// The same, without what belongs to channels.
    pub fn said_of_users(&mut self) -> Vec<Output> {
        let mut said = self.said();
        said.retain(|output| !matches!(output, Output::Watch(_) | Output::Unwatch(_) | Output::Ready { .. }));
        said
    }

    /// The same, of who came online and who went offline alone.
    pub fn presence(&mut self) -> Vec<Output> {
        let mut said = self.said();
        said.retain(|output| matches!(output, Output::Online(_) | Output::Offline(_)));
        said
    }

    pub fn has_begun(&mut self, conn: u64) -> bool {
        self.said()
            .iter()
            .any(|output| matches!(output, Output::Begun { conn: begun, .. } if *begun == ConnKey(conn)))
    }

    pub fn is_ready(&mut self, conn: u64) -> bool {
        self.said()
            .iter()
            .any(|output| matches!(output, Output::Ready { conn: ready, .. } if *ready == ConnKey(conn)))
    }

    /// How a connection's service ended, if it has.
    pub fn ending(&mut self, conn: u64) -> Option<Ending> {
        self.said().into_iter().find_map(|output| match output {
            Output::Ended { conn: ended, ending } if ended == ConnKey(conn) => Some(ending),
            _ => None,
        })
    }

    pub fn refusal(&mut self, conn: u64) -> Option<ErrorCode> {
        match self.ending(conn) {
            Some(Ending::Refused(code)) => Some(code),
            _ => None,
        }
    }

    pub fn reply(&mut self) -> Option<ControlReply> {
        self.said().into_iter().find_map(|output| match output {
            Output::Replied { reply, .. } => Some(reply),
            _ => None,
        })
    }

    /// The channels in the reply to a subscription.
    pub fn followed(&mut self) -> Vec<ChannelName> {
        match self.reply() {
            Some(ControlReply::Following(following)) => following.channels,
            other => panic!("not followed: {other:?}"),
        }
    }

    /// Where the reply to a subscription says that it began.
    pub fn began(&mut self) -> Cursor {
        match self.reply() {
            Some(ControlReply::Following(following)) => following.began,
            other => panic!("not followed: {other:?}"),
        }
    }

    pub fn is_empty(&self) -> bool {
        (
            self.hub.session_count(),
            self.hub.connection_count(),
            self.hub.channel_count(),
            self.hub.online().count(),
        ) == (0, 0, 0, 0)
    }
}

/// An answer of the engine that is still on its way.
pub enum Late {
    Opened(encke_hub::Key, encke_hub::Opening),
    Read(encke_hub::ReadKey, encke_proto::Page),
}

/// The session that this connection began.
fn session_of(first: u64) -> SessionId {
    session(1000 + u128::from(first))
}
