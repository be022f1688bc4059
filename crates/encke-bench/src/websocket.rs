//! The client's side of WebSocket (RFC 6455), as far as a subscriber needs it.

/// The fields that ask for the upgrade. A measurement needs no secret key.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
/// The most bytes of a message.
const MESSAGE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// A ping, which is to be answered with these bytes.
    Ping(&'a [u8]),
    /// The end.
    Close,
}

/// The server breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Reads the frames of one connection.
#[derive(Debug, Default)]
pub struct FrameReader {
    held: Vec<u8>,
    message: Vec<u8>,
}

impl FrameReader {
    /// Takes in bytes and hands out what is complete.
    ///
    /// # Errors
    /// [`Broken`] says in which way.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), Broken> {
        if self.held.is_empty() {
            let used = take_frames(&mut self.message, bytes, sink)?;
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            self.held.extend_from_slice(bytes);
            let used = take_frames(&mut self.message, &self.held, sink)?;
            self.held.drain(..used);
        }
        Ok(())
    }
}

/// Hands out all whole frames; how many bytes they had.
fn take_frames(
    message: &mut Vec<u8>,
    bytes: &[u8],
    sink: &mut impl FnMut(Incoming<'_>),
) -> Result<usize, Broken> {
    let mut used = 0;
    while let Some((head, length)) = frame(&bytes[used..])? {
        let (first, body) = (bytes[used], &bytes[used + head..used + head + length]);
        used += head + length;
        let (last, code) = (first & 0x80 != 0, first & 0x0f);
        match code {
            0..=2 if last && message.is_empty() => sink(Incoming::Message(body)),
            0..=2 => {
                message.extend_from_slice(body);
                if last {
                    sink(Incoming::Message(message));
                    message.clear();
                }
            }
            8 => sink(Incoming::Close),
            9 => sink(Incoming::Ping(body)),
            10 => {}
            _ => return Err(Broken("a frame of an unknown kind")),
        }
    }
    Ok(used)
}

/// The lengths of the next frame's head and body, when all of it is there.
fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, Broken> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Broken("a frame with an extension that was not agreed on"));
    }
    if second & 0x80 != 0 {
        return Err(Broken("a server's frame is masked"));
    }
    let (head, length) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, u64::from(length)),
    };
    if length > MESSAGE_MAX_BYTES {
        return Err(Broken("a frame is too long"));
    }
    let length = usize::try_from(length).map_err(|_| Broken("a frame is too long"))?;
    Ok((bytes.len() >= head + length).then_some((head, length)))
}

/// Writes a message of text, of up to 125 bytes. The mask is zero, which changes no byte.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_short(out, 0x81, text.as_bytes());
}

/// Writes the answer to a ping. The mask is zero, which changes no byte.
pub fn write_pong(out: &mut Vec<u8>, body: &[u8]) {
    // A ping's body has at most 125 bytes.
    write_short(out, 0x8a, body);
}

fn write_short(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    let length = u8::try_from(body.len().min(125)).unwrap_or(125);
    out.extend_from_slice(&[first, 0x80 | length, 0, 0, 0, 0]);
    out.extend_from_slice(&body[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_come_in_any_parts() {
        let mut bytes =
            vec![0x81, 2, b'h', b'i', 0x01, 1, b'a', 0x89, 1, b'p', 0x80, 1, b'b', 0x82, 126, 1, 0];
        bytes.extend_from_slice(&[b'x'; 256]);
        bytes.extend_from_slice(&[0x88, 0]);
        for part in 1..=bytes.len() {
            let (mut reader, mut seen) = (FrameReader::default(), Vec::new());
            for bytes in bytes.chunks(part) {
                let mut sink = |incoming: Incoming<'_>| match incoming {
                    Incoming::Message(body) => seen.push(format!("message {}", body.len())),
                    Incoming::Ping(body) => seen.push(format!("ping {body:?}")),
                    Incoming::Close => seen.push("close".into()),
                };
                reader.feed(bytes, &mut sink).unwrap();
            }
            assert_eq!(
                seen,
                ["message 2", "ping [112]", "message 2", "message 256", "close"],
                "in parts of {part}"
            );
        }
    }

    #[test]
    fn a_server_that_breaks_the_protocol_is_told() {
        for bytes in
            [&[0x81, 0x80, 0, 0, 0, 0][..], &[0xc1, 0], &[0x83, 0], &[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(FrameReader::default().feed(bytes, &mut |_| {}).is_err());
        }
    }
}
