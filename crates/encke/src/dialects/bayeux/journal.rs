//! Sessions as they are written down: the last message in a log of each one's own. Only this server's own
//! words count there, so a record is signed; its log is named by a digest of the session's id, since the id
//! is what entitles to speak for the session.

use encke_engine::{Append, Mode, PageLimit, ReadFrom, SESSION_LOGS, Targets};
use encke_proto::{Body, ChannelName, ErrorCode, MessageId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use super::{record::Record, session::Session};
use crate::{app::App, auth::SignedText, config::Secret, http::refusal::Refused, random};

/// What records are signed for.
const PURPOSE: &str = "encke bayeux session";
/// The last record alone is read, whatever its size.
const LAST: PageLimit = PageLimit { messages: 1, bytes: 1 };

/// How many numbers of batches a session skips at most that was written down.
const SKIPS_MAX: u128 = 1 << 20;

/// Writes and reads records.
#[derive(Debug)]
pub(super) struct Journal {
    signed: SignedText,
    /// By which this process knows its own records.
    writer: SessionId,
}

/// A record as it stands between its dots.
#[derive(Serialize, Deserialize)]
struct Written {
    /// The log that it is in: the id of the session is not to be read in it.
    log: String,
    /// The process that wrote it.
    writer: SessionId,
    #[serde(flatten)]
    record: Record,
}

impl Journal {
    /// None when nothing outlives the process, or there is no secret to sign with.
    pub(super) fn of(app: &App) -> Option<Self> {
        let writer = SessionId::from_bits(random::bits().ok()?);
        let secret = app.config.token_secret.as_ref().filter(|_| app.engine.mode() != Mode::Memory)?;
        Some(Self::new(secret, writer))
    }

    fn new(secret: &Secret, writer: SessionId) -> Self {
        Self { signed: SignedText::new(PURPOSE, secret), writer }
    }

    /// Writes a session down. It is safe, as far as the engine's mode says, when this is over.
    pub(super) async fn write(&self, app: &App, session: &Session) -> Result<(), Refused> {
        let (log, record) = (log(session.id), Record::of(session, session.snapshot().acknowledged()));
        let record = Written { log: log.to_string(), writer: self.writer, record };
        let text = self.signed.write(&record).ok_or_else(|| Refused::from(ErrorCode::Internal))?;
        let data = to_raw_value(&text).map_err(|_| Refused::from(ErrorCode::Internal))?;
        let time = app.now().wall;
        let append = Append {
            id: MessageId::fresh(time, random::pooled_bits()?),
            key: None,
            targets: Targets::Channels(vec![log]),
            body: Body::Data(data.into()),
            from: None,
            time,
            expires: None,
            trace: None,
        };
        app.engine.append(append).await?;
        Ok(())
    }

    /// Reads a session that was written down; none if there is none.
    pub(super) async fn read(&self, app: &App, id: SessionId) -> Result<Option<Session>, Refused> {
        let Some(record) = self.record(app, &log(id)).await? else { return Ok(None) };
        let (session, snapshot) = record.record.session(id);
        let skips = u64::try_from(random::pooled_bits()? % SKIPS_MAX).unwrap_or(0);
        Ok(Some(session.restored(snapshot.skipping(skips))))
    }

    /// The last record in a log.
    async fn record(&self, app: &App, log: &ChannelName) -> Result<Option<Written>, Refused> {
        let page = app.engine.read(log, ReadFrom::Before(u64::MAX), LAST).await?;
        let Some(Body::Data(data)) = page.entries.last().map(|entry| entry.message().body.clone()) else {
            return Ok(None);
        };
        let record = serde_json::from_str::<String>(data.get())
            .ok()
            .and_then(|text| self.signed.read::<Written>(&text));
        Ok(record.filter(|record| record.log == log.as_str()))
    }

    /// Forgets a session. An engine that deletes no logs keeps it as long as it keeps messages.
    pub(super) async fn delete(&self, app: &App, id: SessionId) {
        if let Err(error) = app.engine.delete(&log(id)).await {
            tracing::debug!(%error, "the record of a session stays");
        }
    }

    /// Forgets a session whose client does not come back here, unless it goes on elsewhere.
    pub(super) async fn delete_own(&self, app: &App, id: SessionId) {
        if let Ok(Some(record)) = self.record(app, &log(id)).await
            && record.writer == self.writer
        {
            self.delete(app, id).await;
        }
    }
}

/// An internal channel, so that no client can follow it or write to it.
fn log(id: SessionId) -> ChannelName {
    let digest = Sha256::digest(id.text().as_str());
    let text: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    ChannelName::internal(&format!("{SESSION_LOGS}bayeux/{text}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use encke_engine::memory::MemoryEngine;
    use encke_hub::Start;
    use encke_proto::{Epoch, Grant, Position, Time, TokenInfo, UserId, codec::bayeux::Pattern};

    use super::*;
    use crate::{
        auth::{Authenticated, Grants, Identity},
        clock::TestClock,
        config::Config,
        publishing::publish_to,
        shards::{Shards, mailbox},
    };

    fn app() -> Arc<App> {
        let config = Config {
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let poll = mio::Poll::new().unwrap();
        let (mailbox, _) = mailbox(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let shards = Shards::new(vec![mailbox]);
        let engine = MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1));
        let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
        App::new(Arc::new(config), Arc::new(engine), shards, clock).unwrap()
    }

    fn session(number: u128) -> Session {
        session_that(number, true)
    }

    fn session_that(number: u128, acks: bool) -> Session {
        let grants = Grants { channels: Grant::of(vec!["/a/*".into()]), publish: Grant::none() };
        let identity = Identity {
            user: UserId::new("alice").unwrap(),
            grants: grants.into(),
            expires: Time(1_900_000_000_000),
            by_cookie: false,
        };
        let owner = Authenticated { identity, token: TokenInfo::default() };
        let session = Session::new(SessionId::from_bits(number), owner, acks, true);
        let at = Position { epoch: Epoch(1), offset: 7 };
        let added = session.state().add(&Pattern::parse("/a/*").unwrap());
        session.state().place(&added.unwrap(), at);
        session
    }

    /// The record of a session, as it stands in its log.
    async fn text(app: &App, session: &Session) -> String {
        let log = log(session.id);
        let page = app.engine.read(&log, ReadFrom::Before(u64::MAX), LAST).await.unwrap();
        let Body::Data(record) = page.entries[0].message().body.clone() else { panic!("a record is data") };
        serde_json::from_str(record.get()).unwrap()
    }

    #[tokio::test]
    async fn a_session_is_read_as_it_was_written() {
        let (app, session) = (app(), session(1));
        let journal = Journal::new(app.config.token_secret.as_ref().unwrap(), SessionId::from_bits(1));
        assert!(journal.read(&app, session.id).await.unwrap().is_none());
        journal.write(&app, &session).await.unwrap();
        let read = journal.read(&app, session.id).await.unwrap().unwrap();
        assert_eq!(
            (read.id, &read.owner().identity, read.acks, read.retries),
            (session.id, &session.owner().identity, true, true)
        );
        let (read, written) = (read.connect(None), session.connect(None));
        assert!(matches!(&read.start, Start::Cursor(at) if !at.entries.is_empty()));
        assert_eq!(read.start, written.start);
    }

    #[tokio::test]
    async fn what_was_taken_away_is_told_again_when_the_session_was_read() {
        for acks in [false, true] {
            let app = app();
            let journal = Journal::new(app.config.token_secret.as_ref().unwrap(), SessionId::from_bits(1));
            let written = session_that(1, acks);
            written.state().add(&Pattern::parse("/b").unwrap());
            assert!(written.lose(&[ChannelName::public("/b").unwrap()]));
            assert_eq!(written.tell_lost(Some(1)), ["/b"]);
            journal.write(&app, &written).await.unwrap();
            let read = journal.read(&app, written.id).await.unwrap().unwrap();
            read.connect(Some(0));
            assert_eq!(read.tell_lost(Some(2)), ["/b"], "its client may not have had the answer");
            read.connect(Some(2));
            assert_eq!(read.tell_lost(Some(3)), [""; 0], "it has heard");
        }
    }

    #[tokio::test]
    async fn a_session_that_goes_on_elsewhere_is_not_forgotten_here() {
        let (app, session) = (app(), session(1));
        let secret = app.config.token_secret.clone().unwrap();
        let (here, there) =
            (Journal::new(&secret, SessionId::from_bits(1)), Journal::new(&secret, SessionId::from_bits(2)));
        here.write(&app, &session).await.unwrap();
        there.write(&app, &session).await.unwrap();
        here.delete_own(&app, session.id).await;
        assert!(there.read(&app, session.id).await.unwrap().is_some());
        there.delete_own(&app, session.id).await;
        assert!(there.read(&app, session.id).await.unwrap().is_none());
        here.write(&app, &session).await.unwrap();
        there.delete(&app, session.id).await;
        assert!(here.read(&app, session.id).await.unwrap().is_none(), "its client has ended it");
    }

    #[tokio::test]
    async fn nothing_counts_that_was_not_written_here_for_this_session() {
        let (app, session, other) = (app(), session(1), session(2));
        let journal = Journal::new(app.config.token_secret.as_ref().unwrap(), SessionId::from_bits(1));
        let foreign = Journal::new(&Secret::new("t".repeat(32)), SessionId::from_bits(1));
        foreign.write(&app, &session).await.unwrap();
        assert!(journal.read(&app, session.id).await.unwrap().is_none(), "another secret");
        // The record of one session, in the log of another.
        journal.write(&app, &other).await.unwrap();
        let record = to_raw_value(&text(&app, &other).await).unwrap().into();
        publish_to(&app, vec![log(session.id)], record, None, None).await.unwrap();
        assert!(journal.read(&app, session.id).await.unwrap().is_none(), "another session's");
        for text in ["1", "\"x\"", "\"a.b.c\"", "{}"] {
            let data = serde_json::value::RawValue::from_string(text.into()).unwrap().into();
            publish_to(&app, vec![log(session.id)], data, None, None).await.unwrap();
            assert!(journal.read(&app, session.id).await.unwrap().is_none(), "{text}");
        }
        // The payload of a record is not encrypted.
        let payload = text(&app, &other).await;
        let payload = payload.split('.').nth(1).unwrap();
        let payload = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, payload).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        assert!(payload.contains("alice") && !payload.contains(other.id.text().as_str()), "the id is secret");
    }
}
