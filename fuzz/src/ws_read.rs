//! What a WebSocket peer sends: the reader says the same however the bytes are cut, and holds no more than
//! its rules allow.

use arbitrary::Arbitrary;
use encke_proto::codec::ws::{CONTROL_MAX_BYTES, Fault, Reader, Received, Rules};

use crate::input::typed;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    message_max_bytes: u16,
    compression: bool,
    masked: bool,
    cuts: [u8; 4],
    bytes: &'a [u8],
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input<'_>>(bytes) else { return };
    let rules = Rules {
        message_max_bytes: usize::from(input.message_max_bytes),
        compression: input.compression,
        masked: input.masked,
    };
    let (whole, fault, idle) = read(&rules, [input.bytes].into_iter());
    let mut cuts = input.cuts.iter().cycle();
    let mut rest = input.bytes;
    let pieces = std::iter::from_fn(|| {
        let length = cuts.next().map_or(1, |cut| usize::from(*cut) + 1).min(rest.len());
        let (piece, more) = rest.split_at(length);
        rest = more;
        (!piece.is_empty()).then_some(piece)
    });
    let (cut, cut_fault, cut_idle) = read(&rules, pieces);
    assert_eq!(cut, whole, "what was said");
    // Which of two faults is seen first may depend on what has come; that there is one does not.
    assert_eq!(cut_fault.is_some(), fault.is_some(), "{cut_fault:?} and {fault:?}");
    assert_eq!(cut_idle, idle);
    for heard in &whole {
        match heard {
            Received::Text(text) => assert!(text.len() <= rules.message_max_bytes),
            Received::Binary(bytes) => assert!(bytes.len() <= rules.message_max_bytes),
            Received::Ping(bytes) | Received::Pong(bytes) => assert!(bytes.len() <= CONTROL_MAX_BYTES),
            Received::Close(frame) => {
                assert!(frame.as_ref().is_none_or(|frame| frame.reason.len() <= CONTROL_MAX_BYTES - 2))
            }
        }
    }
}

/// All that is heard, the fault that ends it, and whether the reader stands between two messages.
fn read<'a>(rules: &Rules, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Received>, Option<Fault>, bool) {
    let (mut reader, mut said) = (Reader::default(), Vec::new());
    for mut piece in pieces {
        loop {
            let before = piece.len();
            match reader.next(rules, &mut piece) {
                Ok(Some(heard)) => {
                    assert!(piece.len() < before, "something is heard of no bytes");
                    let ends = matches!(heard, Received::Close(_));
                    said.push(heard);
                    if ends {
                        // Nothing that follows it has a meaning.
                        return (said, None, reader.is_idle());
                    }
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "bytes are left");
                    break;
                }
                Err(fault) => return (said, Some(fault), true),
            }
        }
    }
    (said, None, reader.is_idle())
}
