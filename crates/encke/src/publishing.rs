//! Publishing to channels, as the server API, clients and dialects do it. Who may is decided before.

use std::sync::Arc;

use encke_engine::{Append, Appended, Mode, Targets};
use encke_proto::{Body, ChannelName, Epoch, ErrorCode, MessageId, Offset, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{app::App, auth::AuditRecord, http::refusal::Refused, random};

/// A message in the log of one channel.
#[derive(Serialize, ToSchema)]
pub(crate) struct Published {
    #[schema(value_type = String)]
    id: MessageId,
    offset: Offset,
    #[schema(value_type = String)]
    epoch: Epoch,
    /// How safe it is: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
}

impl Published {
    pub(crate) fn of_one(appended: &Appended, mode: Mode) -> Result<Self, Refused> {
        let (_, position) = appended.positions.first().ok_or(Refused::from(ErrorCode::Internal))?;
        Ok(Self {
            id: appended.id.clone(),
            offset: position.offset,
            epoch: position.epoch,
            mode: mode.as_str(),
        })
    }
}

/// Appends an audit record to its channel.
///
/// # Errors
/// When there is no randomness, or the engine cannot append.
pub(crate) async fn publish_record(
    app: &App,
    channel: &ChannelName,
    record: &AuditRecord,
) -> Result<(), Refused> {
    let data = serde_json::value::to_raw_value(record).map_err(|_| Refused::from(ErrorCode::Internal))?;
    publish_to(app, vec![channel.clone()], data.into(), None, None).await.map(drop)
}

/// Appends a message, compact by now, to public channels.
pub(crate) async fn publish_to(
    app: &App,
    channels: Vec<ChannelName>,
    data: Arc<RawValue>,
    key: Option<String>,
    from: Option<UserId>,
) -> Result<Appended, Refused> {
    let body = Body::Data(data);
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::pooled_bits()?);
    let targets = Targets::Channels(channels.clone());
    let appended = app.engine.append(Append { id, key, targets, body, from, time, expires: None }).await?;
    // A key that was used for other channels would otherwise look like success.
    let same = appended.positions.len() == channels.len()
        && channels.iter().all(|channel| appended.positions.iter().any(|(to, _)| to == channel));
    if !same {
        return Err(Refused::bad("this `id` was used for other channels"));
    }
    Ok(appended)
}
