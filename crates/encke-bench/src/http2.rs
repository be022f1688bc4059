//! The client's side of HTTP/2 (RFC 9113), as far as one request after the other needs it: no pushed streams,
//! no trailers, of an answer's fields the status alone.

use crate::http::{Head, NotHttp, Piece};

/// What a client begins with (section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Windows as browsers open them, so that a server may send as much at once as to a browser.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;
/// The window that a connection has by itself (section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;
/// A window is opened again when so much of it is used.
const USED_MAX: u32 = STREAM_WINDOW / 2;
/// The longest frame that a server may send, as no other length is agreed on.
const FRAME_MAX_BYTES: usize = 16_384;
const FRAME_HEAD_BYTES: usize = 9;

/// Kinds of frames (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Their flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// Settings (section 6.5.2).
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// One connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// The part of a frame that has come so far.
    held: Vec<u8>,
    /// The stream of the last request; 0 before the first.
    stream: u32,
    /// Bytes of bodies that have come since the windows were opened last.
    used: u32,
    /// What the server is to be sent: acknowledgements, and windows that are opened again.
    pub out: Vec<u8>,
}

impl Connection {
    /// Writes the request that is there as HTTP/1.1, without a body.
    ///
    /// # Errors
    /// When it is no request.
    pub fn request(&mut self, out: &mut Vec<u8>, text: &[u8]) -> Result<(), NotHttp> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let path = match (request.parse(text), &request.path) {
            (Ok(httparse::Status::Complete(_)), Some(path)) if request.method == Some("GET") => *path,
            _ => return Err(NotHttp("a request that cannot be made by HTTP/2")),
        };
        if self.stream == 0 {
            self.begin(out);
        }
        self.stream = if self.stream == 0 { 1 } else { self.stream + 2 };
        // `:method GET` and `:scheme https` are in the static table; paths are not worth a place in the
        // other.
        let mut block = vec![0x82, 0x87, 0x04];
        string(&mut block, path.as_bytes());
        for field in request.headers.iter() {
            let name = field.name.to_ascii_lowercase();
            match name.as_str() {
                "host" => block.push(0x41),
                "connection" | "upgrade" => continue,
                _ => {
                    block.push(0x40);
                    string(&mut block, name.as_bytes());
                }
            }
            string(&mut block, field.value);
        }
        frame(out, HEADERS, END_STREAM | END_HEADERS, self.stream, &block);
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        let mut settings = Vec::with_capacity(12);
        for (name, value) in [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame(out, SETTINGS, 0, 0, &settings);
        frame(out, WINDOW_UPDATE, 0, 0, &(CONNECTION_WINDOW - DEFAULT_WINDOW).to_be_bytes());
    }

    /// Takes in bytes and hands out pieces of answers; [`Connection::out`] is to be sent then.
    ///
    /// # Errors
    /// [`NotHttp`] says what is wrong, or how the server has ended the stream.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), NotHttp> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut rest = &held[..];
        while let Some((head, behind)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() {
            let [a, b, c, kind, flags, stream @ ..] = *head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > FRAME_MAX_BYTES {
                return Err(NotHttp("a frame is too long"));
            }
            let Some((payload, next)) = behind.split_at_checked(length) else { break };
            self.frame(kind, flags, u32::from_be_bytes(stream), payload, sink)?;
            rest = next;
        }
        let kept = rest.len();
        held.drain(..held.len() - kept);
        // Thousands of connections wait between frames; their buffers need not stay.
        self.held = if held.is_empty() { Vec::new() } else { held };
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        sink: &mut impl FnMut(Piece<'_>),
    ) -> Result<(), NotHttp> {
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            RST_STREAM => return Err(NotHttp("the stream was reset")),
            GOAWAY => return Err(NotHttp("the server goes away")),
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or(NotHttp("a frame is too short"))?;
                }
                sink(Piece::Head(Head { status: status(block)?, ..Head::default() }));
            }
            DATA => {
                sink(Piece::Body(unpadded(flags, payload)?));
                self.used += u32::try_from(payload.len()).unwrap_or(u32::MAX);
                if self.used >= USED_MAX {
                    for stream in [0, stream] {
                        frame(&mut self.out, WINDOW_UPDATE, 0, stream, &self.used.to_be_bytes());
                    }
                    self.used = 0;
                }
            }
            _ => return Ok(()),
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            sink(Piece::End);
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], NotHttp> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(NotHttp("a frame is too short"))?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(NotHttp("a frame is all padding"))?;
    Ok(&rest[..length])
}

/// A string without compression (RFC 7541 section 5.2).
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() < 127 {
        out.push(bytes.len() as u8);
    } else {
        out.push(127);
        let mut left = bytes.len() - 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(bytes);
}

/// The status, which comes before all other fields (RFC 9113 section 8.3). No status but those of the static
/// table can be named by an index alone before another answer has come on the connection.
fn status(block: &[u8]) -> Result<u16, NotHttp> {
    const UNREADABLE: NotHttp = NotHttp("the status cannot be read");
    // Changes of the table's size come first; those of all but the largest have one byte.
    let updates = block.iter().take_while(|byte| **byte & 0xe0 == 0x20 && **byte & 0x1f != 0x1f).count();
    match block[updates..] {
        [index @ 0x88..=0x8e, ..] => Ok([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
        // A literal behind the name of the static table's places for it, as text of three digits.
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, 3, a, b, c, ..] => {
            let text = [a, b, c];
            std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or(UNREADABLE)
        }
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, length @ 0x81..=0x84, ref rest @ ..] => {
            let coded = rest.get(..usize::from(length & 0x7f)).ok_or(UNREADABLE)?;
            digits(coded).ok_or(UNREADABLE)
        }
        _ => Err(UNREADABLE),
    }
}

/// Three digits in the Huffman code of RFC 7541's appendix B: 0 to 2 have five bits, the others six.
fn digits(coded: &[u8]) -> Option<u16> {
    let bits = coded.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = u32::try_from(coded.len()).ok()? * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = bits.checked_shr(left.checked_sub(5)?)? & 0x1f;
        let digit = if five <= 2 {
            left -= 5;
            five
        } else {
            left = left.checked_sub(6)?;
            (bits >> left & 0x3f).checked_sub(0x19).filter(|above| *above <= 6)? + 3
        };
        number = number * 10 + digit;
    }
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(connection: &mut Connection, bytes: &[u8], part: usize) -> Result<Vec<String>, NotHttp> {
        let mut seen = Vec::new();
        for bytes in bytes.chunks(part) {
            connection.feed(bytes, &mut |piece| match piece {
                Piece::Head(head) => seen.push(head.status.to_string()),
                Piece::Body(body) => seen.push(String::from_utf8(body.to_vec()).unwrap()),
                Piece::End => seen.push("end".to_owned()),
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn answers_may_come_in_any_parts() {
        let mut bytes = Vec::new();
        frame(&mut bytes, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
        frame(&mut bytes, SETTINGS, ACK, 0, &[]);
        frame(&mut bytes, HEADERS, END_HEADERS, 1, &[0x88, 0x40, 1, b'a', 1, b'b']);
        frame(&mut bytes, DATA, 0, 1, b"hello");
        frame(&mut bytes, PING, 0, 0, b"12345678");
        frame(&mut bytes, DATA, PADDED | END_STREAM, 1, b"\x02you..");
        for part in 1..=bytes.len() {
            let mut connection = Connection::default();
            assert_eq!(
                pieces(&mut connection, &bytes, part).unwrap(),
                ["200", "hello", "you", "end"],
                "in parts of {part}"
            );
            let mut answers = Vec::new();
            frame(&mut answers, SETTINGS, ACK, 0, &[]);
            frame(&mut answers, PING, ACK, 0, b"12345678");
            assert_eq!(connection.out, answers);
            assert!(connection.held.is_empty());
        }
    }

    #[test]
    fn a_request_is_written_once_begun() {
        let (mut connection, mut out) = (Connection::default(), Vec::new());
        let text = b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nAccept: y\r\n\r\n";
        connection.request(&mut out, text).unwrap();
        let begun = out.len();
        assert!(out.starts_with(PREFACE));
        assert!(out.ends_with(b"\x82\x87\x04\x04/a?b\x41\x01x\x40\x06accept\x01y"));
        connection.request(&mut out, text).unwrap();
        assert_eq!(&out[begun..begun + 9], [0, 0, 21, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 3]);
        assert!(connection.request(&mut out, b"POST / HTTP/1.1\r\n\r\n").is_err());
        // The example of RFC 7541 section C.1.2, in a prefix of seven bits: 1337 is 127 and 1210.
        let mut long = Vec::new();
        string(&mut long, &[b'x'; 1337]);
        assert_eq!(&long[..3], [127, 0xba, 0x09]);
    }

    #[test]
    fn windows_are_opened_again() {
        let (mut connection, mut bytes) = (Connection::default(), Vec::new());
        for _ in 0..USED_MAX / 16_384 {
            frame(&mut bytes, DATA, 0, 1, &[b'x'; 16_384]);
        }
        pieces(&mut connection, &bytes, 100_000).unwrap();
        let mut opened = Vec::new();
        frame(&mut opened, WINDOW_UPDATE, 0, 0, &USED_MAX.to_be_bytes());
        frame(&mut opened, WINDOW_UPDATE, 0, 1, &USED_MAX.to_be_bytes());
        assert_eq!(connection.out, opened);
    }

    #[test]
    fn every_form_of_a_status_is_read() {
        for (block, wanted) in [
            (&[0x88][..], 200),
            (&[0x3e, 0x8d], 404),
            (&[0x48, 3, b'5', b'0', b'3'], 503),
            (&[0x08, 3, b'2', b'0', b'2'], 202),
            // RFC 7541 sections C.6.1 and C.6.2.
            (&[0x48, 0x82, 0x64, 0x02], 302),
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], 307),
        ] {
            assert_eq!(status(block).unwrap(), wanted);
        }
        for block in
            [&[][..], &[0xbe], &[0x48, 0x82, 0x64], &[0x48, 0x81, 0xff], &[0x48, 3, b'x', b'y', b'z']]
        {
            assert!(status(block).is_err(), "{block:?}");
        }
    }

    #[test]
    fn what_ends_a_stream_is_told() {
        for (kind, payload) in [(RST_STREAM, &[0; 4][..]), (GOAWAY, &[0; 8])] {
            let mut bytes = Vec::new();
            frame(&mut bytes, kind, 0, 1, payload);
            assert!(pieces(&mut Connection::default(), &bytes, 100).is_err());
        }
        assert!(pieces(&mut Connection::default(), &[0xff; 9], 100).is_err(), "too long a frame");
    }
}
