//! The audit trail of a server: its lines in the log, and its channel.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Program, SECRET, start};

const ADMIN: &str = "7d3a4f1c4f1c9be0";
const READER: &str = "4f1c9be07d3a4f1c";
/// How long a test waits for what has to come.
const WAIT: Duration = Duration::from_secs(30);

/// A server whose log is JSON, in a file.
struct Server {
    program: Program,
    child: Child,
    address: String,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn new(more: &str) -> Self {
        let program = Program::new();
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nengine = \"memory\"\nworkers = 1\nlog_format = \"json\"\n\
             token_secret = \"{SECRET}\"\n{more}\n\
             [[api_keys]]\nname = \"billing\"\nkey = \"{ADMIN}\"\nscopes = [\"admin\"]\n\
             [[api_keys]]\nname = \"reader\"\nkey = \"{READER}\"\nscopes = [\"read\"]\n"
        );
        program.write("encke.toml", &settings);
        let mut command = program.command(&["serve", "--config", "encke.toml"]);
        let (mut child, mut stdout) = start(&mut command);
        let log = std::fs::File::create(program.path().join("log")).unwrap();
        let (mut stderr, mut log) = (child.stderr.take().unwrap(), log);
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut log));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { program, child, address, _stdout: stdout }
    }

    fn ask(&self, head: &str, key: &str, body: &Value) -> u16 {
        self.ask_with(head, key, "", body)
    }

    /// The same with further fields of the head.
    fn ask_with(&self, head: &str, key: &str, fields: &str, body: &Value) -> u16 {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            socket,
            "{head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer[9..12].parse().unwrap()
    }

    /// A token of this user.
    fn token(&self, user: &str) -> String {
        let args = ["token", "--user", user, "--channel", "*", "--config", "encke.toml"];
        String::from_utf8(self.program.command(&args).output().unwrap().stdout).unwrap().trim().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.program.path().join("log")).unwrap()
    }

    /// So many audit lines, once they are there: who, action, what, outcome and from of each.
    fn audit(&self, count: usize) -> Vec<[String; 5]> {
        let ends = Instant::now() + WAIT;
        loop {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> = lines.filter(|line| line["target"] == "encke::audit").collect();
            if lines.len() >= count || Instant::now() > ends {
                let field = |line: &Value, name: &str| line[name].as_str().unwrap_or("?").to_owned();
                let names = ["who", "action", "what", "outcome", "from"];
                return lines.iter().map(|line| names.map(|name| field(line, name))).collect();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(who: &str, action: &str, what: &str, outcome: &str) -> [String; 5] {
    [who, action, what, outcome, "127.0.0.1"].map(str::to_owned)
}

/// What an operator has done, and what was tried with a key that is not one, is found in the log.
#[test]
fn what_is_done_with_keys_is_written_down_whatever_the_log_leaves_out() {
    let server = Server::new("log = \"error\"\naudit = \"all\"");
    let push = json!({"to": ["alice", "bob"], "data": 1});
    assert_eq!(server.ask("POST /api/push", ADMIN, &push), 202);
    assert_eq!(server.ask("POST /api/push?", ADMIN, &push), 202, "hyper has this one");
    assert_eq!(server.ask("POST /api/publish", ADMIN, &json!({"channel": "news", "data": 1})), 202);
    assert_eq!(server.ask("POST /api/push", ADMIN, &json!({"to": [], "data": 1})), 400);
    assert_eq!(server.ask("POST /api/close", ADMIN, &json!({"user": "alice"})), 200);
    let session = "3q2-7wABCDEFGHIJKLMNOQ";
    assert_eq!(server.ask("POST /api/close", ADMIN, &json!({"session": session})), 200);
    assert_eq!(server.ask("DELETE /api/users/alice", ADMIN, &Value::Null), 200);
    assert_eq!(server.ask("DELETE /api/channels/none", ADMIN, &Value::Null), 404);
    assert_eq!(server.ask("POST /api/push", READER, &push), 403);
    assert_eq!(server.ask("POST /api/close", "not-a-key-of-this-server", &json!({"user": "alice"})), 401);
    assert_eq!(server.ask("GET /metrics", "not-a-key-of-this-server", &Value::Null), 401);
    assert_eq!(server.ask("POST /v1/publish", "not.a.token", &json!({"channel": "a", "data": 1})), 401);
    assert_eq!(server.ask("GET /v1/poll", "not.a.token", &Value::Null), 401);
    assert_eq!(server.ask("GET /api/users", READER, &Value::Null), 200, "who reads is not written down");
    let mut lines = server.audit(13);
    for (at, action) in [(0, "push"), (1, "push"), (2, "publish")] {
        let [who, what_was_done, what, outcome, from] = &lines[at];
        assert_eq!([who, what_was_done, outcome, from], ["billing", action, "ok", "127.0.0.1"], "{lines:?}");
        assert_eq!(what.ends_with(" to 2: alice, bob"), action == "push", "{what}");
        assert!(what.len() >= 22, "it names the message: {what}");
    }
    assert_eq!(
        lines.split_off(3),
        [
            line("billing", "push", "", "bad_request"),
            line("billing", "close", "user alice", "ok"),
            line("billing", "close", "session 3q2-7w…", "ok"),
            line("billing", "delete_user", "alice", "ok"),
            line("billing", "delete_channel", "none", "channel_unknown"),
            line("reader", "refuse", "/api/push", "forbidden"),
            line("-", "refuse", "/api/close", "unauthorized"),
            line("-", "refuse", "/metrics", "unauthorized"),
            line("-", "refuse", "/v1/publish", "unauthorized"),
            line("-", "refuse", "data connection", "unauthorized"),
        ]
    );
    let log = server.log();
    for secret in [ADMIN, READER, "not-a-key-of-this-server", "not.a.token", session, SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[test]
fn tokens_that_were_taken_back_and_users_who_are_kept_away_are_written_down() {
    let server = Server::new("");
    let tokens = ["alice", "bob"].map(|user| server.token(user));
    assert_eq!(server.ask("POST /api/revoke", ADMIN, &json!({"user": "alice"})), 200);
    assert_eq!(server.ask("POST /api/close", ADMIN, &json!({"user": "bob", "ban_s": 600})), 200);
    for (token, status) in tokens.iter().zip([401, 403]) {
        assert_eq!(server.ask("GET /v1/poll", token, &Value::Null), status);
        assert_eq!(server.ask("POST /v1/ticket", token, &Value::Null), status);
    }
    let lines = server.audit(6);
    let expected = [("revoked", "data connection"), ("revoked", "/v1/ticket"), ("banned", "data connection")];
    for (line_seen, (outcome, what)) in lines[2..].iter().zip(expected) {
        assert_eq!(*line_seen, line("-", "refuse", what, outcome));
    }
    assert_eq!(lines[0], line("billing", "revoke", "user alice", "ok"));
    assert_eq!(lines.len(), 6, "{lines:?}");
}

/// A push that an event loop answers itself, and one that it does not.
#[test]
fn behind_a_proxy_the_address_is_that_of_the_backend() {
    let server = Server::new("audit = \"all\"\ntrusted_proxies = [\"127.0.0.1/32\"]");
    let push = json!({"to": ["alice"], "data": 1});
    for head in ["POST /api/push", "POST /api/push?"] {
        assert_eq!(server.ask_with(head, ADMIN, "X-Forwarded-For: 203.0.113.7\r\n", &push), 202);
    }
    let from: Vec<String> = server.audit(2).into_iter().map(|[.., from]| from).collect();
    assert_eq!(from, ["203.0.113.7", "203.0.113.7"]);
}

/// By default there is no line for each message, and none at all when it is switched off.
#[test]
fn what_gets_a_line_is_as_configured() {
    for (setting, count) in [("", 2), ("audit = \"control\"", 2), ("audit = \"off\"", 0)] {
        let server = Server::new(setting);
        for _ in 0..3 {
            assert_eq!(server.ask("POST /api/push", ADMIN, &json!({"to": ["alice"], "data": 1})), 202);
            assert_eq!(server.ask("POST /api/push?", ADMIN, &json!({"to": ["alice"], "data": 1})), 202);
        }
        assert_eq!(server.ask("POST /api/close", "not-a-key-of-this-server", &json!({"user": "a"})), 401);
        assert_eq!(server.ask("POST /api/close", ADMIN, &json!({"user": "alice"})), 200);
        let lines = if count == 0 { Vec::new() } else { server.audit(count) };
        assert_eq!(lines.len(), count, "{setting}: {lines:?}");
        assert_eq!(server.log().contains("encke::audit"), count > 0, "{setting}");
    }
}

/// A client that guesses keys does not fill the disk, and it is told how many guesses there were.
#[test]
fn guesses_are_counted_beyond_a_hundred_a_second() {
    const GUESSES: usize = 400;
    let server = Server::new("");
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let guess = "GET /api/users HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer guess\r\n\r\n";
    for _ in 0..GUESSES / 20 {
        socket.write_all(guess.repeat(20).as_bytes()).unwrap();
        let mut seen = String::new();
        while seen.matches("HTTP/1.1 401").count() < 20 || !seen.ends_with('}') {
            let mut bytes = [0; 16_384];
            let count = socket.read(&mut bytes).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
    let counted = |log: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["action"] == "refuse");
        lines.map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    // A later one says how many were left out.
    let (ends, mut more) = (Instant::now() + WAIT, 0);
    loop {
        let log = server.log();
        if counted(&log) == (GUESSES + more) as u64 {
            break;
        }
        assert!(Instant::now() < ends, "{} of {}", counted(&log), GUESSES + more);
        assert_eq!(server.ask("GET /api/users", "guess", &Value::Null), 401);
        more += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_channel_has_the_same_and_no_client_gets_at_it() {
    let server = Server::new("audit_channel = \"audit\"");
    assert_eq!(server.ask("POST /api/close", ADMIN, &json!({"user": "alice"})), 200);
    let token = server.token("eve");
    assert_eq!(server.ask("GET /v1/poll?hold_s=0&channels=news", &token, &Value::Null), 200);
    assert_eq!(server.ask("GET /v1/poll?hold_s=0&channels=audit", &token, &Value::Null), 403);
    // Nor does a backend write to it, whichever way.
    for body in [json!({"channel": "audit", "data": 1}), json!({"channels": ["news", "audit"], "data": 1})] {
        for head in ["POST /api/publish", "POST /api/publish?"] {
            assert_eq!(server.ask(head, ADMIN, &body), 403, "{body}");
        }
    }
    let many = json!({"messages": [{"channel": "audit", "data": 1}]});
    assert_eq!(server.ask("POST /api/publish", ADMIN, &many), 202, "each has a result of its own");
    let ends = Instant::now() + WAIT;
    let history = loop {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        write!(
            socket,
            "GET /api/channels/audit/history HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Authorization: Bearer {READER}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let history: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        if history["messages"].as_array().is_some_and(|messages| !messages.is_empty()) {
            break history;
        }
        assert!(Instant::now() < ends, "{answer}");
    };
    assert_eq!(
        history["messages"][0]["data"],
        json!({
            "who": "billing", "action": "close", "what": "user alice", "outcome": "ok", "from": "127.0.0.1"
        })
    );
}
