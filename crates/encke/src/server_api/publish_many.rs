//! Several messages in one call.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use encke_engine::Appended;
use encke_proto::{ChannelName, Epoch, ErrorCode, MessageId, Offset, json, limits::PUBLISH_MAX_MESSAGES};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body, refusal::Refused},
    publishing::publish_to,
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
    /// The idempotency key of this message: the same key gives one message, however often it is sent.
    id: Option<String>,
}

/// What became of each message, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublishedTogether {
    /// How safe those are that were accepted: `memory`, `log`, `sqlite`, `redis` or `nats`.
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

/// Why a message was not accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reason {
    /// For programs.
    #[schema(value_type = String)]
    code: &'static str,
    /// A text for logs.
    message: String,
}

/// A message whose form is right.
struct Checked {
    channel: ChannelName,
    data: Arc<RawValue>,
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
        .map(|(number, message)| check(message).map_err(|refused| in_message(number, refused)));
    let checked = checked.collect::<Result<Vec<Checked>, Refused>>()?;
    let appends = checked.into_iter().map(|message| append(app, message)).collect();
    let outcomes: Vec<Result<Appended, Refused>> = in_order(appends).await;
    if let Some(Err(refused)) = outcomes.first()
        && outcomes.iter().all(Result::is_err)
    {
        return Err(refused.clone());
    }
    let results = outcomes.into_iter().map(outcome).collect();
    Ok(PublishedTogether { mode: app.engine.mode().as_str(), results })
}

fn check(message: OneOfMany) -> Result<Checked, Refused> {
    let data = message.data.ok_or_else(|| Refused::bad("missing field `data`"))?;
    let data = json::compact(&data)?;
    Ok(Checked {
        channel: ChannelName::public(&message.channel)?,
        data,
        key: validation::key("api:publish", message.id.as_deref())?,
    })
}

/// Which of the messages is not right.
fn in_message(number: usize, Refused(refusal): Refused) -> Refused {
    Refused::new(refusal.code, format!("messages[{number}]: {}", refusal.message))
}

type Append<'a> = Pin<Box<dyn Future<Output = Result<Appended, Refused>> + Send + 'a>>;

fn append(app: &App, message: Checked) -> Append<'_> {
    Box::pin(publish_to(app, vec![message.channel], message.data, message.key, None))
}

/// Lets all go on together, and begins them in their order, so that they stand in that order in the engine's
/// queue.
async fn in_order<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if let Some(running) = future
                && let Poll::Ready(value) = running.as_mut().poll(cx)
            {
                (*done, *future) = (Some(value), None);
            }
        }
        if futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn outcome(result: Result<Appended, Refused>) -> Outcome {
    let placed = result.and_then(|appended| match appended.positions.first() {
        Some((_, position)) => Ok((appended.id, *position)),
        None => Err(ErrorCode::Internal.into()),
    });
    match placed {
        Ok((id, position)) => Outcome::Accepted { id, offset: position.offset, epoch: position.epoch },
        Err(Refused(refusal)) => {
            Outcome::Refused { error: Reason { code: refusal.code.as_str(), message: refusal.message } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn all_begin_in_their_order_and_each_keeps_its_place_whichever_is_done_first() {
        let begun = Mutex::new(Vec::new());
        let (late, comes) = tokio::sync::oneshot::channel();
        let mut comes = Some(comes);
        let mut late = Some(late);
        let futures = (0..100).map(|number| {
            let (begun, comes) = (&begun, if number == 0 { comes.take() } else { None });
            let late = if number == 99 { late.take() } else { None };
            let future: Pin<Box<dyn Future<Output = u32> + Send>> = Box::pin(async move {
                begun.lock().unwrap().push(number);
                if let Some(comes) = comes {
                    comes.await.unwrap();
                }
                if let Some(late) = late {
                    late.send(()).unwrap();
                }
                number
            });
            future
        });
        assert_eq!(in_order(futures.collect()).await, (0..100).collect::<Vec<_>>());
        assert_eq!(*begun.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

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
