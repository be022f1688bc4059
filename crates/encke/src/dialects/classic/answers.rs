//! How the two kinds of scripts are answered: one message a request. hyper frames what is written
//! here, since the connections stay with it.

use encke_hub::{Ending, Pulled};
use encke_proto::{ErrorCode, Position, codec::classic, codec::classic::Written};

use super::{POSITION, channel};
use crate::{
    http::response::{Body, JSON},
    transports::{HoldKind, NextAction, Transport, TransportContext},
};

/// Where both are asked for, each with its method.
const PATH: &str = "/classic/backend";

/// Waits until there is a message, however long: scripts would show an empty answer. The head goes out at
/// once, and white space breaks the silence.
#[derive(Debug)]
pub(super) struct ByTimestamp;

impl Transport for ByTimestamp {
    fn name(&self) -> &'static str {
        "classic-timestamp"
    }

    fn path(&self) -> &'static str {
        PATH
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Stream
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        context.head(200, JSON, Body::UntilClose, true, None);
        NextAction::Wait
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let Some((msg, at)) = next(context).zip(position(context)) else { return NextAction::Wait };
        classic::with_timestamp(context.out, &msg, at);
        NextAction::Close
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        context.out.extend_from_slice(classic::HEARTBEAT);
        NextAction::Wait
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        if context.request_state.began {
            // White space alone is no answer: the script comes back, as after any error.
            return NextAction::Close;
        }
        context.refuse(refusal(ending))
    }
}

/// Waits for a message or until the hold is over, and tells the script whether to go on.
#[derive(Debug)]
pub(super) struct ByCookie;

impl Transport for ByCookie {
    fn name(&self) -> &'static str {
        "classic-cookie"
    }

    fn path(&self) -> &'static str {
        PATH
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Once
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        if context.request_state.hold_s == 0 { self.elapsed(context) } else { NextAction::Wait }
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        match next(context) {
            Some(msg) => answer(context, &msg),
            None => NextAction::Wait,
        }
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let msg = next(context).unwrap_or_default();
        answer(context, &msg)
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        match ending {
            // A page that was taken over must not come back either, or two pages of one browser would take
            // turns without end.
            Ending::TakenOver => write(context, &classic::with_stop("", true), None),
            Ending::Closed(close_notice) if !close_notice.close.reconnect => {
                write(context, &classic::with_stop("", true), None)
            }
            Ending::Closed(_) | Ending::Refused(_) => context.refuse(refusal(ending)),
        }
    }
}

/// The next message. An empty one is passed over: the one kind would show it, the other takes it for none.
fn next(context: &mut TransportContext<'_>) -> Option<String> {
    loop {
        match context.pull() {
            Pulled::Message(entry) => {
                let msg = classic::msg(&entry);
                if !msg.is_empty() {
                    return Some(msg.into_owned());
                }
            }
            // There is no word for it in this dialect; what is kept still comes.
            Pulled::Gap(_) => {}
            Pulled::Nothing => return None,
        }
    }
}

/// Where the session stands in the channel.
fn position(context: &TransportContext<'_>) -> Option<Position> {
    context.hub.cursor(context.conn).position(&channel().ok()?)
}

fn refusal(ending: &Ending) -> ErrorCode {
    match ending {
        Ending::Closed(close_notice) if close_notice.close.reconnect => ErrorCode::ShuttingDown,
        Ending::Closed(_) => ErrorCode::SessionClosed,
        Ending::TakenOver => ErrorCode::SessionTakenOver,
        Ending::Refused(code) => *code,
    }
}

fn answer(context: &mut TransportContext<'_>, msg: &str) -> NextAction {
    let at = position(context).map(|at| Written(at).to_string());
    write(context, &classic::with_stop(msg, false), at.as_deref())
}

fn write(context: &mut TransportContext<'_>, body: &str, at: Option<&str>) -> NextAction {
    let field = at.map(|at| (POSITION, at));
    context.head(200, JSON, Body::Length(body.len()), true, field);
    context.out.extend_from_slice(body.as_bytes());
    NextAction::Done
}
