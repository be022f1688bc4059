//! What the native streams have in common: an event each for what happens, and an end that says why.

use std::{fmt, marker::PhantomData};

use encke_proto::{Close, Entry, Event, Expiring, Gap, Unsubscribed, codec::MessageForm};

use super::{NAME, form::Messages};
use crate::transports::{Form, TransportContext};

/// What differs: how an event looks.
pub(super) trait EventForm: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// The type of its body.
    const CONTENT_TYPE: &'static str;

    /// Writes what stands before the first event.
    fn prelude(_: &mut TransportContext<'_>) {}

    /// The policy of the response, if it is a document.
    fn policy(_: &TransportContext<'_>) -> Option<String> {
        None
    }

    /// Writes a message.
    fn message(context: &mut TransportContext<'_>, entry: &Entry, form: MessageForm);

    /// Writes any other event.
    fn event(context: &mut TransportContext<'_>, event: &Event);

    /// Ends an event that began at `_begins` in the output, with the session's cursor standing behind it.
    fn end_event<M: Messages>(_: &mut TransportContext<'_>, _begins: usize) {}

    /// Ends the event that says that the session is closed.
    fn end_close(_: &mut TransportContext<'_>, _cursor: &str, _stays_away: bool) {}

    /// Breaks a silence.
    fn rest(context: &mut TransportContext<'_>);

    /// Whether the response has grown so large that the client should begin another.
    fn spent(_: &TransportContext<'_>) -> bool {
        false
    }
}

/// A stream of events.
#[derive(Debug)]
pub(super) struct EventStream<F, M>(PhantomData<(F, M)>);

impl<F: EventForm, M: Messages> EventStream<F, M> {
    /// One whose events look as `F` says, with messages in the form of `M`.
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<F: EventForm, M: Messages> Form for EventStream<F, M> {
    const NAME: &'static str = F::NAME;
    const DIALECT: &'static str = NAME;
    const CONTENT_TYPE: &'static str = F::CONTENT_TYPE;

    fn field(context: &mut TransportContext<'_>) -> Option<(&'static str, String)> {
        F::policy(context).map(|policy| ("content-security-policy", policy))
    }

    fn open(context: &mut TransportContext<'_>) {
        F::prelude(context);
        let begins = context.out.len();
        let open = M::open(context);
        F::event(context, &Event::Open(open));
        F::end_event::<M>(context, begins);
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        F::message(context, entry, M::form(context));
    }

    fn gap(context: &mut TransportContext<'_>, gap: &Gap) {
        F::event(context, &Event::Gap(gap.clone()));
    }

    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        F::event(context, &Event::Unsubscribed(told.clone()));
    }

    fn expiring(context: &mut TransportContext<'_>, told: Expiring) {
        F::event(context, &Event::Expiring(told));
    }

    fn end_event(context: &mut TransportContext<'_>, begins: usize) {
        F::end_event::<M>(context, begins);
    }

    fn close(context: &mut TransportContext<'_>, close: Close, cursor: &str) {
        let stays_away = !close.reconnect;
        F::event(context, &Event::Close(close));
        F::end_close(context, cursor, stays_away);
    }

    fn rest(context: &mut TransportContext<'_>) {
        F::rest(context);
    }

    fn spent(context: &TransportContext<'_>) -> bool {
        F::spent(context)
    }
}
