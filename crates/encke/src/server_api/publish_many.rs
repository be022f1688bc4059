//! Several messages in one call.

use encke_engine::Appended;
use encke_proto::{
    ChannelName, Epoch, ErrorCode, JsonText, MessageId, Offset, json, limits::PUBLISH_MAX_MESSAGES,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::batch::{Part, Reason, in_order, refused_whole};
use crate::{
    app::App,
    http::{body, refusal::Refused},
    publishing::{check_not_forged, publish_to},
    validation,
};

/// One of several messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneOfMany {
    channel: String,
    /// Any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = serde_json::Value, required = true)]
    data: Option<Box<RawValue>>,
    /// The idempotency key of this message: the same key gives one message, however often it is sent. With
    /// another channel or other data it is refused (`key_reused`).
    id: Option<String>,
}

/// What became of each message, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublishedTogether {
    /// How safe those are that were accepted: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
    results: Vec<Outcome>,
}

/// What became of one message.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Outcome {
    /// It is in the log.
    Accepted {
        #[schema(value_type = String)]
        id: MessageId,
        offset: Offset,
        #[schema(value_type = String)]
        epoch: Epoch,
    },
    /// It is not, for this reason.
    Refused { error: Reason },
}

/// A message whose form is right.
struct Checked {
    channel: ChannelName,
    data: JsonText,
    key: Option<String>,
}

/// Appends them, each by itself but all at once, so that an engine that gathers commits makes one of them. In
/// a channel they stand in the order of the call.
///
/// # Errors
/// When the form of any is not right: then none was accepted. What the engine refuses is in the results; when
/// it refuses all, that is the answer.
pub(crate) async fn publish_many(app: &App, messages: Vec<OneOfMany>) -> Result<PublishedTogether, Refused> {
    if messages.is_empty() || messages.len() > PUBLISH_MAX_MESSAGES {
        return Err(Refused::bad(format!("`messages` has 1 to {PUBLISH_MAX_MESSAGES} of them")));
    }
    let checked = messages
        .into_iter()
        .enumerate()
        .map(|(number, message)| may_come(app, message).map_err(|refused| in_message(number, refused)));
    let checked = checked.collect::<Result<Vec<Checked>, Refused>>()?;
    let appends = checked.into_iter().map(|message| append(app, message)).collect();
    let outcomes: Vec<Result<Appended, Refused>> = in_order(appends).await;
    if let Some(refused) = refused_whole(&outcomes) {
        return Err(refused);
    }
    let results = outcomes.into_iter().map(outcome).collect();
    Ok(PublishedTogether { mode: app.engine.mode().as_str(), results })
}

fn may_come(app: &App, message: OneOfMany) -> Result<Checked, Refused> {
    let checked = check(message)?;
    check_not_forged(app, std::slice::from_ref(&checked.channel), &checked.data)?;
    Ok(checked)
}

fn check(message: OneOfMany) -> Result<Checked, Refused> {
    let data = message.data.ok_or_else(|| Refused::bad("missing field `data`"))?;
    let data = json::compact(&data)?;
    let channel = ChannelName::public(&message.channel)?;
    Ok(Checked { channel, data, key: validation::key("api:publish", message.id.as_deref())? })
}

/// Which of the messages is not right.
fn in_message(number: usize, Refused(refusal): Refused) -> Refused {
    Refused::new(refusal.code, format!("messages[{number}]: {}", refusal.message))
}

fn append(app: &App, message: Checked) -> Part<'_, Result<Appended, Refused>> {
    Box::pin(publish_to(app, vec![message.channel], message.data, message.key, None))
}

fn outcome(result: Result<Appended, Refused>) -> Outcome {
    let placed = result.and_then(|appended| match appended.positions.first() {
        Some((_, position)) => Ok((appended.id, *position)),
        None => Err(ErrorCode::Internal.into()),
    });
    match placed {
        Ok((id, position)) => Outcome::Accepted { id, offset: position.offset, epoch: position.epoch },
        Err(refused) => Outcome::Refused { error: refused.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_checked_is_compact() {
        let one = |data: &str| OneOfMany {
            channel: "c".into(),
            data: Some(RawValue::from_string(data.to_owned()).unwrap()),
            id: Some("k".into()),
        };
        let checked = check(one("{ \"a b\" :\n [1, 2.50] }")).unwrap();
        assert_eq!(
            (checked.data.get(), checked.key.as_deref()),
            ("{\"a b\":[1,2.50]}", Some("api:publish\nk"))
        );
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        assert_eq!(check(one(&deep)).err().map(|Refused(refusal)| refusal.code), Some(ErrorCode::TooDeep));
    }

    #[test]
    fn a_result_is_a_place_or_a_reason() {
        let refused = outcome(Err(ErrorCode::EngineUnavailable.into()));
        let json = serde_json::to_value(refused).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"error": {
                "code": "engine_unavailable",
                "message": "the log cannot be written or read now"
            }})
        );
        let empty = Appended { id: MessageId::from_bits(1), positions: Vec::new(), repeated: false };
        assert_eq!(serde_json::to_value(outcome(Ok(empty))).unwrap()["error"]["code"], "internal");
    }
}
