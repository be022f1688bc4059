//! The server as a user with a token sees it.

use serde::{Deserialize, Serialize};

use crate::http::Http;
use crate::id::new_id;
use crate::publish::PublishAnswer;
use crate::token_source::TokenSource;
use crate::{Error, Publish, Published};

/// A user's way to the server. Cheap to clone; clones share their connections and their token.
///
/// Every call but [`listen`](Client::listen) is sent up to four times within some seconds when the server
/// cannot be reached or answers 5xx, which is safe.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: Http,
    tokens: Option<TokenSource>,
}

/// What a login gave.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Login {
    /// The token, for [`Client::new`] elsewhere. A client that has it is this user.
    pub token: String,
    /// The user.
    pub user: String,
    /// When the token ends to be good: RFC 3339, UTC.
    pub expires: String,
}

/// What a session follows after its channels were changed.
#[derive(Deserialize)]
pub(crate) struct Followed {
    pub(crate) channels: Vec<String>,
    /// Where it began in channels that no cursor of the client has named yet; absent from servers that do not
    /// tell.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
}

/// How the channels of a session change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Subscribe,
    Unsubscribe,
}

#[derive(Deserialize)]
struct CloseAnswer {
    closed: bool,
}

#[derive(Deserialize)]
struct AckAnswer {}

impl Client {
    /// The server at this http or https address, with a token that its backend signed.
    ///
    /// # Errors
    /// [`Error::BadAddress`] and [`Error::BadCredentials`]; nothing is sent yet.
    pub fn new(address: &str, token: &str) -> Result<Self, Error> {
        Ok(Self { http: Http::new(address, Some(token))?, tokens: None })
    }

    /// With a source of fresh tokens for the same user, which listeners use by themselves: when the server
    /// says that the token ends soon, and before they connect again after it was refused. A source that
    /// fails, or takes longer than 30 seconds, is asked again when the listener connects again.
    #[must_use]
    pub fn with_token_source<F, T>(self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        Self { tokens: Some(TokenSource::new(source)), ..self }
    }

    /// Whether there is a source of fresh tokens.
    pub(crate) fn has_token_source(&self) -> bool {
        self.tokens.is_some()
    }

    /// Takes a fresh token from the source, if there is one, for all requests from now on.
    pub(crate) async fn renew_token(&self) -> Result<Option<String>, Error> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let token = tokens.fresh().await?;
        self.http.set_credentials(&token)?;
        Ok(Some(token))
    }

    /// Puts a fresh token of the same user in the place of the one that a session has, without a break in its
    /// held connection, and uses it for all requests from now on. Tells when it ends: RFC 3339, UTC.
    ///
    /// # Errors
    /// `session_unknown`, `token_expired` and `unauthorized` among what the server refuses, and not being
    /// able to reach it.
    pub async fn refresh(&self, session: &str, token: &str) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            session: &'a str,
            token: &'a str,
        }
        #[derive(Deserialize)]
        struct Refreshed {
            expires: String,
        }
        let answer: Refreshed = self.http.post("/v1/refresh", &Body { session, token }).await?;
        self.http.set_credentials(token)?;
        Ok(answer.expires)
    }

    /// Logs in by the user's id alone, which a server in dev mode allows.
    ///
    /// # Errors
    /// `login_disabled` where that is not allowed; being unable to reach the server.
    pub async fn login(address: &str, user: &str) -> Result<(Self, Login), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            user: &'a str,
        }
        let http = Http::new(address, None)?;
        let login: Login = http.post("/v1/login", &Body { user }).await?;
        http.set_credentials(&login.token)?;
        Ok((Self { http, tokens: None }, login))
    }

    /// Publishes to one channel, if the token may.
    ///
    /// # Errors
    /// `channel_forbidden` among what the server refuses, and not being able to reach it.
    pub async fn publish(&self, publish: &Publish) -> Result<Published, Error> {
        let mut publish = publish.clone();
        publish.id.get_or_insert(new_id()?);
        let answer: PublishAnswer = self.http.post("/v1/publish", &publish).await?;
        answer.published(publish.channel.as_deref())
    }

    /// Subscribes a session to more channels, at once on its held connection, and tells all that it now has.
    ///
    /// With a [`Listener`] at hand use its [`SessionHandle`](crate::SessionHandle), which remembers the
    /// channels for a reconnect.
    ///
    /// # Errors
    /// `channel_forbidden` and `session_unknown` among what the server refuses, and not being able to reach
    /// it.
    pub async fn subscribe(&self, session: &str, channels: &[String]) -> Result<Vec<String>, Error> {
        Ok(self.change_channels(Change::Subscribe, session, channels).await?.channels)
    }

    /// Takes channels from a session, and tells all that it still has.
    ///
    /// # Errors
    /// `session_unknown` among what the server refuses, and not being able to reach it.
    pub async fn unsubscribe(&self, session: &str, channels: &[String]) -> Result<Vec<String>, Error> {
        Ok(self.change_channels(Change::Unsubscribe, session, channels).await?.channels)
    }

    pub(crate) async fn change_channels(
        &self,
        change: Change,
        session: &str,
        channels: &[String],
    ) -> Result<Followed, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            session: &'a str,
            channels: &'a [String],
        }
        let path = match change {
            Change::Subscribe => "/v1/subscribe",
            Change::Unsubscribe => "/v1/unsubscribe",
        };
        self.http.post(path, &Body { session, channels }).await
    }

    /// Tells that a person saw what the cursor covers of the user's own channel.
    ///
    /// # Errors
    /// `bad_cursor` and `session_unknown` among what the server refuses, and not being able to reach it.
    pub async fn ack(&self, session: &str, cursor: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            session: &'a str,
            cursor: &'a str,
        }
        let AckAnswer {} = self.http.post("/v1/ack", &Body { session, cursor }).await?;
        Ok(())
    }

    /// Ends a session on purpose; everything of it is freed when this returns. False if there was none (any
    /// more).
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn close(&self, session: &str, reason: Option<&str>) -> Result<bool, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            session: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
        }
        let answer: CloseAnswer = self.http.post("/v1/close", &Body { session, reason }).await?;
        Ok(answer.closed)
    }
}
