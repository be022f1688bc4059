//! Requests that wait under TLS, over HTTP/1.1 and HTTP/2: the same answers from the same table.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use encke_engine::ReceiptState;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::*;

/// A certificate that signs itself, in the files that the server reads.
pub(super) fn certify(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// The same with a key for RSA, which is worth nothing anywhere else. Making one takes too long.
fn certify_by_rsa(dir: &Path) -> CertificateDer<'static> {
    let key = include_str!("rsa_key.pem");
    let pair = rcgen::KeyPair::from_pem(key).unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&pair).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

pub(super) fn world(dir: &Path) -> World {
    World::with(|config| listen(config, dir))
}

/// Has a server listen for TLS with the certificate in a directory.
pub(super) fn listen(config: &mut Config, dir: &Path) {
    config.tls_listen = Some("127.0.0.1:0".parse().unwrap());
    config.tls_cert = Some(dir.join("cert.pem"));
    config.tls_key = Some(dir.join("key.pem"));
}

enum Sender {
    One(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn connect(address: SocketAddr, trusted: CertificateDer<'static>, two: bool) -> Option<Self> {
        Self::connect_trusting(address, &[trusted], two).await
    }

    async fn connect_trusting(
        address: SocketAddr,
        trusted: &[CertificateDer<'static>],
        two: bool,
    ) -> Option<Self> {
        Self::over(TcpStream::connect(address).unwrap(), trusted, two).await
    }

    /// The same over a socket that is connected.
    async fn over(socket: TcpStream, trusted: &[CertificateDer<'static>], two: bool) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        trusted.iter().for_each(|trusted| roots.add(trusted.clone()).unwrap());
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![if two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::TcpStream::from_std(socket).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()?);
        if two {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
            tokio::spawn(connection);
            Some(Self::Two(sender))
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            Some(Self::One(sender))
        }
    }

    async fn get(&mut self, token: &str, target: &str) -> Response<Incoming> {
        let request = Request::get(format!("https://localhost{target}"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(Empty::new()).unwrap();
        match self {
            Self::One(sender) => sender.send_request(request).await.unwrap(),
            Self::Two(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        }
    }
}

/// The certificate in a directory.
pub(super) fn read_certificate(dir: &Path) -> CertificateDer<'static> {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()
}

/// Whether a client that speaks this version alone can connect.
pub(super) async fn connects(address: SocketAddr, trusted: CertificateDer<'static>, two: bool) -> bool {
    Sender::connect(address, trusted, two).await.is_some()
}

/// The answer to a request of no user, on a connection of its own.
pub(super) async fn get(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
    two: bool,
    target: &str,
) -> Response<Incoming> {
    Sender::connect(address, trusted, two).await.unwrap().get("none", target).await
}

/// What becomes of a request over HTTP/2 that panics, and the status of one behind it on the same connection.
pub(super) async fn panic_beside(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    target: &str,
) -> (hyper::Result<u16>, u16) {
    let Some(Sender::Two(mut sender)) = Sender::connect(address, trusted.clone(), true).await else {
        panic!("there is no HTTP/2")
    };
    let mut status = async |target: &str| {
        let request = Request::get(format!("https://localhost{target}")).body(Empty::new()).unwrap();
        sender.ready().await?;
        sender.send_request(request).await.map(|answer| answer.status().as_u16())
    };
    (status(target).await, status("/healthz").await.unwrap())
}

async fn json_of(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[test]
fn a_poll_is_held_and_woken_over_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for two in [false, true] {
        let user = if two { "two" } else { "one" };
        let token = world.token(user);
        let mut sender = world.runtime.block_on(Sender::connect(address, trusted.clone(), two)).unwrap();
        let waiting = world.runtime.spawn(async move {
            let response = sender.get(&token, "/v1/poll").await;
            (response.status(), response.version(), json_of(response).await, sender)
        });
        world.until_held(user, 1);
        world.push(user, "7");
        let (status, version, answer, _sender) = world.runtime.block_on(waiting).unwrap();
        assert_eq!((status.as_u16(), data(&answer)), (200, vec![7]));
        assert_eq!(version, if two { http::Version::HTTP_2 } else { http::Version::HTTP_11 });
    }
}

/// Its handshakes are made beside the shards.
#[test]
fn a_key_for_rsa_serves_alike_and_silence_before_the_handshake_hurts_no_one() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify_by_rsa(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let _silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for two in [false, true] {
        let user = if two { "two" } else { "one" };
        let token = world.token(user);
        let mut sender = world.runtime.block_on(Sender::connect(address, trusted.clone(), two)).unwrap();
        let waiting = world.runtime.spawn(async move {
            let first = sender.get(&token, "/healthz").await.status();
            let answer = json_of(sender.get(&token, "/v1/poll").await).await;
            // Once more on the same connection, which has been to hyper and back.
            (first.as_u16(), answer, sender.get(&token, "/v1/poll?hold_s=0").await.status().as_u16())
        });
        world.until_held(user, 1);
        world.push(user, "7");
        let (first, answer, last) = world.runtime.block_on(waiting).unwrap();
        assert_eq!((first, data(&answer), last), (200, vec![7], 200));
    }
}

/// A client whose handshake is made by hand, so that it can stop within its hello.
struct ByHand(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl ByHand {
    fn new(address: SocketAddr, trusted: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(rustls::StreamOwned::new(client, socket))
    }

    /// Says a byte of its hello. What is left of it.
    fn begin(&mut self) -> Vec<u8> {
        use std::io::Write as _;
        let mut hello = Vec::new();
        self.0.conn.write_tls(&mut hello).unwrap();
        self.0.sock.write_all(&hello[..1]).unwrap();
        hello.split_off(1)
    }

    /// Says the rest, and waits for what it asks for until it sees `mark`.
    fn go_on(&mut self, rest: &[u8], asks: &str, mark: &str) {
        use std::io::{Read as _, Write as _};
        self.0.sock.write_all(rest).unwrap();
        self.0.write_all(asks.as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(mark) {
            let mut bytes = [0; 4096];
            let count = self.0.read(&mut bytes).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..count]);
        }
    }
}

/// The table has those whose handshake is made in its loop, and not those that are made beside it.
#[test]
fn a_handshake_goes_beside_the_table_when_the_key_has_become_one_for_rsa_and_comes_back_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let curve = certify(dir.path());
    let world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let sockets = || world.runtime.block_on(world.app().shards.counts()).unwrap().sockets;
    let asks = world.head("alice", "/v1/sse");
    let mut by_curve = ByHand::new(address, curve);
    let rest = by_curve.begin();
    world.until(|| sockets() == 1);
    by_curve.go_on(&rest, &asks, "\"event\":\"open\"");
    let rsa = certify_by_rsa(dir.path());
    world.until(|| world.runtime.block_on(Sender::connect(address, rsa.clone(), false)).is_some());
    world.until(|| sockets() == 1);
    let mut by_rsa = ByHand::new(address, rsa);
    world.until(|| sockets() == 2);
    let rest = by_rsa.begin();
    world.until(|| sockets() == 1);
    by_rsa.go_on(&rest, &asks, "\"event\":\"open\"");
    assert_eq!(sockets(), 2);
}

/// All that a client does that keeps its connection, on one connection: requests that wait are the table's,
/// the others hyper's, and pushes are answered by the shard that reads them.
#[test]
fn a_connection_goes_from_hand_to_hand_and_is_kept() {
    use std::io::{Read as _, Write as _};

    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = rustls::StreamOwned::new(client, TcpStream::connect(address).unwrap());
    wire.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let push = "{\"to\":[\"alice\"],\"data\":7}";
    let key = "k".repeat(32);
    let fields = format!("Authorization: Bearer {key}\r\nContent-Type: application/json");
    let push = format!(
        "POST /api/push HTTP/1.1\r\nHost: a\r\n{fields}\r\nContent-Length: {}\r\n\r\n{push}",
        push.len()
    );
    let healthz = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let poll = world.head("alice", "/v1/poll?hold_s=0");
    let mut seen = Vec::new();
    for (request, status) in [&push, &healthz, &poll, &healthz, &push, &poll, &poll, &push, &healthz]
        .map(|request| (request, if *request == push { "202" } else { "200" }))
    {
        // In two records, of which the second comes later.
        let (first, second) = request.split_at(request.len() / 2);
        for part in [first, second] {
            wire.write_all(part.as_bytes()).unwrap();
            wire.flush().unwrap();
        }
        seen.clear();
        let whole = |seen: &[u8]| {
            let text = String::from_utf8_lossy(seen).into_owned();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            (body.len() == length.parse::<usize>().unwrap()).then(|| head.to_owned())
        };
        let head = loop {
            if let Some(head) = whole(&seen) {
                break head;
            }
            let mut bytes = [0; 4096];
            let count = wire.read(&mut bytes).unwrap();
            assert!(count > 0, "{request}");
            seen.extend_from_slice(&bytes[..count]);
        };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
    }
    // It rests in the table in the end.
    world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().sockets == 1);
}

#[test]
fn a_stream_goes_on_and_its_end_is_noticed_over_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for (two, target) in [(false, "/v1/sse"), (true, "/v1/sse"), (true, "/v1/stream?as=ndjson")] {
        let token = world.token("alice");
        let mut sender = world.runtime.block_on(Sender::connect(address, trusted.clone(), two)).unwrap();
        let mut body = world.runtime.block_on(sender.get(&token, target)).into_body();
        let first = world.runtime.block_on(body.frame()).unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("\"event\":\"open\""));
        // More than hyper takes ahead, so that the table has to stop and go on.
        let big = format!("\"{}\"", "x".repeat(60_000));
        for _ in 0..40 {
            world.push("alice", &big);
        }
        let mut seen = 0;
        while seen < 40 {
            let frame = world.runtime.block_on(body.frame()).unwrap().unwrap().into_data().unwrap();
            seen += String::from_utf8_lossy(&frame).matches("\"event\":\"message\"").count();
        }
        drop((body, sender));
        world.until_held("alice", 0);
    }
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let old = certify(dir.path());
    let world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    assert!(world.runtime.block_on(Sender::connect(address, old.clone(), false)).is_some());
    let new = certify(dir.path());
    world.until(|| world.runtime.block_on(Sender::connect(address, new.clone(), false)).is_some());
    assert!(world.runtime.block_on(Sender::connect(address, old.clone(), false)).is_none());
}

/// Connects and asks as one client after the other until it is over, by both versions in turn.
async fn ask_until(
    over: watch::Receiver<bool>,
    address: SocketAddr,
    trusted: Arc<[CertificateDer<'static>]>,
    token: String,
    asked: Arc<AtomicUsize>,
) {
    while !*over.borrow() {
        let two = asked.load(Ordering::Relaxed).is_multiple_of(2);
        let mut sender = Sender::connect_trusting(address, &trusted, two).await.expect("no one is refused");
        assert_eq!(sender.get(&token, "/v1/poll?hold_s=0").await.status(), 200);
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn certificates_are_replaced_under_load_without_an_error() {
    const ASKED_EACH: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let later: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let first = certify(dir.path());
    let next: Vec<_> = later.iter().map(|dir| certify(dir.path())).collect();
    let trusted: Arc<[_]> = std::iter::once(&first).chain(&next).cloned().collect();
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let token = world.token("alice");
    let mut streams = Vec::new();
    for two in [false, true] {
        let mut sender = world.runtime.block_on(Sender::connect(address, first.clone(), two)).unwrap();
        let body = world.runtime.block_on(sender.get(&token, "/v1/sse")).into_body();
        streams.push((sender, body));
    }
    world.until_held("alice", 2);
    let (over, asked) = (watch::Sender::new(false), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let token = world.token(&format!("client {number}"));
            let (trusted, asked) = (Arc::clone(&trusted), Arc::clone(&asked));
            world.runtime.spawn(ask_until(over.subscribe(), address, trusted, token, asked))
        })
        .collect();
    let ask_some = |world: &World| {
        let before = asked.load(Ordering::Relaxed);
        let goes_on = || clients.iter().all(|client| !client.is_finished());
        world.until(|| !goes_on() || asked.load(Ordering::Relaxed) >= before + ASKED_EACH);
        assert!(goes_on(), "a client got an error");
    };
    for (from, certificate) in later.iter().zip(&next) {
        ask_some(&world);
        for file in ["key.pem", "cert.pem"] {
            std::fs::copy(from.path().join(file), dir.path().join(file)).unwrap();
        }
        let config = Config::clone(&world.app().config);
        world.runtime.block_on(world.app().reloads.take(config)).unwrap();
        let shown = Sender::connect(address, certificate.clone(), false);
        assert!(world.runtime.block_on(shown).is_some(), "it is shown at once");
        ask_some(&world);
    }
    over.send_replace(true);
    for client in clients {
        world.runtime.block_on(client).unwrap();
    }
    world.push("alice", "7");
    for (_sender, mut body) in streams {
        let mut seen = String::new();
        while !seen.contains("\"data\":7") {
            let frame = world.runtime.block_on(body.frame()).expect("it goes on").unwrap();
            seen.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
    }
}

/// Reads until `done` says so of everything that has come.
async fn read_until(
    socket: &mut (impl tokio::io::AsyncRead + Unpin),
    seen: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> bool,
) {
    use tokio::io::AsyncReadExt;
    while !done(seen) {
        let read =
            tokio::time::timeout(Duration::from_secs(20), socket.read_buf(seen)).await.unwrap().unwrap();
        assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(seen));
    }
}

#[test]
fn a_request_that_waits_takes_away_nothing_of_the_answers_before_it() {
    use std::io::{Read as _, Write as _};

    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    world.push("alice", "1");
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut wire = rustls::StreamOwned::new(client, TcpStream::from(socket));
    wire.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // More than the kernel keeps on both sides.
    let large = "GET /api/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    let poll = world.head("alice", "/v1/poll?cursor=earliest");
    wire.write_all(format!("{large}{poll}").as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 16 * 1024];
    // The message is in the last answer alone.
    while !seen.ends_with(b"}")
        || !String::from_utf8_lossy(&seen[seen.len() - 2_000..]).contains("\"@alice\"")
    {
        let count = wire.read(&mut piece).unwrap();
        assert!(count > 0, "the connection ended after {} bytes", seen.len());
        seen.extend_from_slice(&piece[..count]);
    }
    assert_eq!(String::from_utf8_lossy(&seen).matches("HTTP/1.1 200 OK\r\n").count(), 1_001);
}

#[test]
fn a_websocket_works_in_both_directions() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let head = world.ws_head("alice", "");
    let connect = async move {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        // The first frame right behind the handshake.
        socket.write_all(&[head.as_bytes(), &ws::frame(9, b"first")].concat()).await.unwrap();
        let mut seen = Vec::new();
        read_until(&mut socket, &mut seen, |seen| seen.ends_with(b"\x8a\x05first")).await;
        (socket, String::from_utf8_lossy(&seen).into_owned())
    };
    let (mut socket, seen) = world.runtime.block_on(connect);
    assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
    assert!(
        seen.to_lowercase().contains("connection: upgrade\r\n") && seen.contains("\"event\":\"open\""),
        "{seen}"
    );
    world.until_held("alice", 1);
    // More than hyper takes ahead, with a question that waits until all of it has gone out.
    let big = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..40 {
        world.push("alice", &big);
    }
    let asks: Vec<u8> =
        (0..100).flat_map(|n| ws::frame(1, format!("{{\"do\":\"ping\",\"id\":{n}}}").as_bytes())).collect();
    let duplex = async {
        socket.write_all(&asks).await.unwrap();
        let mut seen = Vec::new();
        let last =
            |seen: &[u8]| String::from_utf8_lossy(seen).contains("\"id\":99,") && seen.len() > 40 * 60_000;
        read_until(&mut socket, &mut seen, last).await;
        socket.write_all(&ws::frame(8, &1000_u16.to_be_bytes())).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        rest
    };
    assert_eq!(
        world.runtime.block_on(duplex),
        [0x88, 2, 0x03, 0xe8],
        "the close is answered, and the line is hung up"
    );
    world.until_held("alice", 0);
}

#[test]
fn a_push_is_delivered_when_the_client_has_it_over_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for (two, target) in [(false, "/v1/sse"), (true, "/v1/sse"), (false, "/v1/poll"), (true, "/v1/poll")] {
        let (user, token) = (format!("{target} {two}"), world.token(&format!("{target} {two}")));
        let mut sender = world.runtime.block_on(Sender::connect(address, trusted.clone(), two)).unwrap();
        let (target, polls) = (target.to_owned(), target == "/v1/poll");
        let waiting =
            world.runtime.spawn(async move { (sender.get(&token, &target).await.into_body(), sender) });
        world.until_held(&user, 1);
        world.push(&user, &receipts::large());
        let (mut body, _sender) = world.runtime.block_on(waiting).unwrap();
        let mut seen = String::new();
        while !seen.contains("xxxx\"") {
            let frame = world.runtime.block_on(body.frame()).unwrap().unwrap();
            seen.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
        world.until_delivered();
        if !polls {
            world.push(&user, &receipts::large());
            let read = world
                .runtime
                .spawn(async move { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} });
            world.until_delivered();
            read.abort();
        }
    }
}

/// A connection whose client lets the peer send little and reads no further than it is told to.
async fn narrow_two(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap());
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(2_000);
    let (sender, connection) = builder.handshake(socket).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The client's kernel acknowledges all that comes, but the client takes little of the one response: the rest
/// stays in hyper.
#[test]
fn what_http_2_holds_back_is_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for held_back in [true, false] {
        let token = world.token("alice");
        let mut sender = Sender::Two(world.runtime.block_on(narrow_two(address, trusted.clone())));
        let mut body = world.runtime.block_on(sender.get(&token, "/v1/sse")).into_body();
        world.until_held("alice", 1);
        world.push("alice", &receipts::large());
        let mut seen = String::new();
        // The second session is given what the first did not get, too.
        while if held_back { !seen.contains("xxxx") } else { seen.matches("xxxx\"").count() < 2 } {
            let frame = world.runtime.block_on(body.frame()).unwrap().unwrap();
            seen.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
        if held_back {
            // A request behind it is answered, so all that could be sent was.
            assert_eq!(world.runtime.block_on(sender.get(&token, "/healthz")).status(), 200);
            drop((body, sender));
            assert_eq!(world.receipt_at_the_end("alice"), ReceiptState::Queued);
        } else {
            world.until_delivered();
        }
    }
}

#[test]
fn who_never_read_under_tls_and_was_reset_was_handed_nothing() {
    use tokio::io::AsyncWriteExt;

    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let mut world = world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for (number, target) in ["/v1/sse", "/v1/poll", "/v1/ws"].into_iter().enumerate() {
        let user = format!("user {number}");
        let head = if target == "/v1/ws" { world.ws_head(&user, "") } else { world.head(&user, target) };
        let narrow = receipts::narrow(address);
        let watched = narrow.try_clone().unwrap();
        let trusted = trusted.clone();
        let socket = world.runtime.block_on(async move {
            let mut roots = RootCertStore::empty();
            roots.add(trusted).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            narrow.set_nonblocking(true).unwrap();
            let socket = tokio::net::TcpStream::from_std(narrow).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.flush().await.unwrap();
            socket
        });
        world.until_held(&user, 1);
        world.push(&user, &receipts::large());
        // More than all that comes before the push.
        world.until(|| watched.peek(&mut [0; 2_000]).is_ok_and(|count| count == 2_000));
        receipts::reset(&watched);
        drop((watched, socket));
        assert_eq!(world.receipt_at_the_end(&user), ReceiptState::Queued, "{target}");
        assert_eq!(world.next_session(&user), 1, "{target}");
    }
}

/// The preface comes before the handshake, and says whose all requests of the connection are.
#[test]
fn t9_a_proxys_preface_counts_under_tls_and_over_http_2() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let world = World::with(|config| {
        listen(config, dir.path());
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        (config.proxy_protocol, config.max_connections_per_address) = (true, Some(2));
    });
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    let preface = |last: u8| {
        let ends = [203, 0, 113, last, 10, 0, 0, 1, 0x10, 0, 1, 0xbb];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &ends].concat()
    };
    let connect = async |last: u8, two: bool| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(&preface(last)).unwrap();
        Sender::over(socket, std::slice::from_ref(&trusted), two).await
    };
    world.runtime.block_on(async {
        for (last, two) in [(7, false), (8, true)] {
            let mut held = Vec::new();
            // The third has a place for probes and operators, and for nothing else.
            for status in [200, 200, 503] {
                let mut sender = connect(last, two).await.unwrap();
                let answer = sender.get("none", "/client.js").await;
                assert_eq!(answer.status().as_u16(), status, "{two}");
                // An answer that is not read to its end takes its connection with it.
                held.push((sender, answer));
            }
            let mut other = connect(last + 100, two).await.unwrap();
            assert_eq!(other.get("none", "/client.js").await.status().as_u16(), 200, "another client");
        }
    });
    // What begins with the handshake itself, as if it came from a client, is ended.
    assert!(!world.runtime.block_on(connects(address, trusted, true)));
}
