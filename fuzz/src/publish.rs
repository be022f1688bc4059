//! The bodies of `/api/publish` and `/api/push`, read by the server's own handlers on the engine in memory: a
//! refusal is the client's fault and never the server's, and what was accepted stands in the log as it was
//! sent.

use std::{
    cell::RefCell,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use arbitrary::Arbitrary;
use encke::{
    app::App,
    clock::TestClock,
    config::{Config, Secret},
    http::refusal::Refused,
    inline::{Begun, Done},
    inline_routes,
    shards::{Shards, mailbox},
};
use encke_engine::{PageLimit, ReadFrom, memory::MemoryEngine};
use encke_proto::{Body, ChannelName, Epoch, Time, UserId};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::input::{Json, typed};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Publish(&'a str),
    Push(&'a str),
    /// A body of the right form.
    Data {
        channel: &'a str,
        data: Json,
        spaces: bool,
    },
}

/// After so many bodies the log begins anew, so that memory is bounded.
const BODIES_MAX: usize = 4_096;

/// What handles the bodies.
struct Server {
    runtime: Runtime,
    app: Arc<App>,
    bodies: usize,
    /// Kept, so that what is sent to the shard waits instead of failing.
    _shard: Box<dyn std::any::Any>,
}

impl Server {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("there is a runtime");
        let config = Config {
            dev: true,
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let poll = mio::Poll::new().expect("there is a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("and a waker");
        let (mailbox, commands) = mailbox(waker);
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1)));
        let clock = Arc::new(TestClock::at(Time(1_700_000_000_000)));
        let app = App::new(Arc::new(config), engine, Shards::new(vec![mailbox]), clock)
            .expect("the keys are there");
        Self { runtime, app, bodies: 0, _shard: Box::new((poll, commands)) }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input<'_>>(bytes) else { return };
    SERVER.with_borrow_mut(|place| {
        if place.as_ref().is_some_and(|server| server.bodies >= BODIES_MAX) {
            *place = None;
        }
        let server = place.get_or_insert_with(Server::new);
        server.bodies += 1;
        match input {
            Input::Publish(body) => publish(server, body),
            Input::Push(body) => push(server, body),
            Input::Data { channel, data, spaces } => data_comes_back(server, channel, &data, spaces),
        }
    });
}

fn fair(refused: &Refused) {
    let status = refused.0.code.status();
    assert!((400..500).contains(&status), "{status}: {}", refused.0.message);
    assert!(refused.0.message.len() < 2_048, "a refusal repeats what was sent");
}

fn ask(server: &Server, path: &str, body: &str) -> Poll<Result<Done, Refused>> {
    let routes = inline_routes(&server.app);
    let inline = routes.find(path).and_then(|number| routes.get(number)).expect("there is such a route");
    let _entered = server.runtime.enter();
    match (inline.run)(body.as_bytes()) {
        Begun::Done(outcome) => Poll::Ready(outcome),
        // What needs a shard, or is done beside it, waits: no shard runs here.
        Begun::Goes(mut running) => running.as_mut().poll(&mut Context::from_waker(Waker::noop())),
    }
}

fn publish(server: &Server, body: &str) {
    match ask(server, "/api/publish", body) {
        Poll::Ready(Err(refused)) => fair(&refused),
        Poll::Ready(Ok(done)) => {
            assert_eq!(done.status, 202);
            let request: Value = serde_json::from_str(body).expect("what was accepted is JSON");
            if let (Some(channel), Some(data)) = (request["channel"].as_str(), request.get("data")) {
                let read =
                    last_of(server, channel).and_then(|text| serde_json::from_str::<Value>(&text).ok());
                assert_eq!(read.as_ref(), Some(data));
            }
        }
        Poll::Pending => {}
    }
}

fn push(server: &Server, body: &str) {
    match ask(server, "/api/push", body) {
        Poll::Ready(Err(refused)) => fair(&refused),
        Poll::Ready(Ok(done)) => {
            assert_eq!(done.status, 202);
            let request: Value = serde_json::from_str(body).expect("what was accepted is JSON");
            assert!(request.get("to").or(request.get("pushes")).is_some());
            let users = request["to"].as_array().map(Vec::as_slice);
            if let (Some([user]), Some(data)) = (users, request.get("data")) {
                let user = user.as_str().and_then(|user| UserId::new(user).ok()).expect("it was accepted");
                let read = last_in(server, &user.channel());
                let read = read.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                assert_eq!(read.as_ref(), Some(data));
            }
        }
        // What is for many is done beside the shard.
        Poll::Pending => {}
    }
}

fn data_comes_back(server: &Server, channel: &str, data: &Json, spaces: bool) {
    let Some(Body::Data(raw)) = data.data() else { return };
    let name = serde_json::to_string(channel).expect("a text is JSON");
    let space = if spaces { "\n " } else { "" };
    let answer = ask(
        server,
        "/api/publish",
        &format!("{{{space}\"channel\":{space}{name},\"data\":{space}{raw}{space}}}"),
    );
    match (answer, ChannelName::public(channel)) {
        (Poll::Ready(Ok(done)), Ok(_)) => {
            assert_eq!(done.status, 202);
            assert_eq!(
                last_of(server, channel).as_deref(),
                Some(raw.get()),
                "the same text, numbers with all their digits"
            );
        }
        (Poll::Ready(Err(refused)), Err(_)) => fair(&refused),
        (answer, name) => panic!("{name:?}: {:?}", answer.map_ok(|done| done.status)),
    }
}

/// The data of the newest message of a channel.
fn last_of(server: &Server, channel: &str) -> Option<String> {
    last_in(server, &ChannelName::public(channel).expect("it was accepted"))
}

fn last_in(server: &Server, channel: &ChannelName) -> Option<String> {
    let limit = PageLimit { messages: 1, bytes: usize::MAX };
    let page = server.runtime.block_on(server.app.engine.read(channel, ReadFrom::Before(u64::MAX), limit));
    let entry = page.expect("memory can be read").entries.pop()?;
    match &entry.message().body {
        Body::Data(data) => Some(data.get().to_owned()),
        Body::Page(_) | Body::Bytes(_) => None,
    }
}
