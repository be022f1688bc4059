//! The query of a request that waits, as clients of all kinds write it.

use super::*;

/// Where `answer` stands in the channel `news`.
fn cursor(answer: &Value) -> String {
    answer["cursor"].as_str().unwrap().to_owned()
}

#[test]
fn an_event_source_that_can_send_no_header_goes_on_by_a_parameter() {
    let mut world = World::new();
    world.publish("news", "1");
    let (_, first) = world.poll("alice", "hold_s=0&channels=news");
    world.publish("news", "2");
    let at = cursor(&first);
    let (_, second) = world.poll("alice", &format!("hold_s=0&lastEventId={at}"));
    assert_eq!(data(&second), [2]);
    // It knows better than the address that the page began with, and a header better than both.
    let (_, third) = world.poll("alice", &format!("hold_s=0&cursor={at}&lastEventId={}", cursor(&second)));
    assert_eq!(data(&third), Vec::<i64>::new());
    let ask = |header: &str, query: &str| {
        let mut wire = world.connect();
        wire.send(
            &world
                .head("alice", &format!("/v1/poll?hold_s=0&{query}"))
                .replace("\r\n\r\n", &format!("\r\nLast-Event-ID: {header}\r\n\r\n")),
        );
        wire.response()
    };
    assert_eq!(data(&ask(&at, &format!("lastEventId={}", cursor(&second))).1), [2]);
    // What it sends before it has been given an id is none, wherever it stands.
    for none in ["", "0", "null", "undefined"] {
        assert_eq!(data(&ask(none, &format!("lastEventId={at}")).1), [2], "Last-Event-ID: {none}");
        assert_eq!(data(&ask(none, &format!("cursor={at}")).1), [2], "Last-Event-ID: {none}");
        assert_eq!(
            data(&world.poll("alice", &format!("hold_s=0&lastEventId={none}&cursor={at}")).1),
            [2],
            "lastEventId={none}"
        );
        let (status, answer) = world.poll("alice", &format!("hold_s=0&channels=news&cursor={none}"));
        assert_eq!((status, data(&answer)), (200, Vec::new()), "cursor={none}: from now on");
    }
    // After a close on purpose it stays away, however it says where it stands.
    for (header, query) in
        [(format!("{at}~closed"), String::new()), (String::new(), format!("lastEventId={at}~closed"))]
    {
        assert_eq!(ask(&header, &query).0, 204, "{header} {query}");
    }
    assert_eq!(ask("", "lastEventId=nonsense").0, 400);
}

#[test]
fn channels_that_are_named_one_by_one_are_all_followed() {
    let mut world = World::new();
    let (_, first) = world.poll("alice", "hold_s=0&channels=a&channels=b,c&channels=a");
    for (channel, number) in [("a", "1"), ("b", "2"), ("c", "3")] {
        world.publish(channel, number);
    }
    // An answer goes out with what the first of the channels gave, so several may be needed.
    let (mut found, mut at) = (Vec::new(), cursor(&first));
    for _ in 0..3 {
        let (_, answer) = world.poll("alice", &format!("hold_s=10&cursor={at}"));
        found.extend(data(&answer));
        at = cursor(&answer);
        if found.len() == 3 {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn what_says_one_thing_is_not_said_twice() {
    let world = World::new();
    for name in ["cursor", "session", "hold_s", "ticket", "as", "origin"] {
        let value = if name == "hold_s" { "0" } else { "" };
        let (status, answer) = world.poll("alice", &format!("{name}={value}&{name}={value}"));
        assert_eq!((status, &answer["error"]["code"]), (400, &Value::from("bad_request")), "{name}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(&format!("{name:?}")), "{answer}");
    }
}

#[test]
fn libraries_of_event_source_connect_and_reconnect_with_what_they_add() {
    let mut world = World::new();
    world.publish("news", "1");
    let (_, first) = world.poll("alice", "hold_s=0&channels=news");
    world.publish("news", "2");
    let (_, second) = world.poll("alice", &format!("hold_s=0&cursor={}", cursor(&first)));
    world.publish("news", "3");
    // A number against caches, of some `_`, of others `r`; and the id once more with each reconnect.
    let (old, new) = (cursor(&first), cursor(&second));
    for add in ["r=0.5418", "r=1&_=2&r=3", "lastEventId=&r=7", "lastEventId=nonsense&r=7"] {
        let mut wire = world.connect();
        wire.send(&world.head("alice", &format!("/v1/sse?{add}&lastEventId={old}&lastEventId={new}")));
        assert!(wire.until("\r\n\r\n").starts_with("HTTP/1.1 200 "), "{add}");
        assert!(wire.until("\"data\":3").matches("\"data\":").count() == 1, "{add}");
    }
    // The header counts, so that nothing else needs to be right.
    for by_hyper in [false, true] {
        let padding = if by_hyper { format!("X-Padding: {}\r\n", "x".repeat(9_000)) } else { String::new() };
        let mut wire = world.connect();
        let fields = format!("\r\n{padding}Last-Event-ID: {new}\r\n\r\n");
        wire.send(
            &world.head("alice", "/v1/poll?hold_s=0&lastEventId=nonsense").replace("\r\n\r\n", &fields),
        );
        let (status, answer) = wire.response();
        assert_eq!((status, data(&answer)), (200, vec![3]), "{by_hyper}: {answer}");
    }
    let (status, answer) = world.poll("alice", &format!("hold_s=0&lastEventId={new}&lastEventId=nonsense"));
    assert_eq!((status, &answer["error"]["code"]), (400, &Value::from("bad_cursor")));
}
