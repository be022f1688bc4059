//! Cursors: what is read is written as the same cursor, within its bounds, and a cursor comes back from its
//! text.

use arbitrary::Arbitrary;
use encke_proto::{
    ChannelName, Cursor, CursorError, Position,
    limits::{CURSOR_MAX_BYTES, SESSION_MAX_CHANNELS},
};

use crate::input::{AnyCursor, typed};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Text(&'a str),
    /// Behind the version, so that more texts are cursors.
    Rest(&'a str),
    Cursor(AnyCursor),
}

/// See the module.
pub fn run(bytes: &[u8]) {
    match typed::<Input<'_>>(bytes) {
        Some(Input::Text(text)) => read(text),
        Some(Input::Rest(rest)) => read(&format!("1~{rest}")),
        Some(Input::Cursor(any)) => write(&any.cursor()),
        None => {}
    }
}

fn read(text: &str) {
    match Cursor::parse(text) {
        Err(CursorError::TooLong) => assert!(text.len() > CURSOR_MAX_BYTES),
        Err(CursorError::Version) => assert!(!text.starts_with("1~") && text != "1"),
        Err(CursorError::Malformed) => assert!(text.len() <= CURSOR_MAX_BYTES),
        Ok(cursor) => {
            assert!(text.len() <= CURSOR_MAX_BYTES);
            // One more than a session may follow, for the user's own channel.
            assert!(cursor.entries.len() <= SESSION_MAX_CHANNELS + 1);
            write(&cursor);
        }
    }
}

fn write(cursor: &Cursor) {
    let text = cursor.to_string();
    // It stands in a header, in an address and in JSON without an escape.
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\%#&+?=,;".contains(&byte)), "{text}");
    if text.len() > CURSOR_MAX_BYTES {
        assert_eq!(Cursor::parse(&text), Err(CursorError::TooLong));
        return;
    }
    let again = Cursor::parse(&text);
    assert_eq!(again.as_ref(), Ok(cursor), "{text}");
    for (channel, position) in &cursor.entries {
        assert_eq!(again.as_ref().ok().and_then(|again| again.position(channel)), Some(*position));
    }
    moved(cursor);
}

/// Moving one position moves no other.
fn moved(cursor: &Cursor) {
    let Some((channel, at)) = cursor.entries.last() else { return };
    let mut further = cursor.clone();
    let to = Position { offset: at.offset.wrapping_add(1), ..*at };
    further.set(&channel.clone(), to);
    assert_eq!(further.position(channel), Some(to));
    let others = |cursor: &Cursor| -> Vec<(ChannelName, Position)> {
        cursor.entries.iter().filter(|(name, _)| name != channel).cloned().collect()
    };
    assert_eq!(others(&further), others(cursor));
}
