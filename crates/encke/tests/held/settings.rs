//! Settings that the other tests leave at their defaults: each does what it says, at a value that differs
//! from the default.

use std::time::Instant;

use encke::config::{RetentionRule, RetentionSection};
use encke_engine::{Page, PageLimit, ReadFrom};

use super::*;

fn page(world: &World, channel: &str) -> Page {
    let (channel, all) = (ChannelName::any(channel).unwrap(), PageLimit { messages: 1_000, bytes: 1 << 30 });
    world.runtime.block_on(world.app().engine.read(&channel, ReadFrom::After(0), all)).unwrap()
}

/// How many of the messages of a channel are kept.
fn kept(world: &World, channel: &str) -> usize {
    page(world, channel).entries.len()
}

fn post(world: &World, path: &str, json: &str) -> Value {
    let mut wire = world.connect();
    let (host, key, length) = (world.address, "k".repeat(32), json.len());
    wire.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
    ));
    let (status, body) = wire.response();
    assert!((200..300).contains(&status), "{status} {body}");
    body
}

/// Rules for three kinds of channels, each with a bound of its own.
fn kinds(config: &mut Config, bound: impl Fn(usize) -> RetentionSection) {
    config.retention_default = bound(0);
    config.retention_users = bound(1);
    for (channel, section) in [("news*", bound(2)), ("*s", bound(3))] {
        let RetentionSection { max_messages, max_bytes, max_age_s } = section;
        config.retention.push(RetentionRule {
            channel: channel.to_owned(),
            max_messages,
            max_bytes,
            max_age_s,
        });
    }
}

/// A channel of each kind; the first rule that fits wins.
const KINDS: [&str; 5] = ["other", "@alice", "newspapers", "boats", "newsroom"];
const KIND_OF: [usize; 5] = [0, 1, 2, 3, 2];

fn fill(world: &mut World, count: usize, data: &str) {
    for channel in KINDS {
        for _ in 0..count {
            match channel.strip_prefix('@') {
                Some(user) => world.push(user, data),
                None => world.publish(channel, data),
            }
        }
    }
}

#[test]
fn each_kind_of_channel_keeps_as_many_messages_as_it_may() {
    let messages = [3, 4, 5, 6];
    let mut world = World::with(|config| {
        kinds(config, |kind| RetentionSection {
            max_messages: Some(messages[kind]),
            ..RetentionSection::default()
        });
    });
    fill(&mut world, 10, "1");
    let counts = KINDS.map(|channel| kept(&world, channel));
    assert_eq!(counts, KIND_OF.map(|kind| usize::try_from(messages[kind]).unwrap()));
}

#[test]
fn each_kind_of_channel_keeps_as_many_bytes_as_it_may() {
    let bytes = [70_000, 100_000, 130_000, 160_000];
    let mut world = World::with(|config| {
        kinds(config, |kind| RetentionSection { max_bytes: Some(bytes[kind]), ..RetentionSection::default() })
    });
    fill(&mut world, 20, &format!("\"{}\"", "x".repeat(10_000)));
    for (channel, kind) in KINDS.into_iter().zip(KIND_OF) {
        let most = usize::try_from(bytes[kind] / 10_000).unwrap();
        assert!(
            (most - 1..=most).contains(&kept(&world, channel)),
            "{channel}: {} of {most}",
            kept(&world, channel)
        );
    }
}

#[test]
fn each_kind_of_channel_keeps_messages_as_long_as_it_may() {
    let ages = [100, 700_000, 300, 400];
    let mut world = World::with(|config| {
        kinds(config, |kind| RetentionSection { max_age_s: Some(ages[kind]), ..RetentionSection::default() })
    });
    fill(&mut world, 2, "1");
    let now = world.app().now().wall;
    for passed_s in [50, 200, 350, 500, 699_000, 700_100] {
        world.runtime.block_on(world.app().engine.sweep(now.plus_seconds(passed_s))).unwrap();
        let counts = KINDS.map(|channel| kept(&world, channel));
        assert_eq!(
            counts,
            KIND_OF.map(|kind| if passed_s < ages[kind] { 2 } else { 0 }),
            "after {passed_s} s"
        );
    }
}

#[test]
fn a_push_without_a_time_to_live_waits_as_long_as_configured() {
    for (ttl_s, push, waits_s) in [
        (1234, r#"{"to":["alice"],"data":1}"#, 1234),
        (1234, r#"{"to":["alice"],"data":1,"ttl_s":7}"#, 7),
        (86_400, r#"{"to":["alice"],"data":1}"#, 86_400),
    ] {
        let world = World::with(|config| config.push_ttl_s = ttl_s);
        post(&world, "/api/push", push);
        let page = page(&world, "@alice");
        let message = page.entries[0].message();
        assert_eq!(message.expires, Some(message.time.plus_seconds(waits_s)), "{push}");
    }
}

#[test]
fn a_login_gives_a_token_for_as_long_as_configured() {
    let world = World::with(|config| config.token_ttl_s = 1234);
    let app = world.app();
    let before = app.now().wall;
    let (_, claims) = app.auth.dev_token(UserId::new("alice").unwrap(), before).unwrap();
    // Tokens end at whole seconds.
    assert_eq!(claims.expires_s, before.0 / 1000 + 1234);
    let told = post(&world, "/v1/login", r#"{"user":"alice"}"#);
    let (least, most) = (before.plus_seconds(1234), app.now().wall.plus_seconds(1234));
    let whole = |time: encke_proto::Time| time.to_string()[..19].to_owned();
    let expires = &told["expires"].as_str().unwrap()[..19];
    assert!((whole(least).as_str()..=whole(most).as_str()).contains(&expires), "{told}");
}

#[test]
fn a_user_has_as_many_sessions_as_configured_and_the_oldest_goes() {
    let world = World::with(|config| config.max_sessions_per_user = 2);
    let sessions: Vec<String> =
        (0..3).map(|_| world.poll("alice", "hold_s=0").1["session"].as_str().unwrap().to_owned()).collect();
    assert_eq!(world.sessions("alice"), 2);
    let status = |session: &str| world.poll("alice", &format!("hold_s=0&session={session}")).0;
    assert_eq!((status(&sessions[2]), status(&sessions[1]), status(&sessions[0])), (200, 200, 410));
}

#[test]
fn a_poll_is_held_for_no_longer_than_configured() {
    let world = World::with(|config| config.hold_s = 1);
    // By default the reader's own timeout would be over first.
    let (status, answer) = world.poll("alice", "hold_s=120");
    assert_eq!((status, data(&answer)), (200, Vec::new()));
}

#[test]
fn there_are_as_many_workers_as_configured() {
    for workers in [1, 3] {
        let world = World::with(|config| config.workers = workers);
        assert_eq!(world.server.as_ref().unwrap().threads.len() as u64, workers);
    }
}

#[test]
fn messages_of_public_channels_linger_as_long_as_configured() {
    let mut world = World::with(|config| config.linger_ms = 50);
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/stream?as=ndjson&channels=news"));
    wire.until("\"open\"");
    for number in 1..=3 {
        let began = Instant::now();
        world.publish("news", &number.to_string());
        wire.until(&format!("\"data\":{number}}}"));
        // A millisecond is what the shard's clock leaves out.
        assert!(began.elapsed() >= Duration::from_millis(49), "{:?}", began.elapsed());
    }
}
