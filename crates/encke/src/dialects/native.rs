//! The native protocol: polls, streams and WebSockets under `/v1/`, with control requests over the latter.
//! `docs/PROTOCOL.md` describes it.

mod admission;
mod commands;
mod form;
mod iframe;
mod looking;
mod ndjson;
mod poll;
mod query;
mod short_poll;
mod sse;
mod stream;
mod ws;

use std::sync::Arc;

use encke_proto::{ErrorCode, Refusal};

use super::Dialect;
use crate::{
    admission::{Address, Admit, Answering, Asked, Endpoint, Method, Path},
    app::App,
    config::Config,
    transports::{OneAnswer, Stream, Transport, Ws},
};
use admission::NativeEndpoint;
pub(crate) use commands::{
    AckCommand, CloseCommand, PingCommand, PublishCommand, RefreshCommand, Reply, SubscribeCommand,
};
use form::{Long, Short, ShortWithEpochs};
pub(crate) use looking::LookQuery;
use looking::LookingEndpoint;
use query::Form;
pub(crate) use query::Query;
use stream::EventStream;

/// What it is called.
pub(super) const NAME: &str = "native";

/// A transport for each form of messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forms {
    long: &'static dyn Transport,
    /// None where there is the long form alone.
    short: Option<&'static dyn Transport>,
}

impl Forms {
    const fn both(long: &'static dyn Transport, short: &'static dyn Transport) -> Self {
        Self { long, short: Some(short) }
    }

    /// The one for a form.
    fn of(self, form: Form) -> Result<&'static dyn Transport, Refusal> {
        match form {
            Form::Long => Ok(self.long),
            Form::Short => self.short.ok_or_else(|| {
                Refusal::new(ErrorCode::BadRequest, "there is no short form of messages here")
            }),
        }
    }
}

/// Server-sent events.
const SSE: Forms =
    Forms::both(&Stream(EventStream::<sse::Sse, Long>::NEW), &Stream(EventStream::<sse::Sse, Short>::NEW));
/// A JSON object a line.
const NDJSON: Forms = Forms::both(
    &Stream(EventStream::<ndjson::Ndjson, Long>::NEW),
    &Stream(EventStream::<ndjson::Ndjson, Short>::NEW),
);

/// Each transport with its path and its `as` parameter. The router has a route for each path, for what is
/// wrong with such a request.
static TRANSPORTS: &[(&str, Option<&str>, Forms)] = &[
    ("/v1/poll", None, Forms::both(&OneAnswer(poll::Poll), &OneAnswer(short_poll::ShortPoll))),
    ("/v1/sse", None, SSE),
    ("/v1/stream", Some("ndjson"), NDJSON),
    (
        "/v1/stream",
        Some("iframe"),
        Forms::both(
            &Stream(EventStream::<iframe::Iframe, Long>::NEW),
            &Stream(EventStream::<iframe::Iframe, ShortWithEpochs>::NEW),
        ),
    ),
    ("/v1/ws", None, Forms::both(&Ws(ws::Events(Long)), &Ws(ws::Events(Short)))),
];

/// The native protocol.
#[derive(Debug)]
pub(super) struct Native;

impl Dialect for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_on(&self, _: &Config) -> bool {
        true
    }

    fn is_configured(&self) -> bool {
        false
    }

    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        let held = TRANSPORTS.iter().map(|(path, form, forms)| endpoint_of(path, *form, *forms, admit));
        let looking = LookingEndpoint { admit: admit.clone(), looks: app.looks.clone() };
        held.chain([Arc::new(looking) as Arc<dyn Endpoint>]).collect()
    }

    fn answer(&self, app: Arc<App>, asked: Asked) -> Answering {
        Box::pin(async move { commands::answer(&app, asked).await })
    }
}

/// The transport of a request, for tests of shards.
#[cfg(test)]
pub(super) fn transport_at(path: &str, query: &str) -> &'static dyn Transport {
    let fits = |(own, form, _): &&(&str, Option<&str>, Forms)| {
        *own == path && form.is_none_or(|form| query == format!("as={form}"))
    };
    TRANSPORTS.iter().find(fits).map_or_else(|| panic!("no transport at {path}"), |(_, _, forms)| forms.long)
}

/// An endpoint at which clients show who they are as they do in the native protocol, with messages in the
/// form of its transport alone.
#[cfg(feature = "conformance")]
pub(super) fn endpoint(
    path: &'static str,
    form: Option<&'static str>,
    transport: &'static dyn Transport,
    admit: &Admit,
) -> Arc<dyn Endpoint> {
    endpoint_of(path, form, Forms { long: transport, short: None }, admit)
}

fn endpoint_of(
    path: &'static str,
    form: Option<&'static str>,
    forms: Forms,
    admit: &Admit,
) -> Arc<dyn Endpoint> {
    let address =
        Address { method: Method::Get, path: Path::Is(path), form, websocket: forms.long.is_duplex() };
    Arc::new(NativeEndpoint { address, forms, admit: admit.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_has_a_route_so_that_browsers_may_ask_before_they_send() {
        for (path, ..) in TRANSPORTS {
            let routes = crate::router::routes();
            assert!(
                routes.iter().any(|route| route.path == *path && route.area == crate::router::Area::Client),
                "{path}"
            );
        }
    }
}
