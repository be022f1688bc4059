//! Subscriptions: what a session asks for becomes logs that the hub's session follows. There may be no such
//! session yet, or no more: then the place is taken from the log itself, and the next connect goes on there.

use encke_engine::{PageLimit, ReadFrom};
use encke_proto::{
    Action, ChannelName, ErrorCode, Position,
    codec::bayeux::{Message, Pattern, Reply},
    limits::SESSION_MAX_CHANNELS,
};

use super::{server::Server, session::Session};
use crate::{commands::follow_counted, http::refusal::Refused};

/// How often the hub is asked again whether the session is there: it begins beside this.
const TRIES_MAX: usize = 5;
/// Of a log only its end is asked for.
const END: PageLimit = PageLimit { messages: 1, bytes: 1 };

/// What is wrong with a subscription.
struct Fault {
    code: u16,
    argument: String,
    text: &'static str,
}

/// Subscribes a session to what a message says.
pub(super) async fn subscribe(server: &Server, session: &Session, message: &Message) -> Reply {
    answer(message, add(server, session, message).await)
}

/// Unsubscribes a session from what a message says. What it did not subscribe to is none of it afterwards
/// either.
pub(super) async fn unsubscribe(server: &Server, session: &Session, message: &Message) -> Reply {
    answer(message, remove(server, session, message).await)
}

/// Clients take the subscription in the reply for the one that they asked for, so it is as they wrote it.
fn answer(message: &Message, done: Result<(), Fault>) -> Reply {
    let (channel, id) = (message.channel.as_str(), message.id.clone());
    let reply = match done {
        Ok(()) => Reply::done(channel, id),
        Err(Fault { code, argument, text }) => {
            Reply::failed(channel, id, format!("{code}:{argument}:{text}"))
        }
    };
    reply.of_subscription(message.subscription.clone())
}

fn patterns(message: &Message) -> Result<Vec<Pattern>, Fault> {
    if message.subscription.is_none() {
        return Err(Fault { code: 403, argument: String::new(), text: "subscription_missing" });
    }
    let invalid = |argument: String| Fault { code: 403, argument, text: "subscription_invalid" };
    let all = message.subscriptions().ok_or_else(|| invalid(String::new()))?;
    let read = |text: String| {
        if text.starts_with("/meta/") {
            return Err(Fault { code: 403, argument: text, text: "subscribe_denied" });
        }
        // What is not a name is not repeated to others who read logs or pages.
        Pattern::parse(&text).map_err(|_| invalid(String::new()))
    };
    all.0.into_iter().map(read).collect()
}

/// Counts a request, whatever comes of it: each may be written down.
fn count(server: &Server, session: &Session) -> Result<(), Fault> {
    let counted = server.app.rate_limits.user_request(&session.owner().identity.user, server.app.now().wall);
    counted.map_err(|refusal| Fault {
        code: refusal.code.status(),
        argument: String::new(),
        text: refusal.code.as_str(),
    })
}

async fn add(server: &Server, session: &Session, message: &Message) -> Result<(), Fault> {
    let patterns = patterns(message)?;
    count(server, session)?;
    let owner = session.owner();
    for pattern in patterns.iter().filter(|pattern| !pattern.is_service()) {
        let access = server.app.auth.access();
        let may = |name: &str| {
            ChannelName::public(name)
                .is_ok_and(|channel| access.check(&owner.identity, Action::Subscribe, &channel).is_ok())
        };
        if !may(pattern.as_str()) || !may(&pattern.log()) {
            return Err(Fault { code: 403, argument: pattern.to_string(), text: "subscribe_denied" });
        }
    }
    let before: Vec<Pattern> = session.state().patterns.clone();
    let new: Vec<&Pattern> = patterns.iter().filter(|pattern| !before.contains(pattern)).collect();
    if before.len() + new.len() > SESSION_MAX_CHANNELS {
        return Err(Fault { code: 403, argument: String::new(), text: "too_many_subscriptions" });
    }
    // Known before it is followed: what comes at once is for the client already.
    let logs: Vec<ChannelName> = {
        let mut state = session.state();
        new.iter().filter_map(|pattern| state.add(pattern)).collect()
    };
    let followed = async {
        follow_logs(server, session, &logs).await?;
        if new.is_empty() { Ok(()) } else { server.write(session).await }
    };
    if let Err(Refused(refusal)) = followed.await {
        let mut state = session.state();
        new.iter().for_each(|pattern| drop(state.remove(pattern)));
        let (code, argument) = (refusal.code.status(), patterns.first().map(ToString::to_string));
        return Err(Fault { code, argument: argument.unwrap_or_default(), text: refusal.code.as_str() });
    }
    Ok(())
}

/// Follows logs from now on, and takes note of where that is.
async fn follow_logs(server: &Server, session: &Session, logs: &[ChannelName]) -> Result<(), Refused> {
    if logs.is_empty() {
        return Ok(());
    }
    for _ in 0..TRIES_MAX {
        let connects = session.state().connects;
        if connects > 0 {
            let from = session.state().places(logs);
            let owner = session.owner();
            match follow_counted(&server.app, &owner.identity, session.id, logs.to_vec(), &from).await {
                Ok(following) => {
                    let mut state = session.state();
                    following.began.entries.into_iter().for_each(|(log, at)| state.place(&log, at));
                    return Ok(());
                }
                Err(Refused(refusal))
                    if matches!(refusal.code, ErrorCode::SessionUnknown | ErrorCode::SessionClosed) => {}
                Err(refused) => return Err(refused),
            }
        }
        for log in
            logs.iter().filter(|log| session.state().places(std::slice::from_ref(log)).entries.is_empty())
        {
            let page = server.app.engine.read(log, ReadFrom::Head, END).await?;
            session.state().place(log, Position { epoch: page.epoch, offset: page.head });
        }
        // A connect that has come meanwhile did not know of it.
        if session.state().connects == connects {
            break;
        }
    }
    Ok(())
}

async fn remove(server: &Server, session: &Session, message: &Message) -> Result<(), Fault> {
    let patterns = patterns(message)?;
    let fault = |code: ErrorCode| Fault { code: code.status(), argument: String::new(), text: code.as_str() };
    count(server, session)?;
    let (removed, logs): (Vec<Pattern>, Vec<ChannelName>) = {
        let mut state = session.state();
        let removed: Vec<Pattern> =
            patterns.into_iter().filter(|pattern| state.patterns.contains(pattern)).collect();
        let logs = removed.iter().flat_map(|pattern| state.remove(pattern)).collect();
        (removed, logs)
    };
    if removed.is_empty() {
        return Ok(());
    }
    if !logs.is_empty() && session.state().connects > 0 {
        let owner = session.owner();
        match server.app.sessions.unsubscribe(session.id, &owner.identity.user, logs).await {
            // It follows nothing then.
            Ok(_) | Err(ErrorCode::SessionUnknown | ErrorCode::SessionClosed) => {}
            Err(code) => {
                // It goes on following.
                let mut state = session.state();
                removed.iter().for_each(|pattern| drop(state.add(pattern)));
                return Err(fault(code));
            }
        }
    }
    server.write(session).await.map_err(|Refused(refusal)| fault(refusal.code))
}
