//! The native long poll in the short form: the answer holds nothing that says nothing.

use encke_hub::Ending;
use encke_proto::{
    Entry, Epoch, Expiring, Gap, Unsubscribed,
    codec::poll::{Answer, ShortTold},
};

use super::{NAME, poll::Poll};
use crate::{
    http::response,
    transports::{AnswerForm, NextAction, TransportContext},
};

#[derive(Debug)]
pub(super) struct ShortPoll;

/// What is gathered, and the epoch of those messages that say none.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    answer: Answer,
    epoch: Option<Epoch>,
}

impl AnswerForm for ShortPoll {
    const NAME: &'static str = Poll::NAME;
    const DIALECT: &'static str = NAME;
    type Gathered = Gathered;

    fn message(_: &mut TransportContext<'_>, gathered: &mut Gathered, entry: &Entry) {
        let told = *gathered.epoch.get_or_insert(entry.message().position.epoch);
        gathered.answer.short_message(entry, told);
    }

    fn gap(gathered: &mut Gathered, gap: &Gap) {
        gathered.answer.gap(gap);
    }

    fn unsubscribed(gathered: &mut Gathered, told: &Unsubscribed) {
        gathered.answer.unsubscribed(told);
    }

    fn expiring(gathered: &mut Gathered, told: Expiring) {
        gathered.answer.expiring(told);
    }

    fn is_empty(gathered: &Gathered) -> bool {
        gathered.answer.is_empty()
    }

    fn is_full(context: &TransportContext<'_>, gathered: &Gathered) -> bool {
        context.full(gathered.answer.len())
    }

    fn finish(context: &mut TransportContext<'_>, gathered: Gathered) -> NextAction {
        context.take_cursor();
        let served = context.hub.serves(context.conn).filter(|(_, is_first)| *is_first);
        let told = ShortTold {
            cursor: context.cursor,
            messages_of: context.user().zip(gathered.epoch),
            begins: served.map(|(session, _)| (session, context.site.close_keys.of_session(session))),
            close: None,
        };
        let body = gathered.answer.finish_short(&told);
        answer(context, &body)
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        let Ending::Closed(notice) = ending else { return Poll::ended(context, ending) };
        // The socket is freed with the session, so the answer says that it is the last one.
        context.request_state.keep_alive = false;
        let told =
            ShortTold { cursor: &notice.cursor, messages_of: None, begins: None, close: Some(&notice.close) };
        answer(context, &Answer::default().finish_short(&told))
    }
}

fn answer(context: &mut TransportContext<'_>, body: &str) -> NextAction {
    let keep_alive = context.request_state.keep_alive;
    context.head(200, response::JSON, response::Body::Length(body.len()), keep_alive, &[]);
    context.out.extend_from_slice(body.as_bytes());
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
