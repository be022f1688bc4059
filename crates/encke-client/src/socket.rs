//! The client's side of a WebSocket (RFC 6455), over a connection that the HTTP library has changed the
//! protocol of.

use std::collections::VecDeque;
use std::time::Duration;

use encke_proto::codec::ws::{CloseFrame, CloseStatus, Reader, Received, Rules, accept, frame, key};
use reqwest::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use reqwest::{Response, StatusCode, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::Error;
use crate::sse::MAX_EVENT_BYTES;

/// How many bytes are taken from the connection at once.
const READ_BYTES: usize = 16 * 1024;
/// How long the server may take to take a few bytes in. It reads whenever it is not itself behind with
/// writing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Extensions are not offered, and servers do not mask.
const RULES: Rules = Rules { message_max_bytes: MAX_EVENT_BYTES, compression: false, masked: false };

/// What asks for the change of protocol, and what has to come back.
#[derive(Debug)]
pub(crate) struct Handshake {
    key: String,
}

impl Handshake {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Error::NoRandomness)?;
        Ok(Self { key: key(random) })
    }

    /// The fields of the request.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert("sec-websocket-version", HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            fields.insert("sec-websocket-key", key);
        }
        fields
    }

    /// Whether the answer makes the change that was asked for (RFC 6455 section 4.1).
    pub(crate) fn check(&self, response: &Response) -> Result<(), Error> {
        let bad = |why: &str| Err(Error::BadAnswer(format!("/v1/ws: {why}")));
        let field = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return bad("the protocol was not changed");
        }
        let connection =
            field("connection").split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
        if !field("upgrade").eq_ignore_ascii_case("websocket") || !connection {
            return bad("the protocol was not changed to WebSocket");
        }
        if field("sec-websocket-accept") != accept(&self.key) {
            return bad("it is the answer to another handshake");
        }
        if !field("sec-websocket-extensions").is_empty() || !field("sec-websocket-protocol").is_empty() {
            return bad("something was chosen that was not offered");
        }
        Ok(())
    }
}

/// An open WebSocket.
pub(crate) struct Socket {
    stream: Upgraded,
    reader: Reader,
    buffer: Box<[u8]>,
    /// Texts that were read and not yet handed out.
    texts: VecDeque<String>,
    /// The close handshake is done, or cannot be: nothing more comes or goes.
    parted: bool,
}

impl Socket {
    pub(crate) fn new(stream: Upgraded) -> Self {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Self { stream, reader: Reader::default(), buffer, texts: VecDeque::new(), parted: false }
    }

    /// Waits for bytes, answers what is to be answered, and takes the messages out of them; none if these
    /// bytes held no whole one.
    pub(crate) async fn read(&mut self) -> Result<VecDeque<String>, Error> {
        if self.parted {
            return Err(Error::Ended);
        }
        let count = self.stream.read(&mut self.buffer).await.map_err(|error| Error::broken(&error))?;
        if count == 0 {
            return Err(Error::Ended);
        }
        let mut answers = Vec::new();
        let taken = take_in(&mut self.reader, &self.buffer[..count], &mut self.texts, &mut answers);
        // What is broken behind a message takes nothing from it.
        self.parted = !matches!(taken, Ok(Goes::On));
        let sent = self.send(&answers).await;
        match (taken, sent) {
            (Err(error), _) if self.texts.is_empty() => Err(error),
            (Ok(Goes::On), Err(error)) => Err(error),
            _ => Ok(std::mem::take(&mut self.texts)),
        }
    }

    /// Says goodbye; whether the server hears it does not matter any more.
    pub(crate) async fn part(&mut self) {
        if !self.parted {
            self.parted = true;
            let mut plain = Vec::new();
            CloseFrame::write(&mut plain, CloseStatus::NORMAL, "");
            if let Ok(goodbye) = mask(&plain) {
                let _ = self.send(&goodbye).await;
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|error| Error::broken(&error)),
            Err(_) => Err(Error::Silent(WRITE_TIMEOUT)),
        }
    }
}

/// Whether a connection goes on after what was read.
#[derive(Debug, PartialEq, Eq)]
enum Goes {
    On,
    Out,
}

/// Takes messages out of bytes, and writes what they are to be answered with.
fn take_in(
    reader: &mut Reader,
    mut bytes: &[u8],
    texts: &mut VecDeque<String>,
    answers: &mut Vec<u8>,
) -> Result<Goes, Error> {
    let mut plain = Vec::new();
    loop {
        plain.clear();
        match reader.next(&RULES, &mut bytes) {
            Ok(None) => return Ok(Goes::On),
            Ok(Some(Received::Text(text))) => texts.push_back(text),
            Ok(Some(Received::Ping(payload))) => {
                frame::write(&mut plain, frame::PONG, &payload);
                answers.extend(mask(&plain)?);
            }
            Ok(Some(Received::Pong(_))) => {}
            Ok(Some(Received::Close(said))) => {
                // The same status back (RFC 6455 section 5.5.1).
                match said {
                    Some(close) => CloseFrame::write(&mut plain, close.status, ""),
                    None => frame::write(&mut plain, frame::CLOSE, &[]),
                }
                answers.extend(mask(&plain)?);
                return Ok(Goes::Out);
            }
            Ok(Some(Received::Binary(_))) => {
                CloseFrame::write(&mut plain, CloseStatus::UNSUPPORTED, "events are text");
                answers.extend(mask(&plain)?);
                return Err(Error::BadAnswer("/v1/ws: a message of bytes".to_owned()));
            }
            Err(fault) => {
                CloseFrame::write(&mut plain, fault.status, fault.reason);
                answers.extend(mask(&plain)?);
                return Err(Error::BadAnswer(format!("/v1/ws: {fault}")));
            }
        }
    }
}

/// Masks a frame by chance, as clients have to.
fn mask(frame: &[u8]) -> Result<Vec<u8>, Error> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(|_| Error::NoRandomness)?;
    Ok(frame::masked(frame, mask))
}
