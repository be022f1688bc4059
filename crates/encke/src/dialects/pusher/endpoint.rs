//! Where WebSockets are opened. Who asks for what cannot be served is told so over the WebSocket, since pages
//! cannot read why one was not opened.

use std::sync::Arc;

use encke_hub::Start;
use encke_proto::{ErrorCode, Refusal, SessionId, Time, codec::ws::Rejection};

use super::{
    SOCKETS,
    browser::Browser,
    opening::connection,
    said::Said,
    server::Server,
    socket::{self, Held, Served},
};
use crate::{
    admission::{Address, Admission, Admit, Endpoint, Method, Opened, Path, Verdict, Waiting},
    app::App,
    http::refusal::Refused,
    random,
    transports::{ConnectionState, Duplex, RequestState},
};

/// Where WebSockets are opened.
pub(super) struct SocketEndpoint {
    pub(super) app: Arc<App>,
    pub(super) server: Arc<Server>,
    pub(super) admit: Admit,
}

impl std::fmt::Debug for SocketEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SocketEndpoint")
    }
}

impl Endpoint for SocketEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Get, path: Path::Under(SOCKETS), form: None, websocket: true }
    }

    fn decide(&self, waiting: &Waiting<'_>, _: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        let opening = waiting.handshake.as_ref().map(|handshake| handshake.check("GET", !waiting.http_10));
        match opening {
            Some(Ok(opening)) => self.open(waiting, opening.accept, request_state),
            Some(Err(rejection)) => Verdict::Refused(rejected(rejection), request_state),
            None => Verdict::Refused(
                Refusal::new(ErrorCode::UpgradeRequired, "this is no WebSocket"),
                request_state,
            ),
        }
    }
}

impl SocketEndpoint {
    fn open(&self, waiting: &Waiting<'_>, accept: String, request_state: RequestState) -> Verdict {
        let key = waiting.path.strip_prefix(SOCKETS).unwrap_or_default().trim_end_matches('/');
        let mut connection = match connection(&self.app, &self.server, key, waiting.query) {
            Ok(Ok(connection)) => connection,
            Ok(Err(said)) => return refusing(said, accept, request_state),
            Err(Refused(refusal)) => return Verdict::Refused(refusal, request_state),
        };
        let Ok(bits) = random::pooled_bits() else {
            let refusal = Refusal::new(ErrorCode::Internal, "there is no randomness");
            return Verdict::Refused(refusal, request_state);
        };
        connection.recovers = connection.application.settings.recovery;
        if connection.recovers {
            match Browser::of(&connection.application, waiting) {
                Ok(browser) => connection.browser = browser,
                Err(Refused(refusal)) => return Verdict::Refused(refusal, request_state),
            }
        }
        let cookie = connection.browser.as_ref().and_then(|browser| browser.cookie.clone());
        let identity = connection.identity.clone();
        let mut duplex = Duplex::new(Some(identity.clone()), accept, None);
        duplex.keep(|kept| {
            kept.cookie = cookie;
            kept.state = Some(Box::new(Held::Open(Served::new(connection))));
        });
        Verdict::Admitted(Box::new(Admission {
            transport: socket::TRANSPORT,
            request_state,
            user: identity.user,
            token_ends: Time(0),
            token: None,
            granted: identity.grants.channels.clone(),
            session: None,
            fresh: Some(SessionId::from_bits(bits)),
            // Its client knows of no session.
            lasting: false,
            start: Start::Absent,
            device: None,
            channels: Vec::new(),
            state: Some(Box::new(ConnectionState::Duplex(duplex))),
            ticket: None,
            looks_on: None,
        }))
    }
}

/// Opens a WebSocket to say why it is not served.
fn refusing(said: Said, accept: String, request_state: RequestState) -> Verdict {
    let mut duplex = Duplex::new(None, accept, None);
    duplex.keep(|kept| kept.state = Some(Box::new(Held::Refused(said))));
    let state = Box::new(ConnectionState::Duplex(duplex));
    Verdict::Opened(Box::new(Opened { transport: socket::TRANSPORT, request_state, state }))
}

fn rejected(rejection: Rejection) -> Refusal {
    let code = if rejection.status() == 426 { ErrorCode::UpgradeRequired } else { ErrorCode::BadRequest };
    Refusal::new(code, rejection.to_string())
}
