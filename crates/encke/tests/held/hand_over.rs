//! Between the table and hyper.

use super::*;

#[test]
fn one_connection_carries_requests_that_wait_and_requests_that_do_not() {
    let mut world = World::new();
    let mut wire = world.connect();
    for n in 0..5 {
        wire.send(&format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
        assert_eq!(wire.response().0, 404);
        wire.send(&world.head("alice", "/v1/poll"));
        world.until_held("alice", 1);
        world.push("alice", &n.to_string());
        assert_eq!(data(&wire.response().1), [n]);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_both_sides_of_the_seam() {
    let mut world = World::new();
    world.push("alice", "1");
    let mut wire = world.connect();
    let page = format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let poll = world.head("alice", "/v1/poll?cursor=earliest");
    wire.send(&format!("{page}{poll}{poll}{page}{poll}"));
    assert_eq!(wire.response().0, 404);
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(wire.response().0, 404);
    assert_eq!(data(&wire.response().1), [1]);
}

#[test]
fn a_request_that_waits_takes_away_nothing_of_the_answers_before_it() {
    let mut world = World::new();
    world.push("alice", "1");
    let address = world.address;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut wire = Wire { socket: socket.into(), seen: Vec::new() };
    wire.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // More than the kernel keeps on both sides.
    let large = format!("GET /api/openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let poll = world.head("alice", "/v1/poll?cursor=earliest");
    wire.send(&format!("{}{poll}", large.repeat(100)));
    for number in 0..100 {
        assert_eq!(wire.response().0, 200, "{number}");
    }
    assert_eq!(data(&wire.response().1), [1]);
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut world = World::new();
    world.push("alice", "1");
    let mut wire = world.connect();
    wire.socket.set_nodelay(true).unwrap();
    for byte in world.head("alice", "/v1/poll?cursor=earliest").bytes() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(data(&wire.response().1), [1]);
    for byte in format!("GET /v1/nothing HTTP/1.1\r\nHost: {}\r\n\r\n", world.address).bytes() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(wire.response().0, 404);
}

#[test]
fn t21_shapes_that_smuggle_are_one_request_and_one_answer_or_none() {
    let world = World::new();
    let hidden = world.head("mallory", "/v1/poll?hold_s=0");
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Host: other",
        "X: a\rb",
    ] {
        let mut wire = world.connect();
        let head = format!(
            "GET /v1/poll?hold_s=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{fields}\r\n\r\n",
            world.address,
            world.token("alice")
        );
        wire.send(&format!("{head}{hidden}"));
        wire.ends();
        let answers = String::from_utf8_lossy(&wire.seen).matches("HTTP/1.1 200").count();
        assert_eq!(answers, 0, "{fields}: {}", String::from_utf8_lossy(&wire.seen));
        assert_eq!(world.sessions("mallory"), 0, "{fields}");
    }
}

/// A head with the key of the server API.
fn as_operator(world: &World, line: &str, fields: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{fields}\r\n",
        world.address,
        "k".repeat(32)
    )
}

#[test]
fn a_limit_of_connections_is_said_and_passes() {
    let world = World::with(|config| config.max_connections_per_address = Some(2));
    let (mut first, _second) = (world.connect(), world.connect());
    first.send(&world.head("alice", "/v1/sse"));
    first.until("\r\n\r\n");
    // Each worker lets connections in by itself, so the last to connect may otherwise come in before the
    // second.
    world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().sockets == 2);
    let mut third = world.connect();
    third.send(&world.head("alice", "/v1/sse"));
    let head = third.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("\r\nretry-after: 2\r\n"), "{head}");
    drop(first);
    world.until_held("alice", 0);
    world.until(|| {
        let mut fourth = world.connect();
        fourth.send(&world.head("alice", "/v1/poll?hold_s=0"));
        fourth.until("\r\n\r\n").starts_with("HTTP/1.1 200")
    });
}

#[test]
fn a_server_that_is_full_answers_probes_and_operators_and_no_client() {
    type Limit = fn(&mut Config);
    let limits: [Limit; 2] =
        [|config| config.max_connections = 2, |config| config.max_connections_per_address = Some(2)];
    for limit in limits {
        let world = World::with(limit);
        let mut served: Vec<Wire> = (0..2).map(|_| world.connect()).collect();
        for wire in &mut served {
            wire.send(&world.head("alice", "/v1/sse"));
            wire.until("\r\n\r\n");
        }
        let json = "Content-Type: application/json\r\nContent-Length: 26\r\n";
        let push =
            format!("{}{{\"to\":[\"alice\"],\"data\":11}}", as_operator(&world, "POST /api/push", json));
        // One after the other: each leaves its place when it is answered.
        for _ in 0..50 {
            for (text, status) in [
                (as_operator(&world, "GET /healthz", ""), 200),
                (as_operator(&world, "GET /readyz", ""), 200),
                (as_operator(&world, "GET /metrics", ""), 200),
                (as_operator(&world, "GET /api/sessions?user=alice", ""), 200),
                (push.clone(), 202),
                (as_operator(&world, "GET /", ""), 503),
                (as_operator(&world, "POST /v1/ticket", "Content-Length: 0\r\n"), 503),
                (world.head("bob", "/v1/poll?hold_s=0"), 503),
                (world.head("bob", "/v1/sse"), 503),
                (world.head("bob", "/v1/sse").replace("HTTP/1.1", "HTTP/1.0"), 503),
            ] {
                let mut wire = world.connect();
                wire.send(&text);
                let head = wire.until("\r\n\r\n");
                assert!(
                    head.contains(&format!(" {status} ")) && head.contains("\r\nconnection: close\r\n"),
                    "{text}: {head}"
                );
                assert_eq!(head.contains("\r\nretry-after: "), status == 503, "{head}");
                assert!(wire.ends());
            }
        }
        assert_eq!(world.sessions("bob"), 0);
        served[0].until("\"data\":11");
    }
}

#[test]
fn pages_of_allowed_origins_read_that_a_server_is_full_and_no_others() {
    let world = World::with(|config| {
        config.max_connections = 1;
        config.allowed_origins = vec!["https://app.example".into()];
    });
    let mut served = world.connect();
    served.send(&world.head("alice", "/v1/sse"));
    served.until("\r\n\r\n");
    let asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n";
    for (request, status) in [
        (format!("OPTIONS /v1/publish HTTP/1.1\r\nHost: a\r\n{asks}"), "204"),
        (format!("OPTIONS /v1/poll HTTP/1.1\r\nHost: a\r\n{asks}"), "204"),
        ("POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n".to_owned(), "503"),
        (world.head("bob", "/v1/poll?hold_s=0").trim_end().to_owned() + "\r\n", "503"),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n".to_owned(), "503"),
    ] {
        for (origin, reads) in [("https://app.example", true), ("https://evil.example", false)] {
            let mut wire = world.connect();
            wire.send(&format!("{request}Origin: {origin}\r\n\r\n"));
            let head = wire.until("\r\n\r\n").to_ascii_lowercase();
            let allows = head.contains(&format!("\r\naccess-control-allow-origin: {origin}\r\n"));
            assert_eq!(allows, reads, "{request}{origin}\n{head}");
            assert!(!reads || head.starts_with(&format!("http/1.1 {status} ")), "{request}{head}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        }
    }
}

#[test]
fn the_places_for_operators_are_bounded_and_come_back() {
    // Of several workers one may let the last connection in before another has come to those before it.
    let world = World::with(|config| (config.max_connections, config.workers) = (1, 1));
    let mut served = world.connect();
    served.send(&world.head("alice", "/v1/sse"));
    served.until("\r\n\r\n");
    let silent: Vec<Wire> = (0..RESERVED_PER_ADDRESS_MAX).map(|_| world.connect()).collect();
    let mut refused = world.connect();
    let head = refused.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("\r\nretry-after: 2\r\n"), "{head}");
    drop(silent);
    world.until(|| {
        let mut probe = world.connect();
        // One that is refused at the door may find it shut already.
        let _ = probe.socket.write_all(as_operator(&world, "GET /healthz", "").as_bytes());
        let mut answer = [0; 12];
        probe.socket.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 200"
    });
}

#[test]
fn a_head_of_what_is_held_is_refused_as_the_answer_says() {
    let world = World::with(|config| config.allowed_origins = vec!["https://app.example".to_owned()]);
    for (path, allow) in [
        ("/v1/poll", "GET"),
        ("/v1/sse", "GET"),
        ("/v1/stream?as=ndjson", "GET"),
        ("/v1/ws", "GET"),
        ("/classic/backend", "GET, POST"),
    ] {
        for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
            let mut wire = world.connect();
            wire.send(&world.head("alice", path).replacen("GET", method, 1));
            let head = wire.until("\r\n\r\n");
            assert!(
                head.starts_with("HTTP/1.1 405 ") && head.contains(&format!("\r\nallow: {allow}\r\n")),
                "{method} {path}: {head}"
            );
        }
        // What stands around the route may answer in its place; it does not say otherwise.
        for origin in ["", "Origin: https://app.example\r\n", "Origin: https://evil.example\r\n"] {
            let fields = format!("\r\n{origin}Access-Control-Request-Method: GET\r\n\r\n");
            let mut wire = world.connect();
            wire.send(&world.head("alice", path).replacen("GET", "OPTIONS", 1).replace("\r\n\r\n", &fields));
            let head = wire.until("\r\n\r\n");
            let allowed = head.lines().find_map(|line| line.strip_prefix("allow: "));
            assert!(allowed.is_none_or(|allowed| allowed == allow), "{path} {origin}: {head}");
        }
    }
    assert_eq!(world.sessions("alice"), 0);
}

/// How many sockets are in the table.
fn in_table(world: &World) -> usize {
    world.runtime.block_on(world.app().shards.counts()).unwrap().sockets
}

#[test]
fn a_connection_that_rests_goes_back_to_the_table_and_its_next_request_is_answered() {
    let world = World::new();
    let page = format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let mut wire = world.connect();
    for _ in 0..3 {
        wire.send(&page);
        assert_eq!(wire.response().0, 404);
        world.until(|| in_table(&world) == 1);
    }
    // One of which the half is there when it goes back, and one with a body that is read whole.
    let (first, second) = page.split_at(20);
    wire.send(&format!("{page}{first}"));
    assert_eq!(wire.response().0, 404);
    wire.send(second);
    assert_eq!(wire.response().0, 404);
    let body = "{\"user\":\"alice\"}";
    wire.send(&format!(
        "POST /v1/login HTTP/1.1\r\nHost: {0}\r\nOrigin: {2}://{0}\r\nContent-Type: application/json\r\nContent-Length: {1}\r\n\r\n{body}",
        world.address,
        body.len(),
        world.scheme()
    ));
    assert_eq!(wire.response().0, 200);
    world.until(|| in_table(&world) == 1);
    wire.send(&page);
    assert_eq!(wire.response().0, 404);
}

#[test]
fn requests_are_answered_whatever_the_pause_before_them() {
    let world = World::new();
    let page = format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    // Around the time at which connections change hands, each on its own, and cut in two.
    std::thread::scope(|scope| {
        for pause_ms in (150..260).step_by(2) {
            let (world, page) = (&world, &page);
            scope.spawn(move || {
                let mut wire = world.connect();
                for turn in 0..5 {
                    let (first, second) = page.split_at(turn * 7);
                    wire.send(first);
                    wire.send(second);
                    assert_eq!(wire.response().0, 404);
                    std::thread::sleep(Duration::from_millis(pause_ms));
                }
            });
        }
    });
}

#[test]
fn an_answer_that_ends_the_connection_says_so_and_the_end_is_clean() {
    let world = World::new();
    let key = "k".repeat(32);
    let ask = |version: &str, fields: &str| {
        format!("GET /healthz HTTP/{version}\r\nHost: {}\r\n{fields}\r\n", world.address)
    };
    let post = |fields: &str| {
        let json = "Content-Type: application/json\r\n";
        format!(
            "POST /api/close HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n{json}{fields}\r\n",
            world.address
        )
    };
    for (text, status) in [
        (ask("1.0", ""), 200),
        (ask("1.1", "Connection: close\r\n"), 200),
        (ask("1.1", "Host: another\r\n"), 400),
        (post("Content-Length: 1000000000\r\n"), 413),
        (post("Content-Length: 1000000000\r\nExpect: 100-continue\r\n"), 413),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let mut wire = world.connect();
        wire.send(&text);
        let head = wire.until("\r\n\r\n");
        assert!(head.contains(&format!(" {status} ")), "{text}: {head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{text}: {head}");
        // What is still on its way does not take the answer back.
        let _ = wire.socket.write_all(&[b'x'; 100_000]);
        assert!(wire.ends(), "{text}");
    }
    let mut wire = world.connect();
    wire.send(&ask("1.0", "Connection: keep-alive\r\n"));
    assert!(wire.until("\r\n\r\n").contains("\r\nconnection: keep-alive\r\n"));
}

#[test]
fn at_a_stop_connections_that_rest_are_ended_at_once_and_answers_say_that_they_are_the_last() {
    let world = World::new();
    let mut resting = world.connect();
    resting.send(&format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
    assert_eq!(resting.response().0, 404);
    world.until(|| in_table(&world) == 1);
    let mut waiting = world.connect();
    waiting.send(&world.head("alice", "/v1/poll?hold_s=1"));
    world.until_held("alice", 1);
    world.app().shards.drain(false);
    assert!(resting.ends() && resting.seen.is_empty());
    let head = waiting.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert!(waiting.ends());
}
