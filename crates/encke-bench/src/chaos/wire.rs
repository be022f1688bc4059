//! The wire as a subscriber without our client library reads it: five transports, one kind of event.

use encke_proto::{ChannelName, Cursor, Position};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::evidence::Id;
use super::ledger;
use crate::{
    http::{Piece, ResponseReader},
    sse::SseReader,
    websocket::{FrameReader, Incoming, write_pong},
};

/// The most bytes that are kept of a line or a poll's answer.
const TEXT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How a subscriber waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Long poll.
    Poll,
    /// Server-sent events.
    Sse,
    /// A JSON object a line.
    Ndjson,
    /// WebSocket.
    Ws,
    /// The forever frame, read as a stream of bytes.
    Iframe,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Poll, Self::Sse, Self::Ndjson, Self::Ws, Self::Iframe];

    /// What stands in the address and the query.
    #[must_use]
    pub fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Poll => ("/v1/poll", "hold_s=5"),
            Self::Sse => ("/v1/sse", ""),
            Self::Ndjson => ("/v1/stream", "as=ndjson"),
            Self::Ws => ("/v1/ws", ""),
            Self::Iframe => ("/v1/stream", "as=iframe"),
        }
    }
}

/// What came.
#[derive(Debug)]
pub enum Event {
    /// The connection serves this session, from there.
    Open { session: String, cursor: Cursor },
    /// A message.
    Message { channel: ChannelName, position: Position, id: Id },
    /// A gap.
    Gap { channel: ChannelName, from: u64, to: Option<u64> },
    /// The session was ended, or the connection is to be left.
    Close { code: String, reconnect: bool, retry_ms: u64 },
    /// An answer that is none of the above.
    Refused(u16),
    /// The response is complete; another request may follow.
    End,
}

#[derive(Deserialize)]
struct Wire {
    event: Option<String>,
    session: Option<String>,
    cursor: Option<String>,
    channel: Option<String>,
    offset: Option<u64>,
    epoch: Option<String>,
    data: Option<Box<RawValue>>,
    from: Option<serde_json::Value>,
    to: Option<u64>,
    code: Option<String>,
    reconnect: Option<bool>,
    retry_ms: Option<u64>,
}

#[derive(Deserialize)]
struct PollAnswer {
    session: String,
    cursor: String,
    messages: Vec<Wire>,
    gaps: Vec<Wire>,
    close: Option<Wire>,
}

/// Reads what one connection brings.
#[derive(Debug)]
pub struct Reader {
    transport: Transport,
    http: ResponseReader,
    status: u16,
    sse: SseReader,
    frames: FrameReader,
    text: Vec<u8>,
}

impl Reader {
    /// For a new connection.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        let (http, sse, frames) = (ResponseReader::default(), SseReader::default(), FrameReader::default());
        Self { transport, http, status: 0, sse, frames, text: Vec::new() }
    }

    /// Takes in bytes. What is to be answered at once is added to `out`.
    ///
    /// # Errors
    /// When the server breaks the protocol: in words.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Vec<Event>, String> {
        let mut pieces = Vec::new();
        self.http
            .feed(bytes, &mut |piece| {
                pieces.push(match piece {
                    Piece::Head(head) => Owned::Head(head.status),
                    Piece::Body(body) => Owned::Body(body.to_vec()),
                    Piece::End => Owned::End,
                });
            })
            .map_err(|error| error.0.to_owned())?;
        let mut events = Vec::new();
        for piece in pieces {
            match piece {
                Owned::Head(status) => self.status = status,
                Owned::Body(body) if matches!(self.status, 101 | 200) => {
                    self.body(&body, out, &mut events)?
                }
                Owned::Body(_) => {}
                Owned::End if self.status != 200 => events.push(Event::Refused(self.status)),
                Owned::End => {
                    if self.transport == Transport::Poll {
                        poll(&std::mem::take(&mut self.text), &mut events)?;
                    }
                    events.push(Event::End);
                }
            }
        }
        Ok(events)
    }

    fn body(&mut self, body: &[u8], out: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), String> {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        match self.transport {
            Transport::Poll => self.text.extend_from_slice(body),
            Transport::Sse => self.sse.feed(body, &mut |data| texts.push(data.to_vec())),
            Transport::Ws => self
                .frames
                .feed(body, &mut |incoming| match incoming {
                    Incoming::Message(text) => texts.push(text.to_vec()),
                    Incoming::Ping(body) => write_pong(out, body),
                    Incoming::Close => {}
                })
                .map_err(|error| error.0.to_owned())?,
            Transport::Ndjson | Transport::Iframe => {
                self.text.extend_from_slice(body);
                while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.text.drain(..=end).collect();
                    texts.extend(line_text(self.transport, &line[..end])?);
                }
            }
        }
        if self.text.len() > TEXT_MAX_BYTES {
            return Err("a line or an answer is too long".to_owned());
        }
        for text in texts {
            let wire: Wire = serde_json::from_slice(&text)
                .map_err(|error| format!("an event: {error}: {}", String::from_utf8_lossy(&text)))?;
            events.extend(wire.event()?);
        }
        Ok(())
    }
}

enum Owned {
    Head(u16),
    Body(Vec<u8>),
    End,
}

/// The event in a line, if there is one.
fn line_text(transport: Transport, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if transport == Transport::Ndjson {
        return Ok((!line.is_empty()).then(|| line.to_vec()));
    }
    // A comment is padding or a heartbeat; the first script defines what the others call.
    let text = std::str::from_utf8(line).map_err(|_| "the frame is not UTF-8".to_owned())?;
    let Some(script) = text.strip_prefix("<script nonce=\"").and_then(|rest| Some(rest.split_once("\">")?.1))
    else {
        return Ok(None);
    };
    let call = script.strip_prefix("p(").and_then(|rest| rest.strip_suffix(")</script>"));
    // What it is called with is an event's text, as a string.
    let text = |call: &str| {
        serde_json::from_str::<String>(call).map_err(|error| format!("a frame's script: {error}: {call}"))
    };
    call.map(text).transpose().map(|text| text.map(String::into_bytes))
}

fn poll(body: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
    let answer: PollAnswer =
        serde_json::from_slice(body).map_err(|error| format!("a poll's answer: {error}"))?;
    for (event, wires) in [("gap", answer.gaps), ("message", answer.messages)] {
        for wire in wires {
            events.extend(Wire { event: Some(event.to_owned()), ..wire }.event()?);
        }
    }
    // What the answer leads to: the cursor stands behind its messages.
    events.push(Event::Open { session: answer.session, cursor: cursor(&answer.cursor)? });
    if let Some(close) = answer.close {
        events.extend(Wire { event: Some("close".to_owned()), ..close }.event()?);
    }
    Ok(())
}

fn cursor(text: &str) -> Result<Cursor, String> {
    Cursor::parse(text).map_err(|error| format!("{text}: {error}"))
}

impl Wire {
    fn event(self) -> Result<Option<Event>, String> {
        let missing = || "an event has not what belongs to it".to_owned();
        let channel = |name: Option<String>| {
            ChannelName::any(&name.ok_or_else(missing)?).map_err(|error| error.to_string())
        };
        Ok(Some(match self.event.as_deref() {
            Some("open") => Event::Open {
                session: self.session.ok_or_else(missing)?,
                cursor: cursor(&self.cursor.ok_or_else(missing)?)?,
            },
            Some("message") => {
                let epoch = self.epoch.ok_or_else(missing)?.parse().map_err(|_| missing())?;
                let position = Position { epoch, offset: self.offset.ok_or_else(missing)? };
                let id = ledger::read(self.data.as_deref().map_or("null", RawValue::get));
                Event::Message { channel: channel(self.channel)?, position, id }
            }
            Some("gap") => {
                let from = self.from.and_then(|from| from.as_u64()).ok_or_else(missing)?;
                Event::Gap { channel: channel(self.channel)?, from, to: self.to }
            }
            Some("close") => Event::Close {
                code: self.code.ok_or_else(missing)?,
                reconnect: self.reconnect.unwrap_or(false),
                retry_ms: self.retry_ms.unwrap_or(0),
            },
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(transport: Transport, head: &str, body: &str) -> String {
        let mut reader = Reader::new(transport);
        let mut seen = Vec::new();
        // A byte at a time: an event may be cut anywhere.
        for byte in format!("{head}\r\n\r\n{body}").bytes() {
            seen.extend(reader.feed(&[byte], &mut Vec::new()).unwrap());
        }
        format!("{seen:?}")
    }

    #[test]
    fn all_transports_bring_the_same_events() {
        let open = r#"{"event":"open","session":"s","cursor":"1~a~news~6"}"#;
        let data = ledger::payload(3, 40);
        let message = format!(
            r#"{{"event":"message","id":"m","channel":"news","offset":7,"epoch":"a","data":{data},"from":"bob"}}"#
        );
        let frame = |text: &str| {
            format!(
                "\u{81}\u{7e}{}{}{text}",
                char::from((text.len() >> 8) as u8),
                char::from(text.len() as u8)
            )
        };
        let ok = "HTTP/1.1 200 OK";
        let of_ndjson = stream(Transport::Ndjson, ok, &format!("{open}\n\n{message}\n"));
        assert!(of_ndjson.contains("Open") && of_ndjson.contains("id: 3"), "{of_ndjson}");
        assert_eq!(
            stream(
                Transport::Sse,
                ok,
                &format!(": hi\n\nevent: open\ndata: {open}\nid: x\n\ndata: {message}\n\n")
            ),
            of_ndjson
        );
        let script = |json: &str| {
            format!("<script nonce=\"n\">p({})</script>\n", serde_json::to_string(json).unwrap())
        };
        let begin = "<!doctype html>\n<script nonce=\"n\">\"use strict\";</script>\n<!-- -->\n";
        assert_eq!(
            stream(Transport::Iframe, ok, &format!("{begin}{}<!---->\n{}", script(open), script(&message))),
            of_ndjson
        );
        let mut reader = Reader::new(Transport::Ws);
        let mut bytes = b"HTTP/1.1 101 Switching\r\n\r\n".to_vec();
        bytes.extend([frame(open), frame(&message)].concat().chars().map(|c| u32::from(c) as u8));
        assert_eq!(format!("{:?}", reader.feed(&bytes, &mut Vec::new()).unwrap()), of_ndjson);
    }

    #[test]
    fn a_polls_answer_is_its_messages_and_then_where_they_lead() {
        let data = ledger::payload(3, 0);
        let body = format!(
            r#"{{"session":"s","cursor":"1~a~news~7","messages":[{{"id":"m","channel":"news","offset":7,"epoch":"a","data":{data}}}],"gaps":[{{"channel":"news","from":5,"to":6}}],"close":null}}"#
        );
        let seen =
            stream(Transport::Poll, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len()), &body);
        let places: Vec<_> = ["Gap", "Message", "Open", "End"].map(|name| seen.find(name).unwrap()).to_vec();
        assert!(places.is_sorted(), "{seen}");
        assert!(
            stream(Transport::Poll, "HTTP/1.1 409 Conflict\r\nContent-Length: 2", "{}")
                .contains("Refused(409)")
        );
    }
}
