//! A server of which a part has failed: it says so, and stops in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use encke::{
    ServeError,
    clock::{Clock, SystemClock},
    run,
    wire::{Backing, wire_on},
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
fn a_server_that_has_lost_a_shard_is_not_ready_and_stops() {
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
