//! Control requests that come over a WebSocket: the same as those by POST, about the session that the
//! connection serves.

use std::net::IpAddr;

use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, Cursor, ErrorCode, ErrorDetail, SessionId, json};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use crate::{
    admission::{Asked, Reply as CommandReply},
    app::App,
    auth::Identity,
    commands::{
        Done, Followed, SessionClosed, follow, publish_from, publishes_from, refresh, shown, token_refused,
        unfollow,
    },
    http::{
        body::{self, parse},
        refusal::Refused,
    },
    validation,
};

/// Answers the text of a client.
pub(super) async fn answer(app: &App, asked: Asked) -> CommandReply {
    let (Ok(text), Some(identity), Some(session)) =
        (asked.command.downcast::<String>(), asked.identity, asked.session)
    else {
        // Only a session's client is listened to, and it says text.
        return CommandReply::new(());
    };
    CommandReply::new(reply(app, &Request { text: *text, identity, session, from: asked.from }).await)
}

/// What is asked, and who asks.
struct Request {
    text: String,
    identity: Identity,
    session: SessionId,
    from: Option<IpAddr>,
}

/// What every request has.
#[derive(Deserialize)]
struct Head {
    r#do: String,
    #[serde(default)]
    id: Option<u64>,
}

/// A command that has nothing more to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PingCommand {
    /// `ping`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
}

/// More or fewer channels for the session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeCommand {
    /// `subscribe` or `unsubscribe`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
    /// Public channels; at most 128.
    channels: Vec<String>,
}

/// A message for a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishCommand {
    /// `publish`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
    channel: String,
    /// Any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = serde_json::Value, required = true)]
    data: Option<Box<RawValue>>,
    /// The idempotency key.
    key: Option<String>,
}

/// How far the person has seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AckCommand {
    /// `ack`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
    cursor: String,
}

/// A fresh token of the same user in the place of the one that ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshCommand {
    /// `refresh`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
    /// A JWT.
    token: String,
}

/// Ends the session on purpose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseCommand {
    /// `close`
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    _do: IgnoredAny,
    /// Comes back in the reply.
    #[serde(rename = "id", default)]
    #[schema(value_type = Option<u64>)]
    _id: IgnoredAny,
    /// A text for users; at most 256 bytes.
    reason: Option<String>,
}

/// What is answered: either `result` or `error`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reply<'a> {
    /// `reply`
    event: &'a str,
    /// As the command had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// What the same request by POST would be answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDetail<'a>>,
}

async fn reply(app: &App, request: &Request) -> String {
    let (id, result) = match parse::<Head>(request.text.as_bytes()) {
        Ok(head) => (head.id, carry_out(app, request, &head.r#do).await),
        Err(refused) => (None, Err(refused)),
    };
    let reply = match &result {
        Ok(result) => Reply { event: "reply", id, result: Some(result.clone()), error: None },
        Err(Refused(refusal)) => {
            let error = ErrorDetail { code: refusal.code, message: &refusal.message };
            Reply { event: "reply", id, result: None, error: Some(error) }
        }
    };
    json::write(&reply)
}

async fn carry_out(app: &App, request: &Request, what: &str) -> Result<Box<RawValue>, Refused> {
    let (text, identity, session) = (request.text.as_bytes(), &request.identity, request.session);
    match what {
        "subscribe" => {
            let channels = validation::public_channels(&parse::<SubscribeCommand>(text)?.channels)?;
            encode(&Followed::from(follow(app, identity, session, channels, &Cursor::default()).await?))
        }
        "unsubscribe" => {
            let channels = validation::public_channels(&parse::<SubscribeCommand>(text)?.channels)?;
            encode(&Followed::from(unfollow(app, identity, session, channels).await?))
        }
        "publish" => {
            let from = request.from;
            let request = parse::<PublishCommand>(text)?;
            publishes_from(app, from, request.data.as_deref())?;
            encode(
                &publish_from(
                    app,
                    identity,
                    &request.channel,
                    request.data.as_deref(),
                    request.key.as_deref(),
                )
                .await?,
            )
        }
        "ack" => {
            shown(app, identity, session, &parse::<AckCommand>(text)?.cursor).await?;
            encode(&Done { ok: true })
        }
        "refresh" => {
            let RefreshCommand { token, .. } = parse(text)?;
            let fresh = app.auth.know_fetching(&token, app.now().wall).await;
            let fresh = fresh.map_err(|refusal| token_refused(app, request.from, "refresh", refusal))?;
            encode(&refresh(app, session, fresh).await?)
        }
        "close" => {
            let close = Close {
                code: CloseCode::Client,
                reason: validation::reason(parse::<CloseCommand>(text)?.reason)?,
                reconnect: false,
                retry_ms: None,
            };
            let closed =
                app.sessions.close(&CloseTarget::SessionOf(session, identity.user.clone()), &close).await?;
            encode(&SessionClosed { closed: closed > 0 })
        }
        "ping" => {
            parse::<PingCommand>(text)?;
            encode(&Done { ok: true })
        }
        other => {
            Err(Refused::bad(body::quoted(&format!("there is nothing to `do` that is called {other:?}"))))
        }
    }
}

fn encode(result: &impl Serialize) -> Result<Box<RawValue>, Refused> {
    to_raw_value(result).map_err(|_| ErrorCode::Internal.into())
}
