//! The native long poll: the answer as one JSON object.

use encke_hub::Ending;
use encke_proto::{
    Entry, ErrorCode, Expiring, Gap, SessionId, Unsubscribed,
    codec::poll::{Answer, GOES_ON, Pieces, begins},
    json,
};

use super::NAME;
use crate::{
    http::response,
    transports::{AnswerForm, NextAction, TransportContext},
};

#[derive(Debug)]
pub(super) struct Poll;

impl AnswerForm for Poll {
    const NAME: &'static str = "poll";
    const DIALECT: &'static str = NAME;
    type Gathered = Answer;

    fn message(_: &mut TransportContext<'_>, gathered: &mut Answer, entry: &Entry) {
        gathered.message(entry);
    }

    fn gap(gathered: &mut Answer, gap: &Gap) {
        gathered.gap(gap);
    }

    fn unsubscribed(gathered: &mut Answer, told: &Unsubscribed) {
        gathered.unsubscribed(told);
    }

    fn expiring(gathered: &mut Answer, told: Expiring) {
        gathered.expiring(told);
    }

    fn is_empty(gathered: &Answer) -> bool {
        gathered.is_empty()
    }

    fn is_full(context: &TransportContext<'_>, gathered: &Answer) -> bool {
        context.full(gathered.len())
    }

    fn finish(context: &mut TransportContext<'_>, gathered: Answer) -> NextAction {
        context.take_cursor();
        // Borrowed from the context, which writes around it.
        let cursor = std::mem::take(context.cursor);
        let (session, is_first) =
            context.hub.serves(context.conn).unwrap_or((SessionId::from_bits(0), false));
        let begins =
            if is_first { begins(context.site.close_keys.of_session(session)) } else { String::new() };
        let close = if is_first { &begins } else { GOES_ON };
        let after = answer(context, gathered.finish(&session.text(), &cursor, close));
        *context.cursor = cursor;
        after
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        match ending {
            Ending::Closed(notice) => {
                // The socket is freed with the session, so the answer says that it is the last one.
                context.request_state.keep_alive = false;
                let close = json::write(&notice.close);
                answer(context, Answer::default().finish(&notice.session.text(), &notice.cursor, &close))
            }
            Ending::TakenOver => context.refuse(ErrorCode::SessionTakenOver),
            Ending::Refused(code) => context.refuse(*code),
        }
    }
}

fn answer(context: &mut TransportContext<'_>, body: Pieces<'_>) -> NextAction {
    let keep_alive = context.request_state.keep_alive;
    context.head(200, response::JSON, response::Body::Length(body.len()), keep_alive, &[]);
    body.write(context.out);
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
