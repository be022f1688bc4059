//! Publishing to channels, as the server API, clients and dialects do it. Who may is decided before.

use std::{fmt, sync::LazyLock, time::Instant};

use encke_engine::{Append, Appended, Key, Mode, Targets};
use encke_proto::{
    Body, ChannelName, Epoch, ErrorCode, JsonText, MessageId, Offset, UserId,
    codec::pusher::{Forged, forged},
};
use futures_util::future::{join, join_all};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::AuditRecord,
    copies::Copies,
    http::refusal::Refused,
    metrics::{AtomicHistogram, Metrics},
    random,
    traces::PublishSpan,
};

/// How long messages took until the engine had them; looked up once.
static ACCEPTED: LazyLock<AtomicHistogram> = LazyLock::new(|| Metrics::global().accepted_us.of("publish"));

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
    let (time, id) = (app.now().wall, MessageId::fresh(app.now().wall, random::pooled_bits()?));
    let (targets, body) = (Targets::Channels(vec![channel.clone()]), Body::Data(data.into()));
    // It is copied nowhere: other channels are not closed.
    let append = Append { id, key: None, targets, body, from: None, time, expires: None, trace: None };
    app.engine.append(append).await?;
    Ok(())
}

/// Whether clients or backends may publish this: not what clients of a dialect would take for the server's
/// own word.
///
/// # Errors
/// [`ErrorCode::BadName`], or [`ErrorCode::BadRequest`].
pub(crate) fn check_not_forged(app: &App, channels: &[ChannelName], data: &JsonText) -> Result<(), Refused> {
    if app.config.dialects.says("pusher") != Some(true) {
        return Ok(());
    }
    match channels.iter().find_map(|channel| forged(channel.as_str(), data.get())) {
        None => Ok(()),
        Some(Forged::Log) => Err(Refused::new(ErrorCode::BadName, Forged::Log.to_string())),
        Some(Forged::Event) => Err(Refused::bad(Forged::Event.to_string())),
    }
}

/// Appends a message, compact by now, to public channels. A key that was used for another message or other
/// channels is refused, and so is the audit channel, with whatever right.
pub(crate) async fn publish_to(
    app: &App,
    channels: Vec<ChannelName>,
    data: JsonText,
    key: Option<String>,
    from: Option<UserId>,
) -> Result<Appended, Refused> {
    let is_audit = |channel: &ChannelName| Some(channel) == app.config.audit_channel.as_ref();
    if channels.iter().any(is_audit) {
        // What stands there would be no trail any more.
        return Err(Refused::new(ErrorCode::Forbidden, "the server alone writes to the audit channel"));
    }
    let mut span = app.tracer.get().and_then(|tracer| tracer.begin("publish"));
    let (body, began) = (Body::Data(data), Instant::now());
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::pooled_bits()?);
    let key = key.map(|text| Key::of_request(text, channels.iter().map(ChannelName::as_str), &body));
    let targets = Targets::Channels(channels.clone());
    let trace = span.as_mut().map(|span| span.appends());
    let append = Append { id, key, targets, body, from, time, expires: None, trace };
    let appended = match app.copies.get().map_or(&[][..], Vec::as_slice) {
        [] => app.engine.append(append).await.map_err(Refused::from),
        // In a box, so that a server without them carries no room for them through each publish.
        dialects => Box::pin(append_with_copies(app, append, &channels, dialects)).await,
    };
    let outcome = appended.as_ref().map_err(|Refused(refusal)| &refusal.message as &dyn fmt::Display);
    PublishSpan::end(span, outcome);
    let appended = appended?;
    if !appended.repeated {
        Metrics::global().publishes.inc();
        ACCEPTED.observe(began.elapsed());
    }
    Ok(appended)
}

/// Appends a message and its copies. They are begun together, so that copies stand in the order of what they
/// are copied from; but with a key that may be refused, the message comes first.
async fn append_with_copies(
    app: &App,
    append: Append,
    channels: &[ChannelName],
    dialects: &[&'static dyn Copies],
) -> Result<Appended, Refused> {
    let copies = copies(app, &append, channels, dialects)?;
    let is_keyed = append.key.is_some();
    let copying = join_all(copies.into_iter().map(|copy| app.engine.append(copy)));
    let (appended, copied) = if is_keyed {
        // Of a repeat the copies are repeats too, and what is missing of them is made up for.
        let appended = app.engine.append(append).await?;
        (Ok(appended), copying.await)
    } else {
        join(app.engine.append(append), copying).await
    };
    copied.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(appended?)
}

/// What is appended besides: what dialects copy of the message. A key makes its copies repeats with it.
fn copies(
    app: &App,
    append: &Append,
    channels: &[ChannelName],
    dialects: &[&'static dyn Copies],
) -> Result<Vec<Append>, Refused> {
    let Body::Data(data) = &append.body else { return Ok(Vec::new()) };
    if let Some(channel) =
        channels.iter().find(|channel| dialects.iter().any(|dialect| dialect.holds(channel)))
    {
        return Err(Refused::new(
            ErrorCode::BadName,
            format!("{channel} is a pattern; nothing is published to it"),
        ));
    }
    let rules = app.auth.access().rules();
    let copy = |dialect: &&'static dyn Copies, channel: &ChannelName| {
        let mut copy = dialect.copy(channel, data)?;
        copy.channels.retain(|log| rules.govern_alike(channel.as_str(), log.as_str()));
        if copy.channels.is_empty() {
            return None;
        }
        let text = append.key.as_ref().map(|key| format!("copy {channel}:{}", key.text));
        let key = text.map(|text| Key { text, request: None });
        let (targets, body) = (Targets::Channels(copy.channels), Body::Data(copy.data));
        Some(Append { key, targets, body, ..append.clone() })
    };
    let of_dialect = |dialect| channels.iter().filter_map(move |channel| copy(dialect, channel));
    Ok(dialects.iter().flat_map(of_dialect).collect())
}
