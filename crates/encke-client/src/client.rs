//! The server as a user with a token sees it.

use serde::{Deserialize, Serialize};

use crate::http::Http;
use crate::id::new_id;
use crate::publish::PublishAnswer;
use crate::{Error, Publish, Published};

/// A user's way to the server. Cheap to clone; clones share their connections.
///
/// Every call but [`listen`](Client::listen) is sent up to four times within some seconds when the server
/// cannot be reached or answers 5xx, which is safe.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: Http,
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
        Ok(Self { http: Http::new(address, Some(token))? })
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
        let http = http.with_credentials(&login.token)?;
        Ok((Self { http }, login))
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
