//! One answer for a request that waits: held until there is something to say, then answered with all of it.

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{Entry, Expiring, Gap, Refusal, Unsubscribed};

use super::{HoldKind, NextAction, Transport, TransportContext};

/// What is said in the answer.
pub trait AnswerForm: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// The dialect that is spoken.
    const DIALECT: &'static str;
    /// What is gathered for one answer.
    type Gathered: Default;

    /// What comes next. A dialect may have all but one channel stand back.
    fn next(context: &mut TransportContext<'_>) -> Pulled {
        context.pull()
    }

    /// Gathers a message. A dialect may pass over one that is not for this client.
    fn message(context: &mut TransportContext<'_>, gathered: &mut Self::Gathered, entry: &Entry);

    /// Gathers the news that messages are lost.
    fn gap(gathered: &mut Self::Gathered, gap: &Gap);

    /// Gathers the news that a channel is not followed any more, as the token does not grant it. A dialect
    /// without a word for that says nothing.
    fn unsubscribed(_: &mut Self::Gathered, _: &Unsubscribed) {}

    /// Gathers the news that the token of the session ends soon. A dialect without a word for that says
    /// nothing.
    fn expiring(_: &mut Self::Gathered, _: Expiring) {}

    /// Whether there is nothing to say.
    fn is_empty(gathered: &Self::Gathered) -> bool;

    /// Whether enough is gathered for one answer.
    fn is_full(context: &TransportContext<'_>, gathered: &Self::Gathered) -> bool;

    /// Writes the answer.
    fn finish(context: &mut TransportContext<'_>, gathered: Self::Gathered) -> NextAction;

    /// Answers that the service has ended.
    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction;

    /// Answers that the request is not served.
    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> NextAction {
        context.refuse_with(refusal)
    }
}

/// One answer of some form.
#[derive(Debug)]
pub struct OneAnswer<F>(pub F);

impl<F: AnswerForm> Transport for OneAnswer<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn dialect(&self) -> &'static str {
        F::DIALECT
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Once
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        if context.request_state.hold_s == 0 { self.elapsed(context) } else { NextAction::Wait }
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let gathered = gather::<F>(context);
        // What made it ready may have been passed over, because its time was over.
        if F::is_empty(&gathered) { NextAction::Wait } else { F::finish(context, gathered) }
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let gathered = gather::<F>(context);
        F::finish(context, gathered)
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        F::ended(context, ending)
    }

    fn refused(&self, context: &mut TransportContext<'_>, refusal: &Refusal) -> NextAction {
        F::refuse(context, refusal)
    }
}

fn gather<F: AnswerForm>(context: &mut TransportContext<'_>) -> F::Gathered {
    let mut gathered = F::Gathered::default();
    while !F::is_full(context, &gathered) {
        match F::next(context) {
            Pulled::Message(entry) => F::message(context, &mut gathered, &entry),
            Pulled::Gap(gap) => F::gap(&mut gathered, &gap),
            Pulled::Unsubscribed(told) => F::unsubscribed(&mut gathered, &told),
            Pulled::Expiring(told) => F::expiring(&mut gathered, told),
            Pulled::Nothing => break,
        }
    }
    gathered
}
