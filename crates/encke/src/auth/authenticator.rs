//! Decides who sends a request, from a bearer token, a ticket or a cookie, in this order. It does no I/O;
//! that a ticket of several nodes is used once is checked by the cluster.

use std::sync::Arc;

use encke_proto::{ErrorCode, Refusal, SessionId, Time, TokenInfo, UserId};

use super::{
    Audit, Authenticated, BadKey, COOKIE, ChannelAccess, Claims, CloseKeys, Credentials, Grant, Identity,
    KeySet, Keys, PendingFetch, Returns, TokenError, TokenKey,
    api_keys::{Allowed, ApiKeyError, ApiKeys},
    application::{Application, PendingAnswer},
    credentials::COOKIES_MAX,
    origin::Origins,
    remembered::{Known, Remembered},
    revocations::Revocations,
    shared_ticket::{self, SharedTickets},
    ticket::{self, TicketError, Tickets},
    token,
};
use crate::{
    config::{Auth, Config, Decision, KeysMissing, Scope},
    hooks::{Connecting, Decisions},
    random::{self, NoRandomness},
};

/// A ticket that was given. What belongs to it stays here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenTicket {
    /// The ticket.
    pub ticket: String,
    /// Until when it is good.
    pub expires: Time,
}

/// Why nothing can be verified by a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// [`Config::complete_keys`] was not called before.
    #[error(transparent)]
    Missing(#[from] KeysMissing),
    /// One of `auth.keys` cannot be used.
    #[error(transparent)]
    Bad(#[from] BadKey),
    /// No secret can be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// What says more of a request that was refused.
pub enum Pending {
    /// Keys that are being fetched.
    Fetch(PendingFetch),
    /// The application, which is to be asked.
    Answer(PendingAnswer),
}

impl Pending {
    /// Waits for it.
    pub async fn over(self) {
        match self {
            Self::Fetch(fetch) => fetch.over().await,
            Self::Answer(answer) => answer.over().await,
        }
    }
}

/// Finds out who sends a request. It waits for nothing and allocates little, so that the threads of the
/// connection table may ask it too.
#[derive(Debug)]
pub struct Authenticator {
    /// What tokens are verified with.
    keys: Keys,
    rules: Auth,
    /// What they are signed with; none without `token_secret`.
    signing: Option<TokenKey>,
    /// Tokens that were found good; without randomness there is no key for it, and each is verified each
    /// time.
    remembered: Option<Remembered>,
    api_keys: Arc<ApiKeys>,
    access: Arc<ChannelAccess>,
    audit: Arc<Audit>,
    origins: Origins,
    tickets: Tickets,
    /// What takes the place of those among several nodes.
    shared_tickets: Option<SharedTickets>,
    token_ttl_s: u64,
    revocations: Arc<Revocations>,
    close_keys: CloseKeys,
    /// What says who clients are that bring no token.
    application: Option<Application>,
}

impl Authenticator {
    /// With the keys and origins of this configuration.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn new(config: &Config) -> Result<Self, KeysError> {
        if !config.has_api_key() || (config.token_secret.is_none() && !config.auth.has_keys()) {
            return Err(KeysMissing.into());
        }
        let signing = |secret| TokenKey::hs256(secret).with_rules(config.auth.clone());
        Ok(Self {
            keys: Keys::new(KeySet::load(config)?),
            rules: config.auth.clone(),
            signing: config.token_secret.as_ref().map(signing),
            remembered: random::bits().ok().map(Remembered::new),
            api_keys: Arc::new(ApiKeys::new(&config.all_api_keys(), random::bits().ok())),
            access: Arc::new(ChannelAccess::new(config.channel_rules())),
            audit: Arc::new(Audit::new(config.audit)),
            origins: Origins::new(&config.allowed_origins).with_loopback(config.dev),
            tickets: Tickets::default(),
            shared_tickets: None,
            token_ttl_s: config.token_ttl_s,
            revocations: Arc::default(),
            close_keys: match &config.token_secret {
                Some(secret) => CloseKeys::of(secret),
                None => CloseKeys::random(random::bits()?),
            },
            application: None,
        })
    }

    /// The same, for one node of several: its tickets are good on all.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn among_nodes(config: &Config) -> Result<Self, KeysError> {
        // A key of tickets is made of it, which all nodes share and no backend has.
        let secret = config.token_secret.as_ref().ok_or(KeysMissing)?;
        Ok(Self { shared_tickets: Some(SharedTickets::new(secret)), ..Self::new(config)? })
    }

    /// The same, for clients that bring no token too, if the application decides who they are.
    #[must_use]
    pub fn asking(self, decisions: Option<&Arc<Decisions>>) -> Self {
        let decisions = decisions.filter(|decisions| decisions.decides(Decision::Connect));
        Self { application: decisions.cloned().map(Application::new), ..self }
    }

    /// The names of the header fields that show who sends a request, besides those that do always; in lower
    /// case.
    #[must_use]
    pub fn chosen_headers(&self) -> &[String] {
        self.application.as_ref().map_or(&[], Application::headers)
    }

    /// The keys by which pages end their sessions.
    #[must_use]
    pub fn close_keys(&self) -> &CloseKeys {
        &self.close_keys
    }

    /// The same, by which these revocations are observed.
    #[must_use]
    pub fn observing(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// The revocations that are observed.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whether a user may be here with this token, or without one in a dialect that has none.
    ///
    /// # Errors
    /// `revoked` or `banned`.
    pub fn permit(&self, user: &UserId, token: Option<&TokenInfo>, now: Time) -> Result<(), Refusal> {
        let Some(code) = self.revocations.refusal(user, token, now) else { return Ok(()) };
        let is_ban = code == ErrorCode::Banned;
        let message = if is_ban { "the user is kept away for a time" } else { "the token was revoked" };
        Err(Refusal::new(code, message))
    }

    /// The keys that tokens are verified with, to be changed while the server runs.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The ticket by which a request was identified, if all nodes are to know that it was used.
    #[must_use]
    pub fn to_be_spent(&self, credentials: &Credentials<'_>, now: Time) -> Option<String> {
        let text = credentials.ticket.filter(|_| credentials.bearer().is_none())?;
        if credentials.returns == Returns::Now {
            return None;
        }
        Some(self.shared_tickets.as_ref()?.read(text, now)?.id)
    }

    /// The session that the ticket begins by which a stream was identified, and the only one that it leads
    /// back to.
    #[must_use]
    pub fn session_of_ticket(&self, credentials: &Credentials<'_>, now: Time) -> Option<SessionId> {
        if credentials.returns == Returns::Never {
            return None;
        }
        let text = credentials.ticket.filter(|_| credentials.bearer().is_none())?;
        match &self.shared_tickets {
            Some(shared) => shared.read_again(text, now).map(|read| read.session),
            None => ticket::read(text).map(ticket::session),
        }
    }

    /// Who sends a request: by bearer token, else by ticket, else by cookie.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, `revoked`, `banned` or `origin_forbidden`; the message says why and
    /// holds nothing secret.
    pub fn identify(&self, credentials: &Credentials<'_>, now: Time) -> Result<Authenticated, Refusal> {
        if credentials.query_token {
            return Err(unauthorized(
                "a token does not belong into an address; send it as a header, or get a ticket from POST /v1/ticket",
            ));
        }
        if let Some(token) = credentials.bearer() {
            return self.know(token, credentials.lasts, now);
        }
        if let Some(text) = credentials.ticket {
            let shared = self.shared_tickets.as_ref();
            let owner = shared_ticket::owner(&self.tickets, shared, text, credentials.returns, now);
            let owner = owner.ok_or_else(|| {
                unauthorized("this ticket was used, is over 30 seconds old, or never was one")
            })?;
            self.permit(&owner.identity.user, Some(&owner.token), now)?;
            return Ok(owner);
        }
        let unknown = self.unknown_to(credentials);
        if unknown.is_none() && credentials.cookie_tokens().next().is_none() {
            return Err(unauthorized(
                "send a token as Authorization: Bearer, as the cookie that login sets, or a ticket",
            ));
        }
        if !self.origins.permits(credentials) {
            return Err(foreign_origin());
        }
        match unknown {
            Some((application, connecting)) => {
                let answer = application.get(&connecting, now);
                let unknown = || Err(unauthorized("the application has not been asked who this is"));
                let known = answer.unwrap_or_else(unknown)?;
                self.permit(&known.identity.user, Some(&known.token), now)?;
                Ok(known)
            }
            None => self.know_cookies(credentials, now),
        }
    }

    /// What the application is told of a request that does not show by itself who sends it.
    fn unknown_to(&self, credentials: &Credentials<'_>) -> Option<(&Application, Connecting)> {
        let application = self.application.as_ref()?;
        Some((application, application.connecting(credentials)?))
    }

    /// Refuses what a page of a foreign origin sends with a cookie, where a token in the body might count
    /// instead of that.
    ///
    /// # Errors
    /// `origin_forbidden`.
    pub fn refuse_foreign(&self, credentials: &Credentials<'_>) -> Result<(), Refusal> {
        let by_header = credentials.bearer().is_some() || credentials.ticket.is_some();
        let by_cookie = credentials.cookie_tokens().next().is_some();
        if by_cookie && !by_header && credentials.origin.is_some() && !self.origins.permits(credentials) {
            return Err(foreign_origin());
        }
        Ok(())
    }

    /// Whose cookies these are. One that verifies counts, whatever others there are. Of several that do, the
    /// one that lasts longest; but they have to be of one user: a neighbouring subdomain can put a cookie of
    /// another user beside the real one (RFC 6265 section 8.6), and nothing tells which is which.
    fn know_cookies(&self, credentials: &Credentials<'_>, now: Time) -> Result<Authenticated, Refusal> {
        let (mut found, mut refused): (Option<Authenticated>, Option<Refusal>) = (None, None);
        let mut count = 0;
        for token in credentials.cookie_tokens().take(COOKIES_MAX) {
            count += 1;
            match (self.know(token, credentials.lasts, now).map(Authenticated::by_cookie), &found) {
                (Ok(one), Some(other)) if one.identity.user != other.identity.user => {
                    return Err(unauthorized(format!(
                        "there are cookies {COOKIE} of two users; remove one of them"
                    )));
                }
                (Ok(one), Some(other)) if one.identity.expires <= other.identity.expires => {}
                (Ok(one), _) => found = Some(one),
                // That one of them has expired, or was revoked, says more than that another never was a
                // token.
                (Err(refusal), _) if refused.is_none() || refusal.code != ErrorCode::Unauthorized => {
                    refused = Some(refusal)
                }
                (Err(_), _) => {}
            }
        }
        match (found, refused) {
            (Some(found), _) => Ok(found),
            (None, Some(refusal)) if count == 1 => Err(refusal),
            (None, refused) => {
                let Refusal { code, message } = refused.unwrap_or_else(|| unauthorized("there is no token"));
                Err(Refusal::new(
                    code,
                    format!("none of the first {count} cookies {COOKIE} is good: {message}"),
                ))
            }
        }
    }

    /// Whose token it is, without verifying it when that was done before. It is remembered, unless the
    /// request that it came with lasts.
    fn know(&self, token: &str, lasts: bool, now: Time) -> Result<Authenticated, Refusal> {
        let known = match &self.remembered {
            None => Known::of(self.verify(token, now)?),
            Some(remembered) => {
                let (mark, now_s) = (remembered.mark(token, self.keys.generation()), now.0 / 1000);
                match remembered.get(mark, now_s) {
                    Some(known) => known,
                    None if lasts => remembered.share(mark, self.verify(token, now)?),
                    None => remembered.put(mark, self.verify(token, now)?, now_s),
                }
            }
        };
        // A token may be revoked at any time after it was found good.
        self.permit(&known.user, Some(&known.token), now)?;
        Ok(Authenticated::known(known))
    }

    /// Whose token it is, once more when keys were fetched because of it.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, `revoked` or `banned`.
    pub async fn know_fetching(&self, token: &str, now: Time) -> Result<Authenticated, Refusal> {
        let attempts = self.keys.attempts();
        match self.know(token, false, now) {
            Err(refusal) => match self.fetch_for(&refusal, attempts) {
                Some(fetch) => {
                    fetch.over().await;
                    self.know(token, false, now)
                }
                None => Err(refusal),
            },
            known => known,
        }
    }

    /// The same as [`Self::identify`], once more when keys were fetched, or the application was asked,
    /// because of it.
    ///
    /// # Errors
    /// Those of [`Self::identify`].
    pub async fn identify_fetching(
        &self,
        credentials: &Credentials<'_>,
        now: Time,
    ) -> Result<Authenticated, Refusal> {
        let attempts = self.keys.attempts();
        match self.identify(credentials, now) {
            Err(refusal) => match self.pending(credentials, &refusal, attempts, now) {
                Some(pending) => {
                    pending.over().await;
                    self.identify(credentials, now)
                }
                None => Err(refusal),
            },
            known => known,
        }
    }

    /// What is to be waited for before a request that was refused like this is looked at again; `attempts` is
    /// what [`Keys::attempts`] said before it was looked at.
    #[must_use]
    pub fn pending(
        &self,
        credentials: &Credentials<'_>,
        refusal: &Refusal,
        attempts: u64,
        now: Time,
    ) -> Option<Pending> {
        if refusal.code != ErrorCode::Unauthorized || credentials.query_token {
            return None;
        }
        match self.unknown_to(credentials) {
            Some((application, connecting)) => application.pending(connecting, now).map(Pending::Answer),
            None => self.fetch_for(refusal, attempts).map(Pending::Fetch),
        }
    }

    /// The fetch of keys after which a token that was refused like this may be good; `attempts` is what
    /// [`Keys::attempts`] said before it was looked at.
    #[must_use]
    pub fn fetch_for(&self, refusal: &Refusal, attempts: u64) -> Option<PendingFetch> {
        if refusal.code == ErrorCode::Unauthorized { self.keys.fetch_since(attempts) } else { None }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// `unauthorized` or `token_expired`.
    pub fn verify(&self, token: &str, now: Time) -> Result<Claims, Refusal> {
        token::read(token, &self.keys.current(), &self.rules, now.0 / 1000).map_err(|error| match error {
            TokenError::UnknownKey => {
                self.keys.miss();
                unauthorized(error.to_string())
            }
            TokenError::Expired => Refusal::new(ErrorCode::TokenExpired, error.to_string()),
            _ => unauthorized(error.to_string()),
        })
    }

    /// A token for a user who logged in by id alone, in dev mode: it grants every public channel.
    ///
    /// # Errors
    /// `internal` when it cannot be signed.
    pub fn dev_token(&self, user: UserId, now: Time) -> Result<(String, Claims), Refusal> {
        let expires_s = (now.0 / 1000).saturating_add(self.token_ttl_s);
        let (channels, publish, issued_s) = (Grant::all(), Grant::all(), Some(now.0 / 1000));
        let claims = Claims { user, expires_s, issued_s, jti: None, channels, publish };
        let signed = self.signing.as_ref().map_or(Err(TokenError::Signing), |key| key.sign(&claims));
        let token = signed.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
        Ok((token, claims))
    }

    /// A one-use ticket for a caller that was identified otherwise.
    ///
    /// # Errors
    /// `rate_limited` when the user has too many, `overloaded` when all together have, `internal` without
    /// randomness.
    pub fn ticket(&self, owner: Authenticated, now: Time) -> Result<GivenTicket, Refusal> {
        let bits = random::bits().map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
        if let Some(shared) = &self.shared_tickets {
            let given =
                shared.give(bits, &owner, now).map(|(ticket, expires)| GivenTicket { ticket, expires });
            return given.ok_or_else(|| Refusal::new(ErrorCode::Internal, "the ticket cannot be signed"));
        }
        let Authenticated { identity, token } = owner;
        let owner = Authenticated { identity: Identity { by_cookie: false, ..identity }, token };
        let given = self.tickets.give(bits, owner, now);
        let expires = given.map_err(|error| match error {
            TicketError::TooManyOfUser => Refusal::new(ErrorCode::RateLimited, error.to_string()),
            TicketError::TooMany => Refusal::new(ErrorCode::Overloaded, error.to_string()),
        })?;
        Ok(GivenTicket { ticket: ticket::write(bits), expires })
    }

    /// What is written down of what is done with keys and tokens.
    #[must_use]
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// What clients may do with channels.
    #[must_use]
    pub fn access(&self) -> &Arc<ChannelAccess> {
        &self.access
    }

    /// The keys of the server API.
    #[must_use]
    pub fn api_keys(&self) -> &Arc<ApiKeys> {
        &self.api_keys
    }

    /// Whether a request has a key of the server API that allows this, and for how long.
    ///
    /// # Errors
    /// `unauthorized`, or `forbidden` for a key that is for other things.
    pub fn operator(
        &self,
        credentials: &Credentials<'_>,
        scope: Scope,
        now: Time,
    ) -> Result<Allowed, Refusal> {
        let given = credentials.bearer().filter(|_| !credentials.query_token);
        let given = given.ok_or_else(|| unauthorized("send the API key as Authorization: Bearer"))?;
        self.api_keys.check(given, scope, now).map_err(|error| {
            let code = match error {
                ApiKeyError::Scope { .. } => ErrorCode::Forbidden,
                ApiKeyError::Unknown | ApiKeyError::Expired(_) => ErrorCode::Unauthorized,
            };
            Refusal::new(code, error.to_string())
        })
    }

    /// The origins besides the server's own whose pages are served.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Whether pages of this origin may read answers across origins (CORS). Only what is listed, never what
    /// merely asks.
    #[must_use]
    pub fn allowed_origin(&self, origin: &str) -> bool {
        self.origins.lists(origin)
    }

    /// Whether a request comes from the own origin or a listed one, or from no page at all.
    #[must_use]
    pub fn own_or_allowed(&self, credentials: &Credentials<'_>) -> bool {
        credentials.origin.is_none_or(|origin| self.origins.accepts(origin, credentials))
    }
}

fn foreign_origin() -> Refusal {
    Refusal::new(
        ErrorCode::OriginForbidden,
        "a request with a cookie has to come from this origin, or from an allowed one",
    )
}

fn unauthorized(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const NOW: Time = Time(1_800_000_000_000);

    fn authenticator() -> (Authenticator, String) {
        let config = Config {
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            token_ttl_s: 60,
            ..Config::default()
        };
        let authenticator = Authenticator::new(&config).unwrap();
        let (token, _) = authenticator.dev_token(UserId::new("alice").unwrap(), NOW).unwrap();
        (authenticator, token)
    }

    #[test]
    fn of_several_cookies_one_that_verifies_counts_and_else_the_cause_is_named() {
        let (authenticator, token) = authenticator();
        let of = |user: &str, at: Time| authenticator.dev_token(UserId::new(user).unwrap(), at).unwrap().0;
        let (longer, other) = (of("alice", Time(NOW.0 + 5_000)), of("mallory", NOW));
        let expired = of("alice", Time(NOW.0 - 3_600_000));
        let identify = |cookies: &[&str]| {
            let pairs: Vec<String> = cookies.iter().map(|value| format!("encke_token={value}")).collect();
            authenticator.identify(
                &Credentials {
                    cookie: Some(pairs.join("; ").into()),
                    host: Some("a"),
                    ..Credentials::default()
                },
                NOW,
            )
        };
        let alice = identify(&[&token]).unwrap();
        let quoted = format!("\"{token}\"");
        for cookies in [
            &[token.as_str(), "old"][..],
            &["old", &token],
            &[&token, &token],
            &[&expired, &token],
            &[&token, &expired],
            &["", &token, "a.b.c"],
            &[&quoted],
            &[&quoted, &token],
        ] {
            assert_eq!(identify(cookies), Ok(alice.clone()), "{cookies:?}");
        }
        for cookies in [[&longer, &token], [&token, &longer]] {
            assert_eq!(
                identify(&cookies.map(String::as_str)).unwrap().identity.expires,
                Time(NOW.0 + 65_000),
                "the one that lasts longest"
            );
        }
        for (cookies, code, word) in [
            (&["old"][..], ErrorCode::Unauthorized, "the token is malformed"),
            (
                &["old", &expired],
                ErrorCode::TokenExpired,
                "2 cookies encke_token is good: the token has expired",
            ),
            (&[&expired, "old"], ErrorCode::TokenExpired, "2 cookies"),
            (
                &["old", "a.b.c"],
                ErrorCode::Unauthorized,
                "2 cookies encke_token is good: the token is malformed",
            ),
            (&[&token, &other], ErrorCode::Unauthorized, "of two users"),
            (&[&other, "old", &token], ErrorCode::Unauthorized, "of two users"),
            (&[], ErrorCode::Unauthorized, "send a token"),
        ] {
            let refusal = identify(cookies).unwrap_err();
            assert_eq!(refusal.code, code, "{cookies:?}");
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
        // A head holds hundreds of them, and each is a signature to verify.
        let mut many = vec!["old"; COOKIES_MAX - 1];
        many.push(&token);
        assert_eq!(identify(&many), Ok(alice));
        many.insert(0, "old");
        assert!(identify(&many).unwrap_err().message.contains("first 8 cookies"));
    }

    #[test]
    fn an_issuers_clock_may_be_ahead_by_what_is_configured() {
        let secret = Secret::new("s".repeat(32));
        let config = |leeway_s| Config {
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(secret.clone()),
            auth: Auth { leeway_s, ..Auth::default() },
            ..Config::default()
        };
        let token = |claims: &serde_json::Value| {
            let key = jsonwebtoken::EncodingKey::from_secret(secret.expose().as_bytes());
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
        };
        let now_s = NOW.0 / 1000;
        for (leeway_s, ahead_s, is_good) in
            [(30, 2, true), (30, 30, true), (30, 31, false), (0, 0, true), (0, 1, false), (300, 300, true)]
        {
            let authenticator = Authenticator::new(&config(leeway_s)).unwrap();
            for claim in ["nbf", "iat"] {
                let mut claims = serde_json::json!({"sub": "alice", "exp": now_s + 3600});
                claims[claim] = (now_s + ahead_s).into();
                let bearer = format!("Bearer {}", token(&claims));
                let credentials = Credentials { authorization: Some(&bearer), ..Credentials::default() };
                // Twice, since the second time it is remembered; and once more when the clock has gone back.
                for (now, is_good) in [
                    (NOW, is_good),
                    (NOW, is_good),
                    (Time(NOW.0 - 1000), is_good && ahead_s < leeway_s),
                    (NOW, is_good),
                ] {
                    let known = authenticator.identify(&credentials, now);
                    assert_eq!(known.is_ok(), is_good, "{claim} {leeway_s} {ahead_s}: {known:?}");
                    if let Err(refusal) = known {
                        assert!(refusal.message.contains(claim), "{}", refusal.message);
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_that_is_remembered_is_checked_in_all_else() {
        let (authenticator, token) = authenticator();
        let (bearer, cookie) = (format!("Bearer {token}"), format!("encke_token={token}"));
        let by_bearer =
            Credentials { authorization: Some(&bearer), host: Some("a"), ..Credentials::default() };
        let by_cookie =
            Credentials { cookie: Some(cookie.as_str().into()), host: Some("a"), ..Credentials::default() };
        let first = authenticator.identify(&by_bearer, NOW).unwrap();
        assert_eq!(authenticator.identify(&by_bearer, NOW), Ok(first.clone()));
        assert_eq!(
            authenticator.identify(&by_cookie, NOW),
            Ok(Authenticated { identity: Identity { by_cookie: true, ..first.identity }, ..first })
        );
        let code =
            |credentials: Credentials<'_>, now| authenticator.identify(&credentials, now).unwrap_err().code;
        assert_eq!(
            code(Credentials { origin: Some("http://b"), ..by_cookie.clone() }, NOW),
            ErrorCode::OriginForbidden
        );
        assert_eq!(
            code(Credentials { sec_fetch_site: Some("cross-site"), ..by_cookie.clone() }, NOW),
            ErrorCode::OriginForbidden
        );
        assert_eq!(code(Credentials { changes: true, ..by_cookie.clone() }, NOW), ErrorCode::OriginForbidden);
        assert_eq!(
            code(Credentials { query_token: true, ..by_bearer.clone() }, NOW),
            ErrorCode::Unauthorized
        );
        for by in [by_bearer, by_cookie] {
            assert!(authenticator.identify(&by, Time(NOW.0 + 59_999)).is_ok());
            assert_eq!(code(by, Time(NOW.0 + 60_000)), ErrorCode::TokenExpired);
        }
    }

    #[test]
    fn what_is_not_the_remembered_token_byte_for_byte_is_verified() {
        let (authenticator, token) = authenticator();
        let identify = |token: &str| {
            let bearer = format!("Bearer {token}");
            authenticator
                .identify(&Credentials { authorization: Some(&bearer), ..Credentials::default() }, NOW)
                .map(|known| known.identity.user)
        };
        assert!(identify(&token).is_ok());
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            if other != token {
                assert!(identify(&other).is_err(), "changed at {at}");
            }
            assert!(identify(&token[..at]).is_err(), "cut at {at}");
        }
        assert!(identify(&token).is_ok());
    }
}
