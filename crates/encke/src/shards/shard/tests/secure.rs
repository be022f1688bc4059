//! Connections under TLS in the table: handshakes that take long or never end, clients that cut their records
//! small, and ends that are said or not.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use encke_proto::CloseCode;

use super::{
    super::{accept::ACCEPTS_PER_TURN, handshakes::STEPS_PER_TURN},
    *,
};
use crate::{
    connection::tls::{ACME_TLS, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, HandshakeLimit},
    shards::TlsListener,
};

/// The settings of both sides.
fn settings() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (CertificateDer::from(made.cert), made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let key = PrivateKeyDer::try_from(key).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A world with a listener for TLS.
struct Secure {
    world: World,
    client: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Secure {
    fn new() -> Self {
        let mut world = World::new(|_| {});
        let (config, client) = settings();
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Those that wait for a place among the handshakes have one there.
        socket2::SockRef::from(&listener).listen(2_048).unwrap();
        world.shard.parts.poll.registry().register(&mut listener, TLS_LISTENER, Interest::READABLE).unwrap();
        let (signs_slowly, handshakes) = (Arc::default(), HandshakeLimit::default());
        world.shard.parts.tls = Some(TlsListener { listener, config, signs_slowly, handshakes });
        Self { world, client, address }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn client(&self) -> Client {
        self.client_on(self.connect())
    }

    fn client_on(&self, socket: TcpStream) -> Client {
        let name = "localhost".try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        Client { socket, tls, seen: Vec::new(), told: false, over: false }
    }

    /// One whose handshake is done on both sides.
    fn connected(&mut self) -> Client {
        let mut client = self.client();
        self.until(&mut client, |client, _| !client.tls.is_handshaking() && client.says_nothing());
        self.world.steps(2);
        client
    }

    /// Turns and talk until something holds.
    fn until(&mut self, client: &mut Client, holds: impl Fn(&mut Client, Counts) -> bool) {
        let ends = Instant::now() + Duration::from_secs(20);
        loop {
            client.talk();
            let counts = self.world.step();
            if holds(client, counts.clone()) {
                return;
            }
            let (seen, over) = (client.seen.len(), client.over);
            let begins = String::from_utf8_lossy(&client.seen[..seen.min(1_000)]);
            assert!(Instant::now() < ends, "it did not come to that: {counts:?} {seen} {over} {begins}");
        }
    }

    /// Waits until the table has so many sockets.
    fn until_sockets(&mut self, count: usize) {
        let ends = Instant::now() + Duration::from_secs(20);
        while self.world.step().sockets != count {
            assert!(Instant::now() < ends, "{:?}", self.world.step());
        }
    }

    fn asks(&self, target: &str) -> String {
        let Admit { auth, .. } = &self.world.shard.parts.admit;
        let (token, _) = auth.dev_token(UserId::new("alice").unwrap(), self.world.clock.now().wall).unwrap();
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
    }
}

/// A client that sees what is said under TLS.
struct Client {
    socket: TcpStream,
    tls: ClientConnection,
    seen: Vec<u8>,
    /// Whether it was told that the server sends no more.
    told: bool,
    /// Whether the socket has ended.
    over: bool,
}

impl Client {
    fn says_nothing(&self) -> bool {
        !self.tls.wants_write()
    }

    /// Writes and reads what can be.
    fn talk(&mut self) {
        while self.tls.wants_write() && self.tls.write_tls(&mut self.socket).is_ok() {}
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return self.over = true,
                Ok(_) => {
                    let state = self.tls.process_new_packets().unwrap();
                    self.told |= state.peer_has_closed();
                    let _ = self.tls.reader().read_to_end(&mut self.seen);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.over = true,
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.tls.writer().write_all(text.as_bytes()).unwrap();
    }

    fn has_seen(&self, text: &str) -> bool {
        self.seen.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

#[test]
fn t6_handshakes_that_are_not_ended_have_their_time_and_keep_no_one_out() {
    let mut secure = Secure::new();
    let silent: Vec<TcpStream> = (0..20).map(|_| secure.connect()).collect();
    let mut slow = secure.client();
    let mut hello = Vec::new();
    slow.tls.write_tls(&mut hello).unwrap();
    secure.until_sockets(21);
    for byte in &hello[..100] {
        slow.socket.write_all(&[*byte]).unwrap();
        secure.world.step();
    }
    let mut client = secure.connected();
    secure.world.clock.advance_ms(9_000);
    assert_eq!(secure.world.step().sockets, 22);
    client.say(&secure.asks("/v1/sse"));
    secure.until(&mut client, |client, _| client.has_seen("\"event\":\"open\""));
    // More bytes buy no more time.
    slow.socket.write_all(&hello[100..200]).unwrap();
    secure.world.clock.advance_ms(1_200);
    secure.until_sockets(1);
    drop(silent);
}

#[test]
fn t6_a_client_that_says_nothing_after_its_handshake_has_the_time_of_a_head() {
    let mut secure = Secure::new();
    let mut client = secure.client();
    secure.until_sockets(1);
    secure.world.clock.advance_ms(9_000);
    secure.until(&mut client, |client, _| !client.tls.is_handshaking() && client.says_nothing());
    secure.world.steps(2);
    // The time of the handshake was its own.
    secure.world.clock.advance_ms(9_000);
    assert_eq!(secure.world.step().sockets, 1);
    secure.world.clock.advance_ms(1_200);
    secure.until(&mut client, |client, counts| client.over && counts.sockets == 0);
    assert!(client.told, "an orderly end is said");
}

#[test]
fn more_handshakes_than_there_may_be_wait_in_the_kernel() {
    let mut secure = Secure::new();
    let silent: Vec<TcpStream> = (0..HANDSHAKES_MAX + 5).map(|_| secure.connect()).collect();
    secure.until_sockets(HANDSHAKES_MAX);
    secure.world.steps(5);
    assert_eq!(secure.world.step().sockets, HANDSHAKES_MAX);
    secure.world.clock.advance_ms(10_200);
    // Those who had their time have gone, and the others have theirs.
    secure.until_sockets(5);
    drop(silent);
}

#[test]
fn clients_that_only_connect_keep_no_one_out() {
    let mut secure = Secure::new();
    let mut silent: Vec<TcpStream> = (0..HANDSHAKES_MAX).map(|_| secure.connect()).collect();
    secure.until_sockets(HANDSHAKES_MAX);
    secure.world.clock.advance_ms(2_100);
    for _ in 0..3 {
        let mut client = secure.connected();
        client.say(&secure.asks("/v1/sse"));
        secure.until(&mut client, |client, _| client.has_seen("\"event\":\"open\""));
    }
    let ended = |socket: &mut TcpStream| matches!(socket.read(&mut [0]), Ok(0));
    assert!(ended(&mut silent[0]), "the oldest");
    assert!(!ended(&mut silent[HANDSHAKES_MAX - 1]));
}

/// How long by the server's clock until a client's handshake is done, in milliseconds. It is served then.
fn connected_within_ms(secure: &mut Secure, mut client: Client) -> u64 {
    const TURN_MS: u64 = 5;
    let mut passed_ms = 0;
    while client.tls.is_handshaking() {
        client.talk();
        secure.world.step();
        secure.world.clock.advance_ms(TURN_MS);
        passed_ms += TURN_MS;
        assert!(passed_ms < 20_000 && !client.over, "it is not let in");
    }
    client.say(&secure.asks("/v1/sse"));
    secure.until(&mut client, |client, _| client.has_seen("\"event\":\"open\""));
    passed_ms
}

#[test]
fn a_thousand_clients_that_begin_their_hello_keep_no_one_out() {
    let mut secure = Secure::new();
    let mut whole = secure.client();
    whole.talk();
    let mut slow: Vec<TcpStream> = (0..1_000).map(|_| secure.connect()).collect();
    slow.iter_mut().for_each(|socket| socket.write_all(&[22]).unwrap());
    secure.until_sockets(HANDSHAKES_MAX);
    let honest = secure.client();
    let passed_ms = connected_within_ms(&mut secure, honest);
    assert!(passed_ms <= 1_000, "{passed_ms} ms");
    // One whose hello was whole is not ended for others as soon as those.
    let passed_ms = connected_within_ms(&mut secure, whole);
    assert!(passed_ms <= 1_000, "{passed_ms} ms");
}

#[test]
fn a_request_right_behind_the_handshake_is_answered() {
    let mut secure = Secure::new();
    let mut client = secure.client();
    client.say(&secure.asks("/v1/sse"));
    secure.until(&mut client, |client, _| client.has_seen("\"event\":\"open\""));
}

#[test]
fn an_address_has_its_share_of_handshakes_and_its_slowest_give_way() {
    let mut secure = Secure::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let arrives = |secure: &mut Secure, (network, last): (u16, usize)| {
        let address = [0x2001, 0xdb8, 0, network, 0, 0, 0, u16::try_from(last).unwrap()];
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        secure.world.shard.welcome_tls(mio::net::TcpStream::from_std(accepted), address.into());
        socket
    };
    let ended = |socket: &TcpStream| matches!((&mut &*socket).read(&mut [0]), Ok(0));
    let other = arrives(&mut secure, (2, 1));
    // Of IPv6 a client has as many addresses as it likes.
    let many: Vec<TcpStream> =
        (0..HANDSHAKES_PER_ADDRESS_MAX).map(|last| arrives(&mut secure, (1, last))).collect();
    let sockets = 1 + HANDSHAKES_PER_ADDRESS_MAX;
    assert_eq!(secure.world.step().sockets, sockets);
    assert!(ended(&arrives(&mut secure, (1, 4096))), "there are enough of it, and none is slow");
    let third = arrives(&mut secure, (3, 1));
    secure.world.clock.advance_ms(600);
    secure.world.step();
    let next = arrives(&mut secure, (1, 4096));
    assert_eq!(secure.world.step().sockets, sockets + 1);
    assert!(ended(&many[0]), "the slowest of its own");
    assert!([&many[1], &other, &third, &next].into_iter().all(|socket| !ended(socket)));
}

#[test]
fn a_handshake_that_is_made_elsewhere_gives_way_as_well() {
    let mut secure = Secure::new();
    secure.world.shard.parts.tls.as_ref().unwrap().signs_slowly.store(true, Ordering::Relaxed);
    let (handoffs, mut given) = mpsc::channel(HANDSHAKES_MAX);
    secure.world.shard.parts.handoffs = handoffs;
    let mut slow: Vec<TcpStream> = (0..HANDSHAKES_MAX).map(|_| secure.connect()).collect();
    secure.until_sockets(HANDSHAKES_MAX);
    slow.iter_mut().for_each(|socket| socket.write_all(&[22]).unwrap());
    secure.until_sockets(0);
    let mut given: Vec<_> = (0..HANDSHAKES_MAX).map(|_| given.try_recv().unwrap()).collect();
    let _other = secure.connect();
    secure.world.steps(5);
    assert_eq!(secure.world.step().sockets, 0, "all are under way");
    secure.world.clock.advance_ms(2_300);
    secure.world.steps(5);
    let mut told = |at: usize| given[at].ends.as_mut().unwrap().try_recv().is_ok();
    assert!(told(0) && !told(HANDSHAKES_MAX - 1));
    drop(given);
    secure.until_sockets(1);
}

#[test]
fn a_handshake_that_is_made_elsewhere_stays_here_until_its_client_says_something() {
    let mut secure = Secure::new();
    secure.world.shard.parts.tls.as_ref().unwrap().signs_slowly.store(true, Ordering::Relaxed);
    let mut silent: Vec<TcpStream> = (0..3).map(|_| secure.connect()).collect();
    secure.until_sockets(3);
    secure.world.steps(5);
    assert_eq!(secure.world.step().sockets, 3);
    silent[1].write_all(&[22]).unwrap();
    secure.until_sockets(2);
}

#[test]
fn the_limit_of_handshakes_holds_up_no_other_listener() {
    let mut secure = Secure::new();
    let silent: Vec<TcpStream> = (0..HANDSHAKES_MAX).map(|_| secure.connect()).collect();
    secure.until_sockets(HANDSHAKES_MAX);
    let plain = secure.world.address();
    // More than are accepted in one turn, and one that has to wait.
    let others: Vec<TcpStream> =
        (0..3 * ACCEPTS_PER_TURN).map(|_| TcpStream::connect(plain).unwrap()).collect();
    let waits = secure.connect();
    secure.until_sockets(HANDSHAKES_MAX + others.len());
    drop((silent, others, waits));
}

#[test]
fn a_flood_of_handshakes_takes_a_share_of_a_turn_and_messages_come_through_it() {
    let mut secure = Secure::new();
    let mut receiver = secure.world.come("alice", Start::Absent);
    secure.world.begin(std::slice::from_mut(&mut receiver));
    let mut flood: Vec<Client> = (0..40).map(|_| secure.client()).collect();
    for client in &mut flood {
        client.talk();
    }
    secure.until_sockets(41);
    let answered = |flood: &mut [Client]| {
        flood.iter().filter(|client| client.socket.peek(&mut [0]).is_ok_and(|count| count > 0)).count()
    };
    let (mut before, mut turns) = (answered(&mut flood), 0);
    while before < flood.len() {
        secure.world.publish("news", "1");
        secure.world.step();
        let now = answered(&mut flood);
        assert!(now - before <= STEPS_PER_TURN, "{before} {now}");
        assert_eq!(receiver.events().len(), 1, "what came in the turn went out in it");
        (before, turns) = (now, turns + 1);
        assert!(turns < TURNS_MAX);
    }
}

#[test]
fn a_flood_of_connections_takes_a_share_of_a_turn_and_messages_come_through_it() {
    for is_tls in [true, false] {
        let mut secure = Secure::new();
        let mut receiver = secure.world.come("alice", Start::Absent);
        secure.world.begin(std::slice::from_mut(&mut receiver));
        let plain = secure.world.address();
        let (address, half) = if is_tls { (secure.address, &[22, 3, 1][..]) } else { (plain, &b"GET /"[..]) };
        let begins = |mut socket: TcpStream| socket.write_all(half).map(|()| socket).unwrap();
        let mut came = 1;
        let mut flood: Vec<TcpStream> = Vec::new();
        // More come in each turn than are accepted in one.
        for turn in 0..6 {
            flood.extend((0..2 * ACCEPTS_PER_TURN).map(|_| begins(TcpStream::connect(address).unwrap())));
            secure.world.publish("news", "1");
            let sockets = secure.world.step().sockets;
            assert!(sockets > came || turn == 0, "some are accepted in each turn");
            assert!(sockets - came <= ACCEPTS_PER_TURN, "{} were accepted in one", sockets - came);
            assert_eq!(receiver.events().len(), 1, "what came in the turn went out in it");
            came = sockets;
        }
        // None is forgotten, though the kernel tells of them no more.
        secure.until_sockets(1 + flood.len());
    }
}

#[test]
fn t23_a_request_in_records_of_one_byte_is_served_while_another_is() {
    let mut secure = Secure::new();
    let (mut small, mut other) = (secure.connected(), secure.connected());
    let asks = secure.asks("/v1/sse");
    for byte in asks.as_bytes().chunks(1) {
        small.tls.writer().write_all(byte).unwrap();
        let mut record = Vec::new();
        small.tls.write_tls(&mut record).unwrap();
        for byte in record {
            small.socket.write_all(&[byte]).unwrap();
        }
    }
    other.say(&asks);
    secure.until(&mut other, |client, _| client.has_seen("\"event\":\"open\""));
    secure.until(&mut small, |client, counts| client.has_seen("\"event\":\"open\"") && counts.held == 2);
}

#[test]
fn an_end_that_is_said_is_answered_and_one_that_is_not_ends_all() {
    for said in [true, false] {
        let mut secure = Secure::new();
        let mut client = secure.connected();
        client.say(&secure.asks("/v1/poll"));
        secure.until(&mut client, |_, counts| counts.held == 1);
        if said {
            client.tls.send_close_notify();
            secure.until(&mut client, |client, _| client.has_seen("\"messages\":[]"));
        } else {
            client.socket.shutdown(Shutdown::Write).unwrap();
        }
        secure.until(&mut client, |client, counts| client.over && counts.sockets == 0);
        assert_eq!(client.has_seen("HTTP/1.1 200"), said);
    }
}

#[test]
fn a_close_is_told_and_ends_in_order() {
    let mut secure = Secure::new();
    let mut client = secure.connected();
    client.say(&secure.asks("/v1/sse"));
    secure.until(&mut client, |_, counts| counts.held == 1);
    let counts = secure.world.close(CloseCode::Operator, false);
    assert_eq!((counts.sessions, counts.held), (0, 0), "it is answered when all is freed");
    secure.until(&mut client, |client, _| client.over);
    assert!(client.told && client.has_seen("\"event\":\"close\""));
}

#[test]
fn a_receiver_that_takes_nothing_keeps_its_records_in_order() {
    let mut secure = Secure::new();
    let listener = &secure.world.shard.parts.tls.as_ref().unwrap().listener;
    // Accepted sockets inherit it.
    socket2::SockRef::from(listener).set_send_buffer_size(4096).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&secure.address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut client = secure.client_on(socket.into());
    secure.until(&mut client, |client, _| !client.tls.is_handshaking());
    client.say(&secure.asks("/v1/stream?as=ndjson&channels=news"));
    secure.until(&mut client, |_, counts| counts.held == 1);
    let large = format!("\"{}\"", "x".repeat(8_000));
    let mut published = 0;
    // Without a word from the client, until its socket is full.
    while secure.world.step().slow == 0 {
        secure.world.publish("news", &large);
        published += 1;
        assert!(published < 1_000, "the kernel takes it all");
    }
    let kept = secure.world.step().unsent_bytes;
    assert!(kept > 0 && kept < 200_000, "{kept}");
    // What the protocol has to say goes behind that.
    client.tls.refresh_traffic_keys().unwrap();
    while client.tls.wants_write() {
        client.tls.write_tls(&mut client.socket).unwrap();
    }
    secure.until(&mut client, |client, counts| {
        let seen = String::from_utf8_lossy(&client.seen).matches("xxxx\"").count();
        counts.unsent_bytes == 0 && seen == published
    });
    assert_eq!(secure.world.step().slow, 0);
}

#[test]
fn a_directory_that_checks_a_name_is_shown_a_certificate_and_nothing_is_said_to_it() {
    let mut secure = Secure::new();
    let tls = secure.world.shard.parts.tls.as_mut().unwrap();
    Arc::make_mut(&mut tls.config).alpn_protocols = vec![b"http/1.1".to_vec(), ACME_TLS.to_vec()];
    Arc::make_mut(&mut secure.client).alpn_protocols = vec![ACME_TLS.to_vec()];
    for asks in [false, true] {
        let mut client = secure.client();
        if asks {
            client.say(&secure.asks("/v1/sse"));
        }
        secure.until(&mut client, |client, counts| client.over && counts.sockets == 0);
        assert_eq!((client.tls.is_handshaking(), client.tls.alpn_protocol()), (false, Some(ACME_TLS)));
        assert!(client.seen.is_empty());
    }
    // What offers something else, too, is no directory.
    Arc::make_mut(&mut secure.client).alpn_protocols.push(b"http/1.1".to_vec());
    let mut client = secure.connected();
    client.say(&secure.asks("/v1/sse"));
    secure.until(&mut client, |client, _| client.has_seen("\"event\":\"open\""));
}
