//! `GET /api/channels`: the public channels with the extent of each log and its number of subscribers.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_engine::{ChannelSummary, PageLimit, ReadFrom};
use encke_proto::{ChannelName, Epoch, NameFilter, Offset};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
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

/// How many logs of a page are asked for their extent at a time.
const LOGS_AT_ONCE: usize = 32;

/// Which channels, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChannelsQuery {
    /// Only channels whose names contain this, byte by byte.
    q: Option<String>,
    /// Only channels whose names begin with this.
    prefix: Option<String>,
    /// Also tell how many there are in all pages together (`total`).
    count: Option<bool>,
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
    /// How many there are in all pages together, if `count` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
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
    let filter = query::filter(asked.q.as_deref(), asked.prefix.as_deref())?;
    let count = asked.count == Some(true);
    let (summaries, next, total) = if count || !filter.matches_all() {
        found(&app, &filter, &after, limit, count).await?
    } else {
        let mut summaries = app.engine.channels(Some(&after), limit + 1).await?;
        let next = query::cut(&mut summaries, limit, |summary| summary.channel.clone());
        (summaries, next, None)
    };
    let names: Vec<ChannelName> = summaries.iter().map(|summary| summary.channel.clone()).collect();
    let counts = app.sessions.followers(&names).await?;
    let mut channels = Vec::with_capacity(summaries.len());
    for (summary, subscribers) in summaries.into_iter().zip(counts) {
        let (epoch, tail, head) = (summary.epoch, summary.tail, summary.head);
        channels.push(Channel { channel: summary.channel, epoch, tail, head, subscribers });
    }
    Ok(Answer(Channels { channels, next, total }))
}

/// A page of the channels that match behind `after`, where the next one begins, and how many there are in
/// all. Goes once through the names of all channels, and keeps in memory those that match.
async fn found(
    app: &App,
    filter: &NameFilter,
    after: &ChannelName,
    limit: usize,
    count: bool,
) -> Result<(Vec<ChannelSummary>, Option<ChannelName>, Option<usize>), Refused> {
    let _room = app.searches.acquire().await;
    let first = ChannelName::last_internal();
    let (from, most) = if count { (&first, usize::MAX) } else { (after, limit + 1) };
    let mut names = app.engine.channel_names(filter, Some(from), most).await?;
    let total = count.then_some(names.len());
    names.drain(..names.partition_point(|name| name <= after));
    let next = query::cut(&mut names, limit, ChannelName::clone);
    let summaries = stream::iter(names).map(|channel| summary(app, channel));
    Ok((summaries.buffered(LOGS_AT_ONCE).try_collect().await?, next, total))
}

/// Where a channel's log begins and ends.
async fn summary(app: &App, channel: ChannelName) -> Result<ChannelSummary, Refused> {
    let nothing = PageLimit { messages: 0, bytes: 0 };
    let page = app.engine.read(&channel, ReadFrom::Head, nothing).await?;
    Ok(ChannelSummary { channel, epoch: page.epoch, tail: page.tail, head: page.head })
}
