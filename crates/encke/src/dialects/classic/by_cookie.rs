//! The scripts that keep nothing: a POST waits for the next message that this browser was not given, or until
//! the hold is over. Where it stands goes into its cookie.

use std::fmt;

use encke_hub::Ending;
use encke_proto::{
    Entry, Gap, Time,
    codec::{classic, classic::Timestamp},
};

use super::{
    NAME, PATH,
    browser::{Browser, Hold},
    position, refusal, start_at,
};
use crate::{
    admission::{Address, Admit, Endpoint, Method, Path, Verdict, Waiting},
    auth::{ChannelAccess, Credentials},
    http::{
        refusal::Refused,
        response::{Body, JSON},
    },
    transports::{AnswerForm, ConnectionState, NextAction, OneAnswer, RequestState, TransportContext},
};

/// How long a browser without a position is held at most, in seconds. Only an answer gives it one, and until
/// then a broken connection would lose what comes before the next request.
const FIRST_HOLD_S: u32 = 5;

/// Where these scripts ask.
pub(super) struct ByCookie {
    pub(super) admit: Admit,
}

impl fmt::Debug for ByCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByCookie")
    }
}

impl Endpoint for ByCookie {
    fn address(&self) -> Address {
        Address { method: Method::Post, path: Path::Is(PATH), form: None, websocket: false }
    }

    /// Scripts may send whatever they like as the body.
    fn decide(&self, waiting: &Waiting<'_>, _: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        verdict(self.admit.auth.access(), waiting, request_state)
            .unwrap_or_else(|Refused(refusal)| Verdict::Refused(refusal, request_state))
    }
}

fn verdict(
    access: &ChannelAccess,
    waiting: &Waiting<'_>,
    mut request_state: RequestState,
) -> Result<Verdict, Refused> {
    let browser = waiting.cookie.as_deref().and_then(Browser::of).map_or_else(Browser::new, Ok)?;
    if browser.at.is_none() {
        request_state.hold_s = request_state.hold_s.min(FIRST_HOLD_S);
    }
    let is_https =
        Credentials { forwarded_proto: waiting.forwarded_proto, ..Credentials::default() }.is_https();
    let state = Some(Box::new(ConnectionState::Request(Box::new(Caller { browser, is_https }))));
    let start = start_at(browser.at.map_or(Timestamp::Now, Timestamp::At))?;
    // One cookie, one position, one receiver: the newest request takes over.
    let hold =
        Hold { transport: &OneAnswer(Message), request_state, start, session: Some(browser.id), state };
    Ok(Verdict::Admitted(Box::new(browser.admission(access, hold)?)))
}

/// Who is answered.
struct Caller {
    browser: Browser,
    is_https: bool,
}

/// The message, as it is answered, with whether the script is to go on.
#[derive(Debug)]
struct Message;

impl AnswerForm for Message {
    const NAME: &'static str = "classic-cookie";
    const DIALECT: &'static str = NAME;
    /// One message; an empty one is passed over, since a script takes it for none.
    type Gathered = String;

    fn message(_: &mut TransportContext<'_>, gathered: &mut String, entry: &Entry) {
        *gathered = classic::msg(entry).into_owned();
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut String, _: &Gap) {}

    fn is_empty(gathered: &String) -> bool {
        gathered.is_empty()
    }

    fn is_full(_: &TransportContext<'_>, gathered: &String) -> bool {
        !gathered.is_empty()
    }

    /// The cookie goes out with the message: a browser takes it from the head.
    fn finish(context: &mut TransportContext<'_>, gathered: String) -> NextAction {
        let at = position(context);
        let cookie = context.state::<Caller>().zip(at).map(|(caller, at)| {
            caller.browser.at = Some(at);
            caller.browser.cookie(caller.is_https)
        });
        write(context, &classic::with_stop(&gathered, false), cookie.as_deref())
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        match ending {
            // A script that was taken over must not come back either, or two pages of one browser would take
            // turns without end.
            Ending::TakenOver => write(context, &classic::with_stop("", true), None),
            Ending::Closed(notice) if !notice.close.reconnect => {
                write(context, &classic::with_stop("", true), None)
            }
            Ending::Closed(_) | Ending::Refused(_) => context.refuse(refusal(ending)),
        }
    }
}

fn write(context: &mut TransportContext<'_>, body: &str, cookie: Option<&str>) -> NextAction {
    let field = cookie.map(|cookie| ("set-cookie", cookie));
    let keep_alive = context.request_state.keep_alive;
    context.head(200, JSON, Body::Length(body.len()), keep_alive, field.as_slice());
    context.out.extend_from_slice(body.as_bytes());
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
