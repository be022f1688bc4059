//! What rules let clients read and publish, and how much.

use encke::config::RuleEntry;
use encke_proto::Who;
use serde_json::json;

use crate::world::{Ask, World, token};

fn rule(channel: &str) -> RuleEntry {
    RuleEntry { channel: channel.to_owned(), ..RuleEntry::default() }
}

fn of(user: &str, channels: &[&str], path: &str) -> Ask {
    Ask::get(path).header("authorization", &format!("Bearer {}", token(user, channels, channels)))
}

#[test]
fn presence_and_history_are_for_those_that_a_rule_names() {
    let rules = vec![
        RuleEntry {
            subscribe: Who::Owner,
            presence: Who::Owner,
            history: Some(Who::Owner),
            ..rule("in-{user}")
        },
        RuleEntry { subscribe: Who::Users, presence: Who::Token, ..rule("news") },
        RuleEntry { subscribe: Who::Users, history: Some(Who::None), ..rule("room") },
    ];
    let world = World::with(|config| config.rules = rules);
    for channel in ["in-alice", "news", "room"] {
        world.publish(channel, 7);
    }
    world.session("alice", "in-alice,news,room");
    for (path, status) in [
        ("/v1/channels/in-alice/history", 200),
        ("/v1/channels/in-alice/presence", 200),
        ("/v1/channels/in-bob/history", 403),
        ("/v1/channels/in-bob/presence", 403),
        // Who follows may read, unless it is said otherwise.
        ("/v1/channels/news/history", 200),
        ("/v1/channels/news/presence", 200),
        ("/v1/channels/room/history", 403),
        ("/v1/channels/room/presence", 403),
        ("/v1/channels/elsewhere/history", 403),
        ("/v1/channels/elsewhere/presence", 403),
        ("/v1/channels/@alice/history", 400),
        ("/v1/channels/@bob/presence", 400),
    ] {
        assert_eq!(world.call(of("alice", &["*"], path)).status, status, "{path}");
    }
    let history = world.call(of("alice", &[], "/v1/channels/in-alice/history")).ok();
    assert_eq!(history["messages"][0]["data"], 7);
    let presence = world.call(of("alice", &[], "/v1/channels/in-alice/presence")).ok();
    assert_eq!(presence["users"], json!([{"user": "alice", "sessions": 1}]));
    // Where the token decides, one that does not say so does not.
    for (channels, status) in [(&["news"][..], 200), (&["room"], 403), (&[], 403)] {
        let answer = world.call(of("alice", channels, "/v1/channels/news/presence"));
        assert_eq!(answer.status, status, "{channels:?}");
    }
    // What a token names is all that its client gets.
    assert_eq!(world.call(of("alice", &["news"], "/v1/channels/in-alice/history")).status, 403);
    assert_eq!(
        world.call(Ask::get("/api/channels/room/history").key()).status,
        200,
        "a backend is no client"
    );
}

#[test]
fn without_rules_clients_see_neither() {
    let world = World::new();
    for path in ["/v1/channels/news/history", "/v1/channels/news/presence"] {
        assert_eq!(world.call(of("alice", &["*"], path)).code(), (403, "channel_forbidden".into()), "{path}");
        assert_eq!(world.call(Ask::get(path)).code(), (401, "unauthorized".into()), "{path}");
    }
}

#[test]
fn a_message_of_a_client_has_at_most_so_many_bytes() {
    let limited = RuleEntry { publish: Who::Users, message_max_bytes: Some(10), ..rule("chat*") };
    let open = RuleEntry { publish: Who::Users, ..rule("*") };
    let world = World::with(|config| config.rules = vec![limited, open]);
    let publish = |channel: &str, data: &str| {
        world.call(Ask::post("/v1/publish", &json!({"channel": channel, "data": data})).user("alice")).code()
    };
    assert_eq!(publish("chat-1", "12345678").0, 202, "ten bytes with the quotes");
    assert_eq!(publish("chat-1", "123456789"), (413, "too_large".into()));
    assert_eq!(publish("other", "123456789").0, 202);
    let padded = Ask::new(http::Method::POST, "/v1/publish").user("alice");
    let padded = padded.header("content-type", "application/json");
    let body = r#"{"channel":"chat-1","data":[ 1,  2,        3 ]}"#;
    assert_eq!(world.call(padded.body(body)).status, 202, "as it is kept");
}

#[test]
fn clients_publish_so_many_messages_a_second_to_a_channel() {
    let limited = RuleEntry { publish: Who::Users, messages_per_s: Some(1), ..rule("chat*") };
    let open = RuleEntry { publish: Who::Users, ..rule("*") };
    let world = World::with(|config| {
        config.rules = vec![limited, open];
        config.limits.burst_s = 5;
    });
    let publish = |user: &str, channel: &str| {
        world.call(Ask::post("/v1/publish", &json!({"channel": channel, "data": 1})).user(user))
    };
    // Of whatever users.
    let statuses: Vec<u16> =
        (0..60).map(|number| publish(&format!("user-{number}"), "chat-1").status).collect();
    let allowed = statuses.iter().take_while(|status| **status == 202).count();
    assert!((5..60).contains(&allowed), "{statuses:?}");
    let refused = statuses.iter().position(|status| *status == 429);
    assert_eq!(refused, Some(allowed), "{statuses:?}");
    for channel in ["chat-2", "other"] {
        assert_eq!(publish("alice", channel).status, 202, "{channel} has its own");
    }
    for number in 0..20 {
        world.publish("chat-1", number);
    }
    let answer = (0..60).map(|_| publish("alice", "chat-2")).find(|answer| answer.status == 429).unwrap();
    assert_eq!((answer.code().1.as_str(), answer.header("retry-after")), ("rate_limited", "5"));
}
