//! In which form a native connection takes its messages, and what it is told at its beginning for that.

use std::fmt;

use encke_proto::{Epoch, Open, codec::MessageForm};

use crate::transports::TransportContext;

/// What a connection does so that its messages may have a form.
pub(super) trait Messages: Sync + fmt::Debug + 'static {
    /// Whether clients keep their cursor from the messages alone.
    const KEEP_CURSOR: bool;

    /// The beginning of a stream, as its client is told.
    fn open(context: &mut TransportContext<'_>) -> Open;

    /// The form of its messages.
    fn form(context: &TransportContext<'_>) -> MessageForm;
}

/// The long form.
#[derive(Debug)]
pub(super) struct Long;

impl Messages for Long {
    const KEEP_CURSOR: bool = false;

    fn open(context: &mut TransportContext<'_>) -> Open {
        context.open()
    }

    fn form(_: &TransportContext<'_>) -> MessageForm {
        MessageForm::Long
    }
}

/// The short form. The epoch that was told is kept in the bytes that the request has for its transport.
#[derive(Debug)]
pub(super) struct Short;

impl Messages for Short {
    const KEEP_CURSOR: bool = true;

    fn open(context: &mut TransportContext<'_>) -> Open {
        let open = ShortWithEpochs::open(context);
        // That of the user's own channel comes first, and is nearly always that of all.
        let epoch = open.cursor.entries.first().map_or(Epoch(0), |(_, position)| position.epoch);
        context.request_state.scratch = epoch.0.to_be_bytes();
        Open { epoch: Some(epoch), ..open }
    }

    fn form(context: &TransportContext<'_>) -> MessageForm {
        MessageForm::Short { told: Some(Epoch(u64::from_be_bytes(context.request_state.scratch))) }
    }
}

/// The short form where those bytes are needed for something else: each message says its epoch.
#[derive(Debug)]
pub(super) struct ShortWithEpochs;

impl Messages for ShortWithEpochs {
    const KEEP_CURSOR: bool = true;

    fn open(context: &mut TransportContext<'_>) -> Open {
        Open { user: context.user().cloned(), ..context.open() }
    }

    fn form(_: &TransportContext<'_>) -> MessageForm {
        MessageForm::Short { told: None }
    }
}
