//! Pushes over one connection that stays open: one a line, each answered by a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::unfold;
use reqwest::{Body, Response};
use tokio::sync::mpsc;

use crate::http::Http;
use crate::id::new_id;
use crate::lines::LineReader;
use crate::push_many::PushResult;
use crate::{AcceptedOne, Error, Push};

/// How many pushes wait to be sent; with that many, [`PushSender::send`] waits.
const WAITING_MAX: usize = 256;
/// How long nothing is sent until an empty line is, so that the server does not end the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long the server may say nothing while it owes results.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Pushes over one connection, of whose results each comes as soon as its push is accepted.
///
/// Sending and reading results go on beside each other ([`PushStream::split`]): the server reads no further
/// when results are not taken. Nothing is sent again by itself. A push that has no result when the stream has
/// ended may or may not have been accepted; sent again with the same [`Push::id`] it makes no second message.
#[derive(Debug)]
pub struct PushStream {
    sender: PushSender,
    results: PushResults,
}

/// The half of a [`PushStream`] that sends. When it is dropped, the stream ends with the last result.
#[derive(Debug)]
pub struct PushSender {
    lines: mpsc::Sender<Vec<u8>>,
    sent: Arc<AtomicU64>,
}

/// The half of a [`PushStream`] that reads results.
#[derive(Debug)]
pub struct PushResults {
    response: Response,
    reader: LineReader,
    sent: Arc<AtomicU64>,
    answered: u64,
    is_over: bool,
}

impl PushStream {
    pub(crate) async fn open(http: &Http) -> Result<Self, Error> {
        let (lines, waiting) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
        let body = unfold(waiting, |mut waiting| async move {
            let line = match tokio::time::timeout(KEEP_ALIVE, waiting.recv()).await {
                Ok(line) => line?,
                Err(_) => b"\n".to_vec(),
            };
            Some((Ok::<_, std::convert::Infallible>(line), waiting))
        });
        let response = http.send_lines("/api/push", Body::wrap_stream(body)).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let results = PushResults {
            response,
            reader: LineReader::default(),
            sent: Arc::clone(&sent),
            answered: 0,
            is_over: false,
        };
        Ok(Self { sender: PushSender { lines, sent }, results })
    }

    /// Both halves, to be used beside each other.
    #[must_use]
    pub fn split(self) -> (PushSender, PushResults) {
        (self.sender, self.results)
    }

    /// Sends one push and waits for its result. Several that are under way at a time are much faster: see
    /// [`PushStream::split`].
    ///
    /// # Errors
    /// What the server refuses, and [`Error::Ended`] when the stream has ended.
    pub async fn push(&mut self, push: &Push) -> Result<AcceptedOne, Error> {
        self.sender.send(push).await?;
        self.results.next().await.unwrap_or(Err(Error::Ended))
    }
}

impl PushSender {
    /// Hands a push over to be sent. It is given an idempotency key if it has none.
    ///
    /// # Errors
    /// [`Error::Ended`] when the stream has ended.
    pub async fn send(&mut self, push: &Push) -> Result<(), Error> {
        let mut push = push.clone();
        push.id.get_or_insert(new_id()?);
        self.send_line(serde_json::to_vec(&push).map_err(Error::Encode)?).await
    }

    /// The same for a push in the form of the protocol, which the server judges. It is one line: line breaks
    /// in it become spaces, as they may stand between the tokens of JSON alone. A push that is empty is none.
    ///
    /// # Errors
    /// [`Error::Ended`] when the stream has ended.
    pub async fn send_json(&mut self, json: &[u8]) -> Result<(), Error> {
        let line: Vec<u8> =
            json.trim_ascii().iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        if line.is_empty() { Ok(()) } else { self.send_line(line).await }
    }

    async fn send_line(&mut self, mut line: Vec<u8>) -> Result<(), Error> {
        line.push(b'\n');
        let place = self.lines.reserve().await.map_err(|_| Error::Ended)?;
        // Counted before, since its result may be there before this returns.
        self.sent.fetch_add(1, Ordering::AcqRel);
        place.send(line);
        Ok(())
    }
}

impl PushResults {
    /// The result of the next push, in the order in which they were sent; none when the stream is over. A
    /// stream that ended before all had a result says so once, by [`Error::Ended`] or what broke it.
    pub async fn next(&mut self) -> Option<Result<AcceptedOne, Error>> {
        let json = match self.next_json().await? {
            Ok(json) => json,
            Err(error) => return Some(Err(error)),
        };
        let result = serde_json::from_str::<PushResult>(&json);
        Some(match result {
            Ok(result) => result.into_result(),
            Err(error) => Err(Error::BadAnswer(format!("/api/push: {error}"))),
        })
    }

    /// The same as the server wrote it: `{"id","mode","accepted","online","offline"}`, or `{"error"}`.
    pub async fn next_json(&mut self) -> Option<Result<String, Error>> {
        while !self.is_over {
            if let Some(line) = self.reader.next_line() {
                self.answered += 1;
                return Some(Ok(line));
            }
            if let Err(error) = self.read().await {
                self.is_over = true;
                return Some(Err(error));
            }
        }
        None
    }

    fn owed(&self) -> u64 {
        self.sent.load(Ordering::Acquire).saturating_sub(self.answered)
    }

    async fn read(&mut self) -> Result<(), Error> {
        let owed = self.owed();
        let Ok(chunk) = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await else {
            // What was sent meanwhile has its own time.
            return if owed > 0 { Err(Error::Silent(SILENCE_MAX)) } else { Ok(()) };
        };
        match chunk.map_err(|error| Error::broken(&error))? {
            Some(bytes) => {
                self.reader.push(&bytes).map_err(|_| Error::BadAnswer("a line without end".to_owned()))
            }
            None => {
                self.is_over = true;
                if self.owed() > 0 { Err(Error::Ended) } else { Ok(()) }
            }
        }
    }
}
