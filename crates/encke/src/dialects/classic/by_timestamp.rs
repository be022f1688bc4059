//! The scripts that keep a timestamp: a GET publishes `msg`; without one, it waits for the message behind
//! `timestamp`, however long: scripts would show an empty answer. The head goes out at once, and white space
//! breaks the silence.

use std::{fmt, sync::Arc};

use encke_proto::{
    Close, Entry, ErrorCode, Gap, Refusal, Time,
    codec::{classic, classic::Timestamp},
};

use super::{
    NAME, PATH,
    browser::{Browser, Hold},
    field, position, published, start,
};
use crate::{
    admission::{Address, Admit, Endpoint, Later, Method, Path, Verdict, Waiting},
    app::App,
    auth::Credentials,
    http::{refusal::Refused, response::JSON},
    transports::{ConnectionState, Form, RequestState, Stream, TransportContext},
};

/// Where these scripts ask.
pub(super) struct ByTimestamp {
    pub(super) app: Arc<App>,
    pub(super) admit: Admit,
}

impl fmt::Debug for ByTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByTimestamp")
    }
}

impl Endpoint for ByTimestamp {
    fn address(&self) -> Address {
        Address { method: Method::Get, path: Path::Is(PATH), form: None, websocket: false }
    }

    fn decide(&self, waiting: &Waiting<'_>, _: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        self.verdict(waiting, request_state)
            .unwrap_or_else(|Refused(refusal)| Verdict::Refused(refusal, request_state))
    }
}

impl ByTimestamp {
    fn verdict(&self, waiting: &Waiting<'_>, request_state: RequestState) -> Result<Verdict, Refused> {
        let app = Arc::clone(&self.app);
        if let Some(msg) = field(waiting.query, "msg")?.filter(|msg| !msg.is_empty()) {
            let from = waiting.from;
            return Ok(Verdict::Later(Later::new(async move {
                published(&app, from, &msg, request_state).await
            })));
        }
        let timestamp = Timestamp::parse(&field(waiting.query, "timestamp")?.unwrap_or_default())
            .map_err(|error| Refusal::new(ErrorCode::BadCursor, error.to_string()))
            .map_err(Refused)?;
        let known = waiting.cookie.as_deref().and_then(Browser::of);
        let browser = known.map_or_else(Browser::new, Ok)?;
        // A browser that is not known yet is given its cookie with the head.
        let is_https =
            Credentials { forwarded_proto: waiting.forwarded_proto, ..Credentials::default() }.is_https();
        let cookie = known.is_none().then(|| Cookie(browser.cookie(is_https)));
        let state = cookie.map(|cookie| Box::new(ConnectionState::Request(Box::new(cookie))));
        let transport = &Stream(Message);
        // Each page of a browser has a timestamp of its own, so none takes over from another.
        let auth = Arc::clone(&self.admit.auth);
        let admitted = move |start| {
            let hold = Hold { transport, request_state, start, session: None, state };
            browser.admission(auth.access(), hold).map(|admission| Verdict::Admitted(Box::new(admission)))
        };
        match timestamp {
            Timestamp::Now | Timestamp::At(_) => admitted(super::start_at(timestamp)?),
            Timestamp::Offset(offset) => Ok(Verdict::Later(Later::new(async move {
                let verdict = start(&app, offset).await.and_then(admitted);
                verdict.unwrap_or_else(|Refused(refusal)| Verdict::Refused(refusal, request_state))
            }))),
        }
    }
}

/// What a browser is to keep.
struct Cookie(String);

/// The message, as it is answered.
#[derive(Debug)]
struct Message;

impl Form for Message {
    const NAME: &'static str = "classic-timestamp";
    const DIALECT: &'static str = NAME;
    const CONTENT_TYPE: &'static str = JSON;
    const GOES_ON: bool = true;

    fn field(context: &mut TransportContext<'_>) -> Option<(&'static str, String)> {
        context.state::<Cookie>().map(|Cookie(cookie)| ("set-cookie", std::mem::take(cookie)))
    }

    fn open(_: &mut TransportContext<'_>) {}

    /// An empty message is passed over, since a script would show it.
    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        let msg = classic::msg(entry);
        if let Some(at) = position(context).filter(|_| !msg.is_empty()) {
            classic::with_timestamp(context.out, &msg, at);
            context.request_state.tally = 1;
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// White space alone is no answer: the script comes back, as after any error.
    fn close(_: &mut TransportContext<'_>, _: Close, _: &str) {}

    fn rest(context: &mut TransportContext<'_>) {
        context.out.extend_from_slice(classic::HEARTBEAT);
    }

    fn spent(context: &TransportContext<'_>) -> bool {
        context.request_state.tally > 0
    }
}
