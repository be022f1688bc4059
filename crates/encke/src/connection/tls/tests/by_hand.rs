//! Records that no library sends, sealed with the keys of a client whose handshake is done.

use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{MessageEncrypter, OutboundPlainMessage},
};

use super::*;
use crate::connection::tls::empty_records::{EMPTY_RECORDS_MAX, TEXT_PER_EMPTY_RECORD_BYTES};

/// Seals what the client is to have said.
struct ByHand {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl ByHand {
    /// Takes over from the client.
    fn of(settings: &Settings) -> (Pair, Self) {
        let mut pair = Pair::connected(settings);
        let name = "localhost".try_into().unwrap();
        let other = ClientConnection::new(Arc::clone(&settings.client), name).unwrap();
        let client = std::mem::replace(&mut pair.client, other);
        let suite = client.negotiated_cipher_suite().unwrap();
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another cipher: {suite:?}")
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let (fixed, explicit) = iv.as_ref().split_at(4);
                suite.aead_alg.encrypter(key, fixed, explicit)
            }
        };
        assert!(matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_256_GCM_SHA384 | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        ));
        let mut by_hand = Self { encrypter, sequence: 0 };
        // What the client has sealed with these keys. They are used in this order only.
        while by_hand.sequence < sequence {
            by_hand.seal(ContentType::ApplicationData, b"");
        }
        (pair, by_hand)
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message =
            OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: payload.into() };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap().encode();
        self.sequence += 1;
        sealed
    }
}

#[test]
fn empty_records_say_nothing_and_a_flood_of_them_is_refused() {
    for version in VERSIONS {
        let (mut pair, mut client) = ByHand::of(&Settings::of(version));
        for _ in 0..20 {
            let said = client.seal(ContentType::ApplicationData, b"");
            pair.tell_server(&said).unwrap();
            assert_eq!((pair.heard.len(), pair.server.partial_bytes()), (0, 0));
        }
        let mut said = client.seal(ContentType::ApplicationData, b"");
        said.extend(client.seal(ContentType::ApplicationData, b"text"));
        said.extend(client.seal(ContentType::ApplicationData, b""));
        pair.tell_server(&said).unwrap();
        assert_eq!(pair.heard, b"text");
        let refused = (0..100).any(|_| {
            let said = client.seal(ContentType::ApplicationData, b"");
            pair.tell_server(&said).is_err()
        });
        assert!(refused);
    }
}

#[test]
fn one_byte_in_each_record_is_read_as_it_is_meant() {
    let (mut pair, mut client) = ByHand::of(&Settings::of(&TLS13));
    let said: Vec<u8> = b"GET / HTTP/1.1"
        .iter()
        .flat_map(|byte| client.seal(ContentType::ApplicationData, &[*byte]))
        .collect();
    pair.tell_server(&said).unwrap();
    assert_eq!(pair.heard, b"GET / HTTP/1.1");
}

#[test]
fn a_fatal_alert_ends_the_connection_and_a_warning_is_heeded_by_version() {
    for version in VERSIONS {
        let (mut pair, mut client) = ByHand::of(&Settings::of(version));
        // `internal_error`.
        let said = client.seal(ContentType::Alert, &[2, 80]);
        assert!(pair.tell_server(&said).is_err());
        let (mut pair, mut client) = ByHand::of(&Settings::of(version));
        // `no_renegotiation`, as a warning, which TLS 1.3 has not.
        let said = client.seal(ContentType::Alert, &[1, 100]);
        assert_eq!(pair.tell_server(&said).is_ok(), version == &TLS12);
    }
}

#[test]
fn another_handshake_is_refused() {
    // TLS 1.3 has none: a fatal `unexpected_message`. TLS 1.2 says `no_renegotiation` and goes on, but not
    // for ever.
    let hello = [1, 0, 0, 41].into_iter().chain([3, 3]).chain([0; 32]).chain([0, 0, 2, 0xc0, 0x2c, 1, 0]);
    let hello: Vec<u8> = hello.collect();
    let (mut pair, mut client) = ByHand::of(&Settings::of(&TLS13));
    let said = client.seal(ContentType::Handshake, &hello);
    assert!(pair.tell_server(&said).is_err());
    let (mut pair, mut client) = ByHand::of(&Settings::of(&TLS12));
    let said = client.seal(ContentType::Handshake, &hello);
    pair.tell_server(&said).unwrap();
    assert_eq!(records(&pair.server.take_control()), 1);
    let said = client.seal(ContentType::ApplicationData, b"goes on");
    pair.tell_server(&said).unwrap();
    assert_eq!(pair.heard, b"goes on");
    let refused = (0..100).any(|_| {
        let said = client.seal(ContentType::Handshake, &hello);
        pair.tell_server(&said).is_err()
    });
    assert!(refused);
}

#[test]
fn a_flood_of_requests_for_new_keys_is_refused_before_it_costs_much() {
    let mut pair = Pair::connected(&Settings::of(&TLS13));
    let mut kept = 0;
    let refused = (0..1_000).any(|_| {
        pair.client.refresh_traffic_keys().unwrap();
        let said = pair.client_says();
        let refused = pair.tell_server(&said).is_err();
        kept = pair.server.take_control().len();
        refused
    });
    assert!(refused && kept < 100, "{kept}");
}

#[test]
fn text_is_sealed_while_a_message_of_the_protocol_is_half_here() {
    let (mut pair, mut client) = ByHand::of(&Settings::of(&TLS13));
    // A request for new keys (RFC 8446 section 4.6.3), in two records of which the second is cut.
    let first = client.seal(ContentType::Handshake, &[24, 0, 0]);
    let second = client.seal(ContentType::Handshake, &[1, 1]);
    pair.tell_server(&first).unwrap();
    pair.tell_server(&second[..7]).unwrap();
    assert!(pair.server.partial_bytes() > 7);
    assert_eq!(records(&pair.sealed(b"text")), 1);
    pair.tell_server(&second[7..]).unwrap();
    assert_eq!(pair.server.partial_bytes(), 0);
    assert_eq!(records(&pair.sealed(b"text")), 2, "the answer goes before it");
}

#[test]
fn empty_records_are_too_many_also_with_a_byte_of_text_between_them() {
    for version in VERSIONS {
        let (mut pair, mut client) = ByHand::of(&Settings::of(version));
        let mut both = || {
            let mut said = client.seal(ContentType::ApplicationData, b"");
            said.extend(client.seal(ContentType::ApplicationData, b"x"));
            said
        };
        for count in 1..=usize::from(EMPTY_RECORDS_MAX) {
            let said = both();
            pair.tell_server(&said).unwrap();
            assert_eq!(pair.heard.len(), count, "{version:?}");
        }
        let mut said = both();
        // Had it been looked at, it would be the fault.
        said.extend(b"no record at all");
        assert!(matches!(pair.tell_server(&said), Err(TlsFault::TooManyEmptyRecords)), "{version:?}");
        // It has ended for good.
        let said = both();
        pair.tell_server(&said).unwrap();
        assert!(pair.server.seal(&mut b"text".to_vec(), 0).is_err());
        assert_eq!((pair.heard.len(), pair.server.partial_bytes()), (usize::from(EMPTY_RECORDS_MAX), 0));
    }
}

/// Asks for new keys, and says something under them.
fn ask_and_say(pair: &mut Pair, text: &[u8]) -> Vec<u8> {
    pair.client.refresh_traffic_keys().unwrap();
    pair.client.writer().write_all(text).unwrap();
    pair.client_says()
}

#[test]
fn requests_for_new_keys_are_too_many_also_with_text_between_them() {
    // Each comes alone; or all in one read, where those behind the last that is allowed cost nothing.
    for together in [false, true] {
        let mut pair = Pair::connected(&Settings::of(&TLS13));
        let mut said = Vec::new();
        for count in 1..=usize::from(EMPTY_RECORDS_MAX) + 1 {
            said.extend(ask_and_say(&mut pair, b"x"));
            if count == usize::from(EMPTY_RECORDS_MAX) + 1 {
                said.extend([0; 64]);
            } else if !together {
                pair.tell_server(&std::mem::take(&mut said)).unwrap();
                assert_eq!(pair.heard.len(), count);
            }
        }
        assert!(matches!(pair.tell_server(&said), Err(TlsFault::TooManyEmptyRecords)), "{together}");
    }
}

#[test]
fn new_keys_now_and_then_are_never_too_many() {
    let mut pair = Pair::connected(&Settings::of(&TLS13));
    let text = vec![b'x'; TEXT_PER_EMPTY_RECORD_BYTES];
    for _ in 0..5 * usize::from(EMPTY_RECORDS_MAX) {
        let said = ask_and_say(&mut pair, &text);
        pair.tell_server(&said).unwrap();
        assert_eq!(pair.heard, text);
        pair.heard.clear();
    }
    // A client that is sent much, and says little itself.
    for _ in 0..5 * usize::from(EMPTY_RECORDS_MAX) {
        let said = ask_and_say(&mut pair, b"x");
        pair.tell_server(&said).unwrap();
        let mut out = pair.server.take_control();
        out.append(&mut pair.sealed(&text));
        pair.tell_client(&out);
        assert_eq!(pair.client_reads(), text);
    }
}
