//! Event streams over raw sockets: cursors, resuming by `Last-Event-ID`, HTTP/1.0, and clients that read
//! slowly or disconnect.

use encke_proto::limits::CURSOR_MAX_BYTES;

use super::*;

#[test]
fn a_stream_opens_and_carries_messages_with_their_cursors() {
    let mut world = World::new();
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse?channels=news"));
    let head = wire.until("\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"),
        "{head}"
    );
    let (name, open, id) = wire.event();
    assert_eq!(
        (name.as_str(), &open["event"], open["cursor"].as_str().unwrap()),
        ("opened", &Value::from("open"), id.as_str())
    );
    world.publish("news", "{\"a\":\n1}");
    let (name, first, first_id) = wire.event();
    assert_eq!(
        (name.as_str(), &first["data"]["a"], &first["channel"]),
        ("", &Value::from(1), &Value::from("news"))
    );
    world.push("alice", "2");
    let (_, second, _) = wire.event();
    assert_eq!(second["channel"], "@alice");

    let mut again = world.connect();
    let head =
        world.head("alice", "/v1/sse").replace("\r\n\r\n", &format!("\r\nLast-Event-ID: {first_id}\r\n\r\n"));
    again.send(&head);
    again.until("\r\n\r\n");
    assert_eq!(again.event().0, "opened");
    assert_eq!(again.event().1["channel"], "@alice", "it goes on behind the first event");
}

#[test]
fn a_stream_that_was_closed_on_purpose_does_not_come_back() {
    let world = World::new();
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse"));
    wire.until("\r\n\r\n");
    let (_, open, _) = wire.event();
    let close = encke_proto::Close {
        code: encke_proto::CloseCode::Operator,
        reason: String::new(),
        reconnect: false,
        retry_ms: None,
    };
    let target = encke_hub::CloseTarget::User(UserId::new("alice").unwrap());
    assert_eq!(world.runtime.block_on(world.app().sessions.close(&target, &close)).unwrap(), 1);
    let (name, body, id) = wire.event();
    assert_eq!(
        (name.as_str(), &body["code"], &body["reconnect"]),
        ("close", &Value::from("operator"), &Value::from(false))
    );
    assert!(
        wire.ends() && String::from_utf8_lossy(&wire.seen).ends_with("0\r\n\r\n"),
        "the response is whole"
    );

    let mut browser = world.connect();
    browser.send(
        &world.head("alice", "/v1/sse").replace("\r\n\r\n", &format!("\r\nLast-Event-ID: {id}\r\n\r\n")),
    );
    assert_eq!(browser.response().0, 204, "an EventSource stays away at that");
    let (status, _) = world.poll("alice", &format!("session={}", open["session"].as_str().unwrap()));
    assert_eq!(status, 410);
    let (status, _) = world.poll("alice", &format!("hold_s=0&cursor={id}"));
    assert_eq!(status, 200, "coming back on purpose is welcome");
}

#[test]
fn a_receiver_that_takes_nothing_costs_no_memory_and_misses_nothing() {
    // How much the kernel takes differs, and how long all of it takes on a busy machine.
    let mut world = World::with(|config| {
        config.slow.max_bytes = 1 << 30;
        config.slow.deadline_s = 300;
    });
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse"));
    wire.until("\r\n\r\n");
    wire.event();
    // More than the kernel's buffers hold, so that the table has to stop and go on.
    let big = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..200 {
        world.push("alice", &big);
    }
    for n in 1..=200 {
        let (name, body, _) = wire.event();
        assert_eq!(body["offset"], n, "{name}: {:.200}", body.to_string());
    }
}

#[test]
fn a_stream_over_http_1_0_ends_with_its_connection() {
    let mut world = World::new();
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse").replace("HTTP/1.1", "HTTP/1.0"));
    let head = wire.until("\r\n\r\n");
    assert!(!head.contains("chunked") && head.contains("connection: close"), "{head}");
    assert_eq!(wire.event().0, "opened");
    world.push("alice", "1");
    assert_eq!(wire.event().1["data"], 1);
}

#[test]
fn a_client_that_goes_without_a_word_is_detached_at_once_and_its_session_stays_for_the_grace_time() {
    let world = World::with(|config| config.session_grace_s = 1);
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse"));
    wire.until("\r\n\r\n");
    wire.event();
    wire.socket.shutdown(Shutdown::Both).unwrap();
    world.until_held("alice", 0);
    world.until(|| world.sessions("alice") == 0);
}

/// A publisher writes what would be fields of an event stream (another event, its id, the end of one), and a
/// client names a cursor that holds such.
#[test]
fn t20_no_data_and_no_cursor_makes_lines_of_its_own() {
    let world = World::new();
    let mut stream = world.connect();
    stream.send(&world.head("alice", "/v1/sse?channels=news"));
    stream.until("\r\n\r\n");
    assert_eq!(stream.event().0, "opened");
    // As JSON escapes them, as they are between its tokens, and as JavaScript ends lines.
    for (number, text) in [
        r#"{"a":"x\r\n\r\nevent: close\r\ndata: {}\r\n\r\n","n":0}"#,
        r#"{"a":"x\rid: 9\revent: close\r\rdata: y\u0000","n":1}"#,
        "{\"a\":\r\n1,\n\r\n\n\"event: close\":\r\r2,\"n\":2}",
        "{\"a\":\"\u{2028}id: 9\u{2029}\u{85}event: close\",\"n\":3}",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("{{\"channel\":\"news\",\"data\":{text}}}");
        let mut publisher = world.connect();
        publisher.send(&format!(
            "POST /api/publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            "k".repeat(32),
            body.len()
        ));
        assert_eq!(publisher.response().0, 202, "{text}");
        let event = stream.until("\n\n");
        // Each event is a piece of its own on the wire: its length stands before it.
        let event = event.trim_start_matches("\r\n");
        let (length, event) = event.split_once("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(length, 16).unwrap(), event.len(), "{event:?}");
        assert!(!event.contains('\r'), "{event:?}");
        let names: Vec<&str> =
            event.trim_end().split('\n').map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(names, ["data", "id"], "{event:?}");
        let data = event.strip_prefix("data: ").unwrap().split('\n').next().unwrap();
        let message: Value = serde_json::from_str(data).unwrap();
        assert_eq!(message["data"], serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(message["data"]["n"], number);
    }
    let long = format!("1~{}", "1".repeat(CURSOR_MAX_BYTES));
    for cursor in ["x", "1~0~news", "1~0~a%0Aevent:~1", "1~0~a\tb~1", "1~0~\u{202e}~1", "1~-1~news~1", &long]
    {
        let mut wire = world.connect();
        let field = format!("\r\nLast-Event-ID: {cursor}\r\n\r\n");
        wire.send(&world.head("alice", "/v1/sse").replace("\r\n\r\n", &field));
        let (status, answer) = wire.response();
        assert_eq!((status, &answer["error"]["code"]), (400, &"bad_cursor".into()), "{cursor:.60}");
    }
    // What HTTP does not let through is no request.
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse").replace("\r\n\r\n", "\r\nLast-Event-ID: 1\0\r\n\r\n"));
    assert!(wire.until("\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

/// A cache, or a proxy that gathers what it passes on, stands between the server and a client.
#[test]
fn t26_no_proxy_keeps_or_gathers_what_is_for_one_client() {
    let world = World::new();
    let own = format!("{}://{}", world.scheme(), world.address);
    let frame = format!("/v1/stream?as=iframe&origin={own}");
    let of = |user: &str, target: &str| world.head(user, target);
    let as_operator = |target: &str| {
        let key = "k".repeat(32);
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n")
    };
    for request in [
        of("alice", "/v1/poll?hold_s=0"),
        of("alice", "/v1/sse"),
        of("alice", "/v1/sse").replace("HTTP/1.1", "HTTP/1.0"),
        of("alice", "/v1/stream?as=ndjson"),
        of("alice", &frame),
        of("alice", "/v1/stream?as=nothing"),
        "GET /v1/sse HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        as_operator("/api/users/alice/messages"),
        as_operator("/api/users"),
    ] {
        let mut wire = world.connect();
        wire.send(&request);
        let head = wire.until("\r\n\r\n").to_ascii_lowercase();
        let line = request.lines().next().unwrap();
        assert!(head.contains("\r\ncache-control: no-store\r\n"), "{line}: {head}");
        let is_stream = !head.contains("\r\ncontent-length: ");
        assert!(!is_stream || head.contains("\r\nx-accel-buffering: no\r\n"), "{line}: {head}");
    }
}
