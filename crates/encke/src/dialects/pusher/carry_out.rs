//! What a client asks in one frame, carried out; the same over each transport.

use encke_proto::{
    Unsubscribed,
    codec::pusher::{self, Incoming, Malformed, PONG, read},
};

use super::{
    client_event,
    connection::{Asker, Connection},
    said::Said,
    sign_in, subscribing,
};

/// What can be said to a frame at once, or what it asks that takes a while.
pub(super) enum Heard {
    /// This is said, if it is anything.
    Said(Option<String>),
    /// This is to be carried out.
    Asks(Incoming),
}

/// Reads a frame.
pub(super) fn hear(text: &str) -> Heard {
    match read(text) {
        Ok(Incoming::Ping) => Heard::Said(Some(PONG.to_owned())),
        Ok(Incoming::Pong) => Heard::Said(None),
        Ok(Incoming::Unknown(_)) => Heard::Said(Some(pusher::error(None, "clients may not send this event"))),
        Ok(incoming) => Heard::Asks(incoming),
        Err(malformed @ (Malformed::Json | Malformed::TooDeep)) => {
            Heard::Said(Some(pusher::error(None, &malformed.to_string())))
        }
    }
}

/// Carries out what a frame asks.
pub(super) async fn carry_out(asker: &Asker<'_>, incoming: Incoming) -> Said {
    match incoming {
        Incoming::Subscribe(asked) => subscribing::subscribe(asker, &asked).await,
        Incoming::Unsubscribe(channel) => subscribing::unsubscribe(asker, &channel).await,
        Incoming::SignIn(asked) => sign_in::sign_in(asker, &asked).await,
        Incoming::Event { event, channel, data } => client_event::send(asker, &event, &channel, &data).await,
        Incoming::Ping | Incoming::Pong | Incoming::Unknown(_) => Said::default(),
    }
}

/// Takes a connection out of a channel that new rules forbid; the frame that tells its client, if that has
/// subscribed.
pub(super) fn expelled(connection: &Connection, told: &Unsubscribed) -> Option<String> {
    connection.unfollow(&told.channel);
    let channel = pusher::channel_of(told.channel.as_str()).filter(|channel| connection.expel(channel))?;
    Some(pusher::subscription_error(channel, "AuthError", "new rules forbid the channel", 403))
}
