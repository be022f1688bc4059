//! Requests that a shard answers by itself, beside the same ones answered by hyper.

use super::*;

/// A field that makes hyper take a request, and changes nothing about it.
const BY_HYPER: &str = "TE: trailers\r\n";

fn request(path: &str, key: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn key() -> String {
    "k".repeat(32)
}

fn push(user: &str, data: i64) -> String {
    request("/api/push", &key(), "", &format!("{{\"to\":[\"{user}\"],\"data\":{data}}}"))
}

/// An answer as its status, its fields in order of their names without the date, and its body without what is
/// different each time.
fn seen(wire: &mut Wire) -> (String, Vec<String>, Value) {
    let head = wire.until("\r\n\r\n");
    let mut lines = head.trim_end().lines().map(str::to_owned);
    let status = lines.next().unwrap();
    let mut fields: Vec<String> = lines.filter(|line| !line.starts_with("date: ")).collect();
    fields.sort_unstable();
    let length =
        fields.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    while wire.seen.len() < length {
        let mut buffer = [0; 4096];
        let count = wire.socket.read(&mut buffer).unwrap();
        assert!(count > 0, "the answer is cut off");
        wire.seen.extend_from_slice(&buffer[..count]);
    }
    let rest = wire.seen.split_off(length);
    let mut body: Value = serde_json::from_slice(&std::mem::replace(&mut wire.seen, rest)).unwrap();
    for different in ["id", "offset"] {
        if let Some(value) = body.get_mut(different) {
            *value = Value::Null;
        }
    }
    (status, fields, body)
}

#[test]
fn both_ways_give_the_same_answer() {
    let world = World::new();
    let (mut short, mut long) = (world.connect(), world.connect());
    let users = format!(
        "{{\"to\":{:?},\"data\":1}}",
        (0..40).map(|number| format!("user {number}")).collect::<Vec<_>>()
    );
    let messages = format!("{{\"messages\":[{}]}}", vec![r#"{"channel":"@c","data":1}"#; 40].join(","));
    let deep = format!("{{\"channel\":\"c\",\"data\":{}{}}}", "[".repeat(40), "]".repeat(40));
    for (path, body) in [
        ("/api/push", r#"{"to":["alice"],"data":{"a":1}}"#),
        ("/api/push", r#"{"to":["alice","bob"],"url":"http://x/","ttl_s":60,"id":"k1"}"#),
        ("/api/push", r#"{"to":"all","data":1}"#),
        ("/api/push", r#"{"to":"online","data":1}"#),
        ("/api/push", &users),
        ("/api/push", r#"{"to":[],"data":1}"#),
        ("/api/push", r#"{"to":["a\u0000"],"data":1}"#),
        ("/api/push", r#"{"to":["alice"],"url":"javascript:1"}"#),
        ("/api/push", r#"{"to":["alice"]}"#),
        ("/api/push", r#"{"to":["alice"],"data":1,"colour":2}"#),
        ("/api/push", "{"),
        ("/api/push", ""),
        ("/api/publish", r#"{"channel":"c","data":null}"#),
        ("/api/publish", r#"{"channels":["c"],"data":[1,2],"id":"k2"}"#),
        ("/api/publish", r#"{"channel":"@alice","data":1}"#),
        ("/api/publish", &messages),
        ("/api/publish", &deep),
    ] {
        short.send(&request(path, &key(), "", body));
        long.send(&request(path, &key(), BY_HYPER, body));
        let (short, long) = (seen(&mut short), seen(&mut long));
        // Positions of several channels rise with each message.
        let without_positions = |(status, fields, mut body): (String, Vec<String>, Value)| {
            if let Some(positions) = body.get_mut("positions") {
                *positions = Value::Null;
            }
            (status, fields, body)
        };
        assert_eq!(without_positions(short), without_positions(long), "{path} {body}");
    }
}

#[test]
fn a_type_is_read_alike_however_it_is_written() {
    let world = World::new();
    let (mut short, mut long) = (world.connect(), world.connect());
    for kind in [
        "application/json;charset=UTF-8",
        "APPLICATION/JSON",
        "application/json; charset=latin1",
        "application/json; x=\u{fc}",
        "",
    ] {
        let as_kind = |fields: &str| {
            request("/api/push", &key(), fields, r#"{"to":["alice"],"data":1}"#)
                .replace("Content-Type: application/json", &format!("Content-Type: {kind}"))
        };
        short.send(&as_kind(""));
        long.send(&as_kind(BY_HYPER));
        assert_eq!(seen(&mut short), seen(&mut long), "{kind}");
    }
}

#[test]
fn a_push_arrives_whichever_engine_keeps_it() {
    for engine in ["memory", "log"].map(EngineUrl::local) {
        let data = tempfile::tempdir().unwrap();
        let world = World::with(|config| {
            config.engine = engine.clone();
            config.data = data.path().to_owned();
        });
        let mut reader = world.connect();
        reader.send(&world.head("alice", "/v1/sse"));
        assert_eq!(reader.event().0, "opened");
        let mut writer = world.connect();
        for n in 0..20 {
            writer.send(&push("alice", n));
            let (status, body) = writer.response();
            assert_eq!((status, &body["online"][0]), (202, &Value::from("alice")), "{body}");
            assert_eq!(reader.event().1["data"], n);
        }
        // Many at a time on one connection are answered in their order.
        let all: String = (20..120).map(|n| push("alice", n)).collect();
        writer.send(&all);
        for n in 20..120 {
            assert_eq!(writer.response().0, 202, "{n}");
            assert_eq!(reader.event().1["data"], n);
        }
    }
}

#[test]
fn it_goes_on_with_whatever_comes_next() {
    let world = World::new();
    let mut wire = world.connect();
    let page = format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let poll = world.head("alice", "/v1/poll?cursor=earliest");
    wire.send(&format!("{}{poll}{}{poll}{page}{}", push("alice", 1), push("alice", 2), push("alice", 3)));
    assert_eq!(wire.response().0, 202);
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(wire.response().0, 202);
    assert_eq!(data(&wire.response().1), [1, 2]);
    assert_eq!(wire.response().0, 404);
    assert_eq!(wire.response().0, 202, "by hyper by now");
}

#[test]
fn it_may_come_in_pieces() {
    let world = World::new();
    let mut wire = world.connect();
    wire.socket.set_nodelay(true).unwrap();
    for byte in push("alice", 1).bytes() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(wire.response().0, 202);
    // As many HTTP clients do it: the head, then the body.
    let large = request(
        "/api/publish",
        &key(),
        "",
        &format!("{{\"channel\":\"c\",\"data\":\"{}\"}}", "x".repeat(60_000)),
    );
    let (head, body) = large.split_at(large.find("\r\n\r\n").unwrap() + 4);
    for _ in 0..3 {
        wire.send(head);
        wire.send(body);
        assert_eq!(wire.response().0, 202);
    }
}

#[test]
fn without_the_key_nothing_is_waited_for() {
    let world = World::new();
    let mut wire = world.connect();
    let request =
        request("/api/push", "wrong", "", "{}").replace("Content-Length: 2", "Content-Length: 60000");
    wire.send(request.trim_end_matches("{}"));
    let head = wire.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
}

#[test]
fn a_client_that_ends_its_side_gets_its_answer() {
    let data = tempfile::tempdir().unwrap();
    let world = World::with(|config| {
        config.engine = EngineUrl::local("log");
        config.data = data.path().to_owned();
    });
    let mut wire = world.connect();
    wire.send(&push("alice", 1));
    wire.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.response().0, 202);
    assert!(wire.ends());
    let mut wire = world.connect();
    wire.send(&push("alice", 2).replace("Host: a\r\n", "Host: a\r\nConnection: close\r\n"));
    assert!(wire.until("\r\n\r\n").contains("connection: close"));
    assert!(wire.ends());
}

#[test]
fn a_client_that_is_gone_does_no_harm() {
    let data = tempfile::tempdir().unwrap();
    let mut world = World::with(|config| {
        config.engine = EngineUrl::local("log");
        config.data = data.path().to_owned();
    });
    for n in 0..50 {
        let mut wire = world.connect();
        wire.send(&push("bob", n));
        drop(wire);
    }
    world.push("alice", "1");
    assert_eq!(data_of(&world.poll("alice", "cursor=earliest")), [1]);
}

fn data_of(answer: &(u16, Value)) -> Vec<i64> {
    data(&answer.1)
}

#[test]
fn what_is_wrong_with_a_body_is_named_on_both_ways() {
    let world = World::new();
    let body = "{\"to\":[\"alice\"],\"data\":1}";
    let marked = format!("\u{feff}{body}");
    // With a query it is no inline request, and hyper's.
    for path in ["/api/push", "/api/publish", "/api/push?", "/v1/publish", "/v1/login", "/classic/writedata"]
    {
        let kind = if path.starts_with("/classic") {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        let ask = |fields: &str, body: &str| {
            let mut wire = world.connect();
            let credentials = if path.starts_with("/api") { "k".repeat(32) } else { world.token("alice") };
            let host = format!(
                "Host: {0}\r\nOrigin: {1}://{0}\r\nAuthorization: Bearer {credentials}\r\n",
                world.address,
                world.scheme()
            );
            wire.send(&format!(
                "POST {path} HTTP/1.1\r\n{host}{fields}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let head = wire.until("\r\n\r\n");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .parse::<usize>()
                .unwrap();
            while wire.seen.len() < length {
                let mut buffer = [0; 4096];
                let count = wire.socket.read(&mut buffer).unwrap();
                wire.seen.extend_from_slice(&buffer[..count]);
            }
            (head, String::from_utf8_lossy(&wire.seen).into_owned())
        };
        for coding in ["gzip", "br", "identity\r\nContent-Encoding: gzip"] {
            let (head, text) = ask(&format!("Content-Type: {kind}\r\nContent-Encoding: {coding}\r\n"), body);
            assert!(
                head.starts_with("HTTP/1.1 415 ") && head.contains("\r\naccept-encoding: identity\r\n"),
                "{path} {coding}: {head}"
            );
            assert!(text.contains("Content-Encoding"), "{path}: {text}");
        }
        let (head, text) = ask("Content-Type: text/csv\r\n", body);
        assert!(head.starts_with("HTTP/1.1 415 ") && !head.contains("accept-encoding"), "{path}: {head}");
        assert!(text.contains("text/csv"), "{path}: {text}");
        if !path.starts_with("/classic") {
            let (head, text) = ask(&format!("Content-Type: {kind}\r\n"), &marked);
            assert!(
                head.starts_with("HTTP/1.1 400 ") && text.contains("byte order mark"),
                "{path}: {head} {text}"
            );
        }
    }
}

/// A session outlives its polls, and no shard is asked who has one.
#[test]
fn a_user_between_two_polls_is_online_to_a_push_and_offline_from_when_the_session_is_closed() {
    let world = World::with(|config| config.workers = 2);
    let mut backend = world.connect();
    let mut lists = |user: &str| {
        backend.send(&push(user, 1));
        let (status, answer) = backend.response();
        assert_eq!(status, 202);
        (answer["online"].clone(), answer["offline"].clone())
    };
    let (all, none) = (|user: &str| serde_json::json!([user]), serde_json::json!([]));
    // Some of them live in the shard that reads the push, and some in the other.
    for user in (0..16).map(|number| format!("user {number}")) {
        assert_eq!(lists(&user), (none.clone(), all(&user)), "before it came");
        let mut query = "hold_s=0".to_owned();
        for _ in 0..5 {
            let (_, answer) = world.poll(&user, &query);
            assert_eq!(lists(&user), (all(&user), none.clone()), "between two polls");
            let (session, cursor) = (answer["session"].as_str().unwrap(), answer["cursor"].as_str().unwrap());
            query = format!("hold_s=0&session={session}&cursor={cursor}");
        }
        let mut stream = world.connect();
        stream.send(&world.head(&user, "/v1/sse"));
        stream.event();
        let close = request("/api/close", &key(), "", &format!("{{\"user\":\"{user}\"}}"));
        let mut operator = world.connect();
        operator.send(&close);
        assert!(stream.ends());
        assert_eq!(lists(&user), (none.clone(), all(&user)), "its client knows that it is closed");
    }
}

#[test]
fn a_key_that_is_wrong_is_refused_behind_one_that_is_right() {
    let world = World::with(|config| config.workers = 1);
    let mut backend = world.connect();
    for at in 0..key().len() {
        let mut wrong = key();
        wrong.replace_range(at..=at, "x");
        for (key, status) in [(key(), 202), (wrong, 401)] {
            backend.send(&request("/api/push", &key, "", r#"{"to":["alice"],"data":1}"#));
            assert_eq!(backend.response().0, status, "byte {at}");
        }
    }
}
