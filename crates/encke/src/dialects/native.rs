//! The native protocol: polls, streams and WebSockets under `/v1/`, with control requests over the latter.
//! `docs/PROTOCOL.md` describes it.

mod admission;
mod commands;
mod iframe;
mod ndjson;
mod poll;
mod query;
mod sse;
mod stream;
mod ws;

use std::sync::Arc;

use super::Dialect;
use crate::{
    admission::{Address, Admit, Answering, Asked, Endpoint, Method, Path},
    app::App,
    config::Config,
    transports::{OneAnswer, Stream, Transport, Ws},
};
use admission::NativeEndpoint;
pub(crate) use commands::{AckCommand, CloseCommand, PingCommand, PublishCommand, Reply, SubscribeCommand};
pub(crate) use query::Query;
use stream::EventStream;

/// What it is called.
pub(super) const NAME: &str = "native";

/// Each transport with its path and its `as` parameter. The router has a route for each path, for what is
/// wrong with such a request.
static TRANSPORTS: &[(&str, Option<&str>, &dyn Transport)] = &[
    ("/v1/poll", None, &OneAnswer(poll::Poll)),
    ("/v1/sse", None, &Stream(EventStream(sse::Sse))),
    ("/v1/stream", Some("ndjson"), &Stream(EventStream(ndjson::Ndjson))),
    ("/v1/stream", Some("iframe"), &Stream(EventStream(iframe::Iframe))),
    ("/v1/ws", None, &Ws(ws::Events)),
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

    fn endpoints(&self, _: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        let endpoint =
            |(path, form, transport): &(&'static str, Option<&'static str>, &'static dyn Transport)| {
                endpoint(path, *form, *transport, admit)
            };
        TRANSPORTS.iter().map(endpoint).collect()
    }

    fn answer(&self, app: Arc<App>, asked: Asked) -> Answering {
        Box::pin(async move { commands::answer(&app, asked).await })
    }
}

/// The transport of a request, for tests of shards.
#[cfg(test)]
pub(super) fn transport_at(path: &str, query: &str) -> &'static dyn Transport {
    let fits = |(own, form, _): &&(&str, Option<&str>, &dyn Transport)| {
        *own == path && form.is_none_or(|form| query == format!("as={form}"))
    };
    TRANSPORTS
        .iter()
        .find(fits)
        .map_or_else(|| panic!("no transport at {path}"), |(_, _, transport)| *transport)
}

/// An endpoint at which clients show who they are as they do in the native protocol.
pub(super) fn endpoint(
    path: &'static str,
    form: Option<&'static str>,
    transport: &'static dyn Transport,
    admit: &Admit,
) -> Arc<dyn Endpoint> {
    let address =
        Address { method: Method::Get, path: Path::Is(path), form, websocket: transport.is_duplex() };
    Arc::new(NativeEndpoint { address, transport, admit: admit.clone() })
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
