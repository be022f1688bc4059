//! Tests of the WebSocket codec: the examples of both RFCs, each protocol error with its status, and round
//! trips against an independent implementation (tungstenite) with the input cut at random places.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::{
    Message, WebSocket,
    protocol::{Role, WebSocketConfig},
};

use super::*;

const RULES: Rules = Rules { message_max_bytes: 64 * 1024, compression: true, masked: true };

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::head(&mut out, 0, false, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

/// All that is heard, and the fault at the end.
fn hear(rules: &Rules, pieces: &[&[u8]]) -> (Vec<Received>, Option<Fault>) {
    let (mut reader, mut heard) = (Reader::default(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.next(rules, &mut input) {
                Ok(Some(said)) => heard.push(said),
                Ok(None) => break,
                Err(fault) => return (heard, Some(fault)),
            }
        }
        assert!(input.is_empty(), "everything is taken in");
    }
    (heard, None)
}

fn one(bytes: &[u8]) -> Result<Received, Fault> {
    let (mut heard, fault) = hear(&RULES, &[bytes]);
    match fault {
        Some(fault) => Err(fault),
        None => Ok(heard.remove(0)),
    }
}

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    let mut out = Vec::new();
    frame::text(&mut out, "Hello");
    assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(one(&hello), Ok(Received::Text("Hello".into())));
    let fragments = [masked(0x01, b"Hel"), masked(0x89, b"now"), masked(0x80, b"lo")].concat();
    let (heard, fault) = hear(&RULES, &[&fragments]);
    assert_eq!((heard, fault), (vec![Received::Ping(b"now".to_vec()), Received::Text("Hello".into())], None));
    assert_eq!(one(&masked(0x8a, b"Hello")), Ok(Received::Pong(b"Hello".to_vec())));
    for (length, head) in
        [(256, &[0x82, 0x7e, 0x01, 0x00][..]), (65536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0])]
    {
        let mut out = Vec::new();
        frame::write(&mut out, frame::BINARY, &vec![7; length]);
        assert_eq!((&out[..head.len()], out.len()), (head, head.len() + length));
        assert_eq!(one(&masked(0x82, &vec![7; length])), Ok(Received::Binary(vec![7; length])));
    }
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(deflate::compress(b"Hello"), hello);
    assert_eq!(one(&masked(0xc1, &hello)), Ok(Received::Text("Hello".into())));
    let fragments = [masked(0x41, &hello[..3]), masked(0x80, &hello[3..])].concat();
    assert_eq!(one(&fragments), Ok(Received::Text("Hello".into())));
    let not_compressed = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(one(&masked(0xc1, &not_compressed)), Ok(Received::Text("Hello".into())));
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(one(&masked(0xc1, &last_block)), Ok(Received::Text("Hello".into())));
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(one(&masked(0xc1, &two_blocks)), Ok(Received::Text("Hello".into())));
    assert_eq!(deflate::compress(b""), [0x00]);
    assert_eq!(one(&masked(0xc1, &[0x00])), Ok(Received::Text(String::new())));
}

#[test]
fn what_breaks_the_protocol_is_answered_by_its_status() {
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let plain = Rules { compression: false, ..RULES };
    for (what, rules, bytes, status) in [
        ("no mask", RULES, vec![0x81, 0x00], 1002),
        ("RSV1 without compression", plain, masked(0xc1, b""), 1002),
        ("RSV2", RULES, masked(0xa1, b""), 1002),
        ("RSV3", RULES, masked(0x91, b""), 1002),
        ("RSV1 in a control frame", RULES, masked(0xc9, b""), 1002),
        ("RSV1 in a later fragment", RULES, two(masked(0x41, b""), masked(0xc0, b"")), 1002),
        ("opcode 3", RULES, masked(0x83, b""), 1002),
        ("opcode 11", RULES, masked(0x8b, b""), 1002),
        ("a ping in fragments", RULES, masked(0x09, b""), 1002),
        ("a long ping", RULES, masked(0x89, &[0; 126]), 1002),
        ("a message within another", RULES, two(masked(0x01, b"a"), masked(0x81, b"b")), 1002),
        ("nothing to go on with", RULES, masked(0x80, b"a"), 1002),
        ("16 bits for 125", RULES, vec![0x81, 0xfe, 0, 125], 1002),
        ("64 bits for 65535", RULES, vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002),
        ("64 bits", RULES, vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("too big at its head", RULES, vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4], 1009),
        ("too big together", RULES, two(masked(0x02, &[0; 60_000]), masked(0x00, &[0; 5_537])), 1009),
        ("not UTF-8", RULES, masked(0x81, b"\xff"), 1007),
        ("half a character", RULES, masked(0x81, b"\xc3"), 1007),
        ("a surrogate, before the end", RULES, masked(0x01, b"\xed\xa0"), 1007),
        ("beyond the last character, before the end", RULES, masked(0x01, b"\xf4\x90"), 1007),
        ("no DEFLATE", RULES, masked(0xc1, b"\xff\xff\xff"), 1007),
        ("half a close status", RULES, masked(0x88, b"\x03"), 1002),
        ("1005", RULES, masked(0x88, b"\x03\xed"), 1002),
        ("a reason that is not UTF-8", RULES, masked(0x88, b"\x03\xe8\xff"), 1007),
    ] {
        let (_, fault) = hear(&rules, &[&bytes]);
        assert_eq!(fault.map(|fault| fault.status.number()), Some(status), "{what}");
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(hear(&rules, &each).1, fault, "{what}, a byte at a time");
    }
}

#[test]
fn t13_what_inflates_to_more_than_a_message_may_have_is_stopped_there() {
    let bomb = deflate::compress(&vec![0; 16 << 20]);
    assert!(bomb.len() < 20_000);
    let (mut reader, frame) = (Reader::default(), masked(0xc2, &bomb));
    let fault = reader.next(&RULES, &mut &frame[..]).unwrap_err();
    assert_eq!(fault.status, CloseStatus::TOO_BIG);
    let fits = deflate::compress(&vec![0; RULES.message_max_bytes]);
    assert_eq!(one(&masked(0xc2, &fits)), Ok(Received::Binary(vec![0; RULES.message_max_bytes])));
    let one_more = deflate::compress(&vec![0; RULES.message_max_bytes + 1]);
    assert_eq!(one(&masked(0xc2, &one_more)).unwrap_err().status, CloseStatus::TOO_BIG);
}

#[test]
fn a_small_window_is_not_looked_out_of() {
    // Nothing repeats within a part, and each part repeats the one before.
    let part: Vec<u8> = (0..=255).collect();
    let payload = part.repeat(8);
    let (wide, narrow) = (deflate::compress(&payload), deflate::compress_within(&payload, 8));
    assert!(wide.len() < 2 * part.len() && narrow.len() > payload.len());
    assert_eq!(one(&masked(0xc2, &narrow)), Ok(Received::Binary(payload)));
}

#[test]
fn between_messages_nothing_is_kept() {
    assert_eq!(std::mem::size_of::<Reader>(), std::mem::size_of::<usize>());
    let mut reader = Reader::default();
    let frame = masked(0x81, b"abc");
    for byte in &frame[..frame.len() - 1] {
        assert_eq!(reader.next(&RULES, &mut &[*byte][..]), Ok(None));
        assert!(!reader.is_idle());
    }
    assert_eq!(reader.next(&RULES, &mut &frame[frame.len() - 1..]), Ok(Some(Received::Text("abc".into()))));
    assert!(reader.is_idle());
}

/// Bytes from one side to the other, without a socket.
#[derive(Default)]
struct Pipe {
    inbound: Cursor<Vec<u8>>,
    outbound: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.inbound.read(out)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbound.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn other(inbound: Vec<u8>) -> WebSocket<Pipe> {
    another(Role::Client, inbound)
}

fn another(role: Role, inbound: Vec<u8>) -> WebSocket<Pipe> {
    let pipe = Pipe { inbound: Cursor::new(inbound), outbound: Vec::new() };
    WebSocket::from_raw_socket(pipe, role, Some(WebSocketConfig::default()))
}

/// Writes a message as a server does.
fn write(out: &mut Vec<u8>, message: &Message) {
    match heard(message) {
        Received::Text(text) => frame::text(out, &text),
        Received::Binary(bytes) => frame::write(out, frame::BINARY, &bytes),
        Received::Ping(bytes) => frame::write(out, frame::PING, &bytes),
        Received::Pong(bytes) => frame::write(out, frame::PONG, &bytes),
        Received::Close(_) => {}
    }
}

/// A way to cut bytes into pieces.
fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn said() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,200}".prop_map(Message::text),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Message::binary),
        Just(Message::binary(vec![7; 66_000])),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Pong(bytes.into())),
    ]
}

fn heard(message: &Message) -> Received {
    match message {
        Message::Text(text) => Received::Text(text.as_str().to_owned()),
        Message::Binary(bytes) => Received::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Received::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Received::Pong(bytes.to_vec()),
        other => panic!("{other:?} is not sent here"),
    }
}

const WIDE: Rules = Rules { message_max_bytes: 100_000, compression: true, masked: true };

/// What is received of pieces, and the status of the fault. Of a compressed message that is wrong in two
/// ways, which one is found first, and so the text for logs, depends on how much has come.
fn outcome(pieces: &[&[u8]]) -> (Vec<Received>, Option<CloseStatus>) {
    let (all, fault) = hear(&RULES, pieces);
    (all, fault.map(|fault| fault.status))
}

proptest! {
    #[test]
    fn what_another_client_sends_is_heard(
        messages in prop::collection::vec(said(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut client = other(Vec::new());
        for message in &messages {
            client.send(message.clone()).unwrap();
        }
        let (all, fault) = hear(&WIDE, &cut(&client.get_ref().outbound, &cuts));
        prop_assert_eq!(fault, None);
        prop_assert_eq!(all, messages.iter().map(heard).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_sent_another_client_hears(
        messages in prop::collection::vec(said(), 1..6),
        reason in ".{0,200}",
    ) {
        let mut out = Vec::new();
        messages.iter().for_each(|message| write(&mut out, message));
        CloseFrame::write(&mut out, CloseStatus::of_application(9), &reason);
        let mut client = other(out);
        for message in &messages {
            prop_assert_eq!(&client.read().unwrap(), message);
        }
        let Message::Close(Some(close)) = client.read().unwrap() else { panic!("not closed") };
        prop_assert_eq!(u16::from(close.code), 4009);
        prop_assert!(reason.starts_with(close.reason.as_str()));
    }

    #[test]
    fn what_another_server_sends_is_heard(
        messages in prop::collection::vec(said(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut server = another(Role::Server, Vec::new());
        for message in &messages {
            server.send(message.clone()).unwrap();
        }
        let rules = Rules { masked: false, compression: false, ..WIDE };
        let (all, fault) = hear(&rules, &cut(&server.get_ref().outbound, &cuts));
        prop_assert_eq!(fault, None);
        prop_assert_eq!(all, messages.iter().map(heard).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_masked_another_server_hears(
        messages in prop::collection::vec(said(), 1..6),
        mask in any::<[u8; 4]>(),
    ) {
        let mut out = Vec::new();
        for message in &messages {
            let mut plain = Vec::new();
            write(&mut plain, message);
            out.extend(frame::masked(&plain, mask));
        }
        let mut server = another(Role::Server, out);
        for message in &messages {
            prop_assert_eq!(&server.read().unwrap(), message);
        }
    }

    #[test]
    fn any_bytes_are_heard_the_same_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assert_eq!(outcome(&[&bytes]), outcome(&cut(&bytes, &cuts)));
    }

    #[test]
    fn frames_of_any_kind_are_heard_the_same_however_they_are_cut(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..140)), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..16),
    ) {
        // Mostly frames that may stand there.
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| masked(first & 0x8f, payload)).collect();
        prop_assert_eq!(outcome(&[&bytes]), outcome(&cut(&bytes, &cuts)));
    }

    #[test]
    fn what_is_compressed_is_inflated_however_it_is_cut(
        words in prop::collection::vec("[ab]{1,40}|.{0,20}", 0..60),
        fragment in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = words.concat();
        let compressed = deflate::compress(text.as_bytes());
        let at = fragment.index(compressed.len() + 1);
        let (first, rest) = compressed.split_at(at);
        let bytes = [masked(0x41, first), masked(0x89, b""), masked(0x80, rest)].concat();
        let (all, fault) = hear(&RULES, &cut(&bytes, &cuts));
        prop_assert_eq!(fault, None);
        prop_assert_eq!(all, [Received::Ping(Vec::new()), Received::Text(text.clone())]);
        if let Some(frame) = deflate::message(frame::TEXT, text.as_bytes()) {
            prop_assert!(frame.len() < text.len() + frame::HEAD_MAX_BYTES && frame[0] == 0xc1);
        }
    }

    #[test]
    fn anything_compressed_is_bounded_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let frame = masked(0xc2, &bytes);
        let whole = hear(&RULES, &[&frame]);
        if let [Received::Binary(message)] = &whole.0[..] {
            prop_assert!(message.len() <= RULES.message_max_bytes);
        }
        prop_assert_eq!(whole, hear(&RULES, &cut(&frame, &cuts)));
    }
}

#[test]
fn each_side_is_held_to_its_own_masks() {
    let server = Rules { masked: false, ..RULES };
    let mut plain = Vec::new();
    frame::text(&mut plain, "Hello");
    assert_eq!(hear(&server, &[&plain]), (vec![Received::Text("Hello".into())], None));
    let masked = frame::masked(&plain, [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(
        masked,
        [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
        "the example of RFC 6455 section 5.7"
    );
    for (rules, frame) in [(server, masked), (RULES, plain)] {
        assert_eq!(hear(&rules, &[&frame]).1.unwrap().status, CloseStatus::PROTOCOL_ERROR);
    }
}

#[test]
fn the_key_is_what_a_server_accepts() {
    let key = key([7; 16]);
    let mut handshake = Handshake::default();
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", &key),
    ] {
        assert!(handshake.take(name, value));
    }
    assert_eq!(handshake.check("GET", true).unwrap().accept, accept(&key));
}

#[test]
fn the_handshake_of_another_client_is_accepted() {
    assert_eq!(
        accept("dGhlIHNhbXBsZSBub25jZQ=="),
        tungstenite::handshake::derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==")
    );
    let key = tungstenite::handshake::client::generate_key();
    let mut handshake = Handshake::default();
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", &key),
    ] {
        assert!(handshake.take(name, value));
    }
    assert_eq!(
        handshake.check("GET", true).unwrap().accept,
        tungstenite::handshake::derive_accept_key(key.as_bytes())
    );
}
