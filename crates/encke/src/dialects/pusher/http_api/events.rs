//! `POST /apps/{id}/events` and `/batch_events`: events to channels.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use encke_proto::{
    ChannelName, ErrorCode, Object, UserId,
    codec::pusher::{Channel, ChannelKind, RESERVED_EVENTS, is_event, is_socket_id},
};
use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue, value::to_raw_value};

use super::{Info, answer, channels::attributes, signed::Signed};
use crate::{
    app::App,
    dialects::pusher::{application::Application, publish::publish},
    http::{
        body::{parse, too_large},
        refusal::Refused,
    },
};

/// The most channels of one event.
const CHANNELS_MAX: usize = 100;
/// The most events of one call.
const BATCH_MAX: usize = 10;

#[derive(Deserialize)]
struct Event {
    name: String,
    data: Box<RawValue>,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    socket_id: Option<String>,
    info: Option<String>,
}

#[derive(Deserialize)]
struct Batch {
    batch: Vec<Object<Event>>,
}

/// An event that may be published.
struct Ready {
    logs: Vec<ChannelName>,
    name: String,
    /// JSON: a text, which clients read as JSON or take as it is.
    data: Box<RawValue>,
    from: Option<UserId>,
    info: Info,
    channels: Vec<String>,
}

/// Publishes an event to one channel or several. They get it all, or none does.
pub(super) async fn publish_one(State(app): State<Arc<App>>, signed: Signed) -> Result<Response, Refused> {
    let ready = ready(&signed.application, parse(&signed.body)?)?;
    publish_ready(&app, &ready).await?;
    if !ready.info.is_some() {
        return answer(&json!({}));
    }
    let mut told = Map::new();
    for (channel, log) in ready.channels.iter().zip(&ready.logs) {
        let attributes = attributes(&app, &signed, channel, log, ready.info).await?;
        told.insert(channel.clone(), Value::Object(attributes));
    }
    answer(&json!({ "channels": told }))
}

/// Publishes several events, each to its channel, in their order.
pub(super) async fn publish_batch(State(app): State<Arc<App>>, signed: Signed) -> Result<Response, Refused> {
    let Batch { batch } = parse(&signed.body)?;
    if batch.len() > BATCH_MAX {
        return Err(Refused::bad(format!("a batch has at most {BATCH_MAX} events")));
    }
    let all: Vec<Ready> =
        batch.into_iter().map(|Object(event)| ready(&signed.application, event)).collect::<Result<_, _>>()?;
    if all.iter().any(|ready| ready.channels.len() != 1) {
        return Err(Refused::bad("an event of a batch is for one `channel`"));
    }
    // They are begun in their order, and the engine takes them in that.
    let published = join_all(all.iter().map(|ready| publish_ready(&app, ready))).await;
    published.into_iter().collect::<Result<Vec<_>, _>>()?;
    if !all.iter().any(|ready| ready.info.is_some()) {
        return answer(&json!({}));
    }
    let told = all.iter().flat_map(|ready| ready.channels.iter().zip(&ready.logs).map(move |of| (ready, of)));
    let (app, signed) = (&app, &signed);
    let told = told.map(|(ready, (channel, log))| async move {
        attributes(app, signed, channel, log, ready.info).await.map(Value::Object)
    });
    answer(&json!({ "batch": try_join_all(told).await? }))
}

async fn publish_ready(app: &App, ready: &Ready) -> Result<(), Refused> {
    publish(app, ready.logs.clone(), &ready.name, &ready.data, ready.from.clone()).await.map(drop)
}

/// Whether an event is as it should be.
fn ready(application: &Application, event: Event) -> Result<Ready, Refused> {
    let Event { name, data, channel, channels, socket_id, info } = event;
    if !is_event(&name) {
        return Err(Refused::bad("`name` must have 1 to 200 bytes"));
    }
    if RESERVED_EVENTS.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Refused::bad("the protocol keeps names that begin with `pusher:` for itself"));
    }
    let named: BTreeMap<String, ()> =
        channels.into_iter().flatten().chain(channel).map(|channel| (channel, ())).collect();
    let channels: Vec<String> = named.into_keys().collect();
    if channels.is_empty() || channels.len() > CHANNELS_MAX {
        return Err(Refused::bad(format!("an event is for 1 to {CHANNELS_MAX} channels")));
    }
    let is_encrypted =
        |name: &String| Channel::parse(name).is_ok_and(|channel| channel.kind == ChannelKind::Encrypted);
    if channels.len() > 1 && channels.iter().any(is_encrypted) {
        return Err(Refused::bad("an event for an encrypted channel is for no other"));
    }
    let log = |name: &String| {
        Channel::parse(name).map_err(|fault| Refused::bad(fault.to_string()))?;
        application.log(name)
    };
    let logs = channels.iter().map(log).collect::<Result<_, _>>()?;
    let from = socket_id.filter(|socket_id| !socket_id.is_empty()).map(|socket_id| {
        if is_socket_id(&socket_id) {
            application.user(&socket_id)
        } else {
            Err(Refused::bad("`socket_id` is none"))
        }
    });
    let data = text(application, &data)?;
    Ok(Ready { logs, name, data, from: from.transpose()?, info: Info::read(info.as_deref()), channels })
}

/// Data are a text; those of libraries that send JSON in its place are the text of that.
fn text(application: &Application, data: &RawValue) -> Result<Box<RawValue>, Refused> {
    let internal = |_| Refused::from(ErrorCode::Internal);
    let (text, bytes) = if data.get().starts_with('"') {
        let decoded: String =
            serde_json::from_str(data.get()).map_err(|_| Refused::bad("`data` is no text"))?;
        (data.to_owned(), decoded.len())
    } else {
        (to_raw_value(data.get()).map_err(internal)?, data.get().len())
    };
    let max_bytes = application.settings.event_max_bytes;
    if bytes as u64 > max_bytes {
        return Err(too_large("the data of an event", usize::try_from(max_bytes).unwrap_or(usize::MAX)));
    }
    Ok(text)
}
