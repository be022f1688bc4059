//! The program as a stranger meets it: help, wrong options, exit statuses, and a server that the test plays.

#![allow(clippy::unwrap_used)]

mod audit;
mod configuration;
mod listening;
mod operators_log;
mod server_log;
#[path = "../unheard/mod.rs"]
mod unheard;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};

use unheard::Unheard;

const COMMANDS: &[&str] = &[
    "serve",
    "push",
    "publish",
    "listen",
    "who",
    "sessions",
    "nodes",
    "status",
    "close",
    "revoke",
    "receipts",
    "pushes",
    "cancel",
    "channels",
    "history",
    "delete",
    "token",
    "backup",
    "restore",
    "store",
    "check-config",
    "check-url",
    "config",
    "completions",
    "man",
];
const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";

/// The program in a directory of its own, with nothing in its environment that belongs to it.
struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
        command.args(args).current_dir(self.dir.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The error of a run that must end with this status: one line that begins as every error does.
fn error(output: &Output, status: i32) -> String {
    let words = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{words}");
    assert!(
        words.starts_with("encke: ") && words.ends_with('\n') && words.matches('\n').count() == 1,
        "{words:?}"
    );
    words
}

/// A request that reached the played server.
#[derive(Debug)]
struct Asked {
    line: String,
    head: String,
    body: String,
}

/// A server on a free port that answers every request by `answer`, which is given the request line and gives
/// the status and the body.
fn play(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (sender, answer) = (sender.clone(), std::sync::Arc::clone(&answer));
            std::thread::spawn(move || serve(stream.unwrap(), &sender, &*answer));
        }
    });
    (address, asked)
}

/// One request on a connection; a body that begins with `data:` is an event stream, which stays open until
/// the client goes, and so does a WebSocket, whose messages are the lines of the body.
fn serve(
    stream: TcpStream,
    sender: &mpsc::Sender<Asked>,
    answer: &(dyn Fn(&str) -> (u16, String) + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap() == 0 {
        return;
    }
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {
        if head == "\r\n" {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let (status, text) = answer(line.trim_end());
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .map(encke_proto::codec::ws::accept);
    let _ =
        sender.send(Asked { line: line.trim_end().to_owned(), head, body: String::from_utf8(body).unwrap() });
    let mut stream = stream;
    if let (101, Some(accept)) = (status, key) {
        let mut out =
            format!("HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n").into_bytes();
        text.lines().for_each(|line| encke_proto::codec::ws::frame::text(&mut out, line));
        let _ = stream.write_all(&out);
        let _ = reader.read(&mut [0]);
    } else if text.starts_with("data:") {
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}"
        );
        let _ = reader.read(&mut [0]);
    } else {
        let length = text.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
        );
    }
}

#[test]
fn every_command_explains_itself() {
    let program = Program::new();
    let help = program.run(&["--help"]);
    assert!(help.status.success());
    for command in COMMANDS {
        assert!(stdout(&help).contains(command), "{command}");
        let help = program.run(&[command, "--help"]);
        assert!(help.status.success(), "{command}");
        assert!(stdout(&help).contains("Usage: encke"), "{command}");
    }
    assert!(stdout(&program.run(&["--version"])).starts_with("encke "));
}

#[test]
fn keys_in_the_environment_are_not_in_the_help() {
    let program = Program::new();
    for (command, variable) in [("push", "ENCKE_API_KEY"), ("listen", "ENCKE_TOKEN")] {
        let help = program.command(&[command, "--help"]).env(variable, "hush-hush").output().unwrap();
        assert!(stdout(&help).contains(variable) && !stdout(&help).contains("hush-hush"));
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let program = Program::new();
    for args in [
        &[][..],
        &["dance"],
        &["push"],
        &["push", "--all"],
        &["push", "--to", "alice", "--all", "--data", "1"],
        &["push", "--to", "alice", "--data", "1", "--url", "https://x.example"],
        &["push", "--to", "alice", "--data", "hello"],
        &["push", "--to", "alice", "--data", "1", "--ttl", "0"],
        &["publish", "--channel", "news"],
        &["listen"],
        &["listen", "--user", "a\nb"],
        &["listen", "--user", "alice", "--transport", "pigeon"],
        &["close"],
        &["close", "--user", "a", "--session", "b"],
        &["close", "--user", "a", "--ban", "-1"],
        &["close", "--user", "a", "--ban", "315360001"],
        &["revoke"],
        &["revoke", "--user", "a", "--jti", "b"],
        &["revoke", "--jti", "b", "--before", "2026-01-02T03:04:05Z"],
        &["token", "--user", ""],
        &["token", "--user", "alice", "--ttl", "0"],
        &["serve", "--listen", "here"],
        &["serve", "--engine", "oracle"],
        &["serve", "--colour"],
        &["check-config"],
        &["who", "--server", "nowhere", "--api-key", "k"],
    ] {
        error(&program.run(args), 2);
    }
}

#[test]
fn serve_does_not_start_without_keys_and_says_what_to_do() {
    let words = error(&Program::new().run(&["serve"]), 64);
    for word in [
        "`api_key`",
        "`token_secret`",
        "ENCKE_API_KEY",
        "ENCKE_TOKEN_SECRET",
        "openssl rand -hex 32",
        "--dev",
    ] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn serve_names_the_key_that_is_wrong() {
    let program = Program::new();
    assert!(
        error(&program.run(&["serve", "--dev", "--listen", "0.0.0.0:0"]), 64)
            .contains("encke: --listen: listen: ")
    );
    let serve =
        |name: &str, value: &str| program.command(&["serve", "--dev"]).env(name, value).output().unwrap();
    assert!(error(&serve("ENCKE_HOLD_S", "0"), 64).contains("encke: ENCKE_HOLD_S: hold_s: "));
    assert!(
        error(&serve("ENCKE_TOKEN_SECRET", "changeme"), 64).contains("ENCKE_TOKEN_SECRET: token_secret: ")
    );
    let words = error(&serve("ENCKE_ENGINE", "postgres://user:hush@host/"), 64);
    assert!(
        words.contains("ENCKE_ENGINE: engine: this build has no engine `postgres`")
            && !words.contains("hush"),
        "{words}"
    );
    let file = program.write("encke.toml", "hold_s = 0\n");
    assert!(
        error(&program.run(&["serve", "--dev", "--config", &file]), 64).contains("encke.toml:1:1: hold_s: ")
    );
    assert!(!program.path().join("encke-data").exists(), "nothing is made before the configuration is good");
}

#[test]
fn a_server_that_is_not_there_ends_with_69() {
    let program = Program::new();
    let unheard = Unheard::new();
    let address = format!("http://{}", unheard.address);
    for args in [
        &["push", "--all", "--data", "1"][..],
        &["publish", "--channel", "news", "--data", "1"],
        &["who"],
        &["sessions"],
        &["close", "--user", "alice"],
        &["revoke", "--user", "alice"],
        &["listen", "--user", "alice", "--token", "t"],
    ] {
        let output =
            program.command(args).env("ENCKE_URL", &address).env("ENCKE_API_KEY", "k").output().unwrap();
        error(&output, 69);
    }
}

#[test]
fn without_an_api_key_the_commands_say_where_it_could_be() {
    assert!(error(&Program::new().run(&["who"]), 64).contains("ENCKE_API_KEY"));
}

#[test]
fn cancel_says_for_how_many_users() {
    let program = Program::new();
    let (address, _) = play(|line| match line {
        "DELETE /api/push/p1 HTTP/1.1" => (200, r#"{"cancelled":2}"#.into()),
        _ => (404, r#"{"error":{"code":"push_unknown","message":"no such push"}}"#.into()),
    });
    let run = |args: &[&str]| {
        let args = [&["cancel", "--server", &address], args].concat();
        program.command(&args).env("ENCKE_API_KEY", "the-key").output().unwrap()
    };
    assert_eq!(stdout(&run(&["p1"])), "{\"cancelled\":2}\n");
    assert_eq!(run(&["p2"]).status.code(), Some(1));
}

#[test]
fn receipts_are_shown_by_state_or_counted() {
    let program = Program::new();
    const TOTALS: &str = r#"{"queued":2,"delivered":1,"shown":0,"expired":0,"cancelled":0}"#;
    let page = |user: &str, next: &str| {
        let receipt = format!(r#"{{"user":"{user}","state":"queued","time":"2026-01-02T03:04:05Z"}}"#);
        (200, format!(r#"{{"id":"p1","totals":{TOTALS},"receipts":[{receipt}]{next}}}"#))
    };
    let (address, _) = play(move |line| match line {
        "GET /api/push/p1?limit=1000&state=queued HTTP/1.1" => page("alice", r#","next":"alice""#),
        "GET /api/push/p1?limit=1000&after=alice&state=queued HTTP/1.1" => page("bob", ""),
        "GET /api/push/p1?limit=1 HTTP/1.1" => page("alice", r#","next":"alice""#),
        _ => (404, r#"{"error":{"code":"push_unknown","message":"no such push"}}"#.into()),
    });
    let run = |args: &[&str]| {
        let args = [&["receipts", "--server", &address], args].concat();
        program.command(&args).env("ENCKE_API_KEY", "the-key").output().unwrap()
    };
    let queued = stdout(&run(&["p1", "--state", "queued"]));
    let users: Vec<&str> = queued.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(users, ["alice", "bob"]);
    assert_eq!(stdout(&run(&["p1", "--count"])), format!("{TOTALS}\n"));
    assert_eq!(run(&["p2", "--count"]).status.code(), Some(1));
    for wrong in [&["p1", "--state", "lost"][..], &["p1", "--state", "queued", "--count"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn pushes_are_shown_page_by_page() {
    let program = Program::new();
    let page = |id: &str, next: &str| {
        let totals = r#"{"queued":2,"delivered":0,"shown":0,"expired":0,"cancelled":0}"#;
        let push = format!(r#"{{"id":"{id}","time":"2026-01-02T03:04:05Z","data":[1],"totals":{totals}}}"#);
        (200, format!(r#"{{"pushes":[{push}],"next":{next}}}"#))
    };
    let (address, _) = play(move |line| match line {
        "GET /api/pushes?limit=20 HTTP/1.1" => page("p2", r#""7.0""#),
        "GET /api/pushes?limit=19&after=7.0 HTTP/1.1" => page("p1", "null"),
        "GET /api/pushes?limit=1 HTTP/1.1" => page("p3", r#""9.0""#),
        _ => (404, r#"{"error":{"code":"not_found","message":"no such address"}}"#.into()),
    });
    let run = |args: &[&str]| {
        let args = [&["pushes", "--server", &address], args].concat();
        stdout(&program.command(&args).env("ENCKE_API_KEY", "the-key").output().unwrap())
    };
    let ids =
        |out: &str| out.lines().map(|line| line.split('"').nth(3).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&run(&[])), ["p2", "p1"]);
    assert_eq!(ids(&run(&["--last", "1"])), ["p3"]);
}

#[test]
fn push_prints_the_answer_and_then_the_receipts() {
    let program = Program::new();
    let asked_before = std::sync::atomic::AtomicBool::new(false);
    let (address, asked) = play(move |line| match line {
        "POST /api/push HTTP/1.1" => {
            (202, r#"{"id":"p1","mode":"log","accepted":1,"online":[],"offline":["alice"]}"#.into())
        }
        "GET /api/push/p1 HTTP/1.1" => {
            let state = if asked_before.swap(true, std::sync::atomic::Ordering::SeqCst) {
                "delivered"
            } else {
                "queued"
            };
            (
                200,
                format!(
                    r#"{{"id":"p1","receipts":[{{"user":"alice","state":"{state}","time":"2026-01-02T03:04:05Z"}}]}}"#
                ),
            )
        }
        _ => (404, String::new()),
    });
    let args = [
        "push",
        "--server",
        &address,
        "--to",
        "alice",
        "bob",
        "--url",
        "https://x.example/",
        "--ttl",
        "60",
        "--wait",
    ];
    let output = program.command(&args).env("ENCKE_API_KEY", "the-key").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stdout = stdout(&output);
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{stdout}");
    assert_eq!(
        (&lines[0]["accepted"], &lines[1]["state"], &lines[2]["state"]),
        (&1.into(), &"queued".into(), &"delivered".into())
    );
    let push = asked.recv().unwrap();
    assert!(push.head.to_ascii_lowercase().contains("authorization: bearer the-key"), "{push:?}");
    let body: serde_json::Value = serde_json::from_str(&push.body).unwrap();
    assert_eq!((&body["to"], &body["ttl_s"]), (&serde_json::json!(["alice", "bob"]), &60.into()));
    assert!(body["id"].is_string());
}

#[test]
fn a_refusal_of_the_server_ends_with_1_and_one_line() {
    let program = Program::new();
    let (address, _asked) =
        play(|_| (401, "{\"error\":{\"code\":\"unauthorized\",\"message\":\"two\\nlines\"}}".into()));
    let output = program.run(&[
        "publish",
        "--server",
        &address,
        "--api-key",
        "wrong",
        "--channel",
        "news",
        "--data",
        "1",
    ]);
    assert_eq!(error(&output, 1), "encke: unauthorized: two lines\n");
}

#[test]
fn nodes_and_status_tell_how_the_nodes_are() {
    let program = Program::new();
    let totals = r#"{"pushes":1,"publishes":2,"deliveries":3,"opened":4,"gaps":0,"errors":0}"#;
    let node = format!(
        r#"{{"node":"push-1","id":null,"version":"9.9","engine":"log","started":"2026-01-02T03:04:05Z",
            "uptime_s":90061,"addresses":["http://127.0.0.1:8080"],"connections":7,"sessions":8,"users":6,
            "lag":0,"totals":{totals},"rates":{{"deliveries":1.5}},"latency_ms":{{"p50":1,"p90":1,"p99":2}},
            "later":true}}"#
    );
    let lately = r#"{"seconds":60,"rates":{"pushes":0.5},"latency_ms":null}"#;
    let stats = format!(
        r#"{{"nodes":1,"silent":0,"connections":7,"sessions":8,"users":6,"lag":0,"totals":{totals},
            "minute":{lately},"hour":{lately}}}"#
    );
    let (address, _) = play(move |line| match line {
        "GET /api/nodes HTTP/1.1" => (
            200,
            format!(r#"{{"nodes":[{node}],"silent":[{{"node":"push-2","id":"0","error":"overloaded"}}]}}"#),
        ),
        "GET /api/stats HTTP/1.1" => (200, stats.clone()),
        _ => (404, String::new()),
    });
    let run = |command: &str| {
        let output = program.run(&[command, "--server", &address, "--api-key", "k"]);
        assert!(output.status.success(), "{output:?}");
        let lines = stdout(&output);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let nodes = run("nodes");
    assert_eq!((nodes.len(), &nodes[0]["node"], &nodes[0]["connections"]), (2, &"push-1".into(), &7.into()));
    assert_eq!(nodes[1]["error"], "overloaded");
    let status = run("status");
    assert_eq!((status.len(), &status[0]["users"]), (1, &6.into()));
    assert_eq!(status[0]["minute"]["rates"]["pushes"], 0.5);
}

#[test]
fn lists_are_json_lines_without_a_terminal_and_go_on_over_pages() {
    let program = Program::new();
    let (address, asked) = play(|line| {
        let user = |id: &str, next: &str| {
            format!(r#"{{"users":[{{"id":"{id}","online":true,"sessions":1}}],"next":{next}}}"#)
        };
        if line.contains("after=a") { (200, user("b", "null")) } else { (200, user("a", "\"a\"")) }
    });
    let output = program.run(&["who", "--server", &address, "--api-key", "k"]);
    assert_eq!(
        stdout(&output).lines().map(|line| line.contains("\"online\":true")).collect::<Vec<_>>(),
        [true, true]
    );
    assert!(asked.recv().unwrap().line.contains("online=true"));
}

#[test]
fn the_dev_key_is_found_on_this_machine_and_shown_to_no_other() {
    let program = Program::new();
    program
        .write("encke-data/dev-keys.json", &format!(r#"{{"api_key":"dev-key","token_secret":"{SECRET}"}}"#));
    let (address, asked) = play(|_| (200, r#"{"closed":1}"#.into()));
    let output = program.run(&["close", "--server", &address, "--user", "alice", "--reason", "tidy"]);
    assert_eq!(stdout(&output), "{\"closed\":1}\n");
    let asked = asked.recv().unwrap();
    assert!(asked.head.to_ascii_lowercase().contains("bearer dev-key"));
    assert_eq!(asked.body, r#"{"user":"alice","reason":"tidy","reconnect":false}"#);
    assert!(error(&program.run(&["who", "--server", "http://encke.invalid:1"]), 64).contains("`api_key`"));
    // The same file gives the secret for tokens.
    assert!(program.run(&["token", "--user", "alice"]).status.success());
}

#[test]
fn what_is_revoked_and_who_is_kept_away_is_asked_as_it_was_said() {
    let program = Program::new();
    for (args, path, body, answer) in [
        (&["revoke", "--user", "alice"][..], "/api/revoke", r#"{"user":"alice"}"#, 0),
        (&["revoke", "--jti", "j"], "/api/revoke", r#"{"jti":"j"}"#, 0),
        (&["revoke", "--before", "T"], "/api/revoke", r#"{"before":"T"}"#, 0),
        (
            &["revoke", "--user", "alice", "--before", "T"],
            "/api/revoke",
            r#"{"user":"alice","before":"T"}"#,
            0,
        ),
        (
            &["close", "--user", "alice", "--ban", "60"],
            "/api/close",
            r#"{"user":"alice","reconnect":false,"ban_s":60}"#,
            0,
        ),
        (
            &["close", "--session", "s", "--ban", "60"],
            "/api/close",
            r#"{"session":"s","reconnect":false,"ban_s":60}"#,
            1,
        ),
    ] {
        let (address, asked) = play(|_| (200, r#"{"revoked":true,"closed":0}"#.into()));
        let output = program.command(args).env("ENCKE_URL", &address).env("ENCKE_API_KEY", "k").output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(answer), "{args:?} {output:?}");
        let asked = asked.recv().unwrap();
        assert!(asked.line.starts_with(&format!("POST {path} ")), "{args:?} {asked:?}");
        assert_eq!(asked.body, body, "{args:?}");
    }
}

#[test]
fn token_signs_what_the_server_verifies() {
    let program = Program::new();
    assert!(error(&program.run(&["token", "--user", "alice"]), 64).contains("`token_secret`"));
    let args =
        ["token", "--user", "alice", "--channel", "news", "room:*", "--publish", "room:*", "--ttl", "60"];
    let output = program.command(&args).env("ENCKE_TOKEN_SECRET", SECRET).output().unwrap();
    let token = stdout(&output).trim_end().to_owned();
    let key = encke::auth::TokenKey::hs256(&encke::config::Secret::new(SECRET.into()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = key.verify(&token, now).unwrap();
    assert_eq!(claims.user.as_str(), "alice");
    assert!(claims.expires_s > now + 50 && claims.expires_s <= now + 60);
    assert!(
        claims.channels.allows("room:1") && claims.publish.allows("room:1") && !claims.publish.allows("news")
    );
    let output =
        program.command(&["token", "--user", "alice"]).env("ENCKE_TOKEN_SECRET", SECRET).output().unwrap();
    assert!(key.verify(stdout(&output).trim_end(), now).unwrap().channels.is_empty());
}

/// The stream of a session with one message.
const STREAM: &str = concat!(
    "data: {\"event\":\"open\",\"session\":\"s1\",\"cursor\":\"1~e~@alice~0\",\"heartbeat_s\":20}\n\n",
    "data: {\"event\":\"message\",\"id\":\"m1\",\"channel\":\"@alice\",\"offset\":1,\"epoch\":\"e\",\"time\":\"2026-01-02T03:04:05Z\",\n",
    "data: \"type\":\"message\",\"data\":{\"n\":\n",
    "data: 1.0}}\n\n"
);

fn start(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let program = Program::new();
    let (address, _asked) = play(|line| match line.split(' ').nth(1).unwrap() {
        "/v1/close" => (200, r#"{"closed":true}"#.into()),
        _ => (200, STREAM.into()),
    });
    let (mut child, lines) =
        start(&mut program.command(&["listen", "--server", &address, "--user", "alice", "--token", "t"]));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A server with a request under way, whose body is still to come.
#[cfg(unix)]
struct Draining {
    child: Child,
    socket: TcpStream,
    /// A server that cannot say where it listens ends.
    _stdout: BufReader<std::process::ChildStdout>,
    _program: Program,
}

#[cfg(unix)]
impl Draining {
    fn new(drain_s: u32) -> Self {
        let program = Program::new();
        let mut command =
            program.command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
        let (child, mut stdout) = start(command.env("ENCKE_SHUTDOWN_DRAIN_S", drain_s.to_string()));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        let mut socket = TcpStream::connect(&address).unwrap();
        let fields = "Content-Type: application/json\r\nContent-Length: 16\r\nExpect: 100-continue\r\nConnection: close";
        write!(socket, "POST /v1/login HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n\r\n").unwrap();
        // It is under way once its body is asked for.
        let mut asked = [0; 25];
        socket.read_exact(&mut asked).unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100 "), "{asked:?}");
        Self { child, socket, _stdout: stdout, _program: program }
    }

    fn stop(&self) {
        assert!(
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success()
        );
    }
}

#[cfg(unix)]
#[test]
fn requests_under_way_have_as_long_as_configured_when_the_server_stops() {
    let (mut patient, mut brief) = (Draining::new(300), Draining::new(1));
    patient.stop();
    brief.stop();
    // The one does not wait for a body that does not come; the other, which was told to stop before, still
    // does.
    assert_eq!(brief.child.wait().unwrap().code(), Some(0));
    write!(patient.socket, "{{\"user\":\"alice\"}}").unwrap();
    let mut answer = String::new();
    patient.socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(patient.child.wait().unwrap().code(), Some(0));
}
