//! The state against a client of the same library, with every cut; and against one that does not keep to the
//! protocol, by records that are sealed by hand.

mod by_hand;

use std::{io::Read as _, io::Write as _, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};

use super::{
    HandshakeLimit, RecordBuffer, TlsFault, TlsState,
    record_buffer::{PLAIN_MAX_BYTES, RECORD_MAX_BYTES},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The settings of both sides, for one version.
#[derive(Clone)]
struct Settings {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Settings {
    fn of(version: &'static SupportedProtocolVersion) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (CertificateDer::from(made.cert), made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let mut server =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut client = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Self { server: Arc::new(server), client: Arc::new(client) }
    }
}

/// Both sides, and what went from one to the other.
struct Pair {
    client: ClientConnection,
    server: TlsState,
    buffer: RecordBuffer,
    /// What the server has read.
    heard: Vec<u8>,
    /// What the client has read.
    read: Vec<u8>,
    /// The most bytes that the server gets at a time.
    step: usize,
}

impl Pair {
    fn new(settings: &Settings, step: usize) -> Self {
        let name = "localhost".try_into().unwrap();
        Self {
            client: ClientConnection::new(Arc::clone(&settings.client), name).unwrap(),
            server: TlsState::new(
                Arc::clone(&settings.server),
                HandshakeLimit::default().enter([127, 0, 0, 1].into()),
            )
            .unwrap(),
            buffer: RecordBuffer::new(),
            heard: Vec::new(),
            read: Vec::new(),
            step,
        }
    }

    /// One whose handshake is done.
    fn connected(settings: &Settings) -> Self {
        let mut pair = Self::new(settings, usize::MAX);
        pair.talk();
        assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
        pair
    }

    fn client_says(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut out).unwrap();
        }
        out
    }

    /// Hands the server what came, in pieces.
    fn tell_server(&mut self, mut bytes: &[u8]) -> Result<(), TlsFault> {
        while !bytes.is_empty() {
            let room = self.server.room(&mut self.buffer);
            let count = bytes.len().min(self.step).min(room.len());
            assert!(count > 0, "there is always room");
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let opened = self.server.open(&mut self.buffer, count)?;
            self.heard.extend_from_slice(&self.buffer[..opened]);
        }
        Ok(())
    }

    fn tell_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets().unwrap();
            let _ = self.client.reader().read_to_end(&mut self.read);
        }
    }

    /// Until neither has anything to say.
    fn talk(&mut self) {
        loop {
            let said = self.client_says();
            self.tell_server(&said).unwrap();
            let answer = self.server.take_control();
            self.tell_client(&answer);
            if said.is_empty() && answer.is_empty() {
                return;
            }
        }
    }

    fn sealed(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        self.server.seal(&mut out, 0).unwrap();
        out
    }

    /// What the client has read since it was asked last.
    fn client_reads(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }
}

/// How many records these bytes are.
fn records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, rest @ ..] = bytes {
        bytes = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        count += 1;
    }
    assert!(bytes.is_empty());
    count
}

#[test]
fn a_conversation_is_the_same_however_it_is_cut() {
    for version in VERSIONS {
        let settings = Settings::of(version);
        for step in [1, 2, 3, 5, 7, 100, 1_000] {
            let mut pair = Pair::new(&settings, step);
            pair.talk();
            pair.client.writer().write_all(b"one").unwrap();
            pair.client.writer().write_all(&[b'x'; 300]).unwrap();
            pair.talk();
            assert_eq!(pair.heard, [&b"one"[..], &[b'x'; 300]].concat(), "{version:?} {step}");
            let out = pair.sealed(b"answer");
            pair.tell_client(&out);
            assert_eq!(pair.client_reads(), b"answer");
            assert_eq!((pair.server.partial_bytes(), pair.server.take_control().len()), (0, 0));
        }
    }
}

#[test]
fn a_flight_may_be_cut_at_any_byte() {
    for version in VERSIONS {
        let settings = Settings::of(version);
        let length = Pair::new(&settings, 0).client_says().len();
        for cut in 0..length {
            let mut pair = Pair::new(&settings, usize::MAX);
            let said = pair.client_says();
            // Greetings differ in length by what is chosen at random in them.
            let (first, second) = said.split_at(cut.min(said.len()));
            pair.tell_server(first).unwrap();
            assert_eq!(pair.server.partial_bytes(), first.len(), "all of it is kept until it is whole");
            pair.tell_server(second).unwrap();
            let answer = pair.server.take_control();
            pair.tell_client(&answer);
            pair.talk();
            pair.client.writer().write_all(b"cut").unwrap();
            let said = pair.client_says();
            let (first, second) = said.split_at(cut % said.len());
            pair.tell_server(first).unwrap();
            assert_eq!((pair.heard.len(), pair.server.partial_bytes()), (0, first.len()));
            pair.tell_server(second).unwrap();
            assert_eq!((&pair.heard[..], pair.server.partial_bytes()), (&b"cut"[..], 0));
        }
    }
}

#[test]
fn the_largest_records_fit_wherever_they_are_cut() {
    for version in VERSIONS {
        let mut pair = Pair::connected(&Settings::of(version));
        let text: Vec<u8> = (0..4 * PLAIN_MAX_BYTES).map(|number| number as u8).collect();
        let mut said = Vec::new();
        for part in text.chunks(PLAIN_MAX_BYTES) {
            pair.client.writer().write_all(part).unwrap();
            said.append(&mut pair.client_says());
        }
        assert_eq!(records(&said), 4);
        for step in [RECORD_MAX_BYTES, 16 * 1024, 16 * 1024 - 1, 9_999, 1] {
            pair.step = step;
            pair.heard.clear();
            if step != RECORD_MAX_BYTES {
                said.clear();
                pair.client.writer().write_all(&text[..PLAIN_MAX_BYTES]).unwrap();
                said.append(&mut pair.client_says());
                pair.client.writer().write_all(&text[PLAIN_MAX_BYTES..2 * PLAIN_MAX_BYTES]).unwrap();
                said.append(&mut pair.client_says());
            }
            pair.tell_server(&said).unwrap();
            assert_eq!(pair.heard, text[..pair.heard.len()]);
            assert_eq!(pair.heard.len() % (2 * PLAIN_MAX_BYTES), 0);
            assert_eq!(pair.server.partial_bytes(), 0);
        }
    }
}

#[test]
fn what_is_sealed_together_is_one_record_where_it_fits_and_leaves_what_is_before_it() {
    for version in VERSIONS {
        let mut pair = Pair::connected(&Settings::of(version));
        for (length, count) in
            [(0, 0), (1, 1), (160, 1), (PLAIN_MAX_BYTES, 1), (PLAIN_MAX_BYTES + 1, 2), (50_000, 4)]
        {
            let mut out = b"of another".to_vec();
            let start = out.len();
            out.extend((0..length).map(|number| number as u8));
            pair.server.seal(&mut out, start).unwrap();
            assert_eq!(&out[..start], b"of another");
            assert_eq!(records(&out[start..]), count, "{length}");
            pair.tell_client(&out[start..]);
            assert_eq!(pair.client_reads(), (0..length).map(|number| number as u8).collect::<Vec<_>>());
        }
    }
}

#[test]
fn keys_are_changed_when_the_client_asks_for_it_and_what_is_sealed_next_says_so() {
    let mut pair = Pair::connected(&Settings::of(&TLS13));
    for _ in 0..3 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"new keys").unwrap();
        let said = pair.client_says();
        pair.tell_server(&said).unwrap();
        assert_eq!(pair.heard, b"new keys");
        pair.heard.clear();
        // Several requests are answered once.
        pair.client.refresh_traffic_keys().unwrap();
        let said = pair.client_says();
        pair.tell_server(&said).unwrap();
        let mut out = pair.server.take_control();
        out.append(&mut pair.sealed(b"answer"));
        assert_eq!(records(&out), 2);
        pair.tell_client(&out);
        assert_eq!(pair.client_reads(), b"answer");
    }
}

#[test]
fn an_end_is_said_and_heard_and_what_comes_behind_it_is_not() {
    for version in VERSIONS {
        let mut pair = Pair::connected(&Settings::of(version));
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        let mut said = pair.client_says();
        said.extend_from_slice(b"\x17\x03\x03\xff\xffgarbage");
        assert!(!pair.server.is_peer_closed());
        pair.tell_server(&said).unwrap();
        assert!(pair.server.is_peer_closed() && pair.heard == b"last");
        assert_eq!(pair.server.partial_bytes(), 0);
        let mut out = pair.sealed(b"answer to it");
        pair.server.end(&mut out);
        assert_eq!(records(&out), 2);
        let mut twice = Vec::new();
        pair.server.end(&mut twice);
        assert!(twice.is_empty(), "it is said once");
        pair.tell_client(&out);
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(pair.client_reads(), b"answer to it");
    }
}

#[test]
fn a_handshake_that_is_not_done_seals_nothing_and_ends_without_a_word() {
    let mut pair = Pair::new(&Settings::of(&TLS13), usize::MAX);
    let (mut out, mut last) = (b"text".to_vec(), Vec::new());
    assert!(matches!(pair.server.seal(&mut out, 0), Err(TlsFault::NotWritable)));
    pair.server.end(&mut last);
    assert!(last.is_empty());
}

#[test]
fn what_is_no_tls_is_told_so_once_and_never_processed_again() {
    let settings = Settings::of(&TLS13);
    for text in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", &[0; 64]]
    {
        let mut pair = Pair::new(&settings, usize::MAX);
        assert!(matches!(pair.tell_server(text), Err(TlsFault::Protocol(_))), "{text:?}");
        let mut last = Vec::new();
        pair.server.end(&mut last);
        // A fatal alert (RFC 8446 section 6).
        assert!(matches!(last[..], [21, 3, 3, 0, 2, 2, _]), "{last:?}");
        pair.tell_server(text).unwrap();
        let mut out = b"text".to_vec();
        assert!(pair.server.seal(&mut out, 0).is_err());
        pair.server.end(&mut last);
        assert_eq!((last.len(), pair.server.partial_bytes()), (7, 0));
    }
}

#[test]
fn a_changed_byte_makes_no_other_text() {
    for version in VERSIONS {
        let settings = Settings::of(version);
        let mut pair = Pair::connected(&settings);
        pair.client.writer().write_all(b"text").unwrap();
        let length = pair.client_says().len();
        for place in 0..length {
            let mut pair = Pair::connected(&settings);
            pair.client.writer().write_all(b"text").unwrap();
            let mut said = pair.client_says();
            said[place] ^= 1;
            // A longer record than there is, is waited for.
            let _ = pair.tell_server(&said);
            // TLS 1.3 does not protect the outer type and version, which mean nothing (RFC 8446 section 5.2).
            let unprotected = version == &TLS13 && place < 3;
            assert!(pair.heard.is_empty() || (unprotected && pair.heard == b"text"), "{place}");
            pair.server.end(&mut Vec::new());
        }
        let length = Pair::new(&settings, 0).client_says().len();
        for place in 0..length {
            let mut pair = Pair::new(&settings, 97);
            let mut said = pair.client_says();
            let place = place.min(said.len() - 1);
            said[place] = said[place].wrapping_add(0x55);
            let _ = pair.tell_server(&said);
            pair.server.end(&mut Vec::new());
            let _ = pair.tell_server(&said);
        }
    }
}

#[test]
fn a_handshake_message_without_end_is_refused_and_little_of_it_kept() {
    let mut pair = Pair::new(&Settings::of(&TLS13), usize::MAX);
    // A greeting of 65,000 bytes, in records of 1,000.
    let mut record = vec![22, 3, 1, 3, 0xe8, 1, 0, 0xfd, 0xe8];
    record.resize(5 + 1_000, 0);
    let mut refused = false;
    for _ in 0..66 {
        match pair.tell_server(&record) {
            Ok(()) => assert!(pair.server.partial_bytes() < RECORD_MAX_BYTES),
            Err(_) => {
                refused = true;
                break;
            }
        }
        record[5..9].fill(0);
    }
    assert!(refused && pair.server.partial_bytes() == 0);
}

#[test]
fn a_client_that_has_been_here_is_recognised() {
    use rustls::HandshakeKind;
    let mut settings = Settings::of(&TLS13);
    let mut server = (*settings.server).clone();
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    settings.server = Arc::new(server);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut pair = Pair::connected(&settings);
        assert_eq!(pair.client.handshake_kind(), Some(expected));
        assert_eq!(pair.server.finished_handshake(), Some(expected));
        assert_eq!(pair.server.finished_handshake(), None, "it is told once");
    }
}

#[test]
fn what_cannot_be_sealed_is_not_left_to_be_sent() {
    let refused = |server: &mut TlsState, why: &str| {
        for text in [10, 3 * PLAIN_MAX_BYTES] {
            let mut out = b"before".to_vec();
            out.resize(6 + text, b'p');
            assert!(server.seal(&mut out, 6).is_err(), "{why}");
            assert_eq!(out, b"before", "{why}");
        }
    };
    for version in VERSIONS {
        let settings = Settings::of(version);
        let mut begun = Pair::new(&settings, usize::MAX);
        refused(&mut begun.server, "the handshake has not begun");
        let hello = begun.client_says();
        begun.tell_server(&hello).unwrap();
        refused(&mut begun.server, "the handshake is under way");
        let mut failed = Pair::connected(&settings);
        failed.tell_server(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
        refused(&mut failed.server, "the peer did not keep to the protocol");
    }
}
