//! The long poll: held until there is something to say, then answered with all of it at once.

use encke_hub::{Ending, Pulled};
use encke_proto::{
    ErrorCode,
    codec::poll::{Answer, GOES_ON, Pieces},
    json,
};

use super::{HoldKind, NextAction, Transport, TransportContext};
use crate::http::response;

#[derive(Debug)]
pub(super) struct Poll;

impl Transport for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn path(&self) -> &'static str {
        "/v1/poll"
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Once
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        if context.request_state.hold_s == 0 { self.elapsed(context) } else { NextAction::Wait }
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let answer = gather(context);
        // What made it ready may have been passed over, because its time was over.
        if answer.is_empty() { NextAction::Wait } else { finish(context, answer) }
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let answer = gather(context);
        finish(context, answer)
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        match ending {
            Ending::Closed(close_notice) => {
                // The socket is freed with the session, so the answer says that it is the last one.
                context.request_state.keep_alive = false;
                let close = json::write(&close_notice.close);
                answer(
                    context,
                    Answer::default().finish(
                        close_notice.session.text().as_str(),
                        &close_notice.cursor,
                        &close,
                    ),
                )
            }
            Ending::TakenOver => context.refuse(ErrorCode::SessionTakenOver),
            Ending::Refused(code) => context.refuse(*code),
        }
    }
}

fn gather(context: &mut TransportContext<'_>) -> Answer {
    let mut answer = Answer::default();
    while !context.full(answer.len()) {
        match context.pull() {
            Pulled::Message(entry) => answer.message(&entry),
            Pulled::Gap(gap) => answer.gap(&gap),
            Pulled::Nothing => break,
        }
    }
    answer
}

fn finish(context: &mut TransportContext<'_>, gathered: Answer) -> NextAction {
    context.take_cursor();
    // Borrowed from the exchange, which writes around it.
    let cursor = std::mem::take(context.cursor);
    let after = answer(context, gathered.finish(context.session().text().as_str(), &cursor, GOES_ON));
    *context.cursor = cursor;
    after
}

fn answer(context: &mut TransportContext<'_>, body: Pieces<'_>) -> NextAction {
    let keep_alive = context.request_state.keep_alive;
    context.head(200, response::JSON, response::Body::Length(body.len()), keep_alive, None);
    body.write(context.out);
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
