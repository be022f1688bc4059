//! Connects that are held: by POST (`long-polling`) or as a script that a page loads (`callback-polling`).

use std::sync::Arc;

use encke_hub::Ending;
use encke_proto::{
    ChannelName, Entry, ErrorCode, Expiring, Gap, Refusal, SessionId, Unsubscribed,
    codec::bayeux::{Reply, array, event, script},
};

use super::{
    NAME, admission,
    browsers::Held,
    connect::{self, Asked, Connect},
    server::Server,
    session::Session,
};
use crate::{
    admission::{Answer, Verdict},
    http::response::{Body, JSON},
    transports::{AnswerForm, NextAction, OneAnswer, RequestState, TransportContext},
};

/// The type of scripts.
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// A script is nothing to be shown or opened.
const ATTACHMENT: (&str, &str) = ("content-disposition", "attachment; filename=f.txt");

/// How a request is answered, and what else its answer has.
#[derive(Debug, Default)]
pub(super) struct Wrapping {
    /// The function that a script calls.
    pub(super) callback: Option<Box<str>>,
    /// The browser that asks.
    pub(super) browser: Option<SessionId>,
}

/// What is kept of a connect that is held.
struct Waiting {
    server: Arc<Server>,
    session: Arc<Session>,
    asked: Asked,
    /// The replies to what came with it.
    replies: Box<[Vec<u8>]>,
    callback: Option<Box<str>>,
    /// Its place among those of its browser that are held.
    _held: Option<Held>,
    /// Whether it was not held since there are others.
    is_one_of_many: bool,
}

/// What a connect is answered with.
#[derive(Debug, Default)]
struct Gathered {
    /// The messages, parted by commas.
    events: Vec<u8>,
    /// Whether the token ends soon.
    is_expiring: bool,
    /// Logs that are not followed any more.
    lost: Vec<ChannelName>,
}

/// Holds a connect, or answers it at once.
pub(super) fn hold(
    server: &Arc<Server>,
    connect: Connect,
    replies: Vec<Vec<u8>>,
    wrapping: Wrapping,
    mut request_state: RequestState,
) -> Verdict {
    let timeout_ms = server.timeout_ms();
    if connect.has_stream {
        let reply = connect::beside_stream(server, &connect).json().into_bytes();
        let all = replies.into_iter().chain([reply]).collect();
        return answered(all, wrapping.callback.as_deref(), request_state, Vec::new());
    }
    let goes_on = server.connect(&connect.session, connect.acknowledged);
    let mut hold_ms = connect.hold_ms(goes_on.is_first, timeout_ms);
    let browser = wrapping.browser.filter(|_| hold_ms > 0);
    let held = browser.and_then(|browser| server.browsers.hold(browser));
    let is_one_of_many = browser.is_some() && held.is_none();
    if is_one_of_many {
        hold_ms = 0;
    }
    request_state.hold_s = u32::try_from(hold_ms.div_ceil(1000)).unwrap_or(u32::MAX);
    let Connect { session, asked, .. } = connect;
    let transport: &'static dyn crate::transports::Transport = if wrapping.callback.is_some() {
        &OneAnswer(Answered::<true>)
    } else {
        &OneAnswer(Answered::<false>)
    };
    let waiting = Waiting {
        server: Arc::clone(server),
        session: Arc::clone(&session),
        asked,
        replies: replies.into(),
        callback: wrapping.callback,
        _held: held,
        is_one_of_many,
    };
    admission::admitted(&session, goes_on, transport, request_state, Box::new(waiting))
}

/// Answers a request that does not wait.
pub(super) fn answered(
    replies: Vec<Vec<u8>>,
    callback: Option<&str>,
    request_state: RequestState,
    mut fields: Vec<(&'static str, String)>,
) -> Verdict {
    let json = array(replies.iter().map(Vec::as_slice));
    let (content_type, body) = match callback {
        Some(callback) => {
            fields.push((ATTACHMENT.0, ATTACHMENT.1.into()));
            (SCRIPT, script(callback, &json))
        }
        None => (JSON, json),
    };
    Verdict::Answered(Box::new(Answer { status: 200, content_type, fields, body }), request_state)
}

/// The answer to a connect: the messages, then the other replies, then its own, which numbers what stands
/// before it.
#[derive(Debug)]
struct Answered<const SCRIPTED: bool>;

impl<const SCRIPTED: bool> AnswerForm for Answered<SCRIPTED> {
    const NAME: &'static str = if SCRIPTED { "bayeux-callback-polling" } else { "bayeux-long-polling" };
    const DIALECT: &'static str = NAME;
    type Gathered = Gathered;

    fn message(context: &mut TransportContext<'_>, gathered: &mut Gathered, entry: &Entry) {
        if context.state::<Waiting>().is_some_and(|waiting| waiting.session.wants(entry)) {
            if !gathered.events.is_empty() {
                gathered.events.push(b',');
            }
            gathered.events.extend_from_slice(entry.form("bayeux.event", event));
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut Gathered, _: &Gap) {}

    /// The reply says so.
    fn unsubscribed(gathered: &mut Gathered, told: &Unsubscribed) {
        gathered.lost.push(told.channel.clone());
    }

    /// The reply says so.
    fn expiring(gathered: &mut Gathered, _: Expiring) {
        gathered.is_expiring = true;
    }

    fn is_empty(gathered: &Gathered) -> bool {
        gathered.events.is_empty() && !gathered.is_expiring && gathered.lost.is_empty()
    }

    fn is_full(context: &TransportContext<'_>, gathered: &Gathered) -> bool {
        context.full(gathered.events.len())
    }

    fn finish(context: &mut TransportContext<'_>, gathered: Gathered) -> NextAction {
        let (cursor, now) = (context.hub.cursor(context.conn), context.now.wall);
        let Some(waiting) = context.state::<Waiting>() else { return context.refuse(ErrorCode::Internal) };
        waiting.server.lose(&waiting.session, &gathered.lost);
        let batch = waiting.session.sent(cursor);
        let batch = waiting.session.acks.then_some(batch);
        let timeout_ms = waiting.server.timeout_ms();
        let reply = if waiting.is_one_of_many {
            waiting.asked.one_of_many(timeout_ms, batch, now)
        } else {
            waiting.asked.done(timeout_ms, batch, now)
        };
        write(context, &gathered.events, &reply)
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        let now = context.now.wall;
        let Some(waiting) = context.state::<Waiting>() else { return context.refuse(ErrorCode::Internal) };
        let timeout_ms = waiting.server.timeout_ms();
        let reply = match ending {
            Ending::Closed(notice) => {
                if !notice.close.reconnect {
                    waiting.server.forget(&waiting.session);
                }
                waiting.asked.closed(&notice.close, timeout_ms, now)
            }
            // The newer connect has everything. Nothing may be read into this answer by a client that still
            // waits for it, so it is a failure of the transport.
            Ending::TakenOver => return context.refuse(ErrorCode::SessionTakenOver),
            Ending::Refused(code) => {
                let Some(reply) = waiting.asked.unserved(*code, &waiting.server, now) else {
                    return context.refuse(*code);
                };
                reply
            }
        };
        write(context, &[], &reply)
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> NextAction {
        Self::ended(context, &Ending::Refused(refusal.code))
    }
}

fn write(context: &mut TransportContext<'_>, events: &[u8], reply: &Reply) -> NextAction {
    let Some(waiting) = context.state::<Waiting>() else { return context.refuse(ErrorCode::Internal) };
    let reply = reply.json();
    let events = (!events.is_empty()).then_some(events);
    let replies = waiting.replies.iter().map(Vec::as_slice);
    let json = array(events.into_iter().chain(replies).chain([reply.as_bytes()]));
    let callback = waiting.callback.take();
    let keep_alive = context.request_state.keep_alive;
    let (content_type, body, fields) = match &callback {
        Some(callback) => (SCRIPT, script(callback, &json), &[ATTACHMENT][..]),
        None => (JSON, json, &[][..]),
    };
    context.head(200, content_type, Body::Length(body.len()), keep_alive, fields);
    context.out.extend_from_slice(&body);
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
