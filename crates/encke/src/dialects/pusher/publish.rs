//! Events on their way into logs: those of backends, and what the protocol itself says in a channel.

use encke_engine::Appended;
use encke_proto::{ChannelName, ErrorCode, UserId, codec::pusher};
use serde_json::value::{RawValue, to_raw_value};

use crate::{app::App, http::refusal::Refused, publishing::publish_to};

/// Publishes an event to channels: `data` is any JSON. `from` is the connection that is not sent it.
///
/// # Errors
/// As the engine refuses it.
pub(super) async fn publish(
    app: &App,
    logs: Vec<ChannelName>,
    event: &str,
    data: &RawValue,
    from: Option<UserId>,
) -> Result<Appended, Refused> {
    let logged = pusher::logged(event, data, None).ok_or(Refused::from(ErrorCode::Internal))?;
    publish_to(app, logs, logged.into(), None, from).await
}

/// Publishes what the protocol itself says in a channel; a failure is written down, since no client waits for
/// it. `data` is JSON, which is sent as text.
pub(super) async fn announce(app: &App, log: ChannelName, event: &str, data: &str, from: Option<UserId>) {
    let Ok(data) = to_raw_value(data) else { return };
    if let Err(Refused(refusal)) = publish(app, vec![log], event, &data, from).await {
        tracing::warn!(event, error = %refusal.message, "subscribers cannot be told");
    }
}
