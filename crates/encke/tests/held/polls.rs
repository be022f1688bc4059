//! Long polls over raw sockets: no loss and no duplicates between polls, takeover, close and gaps.

use super::*;

#[test]
fn a_push_wakes_the_poll_that_waits_for_it() {
    let mut world = World::new();
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/poll"));
    world.until_held("alice", 1);
    world.push("alice", "1");
    let (status, answer) = wire.response();
    assert_eq!((status, data(&answer), &answer["close"]), (200, vec![1], &Value::Null));
    assert_eq!(answer["messages"][0]["channel"], "@alice");
}

#[test]
fn nothing_is_lost_between_two_polls_and_nothing_comes_twice() {
    let mut world = World::new();
    let (_, first) = world.poll("alice", "hold_s=0&channels=news");
    assert_eq!(data(&first), Vec::<i64>::new());
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    world.publish("news", "1");
    world.publish("news", "2");
    let (_, second) = world.poll("alice", &format!("cursor={cursor}"));
    assert_eq!(data(&second), [1, 2]);
    let (_, again) = world.poll("alice", &format!("cursor={cursor}&hold_s=0"));
    assert_eq!(data(&again), [1, 2], "a poll whose answer was lost is asked again");
    let (_, third) = world.poll("alice", &format!("cursor={}&hold_s=0", second["cursor"].as_str().unwrap()));
    assert_eq!(data(&third), Vec::<i64>::new());
}

#[test]
fn one_connection_serves_poll_after_poll() {
    let mut world = World::new();
    let mut wire = world.connect();
    let mut cursor = String::new();
    for n in 0..20 {
        wire.send(&world.head("alice", &format!("/v1/poll?cursor={cursor}")));
        world.until_held("alice", 1);
        world.push("alice", &n.to_string());
        let (_, answer) = wire.response();
        assert_eq!(data(&answer), [n]);
        cursor = answer["cursor"].as_str().unwrap().to_owned();
        cursor.push_str(&format!("&session={}", answer["session"].as_str().unwrap()));
    }
    assert_eq!(world.sessions("alice"), 1);
}

#[test]
fn what_was_pushed_while_offline_comes_at_the_next_login_and_once() {
    let mut world = World::new();
    world.push("alice", "1");
    world.push("alice", "2");
    let (_, answer) = world.poll("alice", "");
    assert_eq!(data(&answer), [1, 2]);
    let (_, other_tab) = world.poll("alice", "hold_s=0");
    assert_eq!(data(&other_tab), Vec::<i64>::new());
    let (_, all) = world.poll("alice", "cursor=earliest");
    assert_eq!(data(&all), [1, 2]);
}

#[test]
fn t16_a_newer_poll_takes_over_and_the_older_one_hears_of_it() {
    let mut world = World::new();
    let (_, first) = world.poll("alice", "hold_s=0");
    let query = format!(
        "/v1/poll?session={}&cursor={}",
        first["session"].as_str().unwrap(),
        first["cursor"].as_str().unwrap()
    );
    let mut older = world.connect();
    older.send(&world.head("alice", &query));
    world.until_held("alice", 1);
    let mut newer = world.connect();
    newer.send(&world.head("alice", &query));
    let (status, body) = older.response();
    assert_eq!((status, &body["error"]["code"]), (409, &Value::from("session_taken_over")));
    world.push("alice", "1");
    assert_eq!(data(&newer.response().1), [1]);
}

#[test]
fn a_closed_poll_is_answered_at_once_and_its_session_is_gone() {
    let world = World::new();
    let (_, first) = world.poll("alice", "hold_s=0");
    let session = first["session"].as_str().unwrap();
    let query = format!("/v1/poll?session={session}&cursor={}", first["cursor"].as_str().unwrap());
    let mut wire = world.connect();
    wire.send(&world.head("alice", &query));
    world.until_held("alice", 1);
    let close = encke_proto::Close {
        code: encke_proto::CloseCode::Client,
        reason: "bye".into(),
        reconnect: false,
        retry_ms: None,
    };
    let target = encke_hub::CloseTarget::Session(session.parse().unwrap());
    let closed = world.runtime.block_on(world.app().sessions.close(&target, &close)).unwrap();
    assert_eq!((closed, world.sessions("alice")), (1, 0), "everything is freed when the close is answered");
    let counts = world.runtime.block_on(world.app().shards.counts()).unwrap();
    assert_eq!((counts.held, counts.sessions, counts.users, counts.channels), (0, 0, 0, 0));
    let (status, answer) = wire.response();
    assert_eq!(status, 200);
    assert_eq!(answer["close"], serde_json::json!({"code": "client", "reason": "bye", "reconnect": false}));
    assert_eq!(answer["session"], session);
    assert!(wire.ends(), "the socket is freed too");
    let (status, body) = world.poll("alice", &format!("session={session}"));
    assert_eq!(
        (status, &body["error"]["code"], &body["reconnect"]),
        (410, &Value::from("session_closed"), &Value::from(false))
    );
}

#[test]
fn a_cursor_of_another_epoch_brings_a_gap_and_not_silence() {
    let mut world = World::new();
    world.publish("news", "1");
    let (status, answer) = world.poll("alice", "cursor=1~zzz~news~7");
    assert_eq!(status, 200);
    assert_eq!(
        answer["gaps"][0],
        serde_json::json!({"channel": "news", "from": 8, "to": null, "reason": "epoch"})
    );
    assert_eq!(data(&answer), [1]);
}

#[test]
fn what_retention_took_is_named_exactly() {
    let mut world = World::with(|config| {
        config.retention_default.max_messages = Some(5);
        config.session_grace_s = 1;
    });
    world.publish("news", "1");
    let (_, first) = world.poll("alice", "cursor=earliest&channels=news");
    assert_eq!(data(&first), [1]);
    // As long as a session follows the channel, its window may hold more than retention asks for.
    world.until(|| world.sessions("alice") == 0);
    for n in 2..=12 {
        world.publish("news", &n.to_string());
    }
    let (_, answer) = world.poll("alice", &format!("cursor={}", first["cursor"].as_str().unwrap()));
    assert_eq!(
        answer["gaps"][0],
        serde_json::json!({"channel": "news", "from": 2, "to": 7, "reason": "trimmed"})
    );
    assert_eq!(data(&answer), [8, 9, 10, 11, 12]);
}

#[test]
fn who_may_not_wait_is_told_why() {
    let world = World::new();
    for (query, status, code) in [
        ("cursor=nonsense", 400, "bad_cursor"),
        ("hold_s=x", 400, "bad_request"),
        ("colour=red", 400, "bad_request"),
        ("channels=@bob", 400, "bad_name"),
        ("cursor=1~k~@bob~1", 403, "channel_forbidden"),
    ] {
        let (got, body) = world.poll("alice", query);
        assert_eq!((got, &body["error"]["code"]), (status, &Value::from(code)), "{query}");
    }
    let mut wire = world.connect();
    wire.send(&format!("GET /v1/poll HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
    let (status, body) = wire.response();
    assert_eq!((status, &body["error"]["code"]), (401, &Value::from("unauthorized")));
    wire.send(&world.head("alice", "/v1/poll?hold_s=0"));
    assert_eq!(wire.response().0, 200, "the connection is good for another try");
}
