//! Events that clients send to the other subscribers of a channel.

use encke_proto::{
    ErrorCode,
    codec::pusher::{self, Channel, ChannelKind},
};
use serde_json::value::RawValue;

use super::{connection::Asker, said::Said};
use crate::{commands, http::refusal::Refused};

/// The one code that the protocol has for them: too many.
const RATE: u16 = 4301;

/// Sends an event of a client. It is answered only if that is refused.
pub(super) async fn send(asker: &Asker<'_>, event: &str, channel: &str, data: &RawValue) -> Said {
    match try_send(asker, event, channel, data).await {
        Ok(()) => Said::default(),
        Err((code, message)) => Said::error(code, &message),
    }
}

async fn try_send(
    asker: &Asker<'_>,
    event: &str,
    channel: &str,
    data: &RawValue,
) -> Result<(), (Option<u16>, String)> {
    let connection = asker.connection;
    let refused = |message: &str| (None, message.to_owned());
    if !connection.application.settings.client_events {
        return Err(refused("client events are not switched on for this application"));
    }
    let read = Channel::parse(channel).map_err(|fault| refused(&fault.to_string()))?;
    if !read.takes_client_events() {
        return Err(refused("client events are for private and presence channels"));
    }
    let member = connection.state().subscriptions.get(channel).cloned();
    let Some(member) = member else {
        return Err(refused("client events are for channels that the client subscribed to"));
    };
    if data.get().len() as u64 > connection.application.settings.event_max_bytes {
        return Err(refused("the data of the event are too large"));
    }
    if !connection.may_send() {
        return Err((Some(RATE), "the client has sent too many events in this second".to_owned()));
    }
    let user_id = member.filter(|_| read.kind == ChannelKind::Presence).map(|member| member.user_id);
    let internal = || refused("the event cannot be sent now");
    let logged = pusher::logged(event, data, user_id.as_deref()).ok_or_else(internal)?;
    let log = connection.application.log(channel).map_err(|_| internal())?;
    let published = async {
        commands::publishes_from(&connection.app, asker.from, Some(&logged))?;
        commands::publish(&connection.app, &connection.identity, log.as_str(), Some(&logged), None).await?;
        let (webhooks, socket_id) = (&connection.server.webhooks, &connection.socket_id);
        webhooks.client_event(&log, (event, data), socket_id, user_id.as_deref());
        Ok(())
    };
    published.await.map_err(|Refused(refusal)| {
        let code = (refusal.code == ErrorCode::RateLimited).then_some(RATE);
        (code, refusal.message)
    })
}
