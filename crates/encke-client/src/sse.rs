//! Server-sent events, parsed as the bytes come in.
//!
//! This follows the HTML standard's "event stream interpretation" to the message, with one addition: it tells
//! whether a block brought an `id` of its own, since a stream whose ids are long sends them only once in a
//! while and the sticky id of the standard is then older than the event beside it.

use std::collections::VecDeque;

/// The most bytes that one line, or the data of one event, may have. A message is at most 64 KiB; a server
/// that sends more than this is not Encke.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// One block of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's name; `message` when the block names none.
    pub event: String,
    /// The data, its lines joined by a newline. `None` for a block that only moved the id, which a browser
    /// does not hand on.
    pub data: Option<String>,
    /// The id that this block brought. `None` when it brought none, even if an earlier one is still in force.
    pub id: Option<String>,
}

/// A line or an event was longer than [`MAX_EVENT_BYTES`]; the stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// The parser: bytes in with [`push`](SseParser::push), events out with
/// [`next_event`](SseParser::next_event).
#[derive(Debug, Default)]
pub struct SseParser {
    /// The bytes of the line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed that follows belongs to it.
    after_cr: bool,
    /// A byte order mark can only be in front of the first line.
    begun: bool,
    event: String,
    data: String,
    id: Option<String>,
    ready: VecDeque<SseEvent>,
    retry_ms: Option<u64>,
}

impl SseParser {
    /// A parser at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, cut anywhere.
    ///
    /// # Errors
    /// [`TooLong`] when a line or an event passes [`MAX_EVENT_BYTES`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(&first) = bytes.first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                return self.keep(bytes);
            };
            self.keep(&bytes[..end])?;
            // A carriage return ends the line at once: waiting for a line feed that may never come would hold
            // the event back.
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line()?;
        }
        Ok(())
    }

    /// The next event that is complete, if there is one.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// The reconnection time that the stream asked for last, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let bytes = std::mem::take(&mut self.line);
        let mut rest = bytes.as_slice();
        if !self.begun {
            self.begun = true;
            rest = rest.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(rest);
        }
        // Line ends are ASCII, so decoding line by line replaces the same malformed sequences as decoding the
        // whole stream would.
        let line = String::from_utf8_lossy(rest);
        if line.is_empty() {
            self.end_block();
        } else if !line.starts_with(':') {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            self.field(name, value.strip_prefix(' ').unwrap_or(value))?;
        }
        // The buffer is handed back empty, so that a long stream does not allocate per line.
        self.line = bytes;
        self.line.clear();
        Ok(())
    }

    fn field(&mut self, name: &str, value: &str) -> Result<(), TooLong> {
        match name {
            "event" => self.event = value.to_owned(),
            "data" => {
                if self.data.len() + value.len() >= MAX_EVENT_BYTES {
                    return Err(TooLong);
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
            }
            _ => {}
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let id = self.id.take();
        let name = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        // Every data line added a newline, so an empty buffer means that there was no data line at all.
        let data = data.pop().map(|_| data);
        if data.is_some() || id.is_some() {
            let event = if name.is_empty() { "message".to_owned() } else { name };
            self.ready.push_back(SseEvent { event, data, id });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(input: &[u8]) -> Vec<SseEvent> {
        let mut parser = SseParser::new();
        parser.push(input).unwrap();
        std::iter::from_fn(|| parser.next_event()).collect()
    }

    fn event(event: &str, data: &str, id: Option<&str>) -> SseEvent {
        SseEvent { event: event.into(), data: Some(data.into()), id: id.map(Into::into) }
    }

    #[test]
    fn an_event_has_a_name_data_and_an_id() {
        assert_eq!(parse(b"event: gap\nid: 7\ndata: {}\n\n"), [event("gap", "{}", Some("7"))]);
        assert_eq!(parse(b"data: x\n\n"), [event("message", "x", None)]);
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        let wanted = [event("message", "a\nb", None), event("message", "c", None)];
        assert_eq!(parse(b"data: a\ndata: b\n\ndata: c\n\n"), wanted);
        assert_eq!(parse(b"data: a\rdata: b\r\rdata: c\r\r"), wanted);
        assert_eq!(parse(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"), wanted);
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut() {
        let input = "\u{feff}: hello\r\nid: 1~k~@\u{e4}~2\r\nevent: x\ndata: \u{1F30D}\r\ndata\r\n\r\nid\n\ndata: z\r\r".as_bytes();
        let whole = parse(input);
        assert_eq!(whole.len(), 3);
        for cut in 0..=input.len() {
            let mut parser = SseParser::new();
            parser.push(&input[..cut]).unwrap();
            parser.push(&input[cut..]).unwrap();
            let parts: Vec<_> = std::iter::from_fn(|| parser.next_event()).collect();
            assert_eq!(parts, whole, "cut at {cut}");
        }
        let mut parser = SseParser::new();
        for byte in input {
            parser.push(&[*byte]).unwrap();
        }
        assert_eq!(std::iter::from_fn(|| parser.next_event()).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn only_one_space_behind_the_colon_goes() {
        assert_eq!(
            parse(b"data:a\ndata: b\ndata:  c\ndata: d:e\n\n"),
            [event("message", "a\nb\n c\nd:e", None)]
        );
    }

    #[test]
    fn a_field_without_a_colon_is_a_field_with_an_empty_value() {
        assert_eq!(parse(b"data\n\n"), [event("message", "", None)]);
        assert_eq!(parse(b"data\ndata\n\n"), [event("message", "\n", None)]);
    }

    #[test]
    fn comments_unknown_fields_and_blocks_without_data_are_silent() {
        assert_eq!(parse(b": beat\n\nfoo: bar\n\nevent: x\n\n data: no\n\n"), []);
    }

    #[test]
    fn the_name_of_a_block_without_data_does_not_reach_the_next() {
        assert_eq!(parse(b"event: x\n\ndata: a\n\n"), [event("message", "a", None)]);
    }

    #[test]
    fn an_id_alone_is_told_without_data() {
        assert_eq!(
            parse(b"id: 9\n\n"),
            [SseEvent { event: "message".into(), data: None, id: Some("9".into()) }]
        );
    }

    #[test]
    fn an_id_with_a_nul_is_ignored_and_an_empty_one_is_an_id() {
        assert_eq!(parse(b"id: a\0b\ndata: x\n\n"), [event("message", "x", None)]);
        assert_eq!(parse(b"id\ndata: x\n\n"), [event("message", "x", Some(""))]);
    }

    #[test]
    fn retry_takes_digits_only() {
        let mut parser = SseParser::new();
        parser.push(b"retry: 12x\nretry: \nretry: -1\n").unwrap();
        assert_eq!(parser.retry_ms(), None);
        parser.push(b"retry: 1500\n").unwrap();
        assert_eq!(parser.retry_ms(), Some(1500));
    }

    #[test]
    fn a_byte_order_mark_counts_only_in_front() {
        assert_eq!(parse(b"\xEF\xBB\xBFdata: a\n\n"), [event("message", "a", None)]);
        assert_eq!(parse(b"\n\xEF\xBB\xBFdata: a\n\n"), []);
    }

    #[test]
    fn malformed_utf8_is_replaced_and_does_not_swallow_the_line_end() {
        assert_eq!(parse(b"data: \xE2\x82\ndata: b\n\n"), [event("message", "\u{FFFD}\nb", None)]);
    }

    #[test]
    fn an_event_that_has_not_ended_is_not_told() {
        assert_eq!(parse(b"data: a\n"), []);
        assert_eq!(parse(b"data: a\n\ndata: b"), [event("message", "a", None)]);
    }

    #[test]
    fn a_line_or_an_event_without_end_is_an_error() {
        let mut parser = SseParser::new();
        assert_eq!(parser.push(&vec![b'x'; MAX_EVENT_BYTES + 1]), Err(TooLong));
        let mut parser = SseParser::new();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        assert!((0..2000).any(|_| parser.push(&line).is_err()));
    }

    /// The bytes of `tests/vectors/sse.json` and what a browser makes of them, which
    /// `tests/e2e/vectors.test.js` finds out.
    #[test]
    fn the_same_bytes_are_the_same_events_as_in_a_browser() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            streams: Vec<Vector>,
        }
        #[derive(serde::Deserialize)]
        struct Vector {
            name: String,
            chunks: Vec<String>,
            events: Vec<(String, String, String)>,
        }
        let vectors: Vectors = serde_json::from_str(include_str!("../../../tests/vectors/sse.json")).unwrap();
        assert!(vectors.streams.len() > 30);
        for Vector { name, chunks, events } in vectors.streams {
            let mut parser = SseParser::new();
            for chunk in chunks {
                let bytes: Vec<u8> = chunk.chars().map(|c| u8::try_from(c).unwrap()).collect();
                parser.push(&bytes).unwrap();
            }
            // A browser keeps an id until the next one.
            let mut last = String::new();
            let mut told = Vec::new();
            while let Some(event) = parser.next_event() {
                last = event.id.unwrap_or(last);
                told.extend(event.data.map(|data| (event.event, data, last.clone())));
            }
            assert_eq!(told, events, "{name}");
        }
    }
}
