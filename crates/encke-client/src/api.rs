//! The server API, as a backend with an API key.

use serde::{Deserialize, Serialize};

use crate::http::{Http, Query, segment};
use crate::id::new_id;
use crate::publish::PublishAnswer;
use crate::push_many::{PushesAnswer, PushesBody};
use crate::{
    Accepted, AcceptedOne, Channels, Error, History, HooksStatus, Matching, Nodes, Page, PastPushes,
    Presence, Publish, Published, Push, PushStream, ReceiptState, Receipts, Sessions, Stats, UrlChecked,
    User, Users,
};

/// A backend's way to the server. Cheap to clone; clones share their connections.
///
/// Every call is sent up to four times within some seconds when the server cannot be reached or answers 5xx.
/// That is safe: pushes and publications carry an idempotency key, and the other calls may arrive twice.
#[derive(Debug, Clone)]
pub struct Api {
    http: Http,
}

/// What is to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseTarget {
    /// Every session of this user.
    User(String),
    /// This session.
    Session(String),
}

/// What is taken back of the tokens that were issued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevokeTarget {
    /// All tokens of a user that were issued before a time (RFC 3339), or before now.
    User {
        /// The user.
        user: String,
        /// The time.
        before: Option<String>,
    },
    /// The token with this id (`jti`).
    Token(String),
    /// All tokens of all users that were issued before a time (RFC 3339).
    Before(String),
}

#[derive(Default, Serialize)]
struct RevokeBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a str>,
}

#[derive(Serialize)]
struct CloseBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    reconnect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ban_s: Option<u64>,
}

#[derive(Deserialize)]
struct CloseAnswer {
    closed: u64,
}

/// What is deleted is answered with 200; there is nothing to read in it.
#[derive(Deserialize)]
struct DeleteAnswer {}

#[derive(Deserialize)]
struct CancelAnswer {
    cancelled: u64,
}

impl Api {
    /// The server at this http or https address, for instance `http://127.0.0.1:8080`, or at a unix socket:
    /// `unix:/run/encke/admin.sock`.
    ///
    /// # Errors
    /// [`Error::BadAddress`] and [`Error::BadCredentials`]; nothing is sent yet.
    pub fn new(address: &str, api_key: &str) -> Result<Self, Error> {
        Ok(Self { http: Http::new(address, Some(api_key))? })
    }

    /// Pushes a message or a page to users.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn push(&self, push: &Push) -> Result<Accepted, Error> {
        let mut push = push.clone();
        push.id.get_or_insert(new_id()?);
        self.http.post("/api/push", &push).await
    }

    /// Pushes several at once, 1 to 1,000 of them in at most 1 MiB, and tells what became of each in their
    /// order. With each user they arrive in that order.
    ///
    /// # Errors
    /// What the server refuses of the call as a whole, and not being able to reach it. What is refused of a
    /// push is its result.
    pub async fn push_many(&self, pushes: &[Push]) -> Result<Vec<Result<AcceptedOne, Error>>, Error> {
        let mut pushes = pushes.to_vec();
        for push in &mut pushes {
            if push.id.is_none() {
                push.id = Some(new_id()?);
            }
        }
        let answer: PushesAnswer = self.http.post("/api/push", &PushesBody { pushes: &pushes }).await?;
        answer.results(pushes.len())
    }

    /// Opens a connection over which pushes are sent and answered one after the other.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn push_stream(&self) -> Result<PushStream, Error> {
        PushStream::open(&self.http).await
    }

    /// How far a push has come with each of its users.
    ///
    /// # Errors
    /// `push_unknown` among what the server refuses, and not being able to reach it.
    pub async fn receipts(&self, push: &str, page: &Page) -> Result<Receipts, Error> {
        self.http.get(&format!("/api/push/{}", segment(push)?), &page.query()).await
    }

    /// As [`Api::receipts`], with those users alone with whom the push is in this state.
    ///
    /// # Errors
    /// `push_unknown` among what the server refuses, and not being able to reach it.
    pub async fn receipts_in(&self, push: &str, state: ReceiptState, page: &Page) -> Result<Receipts, Error> {
        let mut query = page.query();
        query.add("state", &state.to_string());
        self.http.get(&format!("/api/push/{}", segment(push)?), &query).await
    }

    /// As [`Api::receipts`], with the devices of each user. A page has at most 100 users then.
    ///
    /// # Errors
    /// `push_unknown` among what the server refuses, and not being able to reach it.
    pub async fn receipts_by_device(&self, push: &str, page: &Page) -> Result<Receipts, Error> {
        let mut query = page.query();
        query.add("devices", "true");
        self.http.get(&format!("/api/push/{}", segment(push)?), &query).await
    }

    /// Which pushes were accepted, by whatever key and node, the newest first.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn pushes(&self, page: &Page) -> Result<PastPushes, Error> {
        self.http.get("/api/pushes", &page.query()).await
    }

    /// Cancels a push, and tells for how many users: those who had not been handed it yet, and will not be.
    ///
    /// The number may be 0 when an answer was lost on the way and the call was repeated.
    ///
    /// # Errors
    /// `push_unknown` among what the server refuses, and not being able to reach it.
    pub async fn cancel(&self, push: &str) -> Result<u64, Error> {
        let answer: CancelAnswer = self.http.delete(&format!("/api/push/{}", segment(push)?)).await?;
        Ok(answer.cancelled)
    }

    /// How a page answers the server that is to be pushed, and whether it may stand in a frame.
    ///
    /// # Errors
    /// `forbidden` unless the server is set to check pages, what else it refuses, and not being able to reach
    /// it.
    pub async fn check_url(&self, url: &str) -> Result<UrlChecked, Error> {
        self.http.post("/api/check-url", &serde_json::json!({ "url": url })).await
    }

    /// Publishes to one channel or several.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn publish(&self, publish: &Publish) -> Result<Published, Error> {
        let mut publish = publish.clone();
        publish.id.get_or_insert(new_id()?);
        let answer: PublishAnswer = self.http.post("/api/publish", &publish).await?;
        answer.published(publish.channel.as_deref())
    }

    /// The users that the server knows; `online` narrows them to those who are, or are not.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn users(&self, online: Option<bool>, page: &Page) -> Result<Users, Error> {
        self.users_matching(&Matching::default(), online, page).await
    }

    /// The users whose ids match.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn users_matching(
        &self,
        matching: &Matching,
        online: Option<bool>,
        page: &Page,
    ) -> Result<Users, Error> {
        let mut query = page.query();
        matching.add_to(&mut query);
        if let Some(online) = online {
            query.add("online", if online { "true" } else { "false" });
        }
        self.http.get("/api/users", &query).await
    }

    /// One user.
    ///
    /// # Errors
    /// `user_unknown` among what the server refuses, and not being able to reach it.
    pub async fn user(&self, user: &str) -> Result<User, Error> {
        self.http.get(&format!("/api/users/{}", segment(user)?), &Query::default()).await
    }

    /// The sessions there are, or those of one user.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn sessions(&self, user: Option<&str>, page: &Page) -> Result<Sessions, Error> {
        let mut query = page.query();
        query.add_some("user", user);
        self.http.get("/api/sessions", &query).await
    }

    /// The nodes there are, and how each is.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn nodes(&self) -> Result<Nodes, Error> {
        self.http.get("/api/nodes", &Query::default()).await
    }

    /// How the application's endpoint does, as the nodes see it.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn hooks(&self) -> Result<HooksStatus, Error> {
        self.http.get("/api/hooks", &Query::default()).await
    }

    /// How all nodes together are.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.http.get("/api/stats", &Query::default()).await
    }

    /// Ends sessions on purpose, and tells how many. Everything of them is freed when this returns. The
    /// clients stay away unless `reconnect`.
    ///
    /// The number may be 0 when an answer was lost on the way and the call was repeated.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn close(
        &self,
        target: &CloseTarget,
        reason: Option<&str>,
        reconnect: bool,
    ) -> Result<u64, Error> {
        self.close_for(target, reason, reconnect, None).await
    }

    /// Ends sessions on purpose, tells how many, and keeps their user away for so many seconds (`banned`); 0
    /// ends that.
    ///
    /// The number may be 0 when an answer was lost on the way and the call was repeated.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn ban(&self, target: &CloseTarget, reason: Option<&str>, ban_s: u64) -> Result<u64, Error> {
        self.close_for(target, reason, false, Some(ban_s)).await
    }

    async fn close_for(
        &self,
        target: &CloseTarget,
        reason: Option<&str>,
        reconnect: bool,
        ban_s: Option<u64>,
    ) -> Result<u64, Error> {
        let (user, session) = match target {
            CloseTarget::User(user) => (Some(user.as_str()), None),
            CloseTarget::Session(session) => (None, Some(session.as_str())),
        };
        let body = CloseBody { user, session, reason, reconnect, ban_s };
        let answer: CloseAnswer = self.http.post("/api/close", &body).await?;
        Ok(answer.closed)
    }

    /// Takes tokens back: they are refused from then on (`revoked`), and their sessions have ended. Tells how
    /// many sessions.
    ///
    /// The number may be 0 when an answer was lost on the way and the call was repeated.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn revoke(&self, target: &RevokeTarget) -> Result<u64, Error> {
        let body = match target {
            RevokeTarget::User { user, before } => {
                RevokeBody { user: Some(user), before: before.as_deref(), ..RevokeBody::default() }
            }
            RevokeTarget::Token(jti) => RevokeBody { jti: Some(jti), ..RevokeBody::default() },
            RevokeTarget::Before(before) => RevokeBody { before: Some(before), ..RevokeBody::default() },
        };
        let answer: CloseAnswer = self.http.post("/api/revoke", &body).await?;
        Ok(answer.closed)
    }

    /// Deletes a user with all that is kept of the user: sessions, what was pushed, receipts.
    ///
    /// # Errors
    /// `user_unknown` among what the server refuses, also when an answer was lost on the way and the call was
    /// repeated; and not being able to reach it.
    pub async fn delete_user(&self, user: &str) -> Result<(), Error> {
        self.http.delete::<DeleteAnswer>(&format!("/api/users/{}", segment(user)?)).await.map(drop)
    }

    /// Deletes a public channel with its history.
    ///
    /// # Errors
    /// `channel_unknown` among what the server refuses, also when an answer was lost on the way and the call
    /// was repeated; and not being able to reach it.
    pub async fn delete_channel(&self, channel: &str) -> Result<(), Error> {
        self.http.delete::<DeleteAnswer>(&format!("/api/channels/{}", segment(channel)?)).await.map(drop)
    }

    /// The channels there are.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn channels(&self, page: &Page) -> Result<Channels, Error> {
        self.channels_matching(&Matching::default(), page).await
    }

    /// The channels whose names match.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn channels_matching(&self, matching: &Matching, page: &Page) -> Result<Channels, Error> {
        let mut query = page.query();
        matching.add_to(&mut query);
        self.http.get("/api/channels", &query).await
    }

    /// A part of a channel's history, forwards from the cursor, or from the oldest message that is kept.
    ///
    /// # Errors
    /// `bad_cursor` among what the server refuses, and not being able to reach it.
    pub async fn history(
        &self,
        channel: &str,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<History, Error> {
        let mut query = Page { limit, after: None }.query();
        query.add_some("cursor", cursor);
        self.http.get(&format!("/api/channels/{}/history", segment(channel)?), &query).await
    }

    /// A part of a channel's history, backwards: the last messages up to a cursor ([`History::previous`]), or
    /// up to the newest.
    ///
    /// # Errors
    /// `bad_cursor` among what the server refuses, and not being able to reach it.
    pub async fn history_before(
        &self,
        channel: &str,
        before: Option<&str>,
        limit: Option<u32>,
    ) -> Result<History, Error> {
        let mut query = Page { limit, after: None }.query();
        query.add_some("before", Some(before.unwrap_or("latest")));
        self.http.get(&format!("/api/channels/{}/history", segment(channel)?), &query).await
    }

    /// Who is in a channel.
    ///
    /// # Errors
    /// What the server refuses, and not being able to reach it.
    pub async fn presence(&self, channel: &str, page: &Page) -> Result<Presence, Error> {
        self.http.get(&format!("/api/channels/{}/presence", segment(channel)?), &page.query()).await
    }
}
