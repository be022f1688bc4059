//! Requests one a line, answered one a line, over real sockets.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::{EngineError, Targets};
use serde_json::{Value, json};

use crate::{
    picky::Picky,
    world::{Ask, KEY, World},
};

const NDJSON: &str = "application/x-ndjson";

/// A stream of requests in chunked coding.
struct Stream {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

/// The next head that comes.
fn head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    head
}

impl Stream {
    fn open(world: &World, path: &str) -> Self {
        Self::open_with(world, path, "", |_| ())
    }

    /// The same with more fields, and what is done between the request's head and the answer's.
    fn open_with(
        world: &World,
        path: &str,
        fields: &str,
        between: impl FnOnce(&mut BufReader<TcpStream>),
    ) -> Self {
        let mut socket = TcpStream::connect(world.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            socket,
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {NDJSON}\r\n\
             {fields}Transfer-Encoding: chunked\r\n\r\n"
        )
        .unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        between(&mut reader);
        let head = head(&mut reader);
        assert!(
            head.starts_with("HTTP/1.1 202 ") && head.contains("\r\ntransfer-encoding: chunked\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\ncontent-type: application/x-ndjson"), "{head}");
        Self { socket, reader }
    }

    fn send(&mut self, text: &str) {
        write!(self.socket, "{:x}\r\n{text}\r\n", text.len()).unwrap();
    }

    fn end(&mut self) {
        self.socket.write_all(b"0\r\n\r\n").unwrap();
    }

    /// The results that one chunk of the answer has; none when it is over.
    fn chunk(&mut self) -> Vec<Value> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        let text = String::from_utf8(chunk).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// So many results.
    fn results(&mut self, count: usize) -> Vec<Value> {
        let mut results = Vec::new();
        while results.len() < count {
            let chunk = self.chunk();
            assert!(!chunk.is_empty(), "the stream is over after {} results", results.len());
            results.extend(chunk);
        }
        assert_eq!(results.len(), count);
        results
    }

    fn codes(&mut self, count: usize) -> Vec<String> {
        self.results(count)
            .iter()
            .map(|result| result["error"]["code"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

#[test]
fn a_line_with_a_used_key_and_another_request_is_refused_and_the_stream_goes_on() {
    let world = World::new();
    for (path, to) in [("/api/push", r#""to":["a"]"#), ("/api/publish", r#""channel":"a""#)] {
        let mut stream = Stream::open(&world, path);
        for (data, key, code) in [(1, "k", ""), (2, "k", "key_reused"), (1, "k", ""), (2, "l", "")] {
            stream.send(&format!("{{{to},\"data\":{data},\"id\":\"{key}\"}}\n"));
            assert_eq!(stream.codes(1), [code], "{path} {data} {key}");
        }
        stream.end();
    }
    assert_eq!((kept(&world, "@a"), kept(&world, "a")), (vec![json!(1), json!(2)], vec![json!(1), json!(2)]));
}

fn kept(world: &World, channel: &str) -> Vec<Value> {
    let history = world.call(Ask::get(&format!("/api/channels/{channel}/history?limit=1000")).key()).ok();
    history["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

fn line(data: usize) -> String {
    format!("{{\"to\":[\"alice\"],\"data\":{data}}}\n")
}

#[test]
fn each_line_is_answered_while_the_stream_goes_on() {
    let world = World::new();
    let mut stream = Stream::open(&world, "/api/push");
    world.session("alice", "");
    for number in 0..20 {
        stream.send(&line(number));
        let result = stream.results(1).remove(0);
        assert_eq!((&result["mode"], &result["accepted"]), (&json!("memory"), &json!(1)));
        assert_eq!((&result["online"], &result["offline"]), (&json!(1), &json!(0)));
        assert!(result["id"].is_string());
        assert_eq!(kept(&world, "@alice").len(), number + 1, "it is accepted when it is answered");
    }
    stream.send(&(20..420).map(line).collect::<String>());
    stream.results(400);
    stream.send("{\"to\":[\"alice\"],");
    stream.send("\"data\":420}");
    stream.end();
    stream.results(1);
    assert!(stream.chunk().is_empty(), "the stream ends as its requests do");
    assert_eq!(kept(&world, "@alice"), (0..=420).map(|data| json!(data)).collect::<Vec<_>>());
}

#[test]
fn a_wrong_line_is_its_own_result_and_ends_nothing() {
    let world = World::new();
    let mut stream = Stream::open(&world, "/api/push");
    let deep = format!("{{\"to\":[\"a\"],\"data\":{}{}}}\n", "[".repeat(40), "]".repeat(40));
    let long = format!("{{\"to\":[\"a\"],\"data\":\"{}\"}}\n", "x".repeat(200_000));
    for text in ["nonsense\n", "\n \r\n{}\n", &line(1), &deep, "\u{1}\n", &long, "[]\n", &line(2)] {
        stream.send(text);
    }
    stream.socket.write_all(b"1\r\n\xff\r\n1\r\n\n\r\n").unwrap();
    stream.send("{\"pushes\":[{\"to\":[\"alice\"],\"data\":9}]}\n");
    stream.send(&line(3));
    let (bad, deep, long) = ("bad_request", "too_deep", "too_large");
    assert_eq!(stream.codes(11), [bad, bad, "", deep, bad, long, bad, "", bad, bad, ""]);
    assert_eq!(kept(&world, "@alice"), [1, 2, 3]);
}

#[test]
fn publishes_come_as_lines_too_in_each_of_their_forms() {
    let world = World::new();
    let mut stream = Stream::open(&world, "/api/publish");
    let singles: String = (0..300).map(|data| format!("{{\"channel\":\"c\",\"data\":{data}}}\n")).collect();
    stream.send(&singles);
    let results = stream.results(300);
    let offsets: Vec<_> = results.iter().map(|result| result["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (1..=300).collect::<Vec<_>>(), "in the order of the lines");
    stream.send("{\"channels\":[\"c\",\"d\"],\"data\":1}\n{\"channel\":\"@x\",\"data\":1}\n");
    stream.send("{\"messages\":[{\"channel\":\"d\",\"data\":2},{\"channel\":\"d\",\"data\":3}]}\n");
    let results = stream.results(3);
    assert_eq!(results[0]["positions"][1]["channel"], "d");
    assert_eq!(results[1]["error"]["code"], "bad_name");
    assert_eq!(results[2]["results"][1]["offset"], 3);
    stream.end();
    assert!(stream.chunk().is_empty());
    assert_eq!(kept(&world, "d"), [1, 2, 3]);
}

#[test]
fn a_stream_that_breaks_off_keeps_what_was_whole_and_nothing_else() {
    let world = World::new();
    for (number, end) in [Shutdown::Write, Shutdown::Both].into_iter().enumerate() {
        let mut stream = Stream::open(&world, "/api/push");
        stream.send(&line(number));
        stream.results(1);
        stream.send("{\"to\":[\"alice\"],\"data\":99}");
        stream.socket.shutdown(end).unwrap();
        if end == Shutdown::Write {
            let mut rest = String::new();
            // Over, by an end or by a reset.
            let _ = stream.reader.read_to_string(&mut rest);
            assert!(!rest.contains("accepted"), "{rest}");
        }
    }
    let mut stream = Stream::open(&world, "/api/push");
    stream.send(&line(2));
    stream.results(1);
    assert_eq!(kept(&world, "@alice"), [0, 1, 2]);
}

/// What ends an answer that is whole.
const LAST_CHUNK: &str = "0\r\n\r\n";

#[test]
fn the_answer_to_a_request_that_was_cut_is_cut() {
    let world = World::new();
    let published = "{\"channel\":\"news\",\"data\":1}\n".to_owned();
    for (path, line) in [("/api/push", line(1)), ("/api/publish", published)] {
        for (read, behind) in [(true, ""), (true, "{\"data\""), (false, ""), (false, "{\"data\"")] {
            let mut stream = Stream::open(&world, path);
            stream.send(&line);
            if read {
                stream.results(1);
            }
            if !behind.is_empty() {
                stream.send(behind);
            }
            stream.socket.shutdown(Shutdown::Write).unwrap();
            let mut rest = String::new();
            // Over, by an end or by a reset.
            let _ = stream.reader.read_to_string(&mut rest);
            assert!(!rest.ends_with(LAST_CHUNK), "{path} {behind:?}: {rest:?}");
            // What was accepted before is told all the same.
            assert_eq!(rest.contains("\"mode\""), !read, "{path} {behind:?}: {rest:?}");
        }
        let mut whole = Stream::open(&world, path);
        whole.send(&line);
        whole.end();
        let mut rest = String::new();
        whole.reader.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("\"mode\"") && rest.ends_with(LAST_CHUNK), "{rest:?}");
    }
}

#[test]
fn a_client_that_asks_whether_it_may_send_is_told_at_once() {
    let world = World::new();
    for (path, line) in
        [("/api/push", line(1)), ("/api/publish", "{\"channel\":\"news\",\"data\":1}\n".into())]
    {
        let fields = "Expect: 100-continue\r\n";
        let mut stream = Stream::open_with(&world, path, fields, |reader| {
            assert_eq!(head(reader), "HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        });
        stream.send(&line);
        assert_eq!(stream.codes(1), [""]);
        stream.end();
        assert!(stream.chunk().is_empty(), "it is over");
    }
}

#[test]
fn one_key_gives_one_push_within_a_stream_and_across_streams() {
    let world = World::new();
    let ids = || {
        let mut stream = Stream::open(&world, "/api/push");
        stream.send(&"{\"to\":[\"alice\"],\"data\":1,\"id\":\"k\"}\n".repeat(3));
        let results = stream.results(3);
        results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = ids();
    assert!([&first, &ids()].into_iter().flatten().all(|id| *id == first[0]));
    assert_eq!(kept(&world, "@alice"), [1]);
}

#[test]
fn an_engine_that_fails_in_between_fails_those_lines_alone() {
    let takes = |append: &encke_engine::Append| match &append.targets {
        Targets::Users(users) => users[0].as_str() != "carol",
        _ => false,
    };
    let world = World::on(Arc::new(Picky { error: EngineError::Unavailable("it is down".into()), takes }));
    let mut stream = Stream::open(&world, "/api/push");
    let carol = "{\"to\":[\"carol\"],\"data\":1}\n";
    for _ in 0..3 {
        stream.send(&[&line(1), carol, &line(2)].concat());
        assert_eq!(stream.codes(3), ["", "engine_unavailable", ""]);
    }
    // Even if it fails them all.
    stream.send(carol);
    assert_eq!(stream.codes(1), ["engine_unavailable"]);
    stream.send(&line(3));
    assert_eq!(stream.codes(1), [""]);
}

#[test]
fn who_may_not_push_may_not_stream() {
    let world = World::new();
    for path in ["/api/push", "/api/publish"] {
        let ask = || Ask::new(http::Method::POST, path).header("content-type", NDJSON).body(line(1));
        assert_eq!(world.call(ask()).code(), (401, "unauthorized".into()));
        assert_eq!(world.call(ask().user("alice")).code(), (401, "unauthorized".into()));
        let packed = world.call(ask().key().header("content-encoding", "gzip"));
        assert_eq!(packed.code(), (415, "unsupported_media_type".into()));
    }
    world.app().stop();
    let ask = Ask::new(http::Method::POST, "/api/push").header("content-type", NDJSON).body(line(1));
    assert_eq!(world.call(ask.key()).code(), (503, "shutting_down".into()));
}

#[test]
fn a_server_that_stops_tells_those_that_it_does_not_take_and_ends_the_stream() {
    let world = World::new();
    let mut stream = Stream::open(&world, "/api/push");
    stream.send(&line(1));
    assert_eq!(stream.codes(1), [""]);
    world.app().stop();
    stream.send(&[line(2), line(3)].concat());
    let mut codes = Vec::new();
    loop {
        let results = stream.chunk();
        if results.is_empty() {
            break;
        }
        codes.extend(results.into_iter().map(|result| result["error"]["code"].clone()));
    }
    // How many of them came in time is not said.
    assert!(codes.len() <= 2 && codes.iter().all(|code| code == "shutting_down"), "{codes:?}");
    let engine = Arc::clone(&world.app().engine);
    let after = world.ask_router(&world.other(engine, None), Ask::get("/api/channels/@alice/history").key());
    assert_eq!(after.ok()["messages"].as_array().unwrap().len(), 1);
}

/// How long nothing may be taken of a stream until it counts as held up.
const HELD_UP: Duration = Duration::from_secs(2);
/// Far more than all buffers of two sockets hold.
const SENT_MAX_BYTES: usize = 256 << 20;

#[test]
fn a_client_that_sends_and_never_reads_is_held_up_until_it_does() {
    let world = World::new();
    let mut stream = Stream::open(&world, "/api/push");
    let lines = "{}\n".repeat(1_000);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    stream.socket.set_nonblocking(true).unwrap();
    let (mut at, mut sent, mut taken) = (0, 0, Instant::now());
    while taken.elapsed() < HELD_UP {
        assert!(sent < SENT_MAX_BYTES, "it is not held up");
        match stream.socket.write(&chunk.as_bytes()[at..]) {
            Ok(count) => {
                (at, sent, taken) = ((at + count) % chunk.len(), sent + count, Instant::now());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    stream.socket.set_nonblocking(false).unwrap();
    // What it has sent is answered when it reads, all of it, and the stream goes on.
    let rest = if at == 0 { Vec::new() } else { chunk.as_bytes()[at..].to_vec() };
    let expected = sent.div_ceil(chunk.len()) * 1_000;
    let mut writer = stream.socket.try_clone().unwrap();
    let finish = std::thread::spawn(move || {
        writer.write_all(&rest).unwrap();
        writer.write_all(b"0\r\n\r\n").unwrap();
    });
    let mut results = 0;
    while results < expected {
        let chunk = stream.chunk();
        assert!(!chunk.is_empty(), "{results} of {expected}");
        results += chunk.len();
    }
    finish.join().unwrap();
}
