//! `GET /api/channels`: the public channels with the extent of each log and its number of subscribers.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ChannelName, Epoch, Offset};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChannelsQuery {
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of channels, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct Channels {
    channels: Vec<Channel>,
    /// Where the next page begins, if there is one.
    #[schema(value_type = Option<String>)]
    next: Option<ChannelName>,
}

/// A public channel that has a log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Channel {
    #[schema(value_type = String)]
    channel: ChannelName,
    #[schema(value_type = String)]
    epoch: Epoch,
    /// The oldest offset that is kept; one more than `head` when none is.
    tail: Offset,
    /// The newest offset.
    head: Offset,
    /// How many sessions follow it.
    subscribers: usize,
}

/// The public channels that have a log.
#[utoipa::path(
    get, path = "/api/channels", tag = "server API", security(("api_key" = [])), params(ChannelsQuery),
    responses((
        status = 200, description = "A page of them.", body = Channels,
        example = json!({
            "channels": [{"channel": "news", "epoch": "k3x9", "tail": 1, "head": 7, "subscribers": 3}],
            "next": null
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn channels(
    State(app): State<Arc<App>>,
    _: MayRead,
    Query(asked): Query<ChannelsQuery>,
) -> Result<Answer<Channels>, Refused> {
    let limit = query::limit(asked.limit)?;
    let after = asked.after.as_deref().map(ChannelName::public).transpose()?;
    // The internal ones stand before all others.
    let after = after.unwrap_or_else(ChannelName::last_internal);
    let mut summaries = app.engine.channels(Some(&after), limit + 1).await?;
    let next = query::cut(&mut summaries, limit, |summary| summary.channel.clone());
    let names: Vec<ChannelName> = summaries.iter().map(|summary| summary.channel.clone()).collect();
    let counts = app.sessions.followers(&names).await?;
    let mut channels = Vec::with_capacity(summaries.len());
    for (summary, subscribers) in summaries.into_iter().zip(counts) {
        let (epoch, tail, head) = (summary.epoch, summary.tail, summary.head);
        channels.push(Channel { channel: summary.channel, epoch, tail, head, subscribers });
    }
    Ok(Answer(Channels { channels, next }))
}
