//! Connections that are open before they are of any user, while what they wait for comes late or not at all.
//! They speak the native protocol here, with a handler of commands that takes the first message for a user's
//! name.

use std::{
    io::Write,
    net::TcpStream as Client,
    sync::Mutex,
    time::{Duration, Instant},
};

use encke_proto::{ErrorCode, SessionId};

use super::*;
use crate::{
    admission::{Identified, Opened},
    shards::{Claiming, Peers, Unsent},
    transports::{ConnectionState, Duplex},
};

/// A frame of text from a client; masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text.as_bytes()].concat()
}

/// What was asked, in order.
type Asked = Arc<Mutex<Vec<(Option<SessionId>, String)>>>;

impl World {
    /// A connection that is of no user yet, and all that is asked.
    fn opened(&mut self) -> (Client, Asked) {
        let asked = Asked::default();
        let told = Arc::clone(&asked);
        self.shard.parts.command_handler = CommandHandler(Arc::new(move |asked| {
            let text = asked.command.downcast::<String>().unwrap();
            told.lock().unwrap().push((asked.session, (*text).clone()));
            let reply = CommandReply::new(format!("\"{text}\""));
            let identified = asked.session.is_none().then(|| Box::new(identified(&text)));
            Box::pin(async { CommandReply { identified, ..reply } })
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (socket, address) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        // As all sockets of the server: what is written goes at once.
        socket.set_nodelay(true).unwrap();
        let pass = self.shard.parts.connection_limit.enter(address.ip()).unwrap();
        let sink = Sink::Socket(TcpStream::from_std(socket), pass);
        let request_state = RequestState {
            hold_s: 25,
            origin: None,
            keep_alive: true,
            plain: false,
            began: false,
            tally: 0,
            scratch: [0; 8],
            embedder: None,
        };
        let state = Box::new(ConnectionState::Duplex(Duplex::new(None, "accepted".into(), None)));
        let verdict = Verdict::Opened(Box::new(Opened {
            transport: native_transport("/v1/ws", ""),
            request_state,
            state,
        }));
        self.mailbox
            .post(ShardCommand::Arrived(Box::new(Arrival {
                sink,
                inbound: Vec::new(),
                verdict,
                unsent: None,
            })))
            .unwrap();
        self.step();
        (client, asked)
    }

    /// Turns in which the engine answers nothing; what the shard wants of it is kept, and what takes a while
    /// is done.
    fn turns_without_engine(&mut self, count: usize) -> Vec<EngineRequest> {
        let mut kept = Vec::new();
        for _ in 0..count {
            let (answer, _counts) = oneshot::channel();
            self.mailbox.post(ShardCommand::Counts { answer }).unwrap();
            self.shard.step(&mut self.events).unwrap();
            while let Ok(request_engine) = self.wishes.try_recv() {
                match request_engine {
                    EngineRequest::Work(work) => self.mailbox.post(done(work)).unwrap(),
                    request_engine => kept.push(request_engine),
                }
            }
        }
        kept
    }
}

impl World {
    /// The same until something is so.
    fn turns_until(&mut self, mut holds: impl FnMut() -> bool) -> Vec<EngineRequest> {
        let (ends, mut kept) = (Instant::now() + Duration::from_secs(20), Vec::new());
        while !holds() {
            assert!(Instant::now() < ends, "it did not come to that");
            kept.extend(self.turns_without_engine(1));
        }
        kept
    }
}

/// The command of what does not wait for anything.
fn done(mut work: crate::shards::Work) -> ShardCommand {
    match work.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Polled::Ready(command) => command,
        Polled::Pending => panic!("it waits for something"),
    }
}

fn identified(user: &str) -> Identified {
    Identified {
        user: UserId::new(user).unwrap(),
        identity: None,
        token_ends: Time(0),
        token: None,
        granted: encke_proto::Grant::all(),
        session: None,
        fresh: None,
        lasting: true,
        start: Start::Absent,
        channels: Vec::new(),
        ticket: None,
    }
}

/// Takes what has come; whether all that has holds `mark`.
fn has_seen(client: &mut Client, seen: &mut Vec<u8>, mark: &str) -> bool {
    let _ = client.read_to_end(seen);
    String::from_utf8_lossy(seen).contains(mark)
}

#[test]
fn what_comes_behind_the_login_waits_until_the_session_has_begun() {
    let mut world = World::new(|_| {});
    let (mut client, asked) = world.opened();
    let mut seen = Vec::new();
    world.turns_until(|| has_seen(&mut client, &mut seen, "\r\n\r\n"));
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
    client.write_all(&[frame("alice"), frame("second"), frame("third")].concat()).unwrap();
    let mut wishes = world.turns_until(|| !asked.lock().unwrap().is_empty());
    wishes.extend(world.turns_without_engine(10));
    assert_eq!(*asked.lock().unwrap(), [(None, "alice".to_owned())], "the session has not begun");
    client.write_all(&frame("fourth")).unwrap();
    world.turns_without_engine(10);
    assert_eq!(asked.lock().unwrap().len(), 1);
    for request_engine in wishes {
        if let EngineRequest::Open(key, channel) = request_engine {
            let handed = channel.is_own().then_some(Position { epoch: Epoch(1), offset: 0 });
            let opening = Opening { page: world.page(&channel, u64::MAX), handed };
            world.mailbox.post(ShardCommand::Opened(key, Some(opening))).unwrap();
        }
    }
    world.turns_until(|| has_seen(&mut client, &mut seen, "\"fourth\""));
    let asked = asked.lock().unwrap();
    let session = asked[1].0;
    assert!(session.is_some());
    assert_eq!(asked[1..], ["second", "third", "fourth"].map(|text| (session, text.to_owned())));
    let told = String::from_utf8_lossy(&seen);
    let places = ["\"alice\"", "\"event\":\"open\"", "\"second\"", "\"third\"", "\"fourth\""]
        .map(|text| told.find(text).unwrap());
    assert!(places.is_sorted(), "{told}");
}

/// Other nodes that cannot be asked.
#[derive(Debug)]
struct Refusing;

impl Peers for Refusing {
    fn claim(self: Arc<Self>, _: UserId, _: Option<SessionId>, _: Option<String>) -> Claiming {
        Box::pin(std::future::ready(Err(ErrorCode::EngineUnavailable)))
    }

    fn came(&self, _: &UserId) {}

    fn went(&self, _: UserId) {}

    fn mark_closed(&self, _: UserId, _: SessionId) {}

    fn watch(&self, _: &ChannelName) {}

    fn unwatch(&self, _: &ChannelName) {}
}

#[test]
fn a_refusal_by_the_other_nodes_is_said_in_the_protocol_that_is_spoken_by_then() {
    let mut world = World::new(|_| {});
    world.shard.parts.peers = Some(Arc::new(Refusing));
    let (mut client, _) = world.opened();
    client.write_all(&frame("alice")).unwrap();
    let mut seen = Vec::new();
    world.turns_until(|| has_seen(&mut client, &mut seen, "\"reconnect\":true}"));
    let told = String::from_utf8_lossy(&seen);
    assert!(told.starts_with("HTTP/1.1 101 ") && told.matches("HTTP/1.1").count() == 1, "{told}");
    assert!(
        told.contains("\"event\":\"close\",\"code\":\"engine_unavailable\"")
            && told.contains("\"reconnect\":true"),
        "{told}"
    );
    // The client answers the close, and is let go.
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    drop(client);
    let ends = Instant::now() + Duration::from_secs(20);
    while world.step().sockets > 0 {
        assert!(Instant::now() < ends, "its socket stays");
    }
}

#[test]
fn a_user_whom_the_hub_refuses_is_told_so_and_listened_to() {
    let mut world = World::new(|_| {});
    let (mut client, asked) = world.opened();
    client.write_all(&frame("alice")).unwrap();
    let mut wishes = world.turns_until(|| !asked.lock().unwrap().is_empty());
    wishes.extend(world.turns_without_engine(10));
    for request_engine in wishes {
        if let EngineRequest::Open(key, _) = request_engine {
            world.mailbox.post(ShardCommand::Opened(key, None)).unwrap();
        }
    }
    let mut seen = Vec::new();
    world.turns_until(|| has_seen(&mut client, &mut seen, "engine_unavailable"));
    // The answer to the close is heard, or the connection would stay until its time is over.
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    drop(client);
    let ends = Instant::now() + Duration::from_secs(20);
    while world.step().sockets > 0 {
        assert!(Instant::now() < ends, "its client is not heard");
    }
}

#[test]
fn what_is_not_sent_and_not_read_goes_along_to_the_users_shard() {
    let mut world = World::new(|_| {});
    let poll = Poll::new().unwrap();
    let (other, commands) = mailbox(mio::Waker::new(poll.registry(), WAKER).unwrap());
    world.shard.parts.shards = Shards::new(vec![world.mailbox.clone(), other]);
    let elsewhere = |user: &String| world.shard.parts.shards.home_index(&UserId::new(user).unwrap()) == 1;
    let user = (0..).map(|number| format!("user {number}")).find(elsewhere).unwrap();
    let (mut client, asked) = world.opened();
    client.write_all(&[frame(&user), frame("behind")].concat()).unwrap();
    world.turns_until(|| !asked.lock().unwrap().is_empty());
    let (key, _) = world.shard.slots.iter().next().unwrap();
    world.shard.slots.get_mut(key).unwrap().unsent = Some(Box::new(Unsent {
        bytes: b"not sent".to_vec(),
        sent: 0,
        until_ms: u64::MAX,
        look_ms: u64::MAX,
    }));
    world.steps(1);
    let Some(ShardCommand::Arrived(arrival)) = commands.next() else { panic!("nothing has arrived") };
    assert!(matches!(arrival.verdict, Verdict::Admitted(_)));
    assert_eq!(arrival.inbound, frame("behind"));
    let unsent = String::from_utf8_lossy(&arrival.unsent.unwrap().bytes).into_owned();
    assert!(unsent.starts_with("not sent") && unsent.ends_with(&format!("\"{user}\"")), "{unsent}");
    assert_eq!((world.step().sockets, world.step().unsent_bytes), (0, 0));
}
