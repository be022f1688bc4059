//! What an operator reads of a server: that it is up and with which limits, that it stops, and a line for
//! each request if that is asked for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Program, SECRET, start};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// How long a test waits for what has to come.
const WAIT: Duration = Duration::from_secs(30);

/// A server whose standard error goes to a file.
struct Server {
    program: Program,
    child: Child,
    address: String,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn new(settings: &str) -> Self {
        Self::with(settings, |_, _| {})
    }

    /// The command may be changed, with the device and inode of the log.
    fn with(settings: &str, change: impl FnOnce(&mut Command, (u64, u64))) -> Self {
        let program = Program::new();
        let base = format!(
            "listen = \"127.0.0.1:0\"\nengine = \"memory\"\nnode = \"push-1\"\nworkers = 1\ndev = true\n\
             api_key = \"{KEY}\"\ntoken_secret = \"{SECRET}\"\n"
        );
        program.write("encke.toml", &(base + settings));
        let log = std::fs::File::create(program.path().join("log")).unwrap();
        let file = log.metadata().unwrap();
        let mut command = program.command(&["serve", "--config", "encke.toml"]);
        change(&mut command, (file.dev(), file.ino()));
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { program, child, address, _stdout: stdout }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.program.path().join(name)).unwrap_or_default()
    }

    /// Waits until a file has a line of which this holds.
    fn line(&self, name: &str, holds: impl Fn(&str) -> bool) -> String {
        let ends = Instant::now() + WAIT;
        loop {
            let text = self.read(name);
            if let Some(line) = text.lines().find(|line| holds(line)) {
                return line.to_owned();
            }
            assert!(Instant::now() < ends, "{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn connect(&self, head: &str) -> TcpStream {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        write!(socket, "{head}").unwrap();
        socket
    }

    /// The answer to a request with the key.
    fn ask(&self, line: &str, body: &str) -> String {
        let length = body.len();
        let mut socket = self.connect(&format!(
            "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn token(&self, user: &str) -> String {
        let body = format!("{{\"user\":\"{user}\"}}");
        let mut socket = self.connect(&format!(
            "POST /v1/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let json: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{answer}"));
        json["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn end(mut self) -> String {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success());
        self.read("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_says_once_what_is_up_and_once_that_it_has_stopped() {
    let server = Server::new("log_format = \"json\"\nmax_connections = 500\nmax_sessions_per_user = 7\n");
    let address = format!("http://{}", server.address);
    let log = server.end();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |words: &str| {
        let found: Vec<&Value> = lines.iter().filter(|line| line["message"] == words).collect();
        assert_eq!(found.len(), 1, "{words}: {log}");
        found[0]
    };
    let up = of("the server is up");
    for (name, value) in [
        ("version", Value::from(env!("CARGO_PKG_VERSION"))),
        ("engine", "memory".into()),
        ("node", "push-1".into()),
        ("addresses", address.into()),
        ("workers", 1.into()),
        ("max_connections", 500.into()),
        ("max_sessions_per_user", 7.into()),
    ] {
        assert_eq!(up[name], value, "{name}");
    }
    assert!(!log.contains(KEY) && !log.contains(SECRET));
    of("the server stops");
    let stopped = of("the server has stopped");
    assert!(stopped["uptime_s"].is_u64() && stopped["took_ms"].is_u64() && stopped["cut_off"] == 0, "{log}");
    assert_eq!(lines.last(), Some(stopped), "nothing comes behind it");
}

#[test]
fn the_journal_gets_priorities_and_no_second_time() {
    let in_journal = Server::with("", |command, (device, inode)| {
        command.env("JOURNAL_STREAM", format!("{device}:{inode}"));
    });
    let log = in_journal.end();
    assert!(log.lines().any(|line| line.starts_with("<6> INFO ") || line.starts_with("<6>INFO ")), "{log}");
    assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
    // The variable is inherited by what writes elsewhere.
    let elsewhere = Server::with("", |command, (device, inode)| {
        command.env("JOURNAL_STREAM", format!("{device}:{}", inode + 1));
    });
    let log = elsewhere.end();
    assert!(log.lines().all(|line| line.starts_with("20")), "{log}");
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_each_connection_that_waited_and_no_secret() {
    let server = Server::new("access_log = \"access.log\"\nlog_format = \"json\"\n");
    let token = server.token("alice");
    server.ask("POST /api/push", r#"{"to":["alice"],"data":1}"#);
    server.ask("GET /api/users/alice?secret=1", "");
    server.ask("GET /no/such/secret", "");
    let head = format!("HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut poll = server.connect(&format!("GET /v1/poll?cursor=earliest {head}"));
    poll.read_exact(&mut [0; 12]).unwrap();
    let mut stream = server.connect(&format!("GET /v1/sse?channels=news {head}"));
    stream.read_exact(&mut [0; 12]).unwrap();
    server.ask("POST /api/close", r#"{"user":"alice"}"#);
    let json = |holds: &dyn Fn(&Value) -> bool| -> Value {
        let line = server.line("access.log", |line| holds(&serde_json::from_str(line).unwrap()));
        serde_json::from_str(&line).unwrap()
    };
    let route = |route: &'static str| move |line: &Value| line["route"] == route;
    let push = json(&route("/api/push"));
    assert_eq!(
        (&push["method"], &push["status"], &push["who"]),
        (&"POST".into(), &202.into(), &"api_key".into())
    );
    assert!(push["bytes"].as_u64().unwrap() > 20 && push["took_ms"].is_number(), "{push}");
    assert_eq!(push["client"], "127.0.0.1");
    let user = json(&route("/api/users/{user}"));
    assert_eq!((&user["status"], &user["who"]), (&200.into(), &"api_key".into()));
    assert_eq!(json(&route("unknown"))["status"], 404);
    let poll = json(&|line| line["transport"] == "poll");
    assert_eq!((&poll["who"], &poll["status"]), (&"alice".into(), &200.into()));
    let sse = json(&|line| line["transport"] == "sse");
    assert_eq!((&sse["who"], &sse["end"]), (&"alice".into(), &"operator".into()));
    assert!(sse["bytes"].as_u64().unwrap() > 100, "{sse}");
    let log = server.read("access.log");
    assert!(!log.contains("secret") && !log.contains(&token) && !log.contains(KEY), "{log}");
    assert!(!server.read("log").contains("/api/push"), "it is a log of its own");
}

#[test]
fn the_access_log_is_opened_anew_and_turned_off_and_on_while_the_server_runs() {
    let mut server = Server::new("access_log = \"access.log\"\n");
    let path = server.program.path().join("access.log");
    server.ask("GET /healthz", "");
    server.line("access.log", |line| line.contains(" route=/healthz status=200 "));
    // As logrotate does it.
    std::fs::rename(&path, server.program.path().join("access.log.1")).unwrap();
    server.signal("-HUP");
    server.line("log", |line| line.contains("the configuration was read again"));
    server.ask("GET /readyz", "");
    server.line("access.log", |line| line.contains(" route=/readyz "));
    assert!(!server.read("access.log.1").contains("/readyz"));
    // What cannot be opened changes nothing.
    let settings = server.read("encke.toml");
    server.program.write("encke.toml", &settings.replace("access.log", "no/such/access.log"));
    server.signal("-HUP");
    server.line("log", |line| line.contains("nothing is changed") && line.contains("no/such/access.log"));
    server.program.write("encke.toml", &settings.replace("\"access.log\"", "\"stderr\""));
    server.signal("-HUP");
    server.line("log", |line| line.contains("changed=\"access_log\""));
    server.ask("GET /client.js", "");
    server.line("log", |line| line.contains("route=/client.js "));
    assert!(!server.read("access.log").contains("/client.js"));
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn a_server_whose_access_log_cannot_be_opened_does_not_start() {
    let program = Program::new();
    let pipe = program.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (said, problem) in [
        ("no/such/access.log", "no/such/access.log: there is no directory no/such"),
        // To open it would be to wait for a reader.
        (pipe.to_str().unwrap(), "pipe: it is no regular file"),
        (".", ".: it is no regular file"),
    ] {
        let mut command =
            program.command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
        command.env("ENCKE_ACCESS_LOG", said);
        let (child, _stdout) = start(&mut command);
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{words}");
        assert!(words.contains("ENCKE_ACCESS_LOG: access_log: ") && words.contains(problem), "{words}");
    }
    let empty = program.write("empty.toml", "access_log = \"\"\n");
    let checked = program.run(&["check-config", &empty]);
    let words = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(words.contains(":1:1: access_log: must be a file, or \"stderr\""), "{words}");
}
