//! A subscriber with our client library, as an application would use it.

use std::time::Duration;

use encke_client::{Client, Event, Listen, Listener, SessionHandle, Transport};
use encke_proto::{ChannelName, Cursor, Position};
use tokio::time::timeout;

use super::{Mood, Plan, Whim, app::App, rest};
use crate::chaos::{
    evidence::{Id, Note},
    ledger,
    phase::Look,
};

/// What the library hands over, in our words.
enum Told {
    Open(Cursor),
    Message(ChannelName, Position, Id),
    Gap(ChannelName, u64, Option<u64>),
    Away,
    Nothing,
}

pub(super) async fn listen(plan: Plan, transport: Transport, mut app: App, look: Look) {
    let mut mood = Mood::new(&plan);
    let client = match Client::new(&format!("http://{}", plan.through), &plan.token) {
        Ok(client) => client,
        Err(error) => return app.evidence.note(plan.broken(&error.to_string())),
    };
    let mut session = None;
    while look.stage() < plan.leaves {
        let mut listen = Listen::new()
            .transport(transport)
            .channels(plan.channels.iter().map(ChannelName::as_str))
            .hold_s(5);
        if app.has_begun() {
            listen = listen.cursor(app.cursor().to_string());
        }
        if let Some(session) = session.take() {
            listen = listen.session(session);
        }
        let mut listener = client.listen(listen);
        match follow(&plan, &mut listener, &mut app, &mut mood, &look).await {
            None => return,
            Some(Whim::Away(pause)) => {
                session = listener.handle().session().filter(|_| mood.choice.below(3) > 0);
                drop(listener);
                app.disconnected();
                rest(pause, &look).await;
            }
            Some(Whim::Forget(pause)) => {
                let handle = listener.handle();
                let known = handle.session().is_some();
                while handle.close(None).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                drop(listener);
                app.disconnected();
                // Between a close by the server and the next connection there is no session to end; then the
                // cursor is kept.
                if known {
                    app.ended();
                }
                rest(pause, &look).await;
            }
            Some(Whim::Ack) => {}
        }
    }
}

/// Listens until a whim comes, or until it is time to leave.
async fn follow(
    plan: &Plan,
    listener: &mut Listener,
    app: &mut App,
    mood: &mut Mood,
    look: &Look,
) -> Option<Whim> {
    loop {
        let mut leaving = look.clone();
        let event = tokio::select! {
            event = listener.next() => event,
            () = tokio::time::sleep_until(mood.next), if look.is_storm() => match mood.whim() {
                Whim::Ack => {
                    ack(&listener.handle(), app).await;
                    continue;
                }
                // Who has not begun has nothing to come back with; a first request under way is better not
                // cut.
                whim if app.has_begun() => return Some(whim),
                _ => continue,
            },
            () = leaving.reached(plan.leaves) => return None,
        };
        match told(plan, event) {
            Err(note) => {
                app.evidence.note(note);
                return Some(Whim::Away(Duration::from_millis(500)));
            }
            Ok(Told::Open(cursor)) if !app.has_begun() => begin(plan, listener, app, cursor).await,
            Ok(told) => hand_over(app, told),
        }
    }
}

/// The first connection of a session without a past. What it brings at once may be before the cursor that it
/// was told with: a poll's answer leads behind its messages.
async fn begin(plan: &Plan, listener: &mut Listener, app: &mut App, mut cursor: Cursor) {
    let mut first = Vec::new();
    while let Ok(event) = timeout(Duration::ZERO, listener.next()).await {
        match told(plan, event) {
            Ok(told) => first.push(told),
            Err(note) => {
                app.evidence.note(note);
                break;
            }
        }
    }
    for told in first.iter().rev() {
        if let Told::Message(channel, position, _) = told
            && cursor.position(channel).is_some_and(|begin| begin.offset >= position.offset)
        {
            cursor.set(channel, Position { offset: position.offset - 1, ..*position });
        }
    }
    app.begin(cursor);
    for told in first {
        hand_over(app, told);
    }
}

fn hand_over(app: &mut App, told: Told) {
    match told {
        Told::Open(cursor) => {
            app.resume(&cursor);
        }
        Told::Message(channel, position, id) => app.message(channel, position, id),
        Told::Gap(channel, from, to) => app.gap(channel, from, to),
        Told::Away => {
            app.disconnected();
            // Before the first answer it is not known what the request did.
            if !app.has_begun() {
                app.tried();
            }
        }
        Told::Nothing => {}
    }
}

async fn ack(handle: &SessionHandle, app: &App) {
    let cursor = app.cursor();
    // The library's own cursor covers no more than what it has handed over.
    if app.has_begun()
        && handle.session().is_some()
        && matches!(timeout(Duration::from_secs(4), handle.ack()).await, Ok(Ok(())))
    {
        app.acked(cursor);
    }
}

fn told(plan: &Plan, event: Option<Result<Event, encke_client::Error>>) -> Result<Told, Note> {
    let broken = |what: &str| plan.broken(&format!("{:?}: {what}", plan.means));
    let channel = |name: &str| ChannelName::any(name).map_err(|error| broken(&error.to_string()));
    Ok(match event {
        None => return Err(broken("the library's listener ended")),
        Some(Err(error)) => return Err(broken(&format!("the library gave up: {error}"))),
        Some(Ok(Event::Open(open))) => {
            Told::Open(Cursor::parse(&open.cursor).map_err(|error| broken(&error.to_string()))?)
        }
        Some(Ok(Event::Message(message))) => {
            let epoch = message.epoch.parse().map_err(|_| broken("an epoch that is none"))?;
            let id = ledger::read(message.data.as_deref().map_or("null", |data| data.get()));
            Told::Message(channel(&message.channel)?, Position { epoch, offset: message.offset }, id)
        }
        Some(Ok(Event::Gap(gap))) => Told::Gap(channel(&gap.channel)?, gap.from, gap.to),
        Some(Ok(Event::Close(close))) if !close.reconnect => {
            return Err(broken(&format!("it was closed for good: {}", close.code)));
        }
        Some(Ok(Event::Close(_) | Event::Lost(_))) => Told::Away,
        Some(Ok(_)) => Told::Nothing,
    })
}
