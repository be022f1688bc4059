//! A server whose configuration and certificates are read again: a process, its files, and signals.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use encke::{
    auth::{Claims, Grant, TokenKey},
    config::Secret,
};
use encke_proto::UserId;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};

/// How long a test waits for what has to come.
const WAIT: Duration = Duration::from_secs(30);

/// A server in a directory of its own.
struct Server {
    dir: tempfile::TempDir,
    child: Child,
    addresses: Vec<SocketAddr>,
    /// A server that cannot say where it listens ends.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// A certificate that signs itself, for `localhost`, in two files with this name.
fn certify(dir: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    fs::write(dir.join(format!("{name}-key.pem")), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn settings(cert: &str, more: &str) -> String {
    format!(
        "dev = true\nlisten = \"127.0.0.1:0\"\nengine = \"memory\"\nworkers = 1\ntls_listen = \"127.0.0.1:0\"\n\
         tls_cert = \"{cert}.pem\"\ntls_key = \"{cert}-key.pem\"\n{more}\n"
    )
}

/// Starts one by the settings in its directory. Without addresses it did not come up.
fn start(dir: tempfile::TempDir) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
        command.env_remove(name);
    }
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut child = command
        .args(["serve", "--config", "encke.toml"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = |line: String| line.rsplit("://").next().and_then(|address| address.parse().ok());
    let addresses = lines.by_ref().take(2).filter_map(|line| address(line.unwrap())).collect();
    Server { dir, child, addresses, _stdout: lines }
}

impl Server {
    fn new(more: &str) -> (Self, CertificateDer<'static>) {
        let dir = tempfile::tempdir().unwrap();
        let certificate = certify(dir.path(), "first");
        fs::write(dir.path().join("encke.toml"), settings("first", more)).unwrap();
        (start(dir), certificate)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let ends = Instant::now() + WAIT;
        while !holds(self) {
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {}", self.log());
            assert!(Instant::now() < ends, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Tells it to read again, and waits until it has said so once more.
    fn hang_up(&mut self) {
        let seen = |log: &str| log.matches("the configuration was read again").count();
        let before = seen(&self.log());
        self.signal("-HUP");
        self.until("it reads again", |server| seen(&server.log()) > before);
    }

    /// How it ends.
    fn end(&mut self) -> Option<i32> {
        let ends = Instant::now() + WAIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < ends, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection, if the certificate is this one.
    fn connect(&self, trusted: &CertificateDer<'static>) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(self.addresses[1]).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let mut stream = StreamOwned::new(client, socket);
        stream.flush().ok().map(|()| stream)
    }

    fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.addresses[0]).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer on a connection that stays.
fn asks(stream: &mut (impl Read + Write)) {
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&seen));
}

#[test]
fn a_certificate_that_is_no_regular_file_is_refused_and_does_not_hold_up_the_start() {
    for file in ["first.pem", "first-key.pem"] {
        let dir = tempfile::tempdir().unwrap();
        certify(dir.path(), "first");
        pipe(&dir.path().join(file));
        fs::write(dir.path().join("encke.toml"), settings("first", "")).unwrap();
        // It would read nothing but the end of its lines.
        let mut child = Command::new(env!("CARGO_BIN_EXE_encke"))
            .args(["serve", "--config", "encke.toml"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let ends = Instant::now() + WAIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > ends {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(status.is_some_and(|status| status.code() == Some(64)), "{file}: {log}");
        assert!(log.contains(file) && log.contains("no regular file"), "{log}");
    }
}

#[test]
fn a_certificate_that_becomes_a_pipe_holds_up_neither_others_nor_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = (certify(dir.path(), "first"), certify(dir.path(), "second"));
    let more = "tls_certificates = [{ cert = \"second.pem\", key = \"second-key.pem\" }]";
    fs::write(dir.path().join("encke.toml"), settings("first", more)).unwrap();
    let mut server = start(dir);
    assert!(server.connect(&first).is_some());
    for file in ["second.pem", "second-key.pem"] {
        pipe(&server.path(file));
    }
    // No signal: its files are looked at from time to time.
    server.until("it is told", |server| server.log().contains("no regular file"));
    // It may have been looked at once more since.
    let metrics = server.metrics();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("encke_tls_certificate_errors_total "));
    assert!(counted.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{metrics}");
    let first = certify(server.dir.path(), "first");
    server.until("the other is read", |server| server.connect(&first).is_some());
    server.signal("-TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_hangup_reads_certificates_at_once_and_drops_no_connection() {
    let (mut server, old) = Server::new("");
    let mut kept = server.connect(&old).unwrap();
    asks(&mut kept);
    let new = certify(server.dir.path(), "first");
    server.hang_up();
    assert!(server.connect(&new).is_some() && server.connect(&old).is_none(), "{}", server.log());
    asks(&mut kept);
    // Other files are taken as well.
    let other = certify(server.dir.path(), "other");
    fs::write(server.path("encke.toml"), settings("other", "")).unwrap();
    server.hang_up();
    assert!(server.connect(&other).is_some() && server.connect(&new).is_none(), "{}", server.log());
    asks(&mut kept);
    assert!(server.log().contains("tls_cert, tls_key"), "{}", server.log());
    assert!(server.metrics().contains("encke_reloads_total{outcome=\"done\"} 2"), "{}", server.metrics());
    server.signal("-TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_mistake_changes_nothing_and_is_told() {
    let (mut server, old) = Server::new("");
    let debug = |server: &mut Server| server.metrics().contains("200") && server.log().contains(" DEBUG ");
    let good = settings("first", "log = \"debug\"");
    let mistakes = [
        ("hold_s = 0\nlog = \"debug\"", "hold_s"),
        ("no words", "encke.toml:8:4: "),
        ("log = \"encke=loud\"", "encke.toml:8:1: log: "),
        ("log = \"debug\"\ntls_certificates = [{ cert = \"none.pem\", key = \"none.pem\" }]", "none.pem"),
    ];
    for (more, named) in mistakes {
        fs::write(server.path("encke.toml"), settings("first", more)).unwrap();
        server.hang_up();
        let log = server.log();
        assert!(log.lines().last().unwrap().contains(named), "{more}: {log}");
    }
    fs::write(server.path("first.pem"), "nothing").unwrap();
    fs::write(server.path("encke.toml"), &good).unwrap();
    server.hang_up();
    pipe(&server.path("encke.toml"));
    server.hang_up();
    assert!(!debug(&mut server), "{}", server.log());
    assert!(server.connect(&old).is_some());
    assert!(server.metrics().contains("encke_reloads_total{outcome=\"failed\"} 6"), "{}", server.metrics());
    let new = certify(server.dir.path(), "first");
    fs::remove_file(server.path("encke.toml")).unwrap();
    fs::write(server.path("encke.toml"), good.replace("workers = 1", "workers = 2")).unwrap();
    server.hang_up();
    assert!(server.connect(&new).is_some());
    server.until("the level is another", |server| {
        server.metrics().contains("200") && server.log().contains(" DEBUG ")
    });
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("restart only") && line.contains("workers")), "{log}");
}

/// Who may do what changes while the server runs, and a rule that is none changes nothing.
#[test]
fn rules_for_channels_change_at_a_hangup() {
    let (mut server, _) = Server::new("api_key = \"4f1c9be07d3a4f1c\"");
    let publish = |server: &Server| {
        let ask = |request: String| {
            let mut socket = TcpStream::connect(server.addresses[0]).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        };
        let post = |path: &str, fields: &str, body: &str| {
            ask(format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                server.addresses[0],
                body.len()
            ))
        };
        let login = post("/v1/login", "", r#"{"user":"alice"}"#);
        let token = login.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap();
        let body = r#"{"channel":"news","data":1}"#;
        let answer = post("/v1/publish", &format!("Authorization: Bearer {token}\r\n"), body);
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(publish(&server), "202");
    for (rules, status) in [
        ("[[rules]]\nchannel = \"news\"\npublish = \"nobody\"", "403"),
        ("[[rules]]\nchannel = \"in-{users}\"\npublish = \"users\"", "403"),
        ("[[rules]]\nchannel = \"in-{user}\"\npublish = \"owner\"", "403"),
        ("[[rules]]\nchannel = \"news\"\npublish = \"users\"", "202"),
    ] {
        let more = format!("api_key = \"4f1c9be07d3a4f1c\"\n{rules}");
        fs::write(server.path("encke.toml"), settings("first", &more)).unwrap();
        server.hang_up();
        assert_eq!(publish(&server), status, "{rules}: {}", server.log());
    }
    assert!(server.log().contains("changed=\"rules\""), "{}", server.log());
    assert!(server.log().contains("in-{users}"), "{}", server.log());
}

/// A key that has become known to others is taken away while the server runs. Its connection is one that the
/// server knows already.
#[test]
fn a_key_that_is_taken_out_is_good_for_nothing_at_once() {
    let keys = |key: &str| format!("api_keys = [{{ name = \"a\", key = \"{key}\", scopes = [\"push\"] }}]");
    let (before, after) = ("4f1c9be07d3a4f1c", "7d3a4f1c4f1c9be0");
    let (mut server, _) = Server::new(&keys(before));
    let mut socket = TcpStream::connect(server.addresses[0]).unwrap();
    let mut push = |key: &str| {
        let body = r#"{"to":["alice"],"data":1}"#;
        write!(
            socket,
            "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = vec![0; 4096];
        let count = socket.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!([before, before, after].map(&mut push), ["202", "202", "401"]);
    fs::write(server.path("encke.toml"), settings("first", &keys(after))).unwrap();
    server.hang_up();
    assert!(server.log().contains("changed=\"api_keys\""), "{}", server.log());
    assert_eq!([before, after, after].map(&mut push), ["401", "202", "202"]);
}

/// A stream of pushes that was begun with a key ends with it.
#[test]
fn a_stream_ends_with_the_key_that_it_was_begun_with() {
    let keys = |key: &str| format!("api_keys = [{{ name = \"a\", key = \"{key}\", scopes = [\"push\"] }}]");
    let (mut server, _) = Server::new(&keys("4f1c9be07d3a4f1c"));
    let mut socket = TcpStream::connect(server.addresses[0]).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let chunk = |line: &str| format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
    let push = chunk(r#"{"to":["alice"],"data":1}"#);
    write!(
        socket,
        "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer 4f1c9be07d3a4f1c\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n{push}"
    )
    .unwrap();
    let mut seen = String::new();
    let mut until = |socket: &mut TcpStream, word: &str| {
        while !seen.contains(word) {
            let mut bytes = [0; 1024];
            let count = socket.read(&mut bytes).unwrap();
            assert!(count > 0, "{word}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    until(&mut socket, "\"accepted\":1");
    fs::write(server.path("encke.toml"), settings("first", &keys("7d3a4f1c4f1c9be0"))).unwrap();
    server.hang_up();
    socket.write_all(push.as_bytes()).unwrap();
    until(&mut socket, "\"code\":\"unauthorized\"");
    until(&mut socket, "\r\n0\r\n");
}

/// The status and the body of an answer to a client or a backend, which is known by what it brings.
fn asked(server: &Server, line: &str, bearer: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(server.addresses[0]).unwrap();
    write!(
        socket,
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A token that is signed with this secret.
fn token(secret: &str, user: &str) -> String {
    let claims = Claims {
        user: UserId::new(user).unwrap(),
        expires_s: 4_000_000_000,
        issued_s: None,
        jti: None,
        channels: Grant::all(),
        publish: Grant::all(),
    };
    TokenKey::hs256(&Secret::new(secret.to_owned())).sign(&claims).unwrap()
}

const API_KEY: &str = "4f1c9be07d3a4f1c";
const SIGNS: &str = "a-secret-that-tokens-are-signed-with-first";
const SIGNS_NEXT: &str = "a-secret-that-tokens-are-signed-with-next";

/// What keeps a server from harm changes while clients are served: keys, limits, bounds and retention.
#[test]
fn keys_limits_bounds_and_retention_change_at_a_hangup_and_what_cannot_is_named() {
    let key = |secret: &str| format!("[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n");
    let before = format!("api_key = \"{API_KEY}\"\nmax_sessions_per_user = 5\n{}", key(SIGNS));
    let (mut server, _) = Server::new(&before);
    let poll = |server: &Server, secret: &str| {
        asked(server, "GET /v1/poll?cursor=earliest&hold_s=0", &token(secret, "alice"), "").0
    };
    let kept = |server: &Server| {
        let (_, body) = asked(server, "GET /api/channels/news/history", API_KEY, "");
        body.matches("\"offset\"").count()
    };
    let publish =
        |server: &Server| asked(server, "POST /api/publish", API_KEY, "{\"channel\":\"news\",\"data\":1}").0;
    let say = |server: &Server, secret: &str| {
        asked(server, "POST /v1/publish", &token(secret, "alice"), "{\"channel\":\"talk\",\"data\":1}").0
    };
    for _ in 0..6 {
        assert_eq!(publish(&server), 202);
    }
    assert_eq!((poll(&server, SIGNS), poll(&server, SIGNS_NEXT), kept(&server)), (200, 401, 6));
    assert_eq!((0..4).map(|_| say(&server, SIGNS)).collect::<Vec<_>>(), [202; 4]);

    // A key that is too short is a mistake; nothing of the same reading is taken.
    let after = format!(
        "api_key = \"{API_KEY}\"\nmax_sessions_per_user = 1\nmax_connections_per_address = 77\n{}\
         [retention_default]\nmax_messages = 2\n[limits]\nuser_publishes_per_s = 1\nburst_s = 1\n",
        key(SIGNS_NEXT)
    );
    let too_large = format!("hold_s = 9223372036854775808\n{after}");
    for (count, wrong) in [after.replace(SIGNS_NEXT, "short"), too_large].iter().enumerate() {
        fs::write(server.path("encke.toml"), settings("first", wrong)).unwrap();
        server.hang_up();
        let log = server.log();
        assert_eq!(log.matches("nothing is changed").count(), count + 1, "{log}");
    }
    assert_eq!((poll(&server, SIGNS), say(&server, SIGNS), publish(&server)), (200, 202, 202));
    assert_eq!(kept(&server), 7);

    fs::write(server.path("encke.toml"), settings("first", &after)).unwrap();
    server.hang_up();
    let log = server.log();
    let changed = log.lines().rfind(|line| line.contains("changed=\"")).unwrap();
    for name in ["auth.keys", "limits.user_publishes_per_s", "max_sessions_per_user", "retention_default"] {
        assert!(changed.contains(name), "{name}: {changed}");
    }
    let left = log.lines().rfind(|line| line.contains("restart only")).unwrap();
    assert!(left.contains("max_connections_per_address") && !left.contains("auth.keys"), "{left}");
    assert_eq!((poll(&server, SIGNS), poll(&server, SIGNS_NEXT)), (401, 200));
    server.until("what is over the rules is gone", |server| publish(server) == 202 && kept(server) == 2);
    assert!((0..4).map(|_| say(&server, SIGNS_NEXT)).any(|status| status == 429), "a second has one");
    for _ in 0..2 {
        let (status, _) = asked(&server, "GET /v1/poll?hold_s=0", &token(SIGNS_NEXT, "bob"), "");
        assert_eq!(status, 200);
    }
    let (_, sessions) = asked(&server, "GET /api/sessions?user=bob", API_KEY, "");
    assert_eq!(sessions.matches("\"session\":").count(), 1, "{sessions}");
}
