//! A message as JetStream returns it, parsed from both kinds of reply, and JetStream's error codes as faults.
//! What its header says of a log is in `record.rs`.

use async_nats::{HeaderMap, Message};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::fault::Fault;

/// The header that carries what we have to say of a message besides its payload.
pub(super) const HEAD: &str = "Encke";

/// A message as a stream holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) seq: u64,
    /// When the stream took it, by the clock of its leader, in milliseconds since 1970.
    pub(super) taken_ms: u64,
    pub(super) head: String,
    pub(super) payload: Bytes,
}

/// The answer to a question for one message.
#[derive(Deserialize)]
struct GetAnswer {
    message: Option<Got>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Got {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// How JetStream says no.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) description: String,
}

/// JetStream's codes that mean something to us (`server/errors.json` there).
mod code {
    pub(super) const NO_MESSAGE: u32 = 10_037;
    pub(super) const STREAM_NOT_FOUND: u32 = 10_059;
    pub(super) const WRONG_LAST_SEQUENCE: u32 = 10_071;
    pub(super) const WRONG_LAST_SEQUENCE_IN_PROCESS: u32 = 10_164;
    pub(super) const STORE_FAILED: u32 = 10_077;
    pub(super) const BATCH_INCOMPLETE: u32 = 10_176;
    pub(super) const TOO_MANY_BATCHES: u32 = 10_210;
}

impl ApiError {
    pub(super) fn fault(&self) -> Fault {
        match self.err_code {
            code::STREAM_NOT_FOUND => Fault::NoStream,
            code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_IN_PROCESS => Fault::Mismatch,
            code::BATCH_INCOMPLETE | code::TOO_MANY_BATCHES => Fault::Busy(self.description.clone()),
            code::STORE_FAILED => Fault::Unknown(format!("NATS could not store it: {}", self.description)),
            // 503: no leader, too many requests under way, no room. Nothing was stored.
            _ if self.code == 503 => Fault::Busy(self.description.clone()),
            _ => Fault::Refused(format!("NATS refuses ({}): {}", self.err_code, self.description)),
        }
    }

    pub(super) fn is_missing_message(&self) -> bool {
        self.err_code == code::NO_MESSAGE
    }
}

impl Stored {
    /// From the answer of the stream's leader; none when it has no such message.
    pub(super) fn from_answer(json: &[u8]) -> Result<Option<Self>, Fault> {
        let answer: GetAnswer = serde_json::from_slice(json)
            .map_err(|error| Fault::damaged(format!("NATS answers oddly: {error}")))?;
        if let Some(error) = answer.error {
            return if error.is_missing_message() { Ok(None) } else { Err(error.fault()) };
        }
        let Some(got) = answer.message else { return Ok(None) };
        let decode = |text: &str| {
            STANDARD.decode(text).map_err(|_| Fault::damaged("NATS answers with what is not base64"))
        };
        let headers = decode(&got.hdrs)?;
        let headers = String::from_utf8_lossy(&headers);
        let head = headers
            .split("\r\n")
            .find_map(|line| line.strip_prefix(HEAD)?.strip_prefix(':'))
            .map(str::trim)
            .unwrap_or_default();
        Ok(Some(Self {
            subject: got.subject,
            seq: got.seq,
            taken_ms: milliseconds(&got.time)?,
            head: head.to_owned(),
            payload: decode(&got.data)?.into(),
        }))
    }

    /// From a message that some replica of the stream sent.
    pub(super) fn from_message(message: Message) -> Result<Self, Fault> {
        let headers =
            message.headers.as_ref().ok_or_else(|| Fault::damaged("a stored message without headers"))?;
        Ok(Self {
            subject: text(headers, "Nats-Subject")?.to_owned(),
            seq: number(headers, "Nats-Sequence")?,
            taken_ms: milliseconds(text(headers, "Nats-Time-Stamp")?)?,
            head: headers.get(HEAD).map(|head| head.as_str().to_owned()).unwrap_or_default(),
            payload: message.payload,
        })
    }
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Fault> {
    headers
        .get(name)
        .map(|value| value.as_str())
        .ok_or_else(|| Fault::damaged(format!("a message without {name}")))
}

/// A header as a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<u64, Fault> {
    text(headers, name)?.parse().map_err(|_| Fault::damaged(format!("{name} is not a number")))
}

fn milliseconds(text: &str) -> Result<u64, Fault> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Fault::damaged("a time that is none"))?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| Fault::damaged("a time before 1970"))
}
