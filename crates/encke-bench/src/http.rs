//! Reading HTTP/1 responses as they come in, without copying bodies.

/// The most bytes that a head may have.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// The most bytes of a chunk's size line.
const LINE_MAX_BYTES: usize = 1024;

/// The head of a response: what a subscriber needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// `Etag`, with which some servers' long polls go on.
    pub etag: Option<String>,
    /// `Last-Modified`, the same.
    pub last_modified: Option<String>,
    /// Whether the server ends the connection behind the response.
    pub closes: bool,
}

/// A piece of a response.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Its head.
    Head(Head),
    /// Bytes of its body.
    Body(&'a [u8]),
    /// It is complete; another may follow.
    End,
}

/// What was read is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHttp(pub &'static str);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before or within a head.
    #[default]
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// Before or within the line of a chunk's size.
    Size,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    /// The lines behind the last chunk.
    Trailer,
    /// Everything that comes belongs to the body.
    Open,
}

/// A line, and what comes behind it.
type Line<'a> = (Vec<u8>, &'a [u8]);

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub struct ResponseReader {
    state: State,
    /// The part of a head or a line that has come so far.
    held: Vec<u8>,
}

impl ResponseReader {
    /// Takes in bytes and hands out pieces.
    ///
    /// # Errors
    /// [`NotHttp`] says what is wrong; the connection is of no use any more.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), NotHttp> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            match self.state {
                State::Head => bytes = self.head(bytes, sink)?,
                State::Length(left) => {
                    let (part, rest) = split(bytes, left);
                    sink(Piece::Body(part));
                    bytes = rest;
                    self.state = State::Length(left - part.len() as u64);
                    if left == part.len() as u64 {
                        self.end(sink);
                    }
                }
                State::Size => {
                    let Some((line, rest)) = self.line(bytes)? else { return Ok(()) };
                    bytes = rest;
                    self.state = match chunk_size(&line)? {
                        0 => State::Trailer,
                        size => State::Chunk(size),
                    };
                }
                State::Chunk(left) => {
                    let (part, rest) = split(bytes, left);
                    sink(Piece::Body(part));
                    bytes = rest;
                    let left = left - part.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                }
                State::ChunkEnd => {
                    let Some((line, rest)) = self.line(bytes)? else { return Ok(()) };
                    if !line.is_empty() {
                        return Err(NotHttp("a chunk is longer than it says"));
                    }
                    bytes = rest;
                    self.state = State::Size;
                }
                State::Trailer => {
                    let Some((line, rest)) = self.line(bytes)? else { return Ok(()) };
                    bytes = rest;
                    if line.is_empty() {
                        self.end(sink);
                    }
                }
                State::Open => {
                    sink(Piece::Body(bytes));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        self.state = State::Head;
        sink(Piece::End);
    }

    fn head<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<&'a [u8], NotHttp> {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.held) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.held.len() > HEAD_MAX_BYTES => {
                return Err(NotHttp("the head is too long"));
            }
            Ok(httparse::Status::Partial) => return Ok(&[]),
            Err(_) => return Err(NotHttp("the head cannot be read")),
        };
        let (head, state) = understand(&response)?;
        self.held.clear();
        let interim = head.status < 200 && head.status != 101;
        if !interim {
            self.state = state;
            sink(Piece::Head(head));
            if state == State::Length(0) {
                self.end(sink);
            }
        }
        Ok(&bytes[length - before..])
    }

    /// The next line without its break; nothing while it is not complete.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Line<'a>>, NotHttp> {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.held.extend_from_slice(bytes);
            return if self.held.len() > LINE_MAX_BYTES {
                Err(NotHttp("a line is too long"))
            } else {
                Ok(None)
            };
        };
        let mut line = std::mem::take(&mut self.held);
        line.extend_from_slice(&bytes[..at]);
        if line.pop_if(|byte| *byte == b'\r').is_none() {
            return Err(NotHttp("a line ends without a carriage return"));
        }
        Ok(Some((line, &bytes[at + 1..])))
    }
}

fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()))
}

fn chunk_size(line: &[u8]) -> Result<u64, NotHttp> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    let text = std::str::from_utf8(digits).map_err(|_| NotHttp("a chunk's size is no number"))?;
    u64::from_str_radix(text.trim(), 16).map_err(|_| NotHttp("a chunk's size is no number"))
}

fn understand(response: &httparse::Response<'_, '_>) -> Result<(Head, State), NotHttp> {
    let mut head = Head { status: response.code.unwrap_or(0), ..Head::default() };
    let mut state = State::Open;
    for field in response.headers.iter() {
        let text =
            || std::str::from_utf8(field.value).map_err(|_| NotHttp("a field is not text")).map(str::trim);
        if field.name.eq_ignore_ascii_case("content-length") {
            state = State::Length(text()?.parse().map_err(|_| NotHttp("the length is no number"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            state = State::Size;
        } else if field.name.eq_ignore_ascii_case("etag") {
            head.etag = Some(text()?.to_owned());
        } else if field.name.eq_ignore_ascii_case("last-modified") {
            head.last_modified = Some(text()?.to_owned());
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.closes = text()?.eq_ignore_ascii_case("close");
        }
    }
    match head.status {
        101 => state = State::Open,
        204 | 304 => state = State::Length(0),
        _ => {}
    }
    Ok((head, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_parts(text: &str, part: usize) -> Vec<String> {
        let mut reader = ResponseReader::default();
        let mut seen: Vec<String> = Vec::new();
        for bytes in text.as_bytes().chunks(part) {
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Head(head) => seen.push(format!("{} {:?}", head.status, head.etag)),
                Piece::Body(body) => {
                    let body = std::str::from_utf8(body).unwrap();
                    match seen.last_mut().filter(|last| last.starts_with("body ")) {
                        Some(last) => last.push_str(body),
                        None => seen.push(format!("body {body}")),
                    }
                }
                Piece::End => seen.push("end".into()),
            };
            reader.feed(bytes, &mut sink).unwrap();
        }
        seen
    }

    #[test]
    fn responses_may_come_in_any_parts() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nETag: 0\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 304 Not Modified\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            0003\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n\
            HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\r\nopen";
        let expected = [
            "200 Some(\"0\")",
            "body hello",
            "end",
            "304 None",
            "end",
            "200 None",
            "body abcde",
            "end",
            "202 None",
            "end",
            "101 None",
            "body \r\nopen",
        ];
        for part in 1..=text.len() {
            assert_eq!(read_in_parts(text, part), expected, "in parts of {part}");
        }
    }

    #[test]
    fn what_is_not_http_is_told() {
        for text in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n",
        ] {
            assert!(ResponseReader::default().feed(text.as_bytes(), &mut |_| {}).is_err(), "{text:?}");
        }
    }
}
