//! The dialect by POST: one answer for a request that waits, to `/sample/poll/CHANNEL`.

use std::{fmt, sync::Arc};

use encke::{
    admission::{Address, Admission, Admit, Answer, Endpoint, Later, Method, Path, Verdict, Waiting},
    app::App,
    auth::Authenticated,
    commands::publish,
    http::{refusal::Refused, response::Body},
    transports::{AnswerForm, ConnectionState, NextAction, OneAnswer, RequestState, TransportContext},
};
use encke_hub::{Ending, Start};
use encke_proto::{ChannelName, Entry, Gap, Refusal, Time};
use serde_json::{Value, json};

use super::{
    NAME,
    codec::{self, PollBody},
    identify,
};

const PATH: &str = "/sample/poll/";
const TYPE: &str = "application/json";

/// Where requests come in.
pub struct PollEndpoint {
    pub app: Arc<App>,
    pub admit: Admit,
}

impl fmt::Debug for PollEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PollEndpoint")
    }
}

impl Endpoint for PollEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Post, path: Path::Under(PATH), form: None, websocket: false }
    }

    fn decide(&self, waiting: &Waiting<'_>, _: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        match self.verdict(waiting, request_state) {
            Ok(verdict) => verdict,
            Err(Refused(refusal)) => no(&refusal, request_state),
        }
    }
}

fn no(refusal: &Refusal, request_state: RequestState) -> Verdict {
    let body = json!([codec::refusal(None, refusal)]).to_string().into_bytes();
    let fields = vec![("x-sample", "no".to_owned()), ("x-sample-status", refusal.code.status().to_string())];
    Verdict::Answered(Box::new(Answer { status: 200, content_type: TYPE, fields, body }), request_state)
}

impl PollEndpoint {
    fn verdict(&self, waiting: &Waiting<'_>, request_state: RequestState) -> Result<Verdict, Refused> {
        let body: PollBody =
            serde_json::from_slice(waiting.body).map_err(|error| Refused::bad(error.to_string()))?;
        let channel = ChannelName::public(&waiting.path[PATH.len()..])?;
        let caller = identify(&self.app, &body.token).map_err(Refused)?;
        let cursor = codec::cursor(&body.cursor).ok_or_else(|| Refused::bad("no cursor"))?;
        let start = if body.cursor.is_empty() { Start::Absent } else { Start::Cursor(cursor) };
        let admission = admission(caller.clone(), channel.clone(), start, request_state);
        let Some(say) = body.say else { return Ok(Verdict::Admitted(Box::new(admission))) };
        let app = Arc::clone(&self.app);
        Ok(Verdict::Later(Later::new(async move {
            match publish(&app, &caller.identity, channel.as_str(), Some(&say), None).await {
                Ok(_) => Verdict::Admitted(Box::new(admission)),
                Err(Refused(refusal)) => no(&refusal, request_state),
            }
        })))
    }
}

fn admission(
    Authenticated { identity, token }: Authenticated,
    channel: ChannelName,
    start: Start,
    request_state: RequestState,
) -> Admission {
    let greeting = Greeting(format!("{}", identity.user));
    Admission {
        transport: &OneAnswer(Batch),
        request_state,
        user: identity.user,
        token_ends: identity.expires,
        token: Some(token),
        granted: identity.grants.channels.clone(),
        session: None,
        fresh: None,
        lasting: false,
        start,
        device: None,
        channels: vec![channel],
        state: Some(Box::new(ConnectionState::Request(Box::new(greeting)))),
        ticket: None,
        looks_on: None,
    }
}

/// What is kept of a request: what its answer says in its head.
struct Greeting(String);

/// All that there is, in one array.
#[derive(Debug)]
struct Batch;

impl AnswerForm for Batch {
    const NAME: &'static str = "sample-poll";
    const DIALECT: &'static str = NAME;
    type Gathered = Vec<u8>;

    fn message(_: &mut TransportContext<'_>, gathered: &mut Vec<u8>, entry: &Entry) {
        gathered.extend_from_slice(codec::part_of(entry));
        gathered.push(b',');
    }

    fn gap(gathered: &mut Vec<u8>, gap: &Gap) {
        gathered.extend_from_slice(codec::gap(gap).to_string().as_bytes());
        gathered.push(b',');
    }

    fn is_empty(gathered: &Vec<u8>) -> bool {
        gathered.is_empty()
    }

    fn is_full(context: &TransportContext<'_>, gathered: &Vec<u8>) -> bool {
        context.full(gathered.len())
    }

    fn finish(context: &mut TransportContext<'_>, gathered: Vec<u8>) -> NextAction {
        let cursor = context.hub.cursor(context.conn).to_string();
        let end = json!({ "cursor": cursor }).to_string();
        write(context, &[b"[", &gathered[..], end.as_bytes(), b"]"].concat())
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        let end: Value = match ending {
            Ending::Closed(notice) => json!([{ "bye": notice.close.reason }]),
            Ending::TakenOver => json!([{ "bye": "taken over" }]),
            Ending::Refused(code) => json!([{ "no": code.as_str() }]),
        };
        write(context, end.to_string().as_bytes())
    }
}

fn write(context: &mut TransportContext<'_>, body: &[u8]) -> NextAction {
    let greeting = context.state::<Greeting>().map(|Greeting(user)| std::mem::take(user)).unwrap_or_default();
    let keep_alive = context.request_state.keep_alive;
    context.head(200, TYPE, Body::Length(body.len()), keep_alive, &[("x-sample", &greeting)]);
    context.out.extend_from_slice(body);
    if keep_alive { NextAction::Done } else { NextAction::Close }
}
