//! The long poll: held until there is something to say, then answered with all of it at once.

use encke_hub::{Ending, Pulled};
use encke_proto::{
    ErrorCode,
    codec::poll::{Answer, GOES_ON, Pieces},
    json,
};

use super::{After, Exchange, Pace, Transport};
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

    fn pace(&self) -> Pace {
        Pace::Once
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        if exchange.held.hold_s == 0 { self.elapsed(exchange) } else { After::Wait }
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        let answer = gather(exchange);
        // What made it ready may have been passed over, because its time was over.
        if answer.is_empty() { After::Wait } else { finish(exchange, answer) }
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        let answer = gather(exchange);
        finish(exchange, answer)
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        match ending {
            Ending::Closed(farewell) => {
                // The socket is freed with the session, so the answer says that it is the last one.
                exchange.held.keep_alive = false;
                let close = json::write(&farewell.close);
                answer(
                    exchange,
                    Answer::default().finish(farewell.session.text().as_str(), &farewell.cursor, &close),
                )
            }
            Ending::TakenOver => exchange.refuse(ErrorCode::SessionTakenOver),
            Ending::Refused(code) => exchange.refuse(*code),
        }
    }
}

fn gather(exchange: &mut Exchange<'_>) -> Answer {
    let mut answer = Answer::default();
    while !exchange.full(answer.len()) {
        match exchange.pull() {
            Pulled::Message(entry) => answer.message(&entry),
            Pulled::Gap(gap) => answer.gap(&gap),
            Pulled::Nothing => break,
        }
    }
    answer
}

fn finish(exchange: &mut Exchange<'_>, gathered: Answer) -> After {
    exchange.take_cursor();
    // Lent from the exchange, which writes around it.
    let cursor = std::mem::take(exchange.cursor);
    let after = answer(exchange, gathered.finish(exchange.session().text().as_str(), &cursor, GOES_ON));
    *exchange.cursor = cursor;
    after
}

fn answer(exchange: &mut Exchange<'_>, body: Pieces<'_>) -> After {
    let keep_alive = exchange.held.keep_alive;
    exchange.head(200, response::JSON, response::Body::Length(body.len()), keep_alive, None);
    body.write(exchange.out);
    if keep_alive { After::Done } else { After::Close }
}
