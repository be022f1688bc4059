//! Which users are online: those whose channel a connection follows that signed in as them, on whatever node.
//! Those who watch a user follow a log that says so.

use encke_proto::{
    ChannelName,
    codec::pusher::{ONLINE, USER_CHANNEL, online_data},
};

use super::{application::Application, publish::announce};
use crate::{app::App, http::refusal::Refused};

const EVENT: &str = "pusher_internal:watchlist_events";

/// The last connection of a user may be gone.
pub(super) async fn gone(app: &App, application: &Application, id: &str) {
    let Ok(own) = user_log(application, id) else { return };
    if matches!(is_online(app, &own).await, Ok(false)) {
        tell(app, application, id, false).await;
    }
}

/// Whether a connection follows the log of a user's channel.
pub(super) async fn is_online(app: &App, own: &ChannelName) -> Result<bool, Refused> {
    Ok(app.sessions.followers(std::slice::from_ref(own)).await?.into_iter().any(|count| count > 0))
}

/// Tells those who watch a user, if there are any.
pub(super) async fn tell(app: &App, application: &Application, id: &str, is_online: bool) {
    let Ok(log) = online_log(application, id) else { return };
    let watchers = app.sessions.followers(std::slice::from_ref(&log)).await;
    if watchers.is_ok_and(|counts| counts.iter().all(|count| *count == 0)) {
        return;
    }
    let (one, none) = ([id.to_owned()], []);
    let data = if is_online { online_data(&one, &none) } else { online_data(&none, &one) };
    announce(app, log, EVENT, &data, None).await;
}

/// The log of a user's channel.
pub(super) fn user_log(application: &Application, id: &str) -> Result<ChannelName, Refused> {
    application.log(&format!("{USER_CHANNEL}{id}"))
}

/// The log that says when a user comes online and goes offline.
pub(super) fn online_log(application: &Application, id: &str) -> Result<ChannelName, Refused> {
    application.log(&format!("{ONLINE}{id}"))
}
