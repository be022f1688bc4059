//! What all requests of the dialect share: the sessions, how one is found or begun, and how it ends.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use encke_hub::CloseTarget;
use encke_proto::{
    ChannelName, Close, CloseCode, ErrorCode, Refusal, SessionId, TokenInfo, UserId,
    codec::bayeux::{Ext, Reply},
};
use tokio::runtime::Handle;

use super::{
    browsers::Browsers,
    fetches::Fetches,
    journal::Journal,
    session::{GoesOn, Session},
    sessions::{PARTS, Sessions, TooMany},
};
use crate::{
    admission::Admit,
    app::App,
    auth::{Authenticated, Credentials, Grant, Grants, Identity},
    commands,
    http::refusal::Refused,
    random,
};

/// How often a part of the sessions is looked at.
const SWEEP: Duration = Duration::from_millis(50);
/// How long a session is kept without a word of its client, in times of the grace of the hub's sessions: it
/// costs little, and laptops sleep.
const KEPT_GRACES: u64 = 4;
/// How often a session is written down at most because its client has received something, in milliseconds.
/// After a crash it is sent what came since again.
const JOURNAL_EVERY_MS: u64 = 5_000;

/// The state of the dialect.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) app: Arc<App>,
    pub(super) admit: Admit,
    pub(super) browsers: Browsers,
    pub(super) fetches: Fetches,
    sessions: Sessions,
    journal: Option<Journal>,
    /// For what is done beside the shards, whose threads have none; absent in tests of single parts.
    runtime: Option<Handle>,
}

impl Server {
    /// Makes it, and looks after its sessions as long as the server runs.
    pub(super) fn start(app: Arc<App>, admit: Admit) -> Arc<Self> {
        let journal = Journal::of(&app);
        let (sessions, browsers) = (Sessions::default(), Browsers::default());
        let runtime = Handle::try_current().ok();
        let fetches = Fetches::default();
        let server = Arc::new(Self { app, admit, browsers, fetches, sessions, journal, runtime });
        if server.runtime.is_some() {
            let (stopping, supervisor) = (server.app.stopping.clone(), server.app.supervisor.clone());
            let work = Self::sweep(Arc::downgrade(&server));
            supervisor.spawn("bayeux sessions", async move {
                tokio::select! {
                    () = work => {}
                    () = stopping.begun() => {}
                }
            });
        }
        server
    }

    async fn sweep(server: Weak<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        for part in (0..PARTS).cycle() {
            ticks.tick().await;
            let Some(server) = server.upgrade() else { return };
            for session in server.sessions.sweep(part, server.app.now().mono_ms) {
                if let Some(journal) = server.journal_of(&session) {
                    journal.delete_own(&server.app, session.id).await;
                }
            }
        }
    }

    /// For how long a connect is held, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.admit.hold_s * 1000
    }

    /// A session that is known here.
    pub(super) fn known(&self, client: Option<&str>) -> Option<Arc<Session>> {
        self.known_as(client?.parse().ok()?)
    }

    pub(super) fn known_as(&self, id: SessionId) -> Option<Arc<Session>> {
        self.sessions.get(id).filter(|session| !session.is_given() && self.is_good(session))
    }

    /// Counts that an address has a session looked for.
    pub(super) fn count_look(&self, from: Option<IpAddr>) -> Result<(), Refused> {
        let now = self.app.now().wall;
        Ok(from.map_or(Ok(()), |address| self.app.rate_limits.request(address, now))?)
    }

    /// Counts that it was nowhere.
    pub(super) fn count_unknown(&self, from: Option<IpAddr>) -> Result<(), Refused> {
        let now = self.app.now().wall;
        Ok(from.map_or(Ok(()), |address| self.app.rate_limits.unknown_session(address, now))?)
    }

    /// A session that was written down, or else the one that is known here.
    pub(super) async fn restored(
        &self,
        id: SessionId,
        acknowledged: Option<u64>,
    ) -> Result<Option<Arc<Session>>, Refused> {
        let Some(journal) = &self.journal else { return Ok(self.known_as(id)) };
        let Some(session) = journal.read(&self.app, id).await? else { return Ok(self.known_as(id)) };
        // Another request of its client may have read it meanwhile.
        if let Some(known) = self.known_as(id).filter(|session| !session.is_stale(acknowledged)) {
            return Ok(Some(known));
        }
        Ok(self.take_in(Arc::new(session)))
    }

    /// A session goes on here, if it is good.
    pub(super) fn take_in(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        self.touch(&session);
        (self.is_good(&session) && self.sessions.insert(Arc::clone(&session)).is_ok()).then_some(session)
    }

    /// A session goes on at another node.
    pub(super) fn leave(&self, session: &Session) {
        self.sessions.remove(session.id);
    }

    /// Whether its time is not over, and its token has not ended and was not revoked: with a new one its
    /// client begins anew.
    fn is_good(&self, session: &Session) -> bool {
        let (now, owner) = (self.app.now(), session.owner());
        let (ends, user) = (owner.identity.expires, &owner.identity.user);
        session.state().due_ms > now.mono_ms
            && (ends.0 == 0 || ends > now.wall)
            && self.app.auth.permit(user, Some(&owner.token), now.wall).is_ok()
    }

    /// Its client has been heard.
    pub(super) fn touch(&self, session: &Session) {
        let now_ms = self.app.now().mono_ms;
        let grace_ms = self.app.config.session_grace_s * 1000;
        let mut state = session.state();
        // A session that only ever shook hands is nothing to be kept.
        let kept_ms = if state.connects == 0 { grace_ms } else { self.timeout_ms() + KEPT_GRACES * grace_ms };
        state.due_ms = state.due_ms.max(now_ms + kept_ms);
    }

    /// Begins a session.
    pub(super) fn begin(
        &self,
        owner: Authenticated,
        ext: &Ext,
        retries: bool,
    ) -> Result<Arc<Session>, Refused> {
        let id = SessionId::from_bits(random::bits()?);
        let session = Arc::new(Session::new(id, owner, ext.acks(), retries));
        self.touch(&session);
        match self.sessions.insert(Arc::clone(&session)) {
            Ok(()) => Ok(session),
            Err(TooMany) => Err(Refused::new(ErrorCode::Overloaded, "there are too many sessions")),
        }
    }

    /// Puts a token of its user in the place of the one that a session has, unless it has it already: clients
    /// may send it with each connect.
    pub(super) async fn refresh(&self, session: &Session, fresh: Authenticated) -> Result<(), Refused> {
        let owner = session.owner();
        if owner.token == fresh.token && owner.identity == fresh.identity {
            return Ok(());
        }
        if owner.identity.user != fresh.identity.user {
            return Err(Refused::new(ErrorCode::SessionUnknown, "the session is another user's"));
        }
        match commands::refresh(&self.app, session.id, fresh.clone()).await {
            // The connect that brings the token begins it.
            Ok(_) | Err(Refused(Refusal { code: ErrorCode::SessionUnknown, .. })) => {}
            Err(refused) => return Err(refused),
        }
        session.set_owner(fresh);
        match self.journal_of(session) {
            Some(_) => self.write(session).await,
            None => Ok(()),
        }
    }

    /// The client of a session connects, and has received the batch of this number.
    pub(super) fn connect(self: &Arc<Self>, session: &Arc<Session>, acknowledged: Option<u64>) -> GoesOn {
        let goes_on = session.connect(acknowledged);
        if goes_on.is_first {
            self.sessions.connected(session);
        }
        self.touch(session);
        self.write_behind(session);
        goes_on
    }

    /// Who begins a session: by the token that the handshake brings, else by what the request's head does. In
    /// dev mode it may be without a name.
    pub(super) async fn identify(
        &self,
        credentials: &Credentials<'_>,
        token: Option<&str>,
    ) -> Result<Authenticated, Refusal> {
        let now = self.app.now().wall;
        if let Some(token) = token {
            let bearer = format!("Bearer {token}");
            let credentials = Credentials { authorization: Some(&bearer), ..Credentials::default() };
            return self.app.auth.identify_fetching(&credentials, now).await;
        }
        if !credentials.brings_token() && self.app.config.dev {
            return self.nameless();
        }
        self.app.auth.identify_fetching(credentials, now).await
    }

    fn nameless(&self) -> Result<Authenticated, Refusal> {
        let internal = |error: &dyn std::fmt::Display| Refusal::new(ErrorCode::Internal, error.to_string());
        let id = SessionId::from_bits(random::bits().map_err(|error| internal(&error))?);
        let user = UserId::new(&format!("bayeux-{id}")).map_err(|error| internal(&error))?;
        let grants = Grants { channels: Grant::all(), publish: Grant::all() };
        let identity =
            Identity { user, grants: grants.into(), expires: encke_proto::Time(0), by_cookie: false };
        Ok(Authenticated { identity, token: TokenInfo::default() })
    }

    /// Ends a session at its client's word, with everything of it. The connection that serves it says
    /// `last_words` then.
    pub(super) async fn end(&self, session: &Session, last_words: &Reply) -> Result<(), ErrorCode> {
        session.state().last_words = Some(last_words.json().into_bytes());
        self.sessions.remove(session.id);
        if let Some(journal) = self.journal_of(session) {
            journal.delete(&self.app, session.id).await;
        }
        let close =
            Close { code: CloseCode::Client, reason: String::new(), reconnect: false, retry_ms: None };
        let target = CloseTarget::SessionOf(session.id, session.owner().identity.user.clone());
        self.app.sessions.close(&target, &close).await.map(drop)
    }

    /// A session was ended, and not by its client.
    pub(super) fn forget(self: &Arc<Self>, session: &Session) {
        if session.is_given() {
            return;
        }
        self.sessions.remove(session.id);
        if self.journal_of(session).is_none() {
            return;
        }
        let (server, id) = (Arc::clone(self), session.id);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                if let Some(journal) = &server.journal {
                    journal.delete(&server.app, id).await;
                }
            });
        }
    }

    /// Where a session is written down, if it is.
    fn journal_of(&self, session: &Session) -> Option<&Journal> {
        self.journal.as_ref().filter(|_| session.state().journal_ms.is_some())
    }

    /// Writes down what a session subscribed to, before its client is told.
    pub(super) async fn write(&self, session: &Session) -> Result<(), Refused> {
        let Some(journal) = &self.journal else { return Ok(()) };
        session.state().journal_ms = Some(self.app.now().mono_ms + JOURNAL_EVERY_MS);
        journal.write(&self.app, session).await
    }

    /// Writes down what its client has received, once in a while and beside everything else.
    pub(super) fn write_behind(self: &Arc<Self>, session: &Arc<Session>) {
        if self.journal.is_none() {
            return;
        }
        let now_ms = self.app.now().mono_ms;
        // Without a subscription there is nothing that its client would miss.
        let is_due = {
            let state = session.state();
            !state.logs.is_empty() && state.journal_ms.is_some_and(|due_ms| due_ms <= now_ms)
        };
        let Some(runtime) = self.runtime.as_ref().filter(|_| is_due) else { return };
        session.state().journal_ms = Some(now_ms + JOURNAL_EVERY_MS);
        self.write_on(runtime, session);
    }

    /// Logs are not followed any more, by the hub's word: the session goes on without what was read from
    /// there, also elsewhere. Whether that was anything.
    pub(super) fn lose(self: &Arc<Self>, session: &Arc<Session>, logs: &[ChannelName]) -> bool {
        let is_any = !logs.is_empty() && session.lose(logs);
        if is_any
            && self.journal_of(session).is_some()
            && let Some(runtime) = &self.runtime
        {
            self.write_on(runtime, session);
        }
        is_any
    }

    /// A session has no place in a channel. It goes on without those whose rule has a bound, as it is not
    /// known which of them is full; whether there are any. Nor does the hub's session follow them, if it is
    /// there yet.
    pub(super) fn leave_bounded(self: &Arc<Self>, session: &Arc<Session>) -> bool {
        let rules = self.app.auth.access().rules();
        let is_bounded = |log: &&ChannelName| {
            rules.rule_for(log.as_str()).is_some_and(|rule| rule.followers_max.is_some())
        };
        let logs: Vec<ChannelName> = session.state().logs.iter().filter(is_bounded).cloned().collect();
        let is_any = self.lose(session, &logs);
        if let Some(runtime) = self.runtime.as_ref().filter(|_| is_any) {
            let (server, session) = (Arc::clone(self), Arc::clone(session));
            runtime.spawn(async move { server.unfollow(&session, logs).await });
        }
        is_any
    }

    /// The hub's session follows logs no more, but for what was subscribed to again.
    async fn unfollow(&self, session: &Session, mut logs: Vec<ChannelName>) {
        logs.retain(|log| !session.state().logs.contains(log));
        let user = session.owner().identity.user.clone();
        match self.app.sessions.unsubscribe(session.id, &user, logs).await {
            // It follows nothing then.
            Ok(_) | Err(ErrorCode::SessionUnknown | ErrorCode::SessionClosed) => {}
            Err(code) => {
                tracing::warn!(error = code.as_str(), "a Bayeux session goes on following what it has left");
            }
        }
    }

    fn write_on(self: &Arc<Self>, runtime: &Handle, session: &Arc<Session>) {
        let (server, session) = (Arc::clone(self), Arc::clone(session));
        runtime.spawn(async move {
            // Another node writes it down otherwise, and has it when this is done.
            let Some(_changing) = session.change() else { return };
            if let Err(Refused(refusal)) = server.write(&session).await {
                tracing::warn!(error = %refusal.message, "a Bayeux session cannot be written down");
            }
        });
    }
}
