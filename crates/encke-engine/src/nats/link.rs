//! The connection to NATS, and what is asked over it. JetStream is a matter of subjects and JSON; this is all
//! of it that the engine needs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Message, Request, client::RequestErrorKind, connection::State,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    answers::Answers,
    fault::Fault,
    options::{Login, NatsOptions},
    stored::{ApiError, HEAD, Stored},
};

/// How long an answer of NATS is waited for, in milliseconds.
pub(super) const DEADLINE_MS: u64 = 2_000;
/// The shortest and the longest wait before the connection is tried again, in milliseconds.
const RECONNECT_MS: std::ops::Range<u64> = 50..1_000;
/// How long a call waits for it, in milliseconds.
const RECONNECT_WAIT_MS: u64 = 1_000;
/// How often a silent connection is asked whether it lives, in seconds.
const PING_S: u64 = 2;
/// The most requests that wait to be written.
const REQUESTS_MAX: usize = 4_096;
/// The most messages of one subscription that wait to be taken. What comes above it is dropped, and found
/// again by its sequence.
const UNHEARD_MAX_MESSAGES: usize = 8_192;
/// The most messages of one atomic batch (`server/stream.go` there).
pub(super) const BATCH_MAX_MESSAGES: usize = 1_000;
/// The most subjects that one question for last messages names (1,024 there), and the most bytes that they
/// take.
const LASTS_MAX_SUBJECTS: usize = 500;
const LASTS_MAX_BYTES: usize = 256 * 1024;
/// The most questions that are under way at once for one call.
pub(super) const ASKED_MAX: usize = 64;
/// The most subjects that NATS lists at a time (`JSMaxSubjectDetails` there), and so the most names that are
/// in memory at once for one page.
const LISTED_MAX: usize = 100_000;

/// A message on its way into a stream.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) subject: String,
    pub(super) head: String,
    pub(super) payload: Bytes,
    /// The sequence of the last message that must be there on the subject; 0 for none.
    pub(super) expect: Option<u64>,
    /// After how many seconds the stream may forget it, by the clock of the servers.
    pub(super) ttl_s: Option<u64>,
}

impl Put {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !self.head.is_empty() {
            headers.insert(HEAD, self.head.as_str());
        }
        if let Some(sequence) = self.expect {
            headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string());
        }
        if let Some(seconds) = self.ttl_s {
            headers.insert("Nats-TTL", seconds.max(1).to_string());
        }
        headers
    }
}

/// What a stream's leader says of it.
#[derive(Clone, Debug)]
pub(super) struct StreamInfo {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) most_of_a_subject: i64,
    pub(super) config: Value,
    /// The subjects that were asked for, sorted; how many there are in all.
    pub(super) subjects: Vec<String>,
    pub(super) total: usize,
}

/// The connection.
pub(super) struct Link {
    client: Client,
    /// Whether each stream is on one server only, so that every answer knows the newest.
    alone: bool,
    stopped: AtomicBool,
    /// How often the connection was made or may have missed something; a task that remembers another number
    /// looks again.
    breaks: watch::Receiver<u64>,
    /// For the names of batches.
    next_batch: AtomicU64,
    batches: String,
    answers: Answers,
}

impl Link {
    pub(super) async fn open(options: &NatsOptions, node_name: &str) -> Result<Arc<Self>, Fault> {
        let (broken, breaks) = watch::channel(0);
        let mut connect = ConnectOptions::new()
            .name(format!("encke {} {node_name}", options.prefix))
            .request_timeout(Some(Duration::from_millis(DEADLINE_MS)))
            .connection_timeout(Duration::from_millis(DEADLINE_MS))
            .ping_interval(Duration::from_secs(PING_S))
            .client_capacity(REQUESTS_MAX)
            .subscription_capacity(UNHEARD_MAX_MESSAGES)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                if matches!(event, Event::Connected | Event::Disconnected | Event::SlowConsumer(_)) {
                    broken.send_modify(|breaks| *breaks += 1);
                }
                tracing::debug!(%event, "NATS");
                std::future::ready(())
            });
        connect = match &options.login {
            Some(Login::User { name, password }) => connect.user_and_password(name.clone(), password.clone()),
            Some(Login::Token(token)) => connect.token(token.clone()),
            None => connect,
        };
        if options.tls {
            connect = connect.require_tls(true);
        }
        if let Some(file) = &options.authorities {
            connect = connect.add_root_certificates(file.clone());
        }
        let client = connect
            .connect(options.servers.as_slice())
            .await
            .map_err(|error| Fault::Refused(format!("NATS: {error}")))?;
        let answers = Answers::open(&client).await?;
        Ok(Arc::new(Self {
            client,
            answers,
            alone: options.replicas == 1,
            stopped: AtomicBool::new(false),
            breaks,
            next_batch: AtomicU64::new(0),
            batches: format!("{:016x}", random()?),
        }))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn alone(&self) -> bool {
        self.alone
    }

    pub(super) fn breaks(&self) -> u64 {
        *self.breaks.borrow()
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Whether it makes sense to ask.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.is_stopped() {
            return Err(Fault::Refused("the engine was stopped".into()));
        }
        // What is asked while there is no connection would be sent when there is one again, long after the
        // caller was told that nothing was accepted.
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err(Fault::Refused("there is no connection to NATS".into()))
            }
        }
    }

    /// Waits for the connection if it is just being made again, as it is while servers are restarted one
    /// after the other.
    pub(super) async fn connected(&self) -> Result<(), Fault> {
        let mut breaks = self.breaks.clone();
        let end = Instant::now() + Duration::from_millis(RECONNECT_WAIT_MS);
        loop {
            breaks.borrow_and_update();
            match self.check() {
                Err(fault) if !self.is_stopped() => {
                    match tokio::time::timeout_at(end, breaks.changed()).await {
                        Ok(Ok(())) => {}
                        _ => return Err(fault),
                    }
                }
                other => return other,
            }
        }
    }

    async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Fault> {
        self.check()?;
        let mut request = Request::new().payload(payload);
        if let Some(headers) = headers.filter(|headers| !headers.is_empty()) {
            request = request.headers(headers);
        }
        self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Fault::Busy("no server has the stream now".into()),
            RequestErrorKind::TimedOut => {
                Fault::Unknown(format!("NATS did not answer within {DEADLINE_MS} ms"))
            }
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Fault::Refused(format!("NATS: {error}"))
            }
            RequestErrorKind::Other => Fault::Unknown(format!("NATS: {error}")),
        })
    }

    async fn api(&self, subject: String, question: &Value) -> Result<Bytes, Fault> {
        let payload = if question.is_null() { Bytes::new() } else { question.to_string().into() };
        Ok(self.ask(subject, None, payload).await?.payload)
    }

    /// Puts one message into a stream; its sequence.
    pub(super) async fn put(&self, put: Put) -> Result<u64, Fault> {
        let headers = put.headers();
        let answer = self.ask(put.subject, Some(headers), put.payload).await?;
        sequence(&answer.payload)
    }

    /// Puts all of these into a stream, or none: they get consecutive sequences, the last of which is
    /// returned.
    pub(super) async fn put_all(&self, mut puts: Vec<Put>) -> Result<u64, Fault> {
        let Some(last) = puts.pop() else { return Ok(0) };
        if puts.is_empty() {
            return self.put(last).await;
        }
        self.check()?;
        let batch = format!("{}-{}", self.batches, self.next_batch.fetch_add(1, Ordering::Relaxed));
        let count = puts.len() + 1;
        let mark = |put: &Put, sequence: usize| {
            let mut headers = put.headers();
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", sequence.to_string());
            headers
        };
        for (index, put) in puts.into_iter().enumerate() {
            let headers = mark(&put, index + 1);
            let sent = self.client.publish_with_headers(put.subject, headers, put.payload).await;
            sent.map_err(|error| Fault::Unknown(format!("NATS: {error}")))?;
        }
        let mut headers = mark(&last, count);
        headers.insert("Nats-Batch-Commit", "1");
        let answer = self.ask(last.subject, Some(headers), last.payload).await?;
        sequence(&answer.payload)
    }

    /// The last message of a subject, as the stream's leader has it.
    pub(super) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, Fault> {
        let question = json!({ "last_by_subj": subject });
        if !self.alone {
            return Stored::from_answer(
                &self.api(format!("$JS.API.STREAM.MSG.GET.{stream}"), &question).await?,
            );
        }
        let answer =
            self.ask(format!("$JS.API.DIRECT.GET.{stream}"), None, question.to_string().into()).await?;
        match status(&answer) {
            None => Stored::from_message(answer).map(Some),
            Some(404) => Ok(None),
            Some(status) => Err(odd(status)),
        }
    }

    /// The last messages of these subjects, by subject; of some of them none may be there. Unless `fresh`, a
    /// replica that is a little behind may answer.
    pub(super) async fn lasts(
        &self,
        stream: &str,
        subjects: &[String],
        fresh: bool,
    ) -> Result<HashMap<String, Stored>, Fault> {
        let mut found = HashMap::with_capacity(subjects.len());
        if fresh && !self.alone {
            for answer in
                at_once(ASKED_MAX, subjects.iter().map(|subject| self.last(stream, subject)).collect()).await
            {
                if let Some(stored) = answer? {
                    found.insert(stored.subject.clone(), stored);
                }
            }
            return Ok(found);
        }
        if let [subject] = subjects
            && self.alone
            && !subject.contains('*')
        {
            found.extend(self.last(stream, subject).await?.map(|stored| (stored.subject.clone(), stored)));
            return Ok(found);
        }
        for chunk in chunks(subjects) {
            let (stored, _) = self.lasts_since(stream, chunk, 0).await?;
            found.extend(stored.into_iter().map(|stored| (stored.subject.clone(), stored)));
        }
        Ok(found)
    }

    /// The last messages of a chunk of subjects, as far as their sequence is at least `since`, and up to
    /// which sequence that holds; none when nothing at all was found.
    pub(super) async fn lasts_since(
        &self,
        stream: &str,
        subjects: &[String],
        since: u64,
    ) -> Result<(Vec<Stored>, Option<u64>), Fault> {
        let question = json!({ "multi_last": subjects, "seq": since });
        let (stored, end) = self.ask_many(stream, &question, usize::MAX).await?;
        Ok((stored, end))
    }

    /// The messages of a subject from a sequence on, at most so many and about so many bytes.
    pub(super) async fn next(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Stored>, Fault> {
        let question = json!({
            "seq": from.max(1), "next_by_subj": subject, "batch": count.max(1), "max_bytes": bytes.max(1),
        });
        Ok(self.ask_many(stream, &question, count.max(1)).await?.0)
    }

    /// Asks what is answered by many messages and a last one that says so.
    async fn ask_many(
        &self,
        stream: &str,
        question: &Value,
        most: usize,
    ) -> Result<(Vec<Stored>, Option<u64>), Fault> {
        self.check()?;
        let mut answers = self.answers.expect();
        let payload = question.to_string().into();
        let asked = self
            .client
            .publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), answers.reply.clone(), payload)
            .await;
        asked.map_err(|error| Fault::Unknown(format!("NATS: {error}")))?;
        let end = Instant::now() + Duration::from_millis(DEADLINE_MS);
        let mut found = Vec::new();
        loop {
            let answer = tokio::time::timeout_at(end, answers.next()).await;
            let answer =
                answer.map_err(|_| Fault::Unknown(format!("NATS did not answer within {DEADLINE_MS} ms")))?;
            let Some(answer) = answer else {
                return Err(Fault::Unknown("the connection to NATS ended".into()));
            };
            match status(&answer) {
                None if found.len() < most => found.push(Stored::from_message(answer)?),
                None => return Err(Fault::damaged("NATS answers more than was asked")),
                Some(204) => {
                    let headers = answer.headers.as_ref();
                    let up_to =
                        headers.and_then(|headers| headers.get("Nats-UpTo-Sequence")?.as_str().parse().ok());
                    return Ok((found, up_to));
                }
                Some(404) => return Ok((found, None)),
                Some(503) => return Err(Fault::Busy("no server has the stream now".into())),
                Some(status) => return Err(odd(status)),
            }
        }
    }

    /// What the leader says of a stream, with the subjects that match a filter, from the one at `offset` on.
    pub(super) async fn info(
        &self,
        stream: &str,
        subjects: Option<(&str, usize)>,
    ) -> Result<StreamInfo, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            error: Option<ApiError>,
            #[serde(default)]
            config: Value,
            state: Option<State>,
            #[serde(default)]
            total: usize,
        }
        #[derive(Deserialize)]
        struct State {
            first_seq: u64,
            last_seq: u64,
            #[serde(default)]
            subjects: HashMap<String, u64>,
        }
        let question = match subjects {
            Some((filter, offset)) => json!({ "subjects_filter": filter, "offset": offset }),
            None => Value::Null,
        };
        let answer = self.api(format!("$JS.API.STREAM.INFO.{stream}"), &question).await?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| Fault::damaged(format!("NATS answers oddly: {error}")))?;
        if let Some(error) = answer.error {
            return Err(error.fault());
        }
        let state = answer.state.ok_or_else(|| Fault::damaged("a stream without a state"))?;
        let mut subjects: Vec<String> = state.subjects.into_keys().collect();
        subjects.sort_unstable();
        Ok(StreamInfo {
            first_seq: state.first_seq,
            last_seq: state.last_seq,
            most_of_a_subject: answer
                .config
                .get("max_msgs_per_subject")
                .and_then(Value::as_i64)
                .unwrap_or(-1),
            config: answer.config,
            total: answer.total.max(subjects.len()),
            subjects,
        })
    }

    /// At most `limit` of the subjects that match a filter, sorted, behind `after`. At most [`LISTED_MAX`]
    /// are in memory at once; the server looks at all of them each time.
    pub(super) async fn subjects(
        &self,
        stream: &str,
        filter: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        let mut offset = 0;
        loop {
            let info = self.info(stream, Some((filter, offset))).await?;
            let listed = info.subjects.len();
            let behind = info
                .subjects
                .into_iter()
                .filter(|subject| after.is_none_or(|after| subject.as_str() > after));
            found.extend(behind.take(limit - found.len()));
            offset += listed;
            if found.len() >= limit || listed == 0 || offset >= info.total {
                return Ok(found);
            }
            debug_assert!(listed <= LISTED_MAX, "NATS lists that many at a time");
        }
    }

    /// Makes a stream, or finds it there with the same settings.
    pub(super) async fn create(&self, config: &Value) -> Result<(), Fault> {
        self.configure("CREATE", config).await
    }

    /// Changes the settings of a stream.
    pub(super) async fn update(&self, config: &Value) -> Result<(), Fault> {
        self.configure("UPDATE", config).await
    }

    async fn configure(&self, how: &str, config: &Value) -> Result<(), Fault> {
        let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
        ok(&self.api(format!("$JS.API.STREAM.{how}.{name}"), config).await?)
    }

    /// Takes one message out of a stream. That it is not there any more is as good.
    pub(super) async fn delete(&self, stream: &str, seq: u64) -> Result<(), Fault> {
        let answer = self
            .api(format!("$JS.API.STREAM.MSG.DELETE.{stream}"), &json!({ "seq": seq, "no_erase": true }))
            .await?;
        match ok(&answer) {
            // The code for a message that is not there differs between a single server and a cluster.
            Err(Fault::Refused(_)) => Ok(()),
            other => other,
        }
    }

    /// Takes those messages of a subject out of a stream that are before a sequence. The server looks at all
    /// that is stored between the first of them and the last, so this is for what comes seldom.
    pub(super) async fn purge_before(&self, stream: &str, subject: &str, seq: u64) -> Result<(), Fault> {
        let filter = json!({ "filter": subject, "seq": seq });
        ok(&self.api(format!("$JS.API.STREAM.PURGE.{stream}"), &filter).await?)
    }

    /// Takes the oldest of the messages that match a filter out of a stream, all but so many. The server
    /// looks at all that is stored from the first of them on, so this is for what comes seldom.
    pub(super) async fn purge_but(&self, stream: &str, filter: &str, keep: usize) -> Result<(), Fault> {
        let filter = json!({ "filter": filter, "keep": keep });
        ok(&self.api(format!("$JS.API.STREAM.PURGE.{stream}"), &filter).await?)
    }

    /// Takes all messages that match a filter out of a stream.
    pub(super) async fn purge(&self, stream: &str, filter: &str) -> Result<(), Fault> {
        ok(&self.api(format!("$JS.API.STREAM.PURGE.{stream}"), &json!({ "filter": filter })).await?)
    }
}

/// Does these, so many at a time, and returns what came of each in their order.
pub(super) async fn at_once<F: Future>(most: usize, futures: Vec<F>) -> Vec<F::Output> {
    stream::iter(futures).buffered(most).collect().await
}

/// Subjects in chunks that one question may name.
pub(super) fn chunks(subjects: &[String]) -> Vec<&[String]> {
    let mut chunks = Vec::new();
    let mut rest = subjects;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |subject: &&String| {
            bytes += subject.len() + 3;
            bytes <= LASTS_MAX_BYTES
        };
        let count = rest.iter().take(LASTS_MAX_SUBJECTS).take_while(fits).count().max(1);
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

/// 64 bits from the operating system.
pub(super) fn random() -> Result<u64, Fault> {
    getrandom::u64().map_err(|error| Fault::Refused(format!("no randomness: {error}")))
}

/// How long to wait before the connection is tried again: longer each time, and never all nodes at the same
/// moment.
fn delay(attempts: usize) -> Duration {
    let doubled = RECONNECT_MS.start << attempts.min(5);
    let longest = doubled.min(RECONNECT_MS.end);
    let chance = random().unwrap_or(longest / 2) % longest;
    Duration::from_millis(longest / 2 + chance / 2)
}

fn status(message: &Message) -> Option<u16> {
    message.status.map(|status| status.as_u16())
}

fn odd(status: u16) -> Fault {
    Fault::Refused(format!("NATS answers {status}"))
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

fn sequence(json: &[u8]) -> Result<u64, Fault> {
    let ack: Ack = serde_json::from_slice(json)
        .map_err(|error| Fault::Unknown(format!("NATS answers oddly: {error}")))?;
    match ack.error {
        Some(error) => Err(error.fault()),
        None => Ok(ack.seq),
    }
}

fn ok(json: &[u8]) -> Result<(), Fault> {
    sequence(json).map(|_| ())
}
