//! The short form of messages: each transport says the same in it as in the long one, in fewer bytes.

use super::*;

/// The most bytes of a message besides its body, when it has no more than its offset and a short name to say.
const BESIDES_MAX: usize = 45;
/// What HTTP puts around an event in a chunk of its own, whose size has two digits.
const CHUNK: usize = "xx\r\n\r\n".len();

/// A connection that waits, of one transport.
struct Waits {
    wire: Wire,
    how: &'static str,
    /// What `open` said.
    open: Value,
}

const STREAMS: [&str; 4] = ["/v1/sse?", "/v1/stream?as=ndjson&", "/v1/stream?as=iframe&", "/v1/ws?"];

impl Waits {
    fn at(world: &World, how: &'static str, query: &str) -> Self {
        let mut wire = world.connect();
        if how == "/v1/ws?" {
            wire.send(&world.ws_head("alice", query));
            wire.switched();
        } else {
            wire.send(&world.head("alice", &format!("{how}{query}")));
            wire.until("\r\n\r\n");
        }
        let mut waits = Self { wire, how, open: Value::Null };
        waits.open = waits.next().0;
        assert_eq!(waits.open["event"], "open");
        waits
    }

    /// The next event or message that is no heartbeat, and how many bytes it took.
    fn next(&mut self) -> (Value, usize) {
        loop {
            let (text, bytes) = self.text();
            match serde_json::from_str::<Value>(&text) {
                Ok(value) if value.is_array() || value["event"].is_string() => {
                    return (value, bytes + text.len());
                }
                // The size of a chunk, or a comment.
                _ => {}
            }
        }
    }

    /// What may be the next event, and how many bytes there are around it.
    fn text(&mut self) -> (String, usize) {
        match self.how {
            "/v1/ws?" => {
                let (first, payload) = self.wire.frame();
                assert_eq!(first, 0x81);
                let head = if payload.len() <= 125 { 2 } else { 4 };
                (String::from_utf8(payload).unwrap(), head)
            }
            "/v1/sse?" => {
                let block = self.wire.until("\n\n");
                let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
                (data.to_owned(), "data: \n\n".len() + CHUNK)
            }
            "/v1/stream?as=ndjson&" => (self.wire.until("\n").trim().to_owned(), "\n".len() + CHUNK),
            _ => {
                self.wire.until(">p(");
                let literal = self.wire.until(")</script>\n");
                (serde_json::from_str(literal.strip_suffix(")</script>\n").unwrap()).unwrap(), 0)
            }
        }
    }
}

/// The message in the long form but for its time, as `docs/PROTOCOL.md` has it. `told` is what `open` or the
/// answer said.
fn long(short: &Value, told: &Value) -> Value {
    let is_own = short[0].is_u64();
    let own = || Value::from(format!("@{}", told["user"].as_str().unwrap()));
    let (channel, offset, body, behind) =
        if is_own { (own(), &short[0], &short[2], 3) } else { (short[0].clone(), &short[1], &short[3], 4) };
    let epoch = if short[behind + 2].is_string() { &short[behind + 2] } else { &told["epoch"] };
    let (kind, member) = if short[behind] == 1 { ("page", "url") } else { ("message", "data") };
    let mut message =
        serde_json::json!({"channel": channel, "offset": offset, "epoch": epoch, "type": kind, member: body});
    if short[behind + 1].is_string() {
        message["from"] = short[behind + 1].clone();
    }
    if is_own {
        message["id"] = short[1].clone();
    }
    message
}

/// A message that came in the long form, without its time and what the short one does not have.
fn without_the_rest(mut message: Value) -> Value {
    let is_own = message["channel"].as_str().unwrap().starts_with('@');
    let members = message.as_object_mut().unwrap();
    members.remove("event");
    members.remove("time");
    if !is_own {
        members.remove("id");
    }
    message
}

impl World {
    fn ask_api(&self, path: &str, key: &str, body: &str) {
        let mut wire = self.connect();
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        ));
        let (status, answer) = wire.response();
        assert!(status == 200 || status == 202, "{answer}");
    }
}

/// Messages of all kinds.
const KINDS: usize = 5;

fn publish_all(world: &World) {
    let (backend, bob) = ("k".repeat(32), world.token("bob"));
    world.ask_api("/api/push", &backend, "{\"to\":[\"alice\"],\"data\":{\"text\":\"h\u{2028}\"}}");
    world.ask_api("/api/push", &backend, "{\"to\":[\"alice\"],\"url\":\"https://a.example/?x=y&z\"}");
    world.ask_api("/api/publish", &backend, "{\"channel\":\"news\",\"data\":[\"news\",7]}");
    world.ask_api("/v1/publish", &bob, "{\"channel\":\"news\",\"data\":null}");
    world.ask_api("/api/publish", &backend, "{\"channel\":\"ra, in\",\"data\":1.50}");
}

const CHANNELS: &str = "channels=news,ra%252C%2520in";

/// Messages in the order of each channel: among channels there is none.
fn sorted(mut messages: Vec<Value>) -> Vec<Value> {
    messages.sort_by_key(|message| (message["channel"].to_string(), message["offset"].as_u64()));
    messages
}

#[test]
fn every_stream_says_the_same_in_the_short_form_and_goes_on_from_its_cursor() {
    for how in STREAMS {
        let world = World::new();
        let mut plain = Waits::at(&world, how, CHANNELS);
        let mut short = Waits::at(&world, how, &format!("{CHANNELS}&form=short"));
        let told = short.open.clone();
        assert_eq!(told["user"], "alice");
        assert_eq!(told.get("epoch").is_some(), how != "/v1/stream?as=iframe&", "{how}");
        assert!(plain.open.get("user").is_none() && plain.open.get("epoch").is_none());
        publish_all(&world);
        let expected = (0..KINDS).map(|_| without_the_rest(plain.next().0)).collect();
        let came = (0..KINDS).map(|_| long(&short.next().0, &told)).collect();
        assert_eq!(sorted(came), sorted(expected), "{how}");

        // The place that it has come to, and its cursor, are the same in the long form.
        let session = told["session"].as_str().unwrap();
        let (status, next) = world.poll("alice", &format!("hold_s=0&session={session}"));
        assert_eq!((status, next["messages"].as_array().unwrap().len()), (200, 0), "{how}");
        let begin = told["cursor"].as_str().unwrap();
        let (status, again) = world.poll("alice", &format!("hold_s=0&cursor={begin}"));
        assert_eq!((status, again["messages"].as_array().unwrap().len()), (200, KINDS), "{how}");
    }
}

#[test]
fn a_poll_says_the_same_in_the_short_form_and_nothing_that_says_nothing() {
    let world = World::new();
    let (_, plain) = world.poll("alice", &format!("hold_s=0&{CHANNELS}"));
    let begin = plain["cursor"].as_str().unwrap();
    let members = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (status, first) = world.poll("alice", &format!("hold_s=0&{CHANNELS}&form=short"));
    assert_eq!((status, members(&first).join(" ")), (200, "close_key cursor messages session".into()));
    let session = first["session"].as_str().unwrap();
    let poll = |more: &str| world.poll("alice", &format!("hold_s=0&session={session}&form=short&{more}")).1;
    assert_eq!(members(&poll("")), ["cursor", "messages"]);

    publish_all(&world);
    let (answer, expected) = (poll(""), world.poll("alice", &format!("hold_s=0&cursor={begin}")).1);
    assert_eq!(members(&answer), ["cursor", "epoch", "messages", "user"]);
    let list = |answer: &Value| answer["messages"].as_array().unwrap().clone();
    let came = list(&answer).iter().map(|message| long(message, &answer)).collect();
    assert_eq!(sorted(came), sorted(list(&expected).into_iter().map(without_the_rest).collect()));
    assert!(list(&poll(&format!("cursor={}", answer["cursor"].as_str().unwrap()))).is_empty());

    // A session that ends says so to who waits.
    let mut waits = world.connect();
    waits.send(&world.head("alice", &format!("/v1/poll?session={session}&form=short")));
    world.until_held("alice", 1);
    world.ask_api("/api/close", &"k".repeat(32), "{\"user\":\"alice\"}");
    let (status, end) = waits.response();
    assert_eq!((status, members(&end).join(" ")), (200, "close cursor messages".into()));
    assert_eq!(end["close"]["code"], "operator");
}

#[test]
fn a_short_message_takes_at_most_45_bytes_besides_its_body() {
    let world = World::new();
    let body = format!("\"{}\"", "x".repeat(98));
    for how in ["/v1/sse?", "/v1/stream?as=ndjson&", "/v1/ws?"] {
        let mut short = Waits::at(&world, how, "channels=news&form=short");
        for (path, target) in [("/api/push", "\"to\":[\"alice\"]"), ("/api/publish", "\"channel\":\"news\"")]
        {
            world.ask_api(path, &"k".repeat(32), &format!("{{{target},\"data\":{body}}}"));
            let (message, bytes) = short.next();
            assert!(bytes <= body.len() + BESIDES_MAX, "{how}: {bytes} bytes: {message}");
        }
    }
}

#[test]
fn an_event_source_is_told_its_cursor_at_the_beginning_once_in_a_while_and_at_rest() {
    let mut world = World::with(|config| config.heartbeat_s = 1);
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse?form=short"));
    wire.until("\r\n\r\n");
    let (name, open, id) = wire.event();
    assert_eq!((name.as_str(), open["cursor"].as_str().unwrap()), ("opened", id.as_str()));
    let big = format!("\"{}\"", "x".repeat(1_500));
    // The first id that comes, be it with a message or at rest between two, and the last message before it.
    let mut last = Value::from(0);
    for pushed in 1..=7 {
        world.push("alice", &big);
        loop {
            let (_, message, id) = wire.event();
            if message.is_array() {
                last = message[0].clone();
            }
            assert!(id.is_empty() || id.ends_with(&format!("~@alice~{last}")), "{id} behind {last}");
            if message.is_array() {
                assert_eq!(last, pushed);
                break;
            }
        }
    }
    let at_rest = loop {
        let (_, event, id) = wire.event();
        assert_eq!(event, Value::Null);
        if !id.is_empty() {
            break id;
        }
    };
    assert!(at_rest.ends_with("~@alice~7"), "{at_rest}");
}
