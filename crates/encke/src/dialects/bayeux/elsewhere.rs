//! Sessions that another node serves. Each is at one node: a connect fetches it to the node that holds the
//! connect, where it goes on as it stood, and any other message is carried out by the node where it is.

use std::{net::IpAddr, sync::Arc, time::Duration};

use encke_proto::{ErrorCode, SessionId, codec::bayeux::Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    NAME,
    record::Record,
    server::Server,
    session::{Changing, Session},
};
use crate::{http::refusal::Refused, random};

/// How long a session is waited for that is between two nodes, or changes.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Before it is asked for again: at first, and at most.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(80);
/// By how much more at most, in milliseconds.
const MORE_MS: u128 = 16;

/// What a node asks of the others, and then of the one that has the session: only one is to do anything, and
/// it may move meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Who has a session. Its client has received the batch of this number.
    Where { session: SessionId, acknowledged: Option<u64> },
    /// To give it here.
    Give { session: SessionId },
    /// To carry a message out that came here from this address.
    CarryOut { session: SessionId, message: String, from: Option<IpAddr> },
}

/// What the node answers that has it; others answer null.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Here,
    /// It changes just now, or is just being fetched.
    Passing,
    Given(Box<Handed>),
    /// The replies, as JSON.
    Replies(Vec<String>),
}

/// A session on its way from node to node, whose clocks differ.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    record: Record,
    /// In how many milliseconds it is over.
    due_in_ms: u64,
    /// In how many it is written down next, if it ever was.
    journal_in_ms: Option<u64>,
}

/// Where the session of a message is.
#[derive(Debug)]
pub(super) enum Reached {
    /// Here, and it stays here while the message is carried out.
    Here(Changing),
    /// At another node, which has answered.
    Answered(Vec<Vec<u8>>),
    Nowhere,
}

/// A session that is known here from now on: it was, or another node has given it, or it was written down
/// by a process that is no more. What is not known here is looked for as often as its address may ask, and
/// what is nowhere counts among its failures.
pub(super) async fn find(
    server: &Server,
    client: Option<&str>,
    acknowledged: Option<u64>,
    from: Option<IpAddr>,
) -> Result<Option<Arc<Session>>, Refused> {
    if let Some(known) = server.known(client).filter(|session| !session.is_stale(acknowledged)) {
        return Ok(Some(known));
    }
    server.count_look(from)?;
    let found = match client.and_then(|client| client.parse().ok()) {
        Some(id) => fetch(server, id, acknowledged).await?,
        None => None,
    };
    if found.is_none() {
        server.count_unknown(from)?;
    }
    Ok(found)
}

/// Where the session of a message is that need not be here, and what came of it elsewhere. It is looked
/// for as by [`find`].
pub(super) async fn reach(
    server: &Server,
    message: &Message,
    from: Option<IpAddr>,
) -> Result<Reached, Refused> {
    let id = message.client_id.as_deref().and_then(|client| client.parse().ok());
    if let Some(changing) = id.and_then(|id| server.known_as(id)?.change()) {
        return Ok(Reached::Here(changing));
    }
    server.count_look(from)?;
    let reached = match id {
        Some(id) => carry_out(server, id, message, from).await?,
        None => Reached::Nowhere,
    };
    if matches!(reached, Reached::Nowhere) {
        server.count_unknown(from)?;
    }
    Ok(reached)
}

/// Fetches a session that another node has, or else what was written down of it.
async fn fetch(
    server: &Server,
    id: SessionId,
    acknowledged: Option<u64>,
) -> Result<Option<Arc<Session>>, Refused> {
    let question = Question::Give { session: id };
    let mut looks = Looks::begin();
    loop {
        let fetching = server.fetches.begin(id);
        let answer = match fetching {
            Some(_) => ask(server, id, acknowledged, &question).await?,
            None => Some(Answer::Passing),
        };
        if let Some(Answer::Given(handed)) = answer {
            let session = handed.session(id, server.app.now().mono_ms);
            return Ok(server.take_in(Arc::new(session)));
        }
        if !looks.is_somewhere(answer.is_some()) {
            return server.restored(id, acknowledged).await;
        }
        drop(fetching);
        if answer.is_some() {
            looks.pause().await?;
        }
        // Another request of its client may have fetched it.
        let known = server.known_as(id).filter(|known| !known.is_stale(acknowledged));
        if known.is_some() {
            return Ok(known);
        }
    }
}

/// Has a message carried out by the node that has its session, unless that is here.
async fn carry_out(
    server: &Server,
    id: SessionId,
    message: &Message,
    from: Option<IpAddr>,
) -> Result<Reached, Refused> {
    let message = serde_json::to_string(message).map_err(|_| Refused::from(ErrorCode::Internal))?;
    let question = Question::CarryOut { session: id, message, from };
    let mut looks = Looks::begin();
    loop {
        if let Some(changing) = server.known_as(id).and_then(|session| session.change()) {
            return Ok(Reached::Here(changing));
        }
        let is_here_soon = server.fetches.holds(id);
        let answer =
            if is_here_soon { Some(Answer::Passing) } else { ask(server, id, None, &question).await? };
        if let Some(Answer::Replies(replies)) = answer {
            return Ok(Reached::Answered(replies.into_iter().map(String::into_bytes).collect()));
        }
        if answer.is_some() {
            looks.pause().await?;
            continue;
        }
        if looks.is_somewhere(false) {
            continue;
        }
        // It is not fetched: a connect may be held where it is.
        let Some(_fetching) = server.fetches.begin(id) else {
            looks.pause().await?;
            continue;
        };
        let place = Question::Where { session: id, acknowledged: None };
        if ask(server, id, None, &place).await?.is_none() && server.restored(id, None).await?.is_none() {
            return Ok(Reached::Nowhere);
        }
    }
}

/// Asks the node that has a session; none if no node has it.
async fn ask(
    server: &Server,
    session: SessionId,
    acknowledged: Option<u64>,
    question: &Question,
) -> Result<Option<Answer>, Refused> {
    let sessions = &server.app.sessions;
    if sessions.nodes().is_none() {
        return Ok(None);
    }
    let internal = |_| Refused::from(ErrorCode::Internal);
    let place = serde_json::to_value(Question::Where { session, acknowledged }).map_err(internal)?;
    let passing = serde_json::to_value(Answer::Passing).map_err(internal)?;
    let found = sessions.find_by_dialect(NAME, &place, |answer| *answer == passing).await?;
    let Some((node, answer)) = found else { return Ok(None) };
    if answer == passing {
        return Ok(Some(Answer::Passing));
    }
    let question = serde_json::to_value(question).map_err(internal)?;
    match sessions.ask_dialect_of(node, NAME, &question).await? {
        // It has moved, or its node has died.
        None | Some(Value::Null) => Ok(Some(Answer::Passing)),
        Some(answer) => serde_json::from_value(answer).map(Some).map_err(internal),
    }
}

impl Handed {
    /// Gives a session away, unless it is changing.
    pub(super) fn of(server: &Server, session: &Session) -> Option<Box<Self>> {
        let now_ms = server.app.now().mono_ms;
        let (snapshot, due_ms, journal_ms) = session.give()?;
        server.leave(session);
        Some(Box::new(Self {
            record: Record::of(session, snapshot),
            due_in_ms: due_ms.saturating_sub(now_ms),
            journal_in_ms: journal_ms.map(|at_ms| at_ms.saturating_sub(now_ms)),
        }))
    }

    fn session(self, id: SessionId, now_ms: u64) -> Session {
        let (session, snapshot) = self.record.session(id);
        let session = session.restored(snapshot);
        let mut state = session.state();
        state.due_ms = now_ms.saturating_add(self.due_in_ms);
        state.journal_ms = self.journal_in_ms.map(|in_ms| now_ms.saturating_add(in_ms));
        drop(state);
        session
    }
}

/// Looks for a session that another node may have.
struct Looks {
    ends: Instant,
    pause: Duration,
    /// Whether no node had it, the last time. It may have gone from one that was not asked yet to one that
    /// had been asked; the latter knows of it when it is asked again.
    was_nowhere: bool,
}

impl Looks {
    fn begin() -> Self {
        Self { ends: Instant::now() + WAIT_MAX, pause: LOOK, was_nowhere: false }
    }

    /// Whether it is somewhere, or may be.
    fn is_somewhere(&mut self, is_found: bool) -> bool {
        is_found || !std::mem::replace(&mut self.was_nowhere, true)
    }

    /// Waits before the next, if there is to be one. Of two nodes that wait for each other one is the first.
    async fn pause(&mut self) -> Result<(), Refused> {
        if Instant::now() >= self.ends {
            return Err(Refused::from(ErrorCode::EngineUnavailable));
        }
        self.was_nowhere = false;
        let more_ms = u64::try_from(random::pooled_bits()? % MORE_MS).unwrap_or(0);
        sleep(self.pause + Duration::from_millis(more_ms)).await;
        self.pause = LOOK_MAX.min(self.pause * 2);
        Ok(())
    }
}
