//! Subscriptions that are taken away while they last, by other rules: clients are told, and have nothing
//! more.

use encke::config::RuleEntry;
use encke_proto::Who;
use serde_json::json;

use super::*;

fn rule(channel: &str, who: Who) -> RuleEntry {
    RuleEntry { channel: channel.to_owned(), subscribe: who, publish: who, ..RuleEntry::default() }
}

fn wide() -> Vec<RuleEntry> {
    vec![rule("/news", Who::Users), rule("/secret*", Who::Users)]
}

fn narrow() -> Vec<RuleEntry> {
    vec![rule("/news", Who::Users)]
}

/// What is subscribed to, and what of it the narrow rules take away.
const ALL: [&str; 4] = ["/news", "/secret", "/secret/*", "/secret/a"];

impl World {
    /// What SIGHUP does once the file is read.
    fn takes_rules(&self, rules: Vec<RuleEntry>) {
        let mut config = Config { rules, ..config() };
        config.dialects.set("bayeux", true);
        self.runtime.block_on(self.app().reloads.take(config)).unwrap();
    }

    /// Publishes to each channel, last to the one that alice may follow under the narrow rules.
    fn publishes_all(&self) {
        for channel in ["/secret", "/secret/a", "/secret/b", "/news"] {
            assert_eq!(self.api_publish(channel, &json!(channel)), 202);
        }
    }
}

fn ruled() -> World {
    world_with(|config| config.rules = wide())
}

/// A client of alice, with all of it.
fn follower(world: &World, acks: bool) -> Client {
    let ext = json!({ "token": world.token("alice"), "ack": acks });
    world.subscribed(&ext, &json!(ALL))
}

fn unsubscribed(reply: &Value) -> Vec<String> {
    let mut told: Vec<String> = serde_json::from_value(reply["ext"]["unsubscribed"].clone()).unwrap();
    told.sort();
    told
}

/// Connects that have received so much, until so many messages have come: the channels of these, sorted, what
/// was told to be taken away, and the number of the last batch.
fn polled(world: &World, client: &mut Client, mut ack: u64, count: usize) -> (Vec<String>, Vec<String>, u64) {
    let (mut got, mut told) = (Vec::new(), Vec::new());
    while got.len() < count {
        let answer = array(&mut world.held_connect(client, json!({ "ext": { "ack": ack } })));
        got.extend(events(&answer).into_iter().map(|(channel, _)| channel));
        let ext = &answer.last().unwrap()["ext"];
        ack = ext["ack"].as_u64().unwrap_or(0);
        if ext.get("unsubscribed").is_some() {
            told.extend(unsubscribed(answer.last().unwrap()));
        }
    }
    got.sort();
    (got, told, ack)
}

#[test]
fn new_rules_end_what_a_connect_waits_for() {
    for acks in [false, true] {
        let world = ruled();
        let mut client = follower(&world, acks);
        let mut held = world.held_connect(&mut client, json!({ "ext": { "ack": 1 } }));
        world.until_held("alice", 1);
        world.takes_rules(narrow());
        let answer = array(&mut held);
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert_eq!((&answer[0]["successful"], unsubscribed(&answer[0])), (&json!(true), lost()), "at once");
        world.publishes_all();
        // The answer is lost: a client that acknowledges is told again, and one that does not is not.
        let (got, told, ack) = polled(&world, &mut client, 1, 1);
        assert_eq!((got, told), (vec!["/news".to_owned()], if acks { lost() } else { Vec::new() }));
        world.publishes_all();
        let (got, told, ack) = polled(&world, &mut client, ack, 1);
        assert_eq!((got, told), (vec!["/news".to_owned()], Vec::new()), "it has heard");
        for pattern in lost() {
            let again = client.says("/meta/subscribe", json!({ "subscription": pattern }));
            assert_eq!(world.bayeux_one(&again)["error"], format!("403:{pattern}:subscribe_denied"));
        }
        world.takes_rules(wide());
        let again = client.says("/meta/subscribe", json!({ "subscription": "/secret/*" }));
        assert_eq!(world.bayeux_one(&again)["successful"], true);
        world.publishes_all();
        let (got, told, _) = polled(&world, &mut client, ack, 3);
        assert_eq!(
            (got, told),
            (["/news", "/secret/a", "/secret/b"].map(str::to_owned).to_vec(), Vec::new())
        );
    }
}

/// All of [`ALL`] that the narrow rules take away.
fn lost() -> Vec<String> {
    ALL[1..].iter().map(|pattern| (*pattern).to_owned()).collect()
}

#[test]
fn the_same_over_websocket() {
    for acks in [false, true] {
        let world = ruled();
        let mut client = follower(&world, acks);
        let mut wire = world.bayeux_socket("/cometd");
        let first = json!({ "advice": { "timeout": 0 }, "ext": { "ack": 1 } });
        let first = wire.answers(client.connect(first));
        assert_eq!(first["successful"], true, "{first}");
        let heard = first["ext"]["ack"].as_u64().unwrap_or(0);
        wire.asks(&json!([client.connect(json!({ "ext": { "ack": heard } }))]));
        // It was read when what is behind it is answered.
        let reply = wire.answers(client.says("/meta/subscribe", json!({ "subscription": "/news" })));
        assert_eq!(reply["successful"], true);
        world.takes_rules(narrow());
        let reply = wire.on_bytes()[0].take();
        assert_eq!((&reply["id"], unsubscribed(&reply)), (&json!("c3"), lost()));
        let heard = reply["ext"]["ack"].as_u64().unwrap_or(0);
        wire.asks(&json!([client.connect(json!({ "ext": { "ack": heard } }))]));
        world.publishes_all();
        assert_eq!(wire.on_bytes(), json!([{ "channel": "/news", "data": "/news" }]));
        wire.asks(&json!([client.connect(json!({ "ext": { "ack": heard } }))]));
        let reply = wire.on_bytes()[0].take();
        assert_eq!((&reply["id"], reply["ext"].get("unsubscribed")), (&json!("c4"), None), "it has heard");
    }
}

#[test]
fn the_same_of_a_stream_whose_client_hears_with_its_next_connect() {
    let world = ruled();
    let mut client = follower(&world, false);
    let mut wire = world.connect();
    wire.send(&format!("GET /bayeux/{} HTTP/1.1\r\nHost: {}\r\n\r\n", client.id, world.address));
    wire.until(":\n\n");
    world.until_held("alice", 1);
    world.takes_rules(narrow());
    world.publishes_all();
    let seen = wire.until("{\"channel\":\"/news\",\"data\":\"/news\"}");
    assert!(!seen.contains("secret"), "{seen}");
    let mut asks = || {
        let mut connect = client.connect(json!({}));
        connect["connectionType"] = "eventsource".into();
        world.bayeux_one(&connect)
    };
    assert_eq!(unsubscribed(&asks()), lost());
    let reply = asks();
    assert_eq!(
        (&reply["successful"], reply["ext"].get("unsubscribed")),
        (&json!(true), None),
        "it has heard"
    );
}

/// Nothing is held when the rules change, and the hub has let the session go.
#[test]
fn a_client_that_was_away_is_told_when_it_comes_back() {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let world = world_at(Arc::clone(&clock) as Arc<dyn Clock>, |config| config.rules = wide());
    let mut client = follower(&world, true);
    clock.advance_ms(16_000);
    world.until(|| world.sessions("alice") == 0);
    world.takes_rules(narrow());
    world.publishes_all();
    let (got, told, _) = polled(&world, &mut client, 1, 1);
    assert_eq!((got, told), (vec!["/news".to_owned()], lost()));
}
