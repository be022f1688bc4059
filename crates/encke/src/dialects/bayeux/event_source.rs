//! Streams of events, as Faye's clients open them at the address of their session: each message in an array,
//! which is the `data` of an event. What they send comes by POST.

use std::{net::IpAddr, sync::Arc};

use encke_proto::{
    Close, Entry, ErrorCode, Gap, Refusal, SessionId, Unsubscribed,
    codec::bayeux::{self, array},
};

use super::{NAME, admission, connect, elsewhere::find, server::Server, session::Session};
use crate::{
    admission::{Later, Verdict},
    http::{refusal::Refused, response::EVENT_STREAM},
    transports::{Form, RequestState, Stream, TransportContext},
};

/// What breaks a silence: an empty comment.
const HEARTBEAT: &[u8] = b":\n\n";

/// Opens the stream of a session.
pub(super) fn open(
    server: &Arc<Server>,
    id: SessionId,
    from: Option<IpAddr>,
    request_state: RequestState,
) -> Verdict {
    let server = Arc::clone(server);
    Verdict::Later(Later::new(async move {
        match find(&server, Some(id.text().as_str()), None, from).await {
            Ok(Some(session)) => admitted(&server, session, request_state),
            Ok(None) => {
                let refusal = Refusal::new(ErrorCode::SessionUnknown, "there is no such session");
                Verdict::Refused(refusal, request_state)
            }
            Err(Refused(refusal)) => Verdict::Refused(refusal, request_state),
        }
    }))
}

fn admitted(server: &Arc<Server>, session: Arc<Session>, request_state: RequestState) -> Verdict {
    let goes_on = server.connect(&session, None);
    let streaming = Streaming { server: Arc::clone(server), session: Arc::clone(&session) };
    admission::admitted(&session, goes_on, &Stream(Events), request_state, Box::new(streaming))
}

/// Whose stream it is.
struct Streaming {
    server: Arc<Server>,
    session: Arc<Session>,
}

/// An event for each message.
#[derive(Debug)]
struct Events;

impl Form for Events {
    const NAME: &'static str = "bayeux-eventsource";
    const DIALECT: &'static str = NAME;
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn open(context: &mut TransportContext<'_>) {
        context.out.extend_from_slice(HEARTBEAT);
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        if context.state::<Streaming>().is_some_and(|streaming| streaming.session.wants(entry)) {
            context.out.extend_from_slice(entry.form("bayeux.sse", |message| {
                let json = array([bayeux::event(message).as_slice()]);
                [b"data: ", json.as_slice(), b"\n\n"].concat()
            }));
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// The reply to its next connect says so.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        if let Some(streaming) = context.state::<Streaming>() {
            streaming.server.lose(&streaming.session, std::slice::from_ref(&told.channel));
        }
    }

    fn end_event(context: &mut TransportContext<'_>, _: usize) {
        let cursor = context.hub.cursor(context.conn);
        if let Some(streaming) = context.state::<Streaming>() {
            streaming.session.delivered(cursor);
        }
    }

    /// Why it ends, a client finds out with its next connect.
    fn close(context: &mut TransportContext<'_>, close: Close, _: &str) {
        if let Some(streaming) = context.state::<Streaming>()
            && !close.reconnect
            && close.code != encke_proto::CloseCode::TakenOver
        {
            streaming.server.forget(&streaming.session);
        }
    }

    /// A session without a place in a channel goes on without that: its client opens another stream, and is
    /// told by the reply to its next connect. A browser opens none after an error. Of one that is over the
    /// next connect says so, and its client begins anew.
    fn refused(context: &mut TransportContext<'_>, code: ErrorCode) -> bool {
        let Some(Streaming { server, session }) = context.state::<Streaming>() else { return false };
        if code == ErrorCode::ChannelFull && server.leave_bounded(session) {
            return true;
        }
        if connect::is_over(code) {
            server.forget(session);
        }
        false
    }

    fn rest(context: &mut TransportContext<'_>) {
        context.out.extend_from_slice(HEARTBEAT);
    }
}
