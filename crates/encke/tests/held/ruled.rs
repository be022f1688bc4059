//! Rules for channels hold wherever a client names one, and for what its session follows already.

use encke::config::RuleEntry;
use encke_proto::Who;
use serde_json::json;

use super::*;

fn rule(channel: &str, who: Who) -> RuleEntry {
    RuleEntry { channel: channel.to_owned(), subscribe: who, publish: who, ..RuleEntry::default() }
}

fn ruled(rules: Vec<RuleEntry>) -> World {
    World::with(|config| config.rules = rules)
}

impl World {
    /// What SIGHUP does once the file is read.
    fn reload(&self, rules: Vec<RuleEntry>) {
        let config = Config { rules, ..config() };
        self.runtime.block_on(self.app().reloads.take(config)).unwrap();
    }

    fn post_as(&self, user: &str, path: &str, body: &Value) -> (u16, Value) {
        let (body, mut wire) = (body.to_string(), self.connect());
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token(user),
            body.len()
        ));
        wire.response()
    }
}

fn inboxes() -> Vec<RuleEntry> {
    vec![rule("inbox-{user}", Who::Owner), rule("news", Who::Users)]
}

/// A client whose token grants everything names the channel of another user, at each address.
#[test]
fn t17_no_token_is_stronger_than_a_rule_wherever_a_channel_is_named() {
    let world = ruled(inboxes());
    let (status, answer) = world.poll("alice", "hold_s=0&channels=news,inbox-alice");
    assert_eq!(status, 200, "{answer}");
    let session = answer["session"].as_str().unwrap().to_owned();
    let cursor = answer["cursor"].as_str().unwrap().replace("inbox-alice", "inbox-bob");
    for query in [
        "hold_s=0&channels=inbox-bob".to_owned(),
        "hold_s=0&channels=elsewhere".to_owned(),
        format!("hold_s=0&cursor={cursor}"),
    ] {
        for path in ["/v1/poll", "/v1/sse", "/v1/stream"] {
            let form = if path == "/v1/stream" { "&as=ndjson" } else { "" };
            let mut wire = world.connect();
            wire.send(&world.head("alice", &format!("{path}?{query}{form}")));
            let (status, answer) = wire.response();
            let refused = (status, answer["error"]["code"].as_str().unwrap_or_default());
            assert_eq!(refused, (403, "channel_forbidden"), "{path} {query}");
        }
        let mut wire = world.connect();
        wire.send(&world.ws_head("alice", &query));
        assert!(wire.until("\r\n").contains(" 403 "), "{query}");
    }
    // With its session it is told that it does not follow the channel.
    let (_, answer) = world.poll("alice", &format!("hold_s=0&session={session}&channels=inbox-bob"));
    assert_eq!(answer["unsubscribed"], json!([{"channel": "inbox-bob", "reason": "not_granted"}]));
    for (path, body) in [
        ("/v1/subscribe", json!({"session": session, "channels": ["news", "inbox-bob"]})),
        ("/v1/publish", json!({"channel": "inbox-bob", "data": 1})),
        ("/v1/publish", json!({"channel": "elsewhere", "data": 1})),
    ] {
        let (status, answer) = world.post_as("alice", path, &body);
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("channel_forbidden")), "{path} {body}");
    }
    assert_eq!(world.post_as("alice", "/v1/publish", &json!({"channel": "inbox-alice", "data": 1})).0, 202);
    let mut wire = world.connect();
    wire.send(&world.ws_head("alice", ""));
    wire.switched();
    assert_eq!(wire.on_bytes()["event"], "open");
    for text in [
        r#"{"do":"subscribe","id":1,"channels":["inbox-bob"]}"#,
        r#"{"do":"publish","id":1,"channel":"inbox-bob","data":1}"#,
    ] {
        wire.say(1, text.as_bytes());
        assert_eq!(wire.on_bytes()["error"]["code"], "channel_forbidden", "{text}");
    }
    wire.say(1, br#"{"do":"subscribe","id":2,"channels":["inbox-alice"]}"#);
    assert_eq!(wire.on_bytes()["id"], 2);
}

/// A backend is not a client.
#[test]
fn backends_are_bound_by_no_rule() {
    let world = ruled(vec![rule("news", Who::None)]);
    for (path, body) in [
        ("/api/publish", json!({"channel": "news", "data": 1})),
        ("/api/publish", json!({"channel": "elsewhere", "data": 1})),
    ] {
        let (body, mut wire) = (body.to_string(), world.connect());
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            world.address,
            "k".repeat(32),
            body.len()
        ));
        assert_eq!(wire.response().0, 202, "{body}");
    }
}

#[test]
fn new_rules_end_what_polls_streams_and_websockets_follow() {
    let mut world = World::new();
    let mut poll = world.connect();
    poll.send(&world.head("alice", "/v1/poll?channels=news,secret"));
    let mut sse = world.connect();
    sse.send(&world.head("bob", "/v1/sse?channels=news,secret"));
    let mut ws = world.connect();
    ws.send(&world.ws_head("carol", "channels=news,secret"));
    ws.switched();
    assert_eq!(ws.on_bytes()["event"], "open");
    for user in ["alice", "bob", "carol"] {
        world.until_held(user, 1);
    }
    world.reload(vec![rule("news", Who::Users)]);
    let told = json!({"event": "unsubscribed", "channel": "secret", "reason": "not_granted"});
    assert_eq!(ws.on_bytes(), told);
    sse.until("\r\n\r\n");
    let mut next = || loop {
        match sse.event().1 {
            Value::Null => {}
            event => return event,
        }
    };
    assert_eq!(next()["event"], "open");
    assert_eq!(next(), told);
    let (_, answer) = poll.response();
    assert_eq!(answer["unsubscribed"], json!([{"channel": "secret", "reason": "not_granted"}]), "at once");
    world.publish("secret", "1");
    world.publish("news", "2");
    assert_eq!(next()["data"], 2);
    assert_eq!(ws.on_bytes()["data"], 2);
    ws.say(1, br#"{"do":"subscribe","id":1,"channels":["secret"]}"#);
    assert_eq!(ws.on_bytes()["error"]["code"], "channel_forbidden");
    world.reload(vec![rule("*", Who::Users)]);
    ws.say(1, br#"{"do":"subscribe","id":1,"channels":["secret"]}"#);
    assert_eq!(ws.on_bytes()["result"]["channels"], json!(["news", "secret"]));
}

/// How far a cursor leads back that the client has made up, the hub's stories tell.
#[test]
fn the_history_is_closed_to_the_data_connection_too() {
    let mut world = ruled(vec![RuleEntry { history: Some(Who::None), ..rule("news", Who::Users) }]);
    world.publish("news", "1");
    // Her shard has taken the message in when it answers.
    world.poll("alice", "hold_s=0");
    let (_, answer) = world.poll("alice", "hold_s=0&cursor=earliest&channels=news");
    assert_eq!(data(&answer), [0_i64; 0], "{answer}");
    let session = answer["session"].as_str().unwrap();
    world.publish("news", "3");
    let cursor = answer["cursor"].as_str().unwrap();
    let (_, answer) = world.poll("alice", &format!("hold_s=0&session={session}&cursor={cursor}"));
    assert_eq!(data(&answer), [3], "what comes while it follows is given");
}

/// A dialect whose clients prove no identity.
#[test]
fn what_is_for_users_is_not_for_clients_without_a_token() {
    let backend = |world: &World, target: &str| {
        let mut wire = world.connect();
        wire.send(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", world.address));
        wire.until("\r\n").split(' ').nth(1).unwrap().to_owned()
    };
    for (who, status) in [(Who::Users, "403"), (Who::Owner, "403"), (Who::Token, "403"), (Who::Anyone, "200")]
    {
        let world = ruled(vec![rule("classic", who)]);
        assert_eq!(backend(&world, "/classic/backend?timestamp="), status, "{who:?}");
        assert_eq!(backend(&world, "/classic/backend?msg=hello"), status, "{who:?}");
    }
    let world = ruled(vec![rule("news", Who::Anyone)]);
    assert_eq!(backend(&world, "/classic/backend?msg=hello"), "403", "no rule fits");
}
