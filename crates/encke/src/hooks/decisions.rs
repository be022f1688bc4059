//! What the application decides: who a client is, whether it may follow a channel, and what becomes of what
//! it publishes. An answer is kept for as long as it says.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_proto::{ChannelName, ErrorCode, JsonText, MessageId, Refusal, Time, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    AnswerCache, CallError, DecisionsReport, EndpointFailure, HookClient, circuit_breaker::CircuitBreaker,
    http_client::ClientError,
};
use crate::{
    clock::Clock,
    config::{Decision, Hooks, OnFailure},
    metrics::Metrics,
    random,
};

/// The longest for which an answer is kept, in seconds.
const CACHE_MAX_S: u64 = 86_400;
/// For how long an identity is good when the answer does not say, and the longest, in seconds.
const EXPIRES_S: u64 = 3_600;
const EXPIRES_MAX_S: u64 = 31_536_000;
/// The most bytes of a reason that a client is told.
const REASON_MAX_BYTES: usize = 256;

/// Why a decision was not got.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The endpoint has failed again and again.
    #[error("the endpoint fails, and is not asked for a while")]
    Paused,
    /// As many are being asked for as may be.
    #[error("too many decisions are being asked for")]
    Busy,
    /// The endpoint has not answered well.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer is not understood.
    #[error("the answer is not understood: {0}")]
    Answer(String),
    /// There is no randomness for an id.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
}

impl AskError {
    /// Whether the endpoint does not work, whatever it is asked. All else clients may have brought about:
    /// they can fill the places, and choose what the endpoint is asked. By that they must not get what the
    /// application would refuse.
    fn is_outage(&self) -> bool {
        match self {
            Self::Paused => true,
            Self::Call(error) => error.is_outage(),
            Self::Busy | Self::Answer(_) | Self::Random(_) => false,
        }
    }
}

/// What the head of a request brings that may show who sends it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Connecting {
    /// The fields, their names in lower case, in the order of the configuration.
    pub headers: Vec<(String, String)>,
}

/// Who a client is, by the application's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The user.
    pub user: UserId,
    /// Patterns of channels that it may follow; none leaves it to the rules.
    pub channels: Option<Vec<String>>,
    /// Patterns of channels that it may publish to; none leaves it to the rules.
    pub publish: Option<Vec<String>>,
    /// For how long that is good, in seconds.
    pub expires_s: u64,
    /// For how long the same question need not be put again, in seconds.
    pub cache_s: u64,
}

/// An answer of the endpoint, as it comes.
#[derive(Default, Deserialize)]
struct Answer {
    allow: Option<bool>,
    reason: Option<String>,
    user: Option<String>,
    channels: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    data: Option<Box<RawValue>>,
    expires_s: Option<u64>,
    #[serde(default)]
    cache_s: u64,
}

/// What a question is about, to find its answer again.
type Asked = (Decision, UserId, ChannelName);

/// Asks the application's endpoint.
pub struct Decisions {
    client: HookClient,
    decide: Vec<Decision>,
    on_failure: OnFailure,
    headers: Vec<String>,
    timeout: Duration,
    /// For what users do who are known.
    places: Semaphore,
    /// For who a client is, which clients without a login can make it ask: they take no place of the users'.
    connect_places: Semaphore,
    breaker: CircuitBreaker,
    last_failure: Mutex<Option<EndpointFailure>>,
    answers: AnswerCache<Asked, Result<(), String>>,
    clock: Arc<dyn Clock>,
}

impl Decisions {
    /// Those of this configuration, if there are any.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn of(hooks: &Hooks, clock: Arc<dyn Clock>) -> Result<Option<Arc<Self>>, ClientError> {
        if hooks.decide.is_empty() {
            return Ok(None);
        }
        let timeout = Duration::from_millis(hooks.timeout_ms);
        let places = || Semaphore::new(usize::try_from(hooks.max_concurrent).unwrap_or(usize::MAX));
        Ok(Some(Arc::new(Self {
            client: HookClient::new(hooks, timeout)?,
            decide: hooks.decide.clone(),
            on_failure: hooks.on_failure,
            headers: hooks.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            timeout,
            places: places(),
            connect_places: places(),
            breaker: CircuitBreaker::default(),
            last_failure: Mutex::default(),
            answers: AnswerCache::default(),
            clock,
        })))
    }

    /// Whether this is decided by the application.
    #[must_use]
    pub fn decides(&self, decision: Decision) -> bool {
        self.decide.contains(&decision)
    }

    /// The header fields that it is told besides `Cookie` and `Origin`, in lower case.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// How the endpoint does.
    #[must_use]
    pub fn report(&self) -> DecisionsReport {
        let (circuit_breaker, failures) = self.breaker.state(self.clock.now().mono_ms);
        DecisionsReport { circuit_breaker, failures, last_failure: self.last_failure().clone() }
    }

    fn last_failure(&self) -> MutexGuard<'_, Option<EndpointFailure>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last_failure(&self, error: &impl fmt::Display) {
        let failure = EndpointFailure { time: self.clock.now().wall, error: error.to_string() };
        *self.last_failure() = Some(failure);
    }

    /// Who a client is.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthorized`] by the application's word; [`ErrorCode::Overloaded`] when there is none,
    /// whatever `on_failure` says.
    pub async fn connect(&self, connecting: &Connecting) -> Result<Connected, Refusal> {
        #[derive(Serialize)]
        struct Question<'a> {
            r#type: &'static str,
            headers: BTreeMap<&'a str, &'a str>,
        }
        let headers = connecting.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let question = Question { r#type: name(Decision::Connect), headers: headers.collect() };
        let answered = self.ask(&self.connect_places, &question).await.and_then(|answer| {
            if answer.allow == Some(false) {
                return Ok(Err(reason(answer.reason)));
            }
            let user = answer.user.ok_or_else(|| AskError::Answer("it names no `user`".to_owned()))?;
            Ok(Ok(Connected {
                user: UserId::new(&user).map_err(|error| AskError::Answer(error.to_string()))?,
                channels: answer.channels,
                publish: answer.publish,
                expires_s: answer.expires_s.unwrap_or(EXPIRES_S).clamp(1, EXPIRES_MAX_S),
                cache_s: answer.cache_s.min(CACHE_MAX_S),
            }))
        });
        match answered {
            Ok(Ok(connected)) => {
                count(Decision::Connect, "allowed");
                Ok(connected)
            }
            Ok(Err(reason)) => {
                count(Decision::Connect, "refused");
                Err(Refusal::new(ErrorCode::Unauthorized, reason))
            }
            Err(error) => Err(self.fail(Decision::Connect, &error)),
        }
    }

    /// Whether a user may follow a channel.
    ///
    /// # Errors
    /// [`ErrorCode::ChannelForbidden`] by the application's word; [`ErrorCode::Overloaded`] when there is
    /// none and `on_failure` is `deny`, or the endpoint was not asked because too many were.
    pub async fn subscribe(&self, user: &UserId, channel: &ChannelName) -> Result<(), Refusal> {
        self.decide(Decision::Subscribe, user, channel, None).await.map(drop)
    }

    /// Whether a user may publish this to a channel, and what is to be published in its place, if anything
    /// is.
    ///
    /// # Errors
    /// Those of [`Decisions::subscribe`].
    pub async fn publish(
        &self,
        user: &UserId,
        channel: &ChannelName,
        data: &JsonText,
    ) -> Result<Option<Box<RawValue>>, Refusal> {
        self.decide(Decision::Publish, user, channel, Some(data)).await
    }

    async fn decide(
        &self,
        decision: Decision,
        user: &UserId,
        channel: &ChannelName,
        data: Option<&JsonText>,
    ) -> Result<Option<Box<RawValue>>, Refusal> {
        #[derive(Serialize)]
        struct Question<'a> {
            r#type: &'static str,
            user: &'a UserId,
            channel: &'a ChannelName,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a JsonText>,
        }
        if !self.decides(decision) {
            return Ok(None);
        }
        let forbidden = |reason: String| Refusal::new(ErrorCode::ChannelForbidden, reason);
        let (asked, now) = ((decision, user.clone(), channel.clone()), self.clock.now().wall);
        if let Some(answer) = self.answers.get(&asked, now) {
            return answer.map(|()| None).map_err(forbidden);
        }
        let question = Question { r#type: name(decision), user, channel, data };
        let answered = self.ask(&self.places, &question).await;
        let answered = answered.and_then(|answer| match answer.allow {
            Some(allow) => Ok((allow, answer)),
            None => Err(AskError::Answer("it has no `allow`".to_owned())),
        });
        let (is_allowed, answer) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                let refusal = self.fail(decision, &error);
                let is_allowed = self.on_failure == OnFailure::Allow && error.is_outage();
                return if is_allowed { Ok(None) } else { Err(refusal) };
            }
        };
        count(decision, if is_allowed { "allowed" } else { "refused" });
        let result = if is_allowed { Ok(()) } else { Err(reason(answer.reason)) };
        // What changes data is asked for each.
        if answer.cache_s > 0 && answer.data.is_none() {
            let until = Time(now.0 + answer.cache_s.min(CACHE_MAX_S) * 1000);
            self.answers.put(asked, result.clone(), until, now);
        }
        result.map(|()| answer.data).map_err(forbidden)
    }

    /// Puts a question, within the time and the number that are configured.
    async fn ask(&self, places: &Semaphore, question: &impl Serialize) -> Result<Answer, AskError> {
        let body = serde_json::to_vec(question).map_err(|error| AskError::Answer(error.to_string()))?;
        let place = timeout(self.timeout, places.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(AskError::Busy) };
        let now = self.clock.now();
        if !self.breaker.permits(now.mono_ms) {
            return Err(AskError::Paused);
        }
        let id = MessageId::fresh(now.wall, random::bits()?).to_string();
        let answer = self.client.post(&id, now.wall, body).await;
        match &answer {
            Err(error) if error.is_outage() => self.breaker.failed(self.clock.now().mono_ms),
            // An answer that is no good may be what one client's data have caused. It says nothing of others.
            Ok(_) | Err(_) => self.breaker.succeeded(),
        }
        if let Err(error) = &answer
            && error.is_refusal()
        {
            // Clients can bring that about as often as they like.
            tracing::debug!(%error, "the application refuses by a status");
            if error.is_of_endpoint() {
                self.set_last_failure(error);
            }
            return Ok(Answer { allow: Some(false), ..Answer::default() });
        }
        serde_json::from_slice(&answer?).map_err(|error| AskError::Answer(error.to_string()))
    }

    fn fail(&self, decision: Decision, error: &AskError) -> Refusal {
        count(decision, "failed");
        // That it is left alone says nothing new of it.
        if !matches!(error, AskError::Paused) {
            self.set_last_failure(error);
        }
        tracing::warn!(hook = name(decision), %error, "the application has not decided");
        Refusal::new(ErrorCode::Overloaded, "the application that decides does not answer; try again later")
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("decide", &self.decide).finish_non_exhaustive()
    }
}

fn name(decision: Decision) -> &'static str {
    match decision {
        Decision::Connect => "connect",
        Decision::Subscribe => "subscribe",
        Decision::Publish => "publish",
    }
}

fn count(decision: Decision, outcome: &'static str) {
    Metrics::global().hook_decisions(name(decision), outcome).inc();
}

/// What a client is told of a refusal.
fn reason(reason: Option<String>) -> String {
    let mut reason = reason.unwrap_or_else(|| "the application refuses this".to_owned());
    while reason.len() > REASON_MAX_BYTES {
        reason.pop();
    }
    reason
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tracing::subscriber::set_default;

    use super::*;
    use crate::{clock::SystemClock, config::Secret};

    /// An endpoint that answers a question each by these statuses.
    async fn answering(statuses: &'static [u16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for status in statuses {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut question = Vec::new();
                while !question.ends_with(b"}") {
                    assert_ne!(socket.read_buf(&mut question).await.unwrap(), 0);
                }
                let answer =
                    format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    fn subscribing(url: String) -> Hooks {
        Hooks {
            url: Some(url),
            secret: Some(Secret::new("whsec_9b1d4e7f20c35a6881e0d2f4b6a79c13".to_owned())),
            allow_private: true,
            decide: vec![Decision::Subscribe],
            ..Hooks::default()
        }
    }

    /// Takes what is logged from `info` on.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_refusal_by_a_status_is_no_line_each_and_told_where_the_endpoint_may_be_wrong() {
        const STATUSES: [u16; 7] = [403, 422, 401, 404, 405, 410, 400];
        let lines = Lines::default();
        let writer = lines.clone();
        let _guard = set_default(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish());
        let hooks = subscribing(answering(&STATUSES).await);
        let decisions = Decisions::of(&hooks, Arc::new(SystemClock::new())).unwrap().unwrap();
        let (user, channel) = (UserId::new("alice").unwrap(), ChannelName::public("room").unwrap());
        let mut told = Vec::new();
        for _ in STATUSES {
            let refused = decisions.subscribe(&user, &channel).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::ChannelForbidden);
            told.push(decisions.report().last_failure.map(|failure| failure.error));
        }
        let of = |status: u16| Some(format!("the answer has the status {status}"));
        assert_eq!(told, [None, None, of(401), of(404), of(405), of(410), of(410)]);
        assert_eq!(decisions.report().failures, 0, "it is asked as before");
        assert_eq!(String::from_utf8_lossy(&lines.0.lock().unwrap()), "");
    }

    #[tokio::test]
    async fn what_is_not_asked_because_too_much_is_asked_is_never_allowed() {
        // Nothing listens there.
        let hooks = subscribing("http://127.0.0.1:1/".to_owned());
        let hooks = Hooks { on_failure: OnFailure::Allow, timeout_ms: 50, ..hooks };
        let decisions = Decisions::of(&hooks, Arc::new(SystemClock::new())).unwrap().unwrap();
        let (user, channel) = (UserId::new("alice").unwrap(), ChannelName::public("room").unwrap());
        let all = decisions.places.acquire_many(64).await.unwrap();
        let refused = decisions.subscribe(&user, &channel).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        drop(all);
        decisions.subscribe(&user, &channel).await.unwrap();
    }
}
