//! A server in which something panics: a request that does ends alone; of a part that does the server says
//! so, and stops in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use axum::{Router, routing::get};
use encke::{
    ServeError,
    admission::{Admit, Endpoint},
    app::App,
    clock::{Clock, SystemClock},
    dialects::{Dialect, Registry},
    metrics::Metrics,
    run,
    wire::{Backing, wire_on, wire_speaking},
};
use encke_engine::memory::MemoryEngine;
use encke_hub::Now;
use encke_proto::Epoch;

use super::*;

/// A clock on which the first shard panics, once it is told to.
struct Trap {
    clock: SystemClock,
    set: AtomicBool,
}

impl Clock for Trap {
    fn now(&self) -> Now {
        assert!(
            !(self.set.load(Ordering::SeqCst) && thread::current().name() == Some("shard-0")),
            "on purpose"
        );
        self.clock.now()
    }
}

#[test]
fn t31_a_server_that_has_lost_a_shard_is_not_ready_and_stops() {
    let trap = Arc::new(Trap { clock: SystemClock::new(), set: AtomicBool::new(false) });
    let clock = Arc::clone(&trap);
    let mut world = World::of(
        |_| {},
        async |config| {
            let retention = config.retention_table();
            let open = async move |events: encke_engine::EngineEvents| {
                let engine = MemoryEngine::new(events.feed, retention, Epoch(1));
                Ok(Backing { engine: Arc::new(engine), cluster: None })
            };
            wire_on(Arc::new(config), clock, open).await
        },
    );
    assert_eq!(ready(&world), 200);
    let mut waiting = [0, 1].map(|shard| {
        let mut users = (0..).map(|number| format!("user {number}"));
        let lives = |user: &String| world.app().shards.home_index(&UserId::new(user).unwrap()) == shard;
        let mut wire = world.connect();
        wire.send(&world.head(&users.find(lives).unwrap(), "/v1/stream?as=ndjson"));
        wire.until("\"open\"");
        wire
    });
    trap.set.store(true, Ordering::SeqCst);
    world.runtime.block_on(world.app().supervisor.failed());
    assert_eq!(ready(&world), 503);
    let server = world.server.take().unwrap();
    let ended = world.runtime.block_on(run(server, Duration::from_secs(5), std::future::pending()));
    assert!(matches!(ended, Err(ServeError::Failed)), "{ended:?}");
    let [lost, told] = &mut waiting;
    assert!(lost.ends() && told.ends(), "no connection is left");
    assert!(!String::from_utf8_lossy(&lost.seen).contains("\"close\""), "its shard could not say anything");
    assert!(String::from_utf8_lossy(&told.seen).contains("\"shutdown\""), "the others are told to come back");
}

/// The status of `/readyz`.
fn ready(world: &World) -> u16 {
    let mut wire = world.connect();
    wire.send("GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wire.response().0
}

/// A dialect with a bug: a request to its address panics.
#[derive(Debug)]
struct Faulty;

impl Dialect for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn is_on(&self, _: &Config) -> bool {
        true
    }

    fn endpoints(&self, _: &Arc<App>, _: &Admit) -> Vec<Arc<dyn Endpoint>> {
        Vec::new()
    }

    fn routes(&self) -> Router<Arc<App>> {
        Router::new().route("/faulty", get(async || -> String { panic!("on purpose") }))
    }
}

#[test]
fn t31_a_request_that_panics_ends_its_own_connection_and_no_other_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::of(
        |config| forwarder::configure(config, dir.path()),
        async |config| {
            let retention = config.retention_table();
            let open = async move |events: encke_engine::EngineEvents| {
                let engine = MemoryEngine::new(events.feed, retention, Epoch(1));
                Ok(Backing { engine: Arc::new(engine), cluster: None })
            };
            let dialects = Registry::built_in().with(&Faulty);
            wire_speaking(Arc::new(config), dialects, Arc::new(SystemClock::new()), open).await
        },
    );
    let mut waits = world.connect();
    waits.send(&world.head("alice", "/v1/stream?as=ndjson"));
    waits.until("\"open\"");
    let counted = || Metrics::global().panics.get();
    let before = counted();
    for _ in 0..20 {
        let mut wire = world.connect();
        wire.send("GET /faulty HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(wire.ends() && wire.seen.is_empty(), "{}", String::from_utf8_lossy(&wire.seen));
    }
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let trusted = super::tls::read_certificate(dir.path());
    let (panicked, other) = world.runtime.block_on(super::tls::panic_beside(address, &trusted, "/faulty"));
    assert!(panicked.is_err(), "{panicked:?}");
    assert_eq!(other, 200, "another request of the same connection over HTTP/2");
    assert!(counted() >= before + 21, "{before} {}", counted());
    assert_eq!(ready(&world), 200);
    world.push("alice", "7");
    waits.until("\"data\":7");
}
