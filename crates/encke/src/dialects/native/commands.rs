//! Control requests that come over a WebSocket: the same as those by POST, about the session that the
//! connection serves.

use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, Cursor, ErrorCode, SessionId, json};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    admission::{Asked, Reply as CommandReply},
    app::App,
    auth::Identity,
    commands::{Done, Followed, SessionClosed, follow, publish_from, shown, unfollow},
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
    CommandReply::new(reply(app, &Request { text: *text, identity, session }).await)
}

/// What is asked, and who asks.
struct Request {
    text: String,
    identity: Identity,
    session: SessionId,
}

/// What every request has.
#[derive(Deserialize)]
struct Head {
    r#do: String,
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    #[serde(rename = "do")]
    _do: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Channels {
    #[serde(rename = "do")]
    _do: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    channels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    #[serde(rename = "do")]
    _do: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    channel: String,
    #[serde(default, deserialize_with = "body::present")]
    data: Option<Box<RawValue>>,
    /// The idempotency key.
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    #[serde(rename = "do")]
    _do: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    cursor: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    #[serde(rename = "do")]
    _do: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    reason: Option<String>,
}

/// What is answered.
#[derive(Serialize)]
struct Reply<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem<'a>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
}

async fn reply(app: &App, request: &Request) -> String {
    let (id, result) = match parse::<Head>(request.text.as_bytes()) {
        Ok(head) => (head.id, carry_out(app, request, &head.r#do).await),
        Err(refused) => (None, Err(refused)),
    };
    let reply = match &result {
        Ok(result) => Reply { event: "reply", id, result: Some(result.clone()), error: None },
        Err(Refused(refusal)) => {
            let error = Problem { code: refusal.code.as_str(), message: &refusal.message };
            Reply { event: "reply", id, result: None, error: Some(error) }
        }
    };
    json::write(&reply)
}

async fn carry_out(app: &App, request: &Request, what: &str) -> Result<Box<RawValue>, Refused> {
    let (text, identity, session) = (request.text.as_bytes(), &request.identity, request.session);
    match what {
        "subscribe" => {
            let channels = validation::public_channels(&parse::<Channels>(text)?.channels)?;
            encode(&Followed::from(follow(app, identity, session, channels, &Cursor::default()).await?))
        }
        "unsubscribe" => {
            let channels = validation::public_channels(&parse::<Channels>(text)?.channels)?;
            encode(&Followed::from(unfollow(app, identity, session, channels).await?))
        }
        "publish" => {
            let request = parse::<Publish>(text)?;
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
            shown(app, identity, session, &parse::<Ack>(text)?.cursor).await?;
            encode(&Done { ok: true })
        }
        "close" => {
            let close = Close {
                code: CloseCode::Client,
                reason: validation::reason(parse::<End>(text)?.reason)?,
                reconnect: false,
                retry_ms: None,
            };
            let closed =
                app.sessions.close(&CloseTarget::SessionOf(session, identity.user.clone()), &close).await?;
            encode(&SessionClosed { closed: closed > 0 })
        }
        "ping" => {
            parse::<Bare>(text)?;
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
