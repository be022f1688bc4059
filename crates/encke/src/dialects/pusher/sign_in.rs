//! Users: a client signs in by its backend's word, and is then reached by its user's id.

use encke_proto::{
    ChannelName, Cursor,
    codec::pusher::{self, SignIn, SignedIn},
};

use super::{
    connection::{Asker, Connection},
    online::{is_online, online_log, tell, user_log},
    said::{PusherClose, Said},
};
use crate::{commands::follow, http::refusal::Refused};

/// Signs a client in.
pub(super) async fn sign_in(asker: &Asker<'_>, asked: &SignIn) -> Said {
    let connection = asker.connection;
    let text = format!("{}::user::{}", connection.socket_id, asked.user_data);
    if !connection.application.has_signed(&asked.auth, &text) {
        return Said::closing(PusherClose::Unauthorized, "the signature of the sign-in is wrong");
    }
    let Some(user) = SignedIn::read(&asked.user_data) else {
        return Said::closing(PusherClose::Unauthorized, "user_data is not as it should be");
    };
    if connection.is_user(&user.member.user_id) {
        return Said::one(pusher::signin_success(&asked.user_data));
    }
    if connection.state().signed_in.is_some() {
        return Said::closing(PusherClose::Unauthorized, "the connection is another user's");
    }
    match begin(asker, &user).await {
        Ok(watched) => {
            let mut frames = vec![pusher::signin_success(&asked.user_data)];
            frames.extend(watched);
            Said { frames, ..Said::default() }
        }
        Err(Refused(refusal)) => Said::closing(PusherClose::OverCapacity, &refusal.message),
    }
}

/// Follows what the user is to be told; what is known of the watchlist.
async fn begin(asker: &Asker<'_>, user: &SignedIn) -> Result<Option<String>, Refused> {
    let Connection { app, application, identity, .. } = asker.connection;
    let own = user_log(application, &user.member.user_id)?;
    let watched: Vec<ChannelName> =
        user.watchlist.iter().map(|id| online_log(application, id)).collect::<Result<_, _>>()?;
    let was_online = is_online(app, &own).await?;
    let logs = [vec![own], watched].concat();
    follow(app, identity, asker.session, logs, &Cursor::default()).await?;
    asker.connection.state().signed_in = Some(user.clone());
    if !was_online {
        tell(app, application, &user.member.user_id, true).await;
    }
    if user.watchlist.is_empty() {
        return Ok(None);
    }
    let channels: Result<Vec<ChannelName>, Refused> =
        user.watchlist.iter().map(|id| user_log(application, id)).collect();
    let counts = app.sessions.followers(&channels?).await?;
    let (mut online, mut offline) = (Vec::new(), Vec::new());
    for (id, count) in user.watchlist.iter().zip(counts) {
        if count > 0 { &mut online } else { &mut offline }.push(id.clone());
    }
    Ok(Some(pusher::watchlist_events(&online, &offline)))
}
