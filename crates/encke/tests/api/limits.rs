//! What one user may take of a server for all.

use encke_proto::ErrorCode;
use serde_json::json;

use crate::world::{Ask, World, token};

/// A client that may publish to a pattern makes one channel after the other: they stay for good.
#[test]
fn t10_a_user_makes_so_many_channels_in_an_hour_and_goes_on_in_those_that_are_there() {
    let world = World::with(|config| config.max_new_channels_per_hour = 20);
    world.publish("backend", 0);
    let publish = |user: &str, channel: &str| {
        world.call(Ask::post("/v1/publish", &json!({"channel": channel, "data": 1})).user(user)).code()
    };
    let made = (0..100).take_while(|number| publish("mallory", &format!("c{number}")).0 == 202).count();
    assert_eq!(made, 20);
    assert_eq!(publish("mallory", "one-more"), (429, "rate_limited".into()));
    for channel in ["c7", "backend"] {
        assert_eq!(publish("mallory", channel).0, 202, "{channel} is not new");
    }
    assert_eq!(publish("alice", "hers").0, 202, "another user is not concerned");
    let listed = world.call(Ask::get("/api/channels?limit=1000").key()).ok();
    assert_eq!(listed["channels"].as_array().unwrap().len(), 22, "what was refused left nothing");
    let silent = World::with(|config| config.max_new_channels_per_hour = 0);
    silent.publish("news", 0);
    let publish = |channel: &str| {
        silent.call(Ask::post("/v1/publish", &json!({"channel": channel, "data": 1})).user("alice")).status
    };
    assert_eq!((publish("new"), publish("news")), (429, 202));
}

/// A user comes with ever more sessions, each of which follows as many channels as it may.
#[test]
fn t10_what_a_user_follows_is_bounded_however_many_sessions_there_are() {
    let world = World::with(|config| config.max_channels_per_user = 300);
    let fields = format!("Authorization: Bearer {}\r\n", token("mallory", &["*"], &[]));
    let mut refused = 0;
    for session in 0..5 {
        let channels: Vec<String> = (0..100).map(|number| format!("c{session}x{number}")).collect();
        let (status, answer) =
            world.raw_get(&format!("/v1/poll?hold_s=0&channels={}", channels.join(",")), &fields);
        if status != 200 {
            assert_eq!((status, &answer["error"]["code"]), (422, &json!(ErrorCode::TooManyChannels)));
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    assert_eq!(world.runtime.block_on(world.app().shards.counts()).unwrap().channels, 301, "and the own one");
    world.session("alice", "c0x0,news");
}
