//! How the two kinds of scripts are answered: one message a request. The HTTP library frames what is written
//! here, since the connections stay with it.

use encke_hub::{Ending, Pulled};
use encke_proto::{ErrorCode, Position, codec::classic, codec::classic::Written};

use super::{POSITION, channel};
use crate::{
    http::response::{Body, JSON},
    transports::{After, Exchange, Pace, Transport},
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

    fn pace(&self) -> Pace {
        Pace::Stream
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        exchange.head(200, JSON, Body::UntilClose, true, None);
        After::Wait
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        let Some((msg, at)) = next(exchange).zip(position(exchange)) else { return After::Wait };
        classic::with_timestamp(exchange.out, &msg, at);
        After::Close
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        exchange.out.extend_from_slice(classic::HEARTBEAT);
        After::Wait
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        if exchange.held.began {
            // White space alone is no answer: the script comes back, as after any error.
            return After::Close;
        }
        exchange.refuse(refusal(ending))
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

    fn pace(&self) -> Pace {
        Pace::Once
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        if exchange.held.hold_s == 0 { self.elapsed(exchange) } else { After::Wait }
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        match next(exchange) {
            Some(msg) => answer(exchange, &msg),
            None => After::Wait,
        }
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        let msg = next(exchange).unwrap_or_default();
        answer(exchange, &msg)
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        match ending {
            // Whoever was taken over must not come back either, or two pages of one browser would take turns
            // without end.
            Ending::TakenOver => write(exchange, &classic::with_stop("", true), None),
            Ending::Closed(farewell) if !farewell.close.reconnect => {
                write(exchange, &classic::with_stop("", true), None)
            }
            Ending::Closed(_) | Ending::Refused(_) => exchange.refuse(refusal(ending)),
        }
    }
}

/// The next message. An empty one is passed over: the one kind would show it, the other takes it for none.
fn next(exchange: &mut Exchange<'_>) -> Option<String> {
    loop {
        match exchange.pull() {
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
fn position(exchange: &Exchange<'_>) -> Option<Position> {
    exchange.hub.cursor(exchange.conn).position(&channel().ok()?)
}

fn refusal(ending: &Ending) -> ErrorCode {
    match ending {
        Ending::Closed(farewell) if farewell.close.reconnect => ErrorCode::ShuttingDown,
        Ending::Closed(_) => ErrorCode::SessionClosed,
        Ending::TakenOver => ErrorCode::SessionTakenOver,
        Ending::Refused(code) => *code,
    }
}

fn answer(exchange: &mut Exchange<'_>, msg: &str) -> After {
    let at = position(exchange).map(|at| Written(at).to_string());
    write(exchange, &classic::with_stop(msg, false), at.as_deref())
}

fn write(exchange: &mut Exchange<'_>, body: &str, at: Option<&str>) -> After {
    let field = at.map(|at| (POSITION, at));
    exchange.head(200, JSON, Body::Length(body.len()), true, field);
    exchange.out.extend_from_slice(body.as_bytes());
    After::Done
}
