//! Rules for channels: who may follow what, from where on, and how many.

use std::sync::Arc;

use encke_hub::{Attach, ControlReply, FollowerCounts, HubConfig, Start};
use encke_proto::{
    ChannelPattern, ChannelRule, ChannelRules, Cursor, Epoch, ErrorCode, Grant, Position, Who,
};

use crate::{
    support::{channel, session},
    world::{Engine, World, attach, attach_to, back},
};

fn rule(pattern: &str, subscribe: Who, history: Who) -> ChannelRule {
    ChannelRule {
        channel: ChannelPattern::parse(pattern).unwrap(),
        subscribe,
        publish: Who::None,
        presence: Who::None,
        history,
        message_max_bytes: None,
        messages_per_s: None,
        followers_max: None,
    }
}

fn rules(list: Vec<ChannelRule>) -> Arc<ChannelRules> {
    Arc::new(ChannelRules::new(list))
}

fn world(list: Vec<ChannelRule>) -> World {
    World::new(HubConfig { rules: rules(list), ..HubConfig::default() })
}

#[test]
fn new_rules_end_what_they_forbid_and_the_client_is_told_at_once() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "in-alice", "in-bob"]));
    assert_eq!(world.pull(1), [""; 0]);
    world.hub.set_rules(rules(vec![
        rule("in-{user}", Who::Owner, Who::Owner),
        rule("news", Who::Users, Who::Users),
    ]));
    world.settle();
    assert!(world.is_ready(1), "it is not told at its next message");
    assert_eq!(world.pull(1), ["in-bob lost"]);
    for name in ["in-bob", "in-alice", "news"] {
        world.publish(name);
    }
    let pulled = world.pull(1);
    assert_eq!(pulled.len(), 2, "{pulled:?}");
    world.subscribe(1, "alice", &["in-bob"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::ChannelForbidden)));
    // The token decides from now on, and what it granted is not known.
    world.hub.set_rules(rules(vec![rule("*", Who::Token, Who::Token)]));
    world.settle();
    let mut pulled = world.pull(1);
    pulled.sort_unstable();
    assert_eq!(pulled, ["in-alice lost", "news lost"]);
}

#[test]
fn a_connection_that_waits_for_its_place_in_a_channel_that_is_forbidden_waits_no_longer() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.engine(Engine::Waits);
    world.come(Attach { session: Some(session(1001)), ..attach_to(2, "alice", &["secret"]) });
    assert!(!world.has_begun(2));
    world.hub.set_rules(rules(vec![rule("news", Who::Users, Who::Users)]));
    world.settle();
    assert!(world.has_begun(2));
    assert_eq!(world.pull(2), ["secret lost"]);
}

#[test]
fn a_rule_grants_what_a_token_leaves_open_and_a_token_narrows_it() {
    let mut world =
        world(vec![rule("in-{user}", Who::Owner, Who::Owner), rule("news", Who::Users, Who::Users)]);
    let unsaid = Attach { granted: Grant::none(), ..attach_to(1, "alice", &["news", "in-alice", "in-bob"]) };
    world.come(unsaid);
    assert_eq!(world.pull(1), ["in-bob lost"]);
    let narrow =
        Attach { granted: Grant::of(vec!["in-*".into()]), ..attach_to(2, "bob", &["news", "in-bob"]) };
    world.come(narrow);
    assert_eq!(world.pull(2), ["news lost"]);
}

/// A cursor is made up by the client that sends it.
#[test]
fn without_the_right_to_the_history_no_cursor_leads_back() {
    let mut world = world(vec![rule("*", Who::Users, Who::None)]);
    for _ in 0..3 {
        world.publish("news");
    }
    world.come(Attach { start: Start::Earliest, ..attach_to(1, "alice", &["news"]) });
    assert_eq!(world.pull(1), [""; 0], "the oldest begins now");
    world.publish("news");
    assert_eq!(world.pull(1).len(), 1);
    let at = world.cursor(1).position(&channel("news")).unwrap();
    world.go(1);
    world.wait_ms(120_000);
    for offset in [0, 1] {
        let mut cursor = Cursor::default();
        cursor.set(&channel("news"), Position { offset, ..at });
        world.come(Attach { start: Start::Cursor(cursor), ..attach(10 + offset, "bob") });
        let pulled = world.pull(10 + offset);
        assert!(pulled.len() == 1 && pulled[0].contains("gap"), "{pulled:?}");
        // The window holds what was read when the channel was opened.
        let mut next = Cursor::default();
        next.set(&channel("news"), Position { offset, ..at });
        world.come(Attach { start: Start::Cursor(next), ..attach(30 + offset, "dave") });
        let pulled = world.pull(30 + offset);
        assert!(pulled.len() == 1 && pulled[0].contains("gap"), "{pulled:?}");
        world.publish("news");
        assert_eq!(world.pull(10 + offset).len(), 1, "what comes is given");
        world.go(10 + offset);
        world.go(30 + offset);
        world.wait_ms(120_000);
    }
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { epoch: Epoch(99), offset: 1 });
    world.come(Attach { start: Start::Cursor(cursor), ..attach(20, "carol") });
    let pulled = world.pull(20);
    assert!(pulled.len() == 1 && pulled[0].contains("gap"), "{pulled:?}");
}

/// What was lost on its way comes again, as ever.
#[test]
fn a_session_that_comes_back_soon_misses_nothing_without_that_right() {
    let mut world = world(vec![rule("*", Who::Users, Who::None)]);
    world.come(attach_to(1, "alice", &["news"]));
    world.publish("news");
    assert_eq!(world.pull(1).len(), 1);
    let cursor = world.cursor(1);
    world.go(1);
    world.publish("news");
    world.publish("news");
    world.come(back(2, "alice", 1, &cursor));
    let pulled = world.pull(2);
    assert!(pulled.len() == 2 && !pulled.join(" ").contains("gap"), "{pulled:?}");
}

#[test]
fn a_channel_has_as_many_followers_as_its_rule_lets_in_over_all_hubs() {
    let bounded = ChannelRule { followers_max: Some(3), ..rule("*", Who::Users, Who::Users) };
    let follower_counts = Arc::new(FollowerCounts::default());
    let hub = || {
        World::new(HubConfig {
            rules: rules(vec![bounded.clone()]),
            follower_counts: Arc::clone(&follower_counts),
            ..HubConfig::default()
        })
    };
    let (mut here, mut there) = (hub(), hub());
    here.come(attach_to(1, "alice", &["news"]));
    here.come(attach_to(2, "bob", &["news"]));
    there.come(attach_to(1, "carol", &["news"]));
    there.come(attach_to(2, "dave", &["news", "other"]));
    assert_eq!(there.refusal(2), Some(ErrorCode::ChannelFull));
    here.come(attach(3, "erin"));
    here.subscribe(3, "erin", &["other", "news"]);
    assert_eq!(here.reply(), Some(ControlReply::Refused(ErrorCode::ChannelFull)));
    assert_eq!(follower_counts.get(&channel("other")), 0, "half of it was not done");
    here.subscribe(1, "alice", &["news"]);
    assert!(matches!(here.reply(), Some(ControlReply::Following(_))), "it is in already");
    here.unsubscribe(2, "bob", &["news"]);
    there.come(attach_to(2, "dave", &["news", "other"]));
    assert!(there.has_begun(2));
    for world in [&mut here, &mut there] {
        for conn in 1..4 {
            world.go(conn);
        }
        world.wait_ms(120_000);
    }
    assert_eq!((follower_counts.get(&channel("news")), follower_counts.get(&channel("other"))), (0, 0));
}

#[test]
fn followers_are_counted_that_were_there_before_the_bound() {
    let mut world = World::default();
    for conn in 1..4 {
        world.come(attach_to(conn, &format!("user{conn}"), &["news"]));
    }
    let bounded = |max| ChannelRule { followers_max: Some(max), ..rule("*", Who::Users, Who::Users) };
    world.hub.set_rules(rules(vec![bounded(3)]));
    world.settle();
    world.come(attach_to(9, "zoe", &["news"]));
    assert_eq!(world.refusal(9), Some(ErrorCode::ChannelFull));
    world.hub.set_rules(rules(vec![bounded(4)]));
    world.settle();
    world.come(attach_to(9, "zoe", &["news"]));
    assert!(world.has_begun(9));
}

#[test]
fn what_a_user_follows_is_bounded_over_all_sessions() {
    let mut world = World::new(HubConfig { max_channels_per_user: 5, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["a", "b", "c"]));
    world.come(attach_to(2, "alice", &["a", "d", "e"]));
    assert_eq!(world.refusal(2), Some(ErrorCode::TooManyChannels));
    world.come(attach_to(3, "alice", &["a", "d"]));
    assert!(world.has_begun(3));
    world.subscribe(3, "alice", &["e"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::TooManyChannels)));
    world.subscribe(3, "alice", &["d"]);
    assert!(matches!(world.reply(), Some(ControlReply::Following(_))), "it is followed already");
    world.come(Attach { session: Some(session(1003)), ..attach_to(4, "alice", &["a", "d"]) });
    assert!(world.has_begun(4), "a session that goes on takes no more");
    world.come(attach_to(5, "bob", &["a", "b", "c", "d", "e"]));
    assert!(world.has_begun(5), "each user has a bound");
    world.unsubscribe(3, "alice", &["d"]);
    world.said();
    world.subscribe(1, "alice", &["e"]);
    assert!(matches!(world.reply(), Some(ControlReply::Following(_))));
}
