//! The table of routes: all of them, though the connection table answers those that are held before a request
//! gets here.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    handler::Handler,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any, delete, get, post},
};
use encke_proto::ErrorCode;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;

use crate::{
    access_log::{Access, Caller, Subject},
    app::App,
    asyncapi,
    audited::audited,
    client_api,
    config::Config,
    connection::ListenerRole,
    cors::cors,
    dialects::Registry,
    health,
    http::{
        body::name_codings, client_address::ClientAddress, discard::discard_rest,
        operation::refuse_when_full, refusal::Refused, response::PROTECTION,
    },
    metrics::Metrics,
    openapi, pages, server_api, traces,
};

/// Who uses a route, which decides on what goes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// Clients, among them pages of allowed origins.
    Client,
    /// Backends and operators.
    Api,
    /// Operators: what is counted, and the descriptions; answered even while the server stops.
    Operation,
    /// The supervisor of the process, and balancers; answered even while the server stops.
    Health,
    /// The demo, unless it is switched off.
    Demo,
    /// The console, unless it is switched off.
    Console,
    /// What pages are made of.
    Pages,
}

impl Area {
    /// Whether a listener of this role serves it.
    fn is_served(self, role: ListenerRole, config: &Config) -> bool {
        match self {
            Self::Client => role.serves_clients(),
            Self::Api | Self::Operation => role.serves_operators(),
            Self::Demo => config.demo && role.serves_clients(),
            Self::Console => config.console && role.serves_operators(),
            Self::Health | Self::Pages => true,
        }
    }
}

/// One row of the table.
pub(crate) struct Route {
    pub(crate) area: Area,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the handler knows it; the test that compares the table with its description does not"
        )
    )]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    handler: MethodRouter<Arc<App>>,
}

/// The table. `/api/openapi.json` describes each row; a test compares the two.
pub(crate) fn routes() -> Vec<Route> {
    let clients_get = |path, handler| Route { area: Area::Client, method: Method::GET, path, handler };
    let clients_post = |path, handler| Route { area: Area::Client, method: Method::POST, path, handler };
    let api_get = |path, handler| Route { area: Area::Api, method: Method::GET, path, handler };
    let api_post = |path, handler| Route { area: Area::Api, method: Method::POST, path, handler };
    let api_delete = |path, handler| Route { area: Area::Api, method: Method::DELETE, path, handler };
    let operation = |path, handler| Route { area: Area::Operation, method: Method::GET, path, handler };
    let health = |path, handler| Route { area: Area::Health, method: Method::GET, path, handler };
    let demo = |path, handler| Route { area: Area::Demo, method: Method::GET, path, handler };
    let console = |path, handler| Route { area: Area::Console, method: Method::GET, path, handler };
    let page = |path, handler| Route { area: Area::Pages, method: Method::GET, path, handler };
    vec![
        clients_get("/v1/poll", held(client_api::held::poll)),
        clients_get("/v1/sse", held(client_api::held::sse)),
        clients_get("/v1/stream", held(client_api::held::stream)),
        clients_get("/v1/ws", held(client_api::held::ws)),
        clients_post("/v1/login", post(client_api::login::login)),
        clients_post("/v1/logout", post(client_api::logout::logout)),
        clients_post("/v1/ticket", post(client_api::ticket::ticket)),
        clients_post("/v1/refresh", post(client_api::refresh::refresh)),
        clients_post("/v1/close", post(client_api::close::close)),
        clients_post("/v1/subscribe", post(client_api::subscribe::subscribe)),
        clients_post("/v1/unsubscribe", post(client_api::subscribe::unsubscribe)),
        clients_post("/v1/publish", post(client_api::publish::publish)),
        clients_post("/v1/ack", post(client_api::ack::ack)),
        clients_get("/v1/channels/{channel}/history", get(client_api::history::history)),
        clients_get("/v1/channels/{channel}/presence", get(client_api::presence::presence)),
        api_post("/api/push", post(server_api::push::push)),
        api_get("/api/push/{id}", get(server_api::receipts::receipts)),
        api_get("/api/pushes", get(server_api::pushes::pushes)),
        api_delete("/api/push/{id}", delete(server_api::cancellation::cancel)),
        api_post("/api/check-url", post(server_api::check_url::check_url)),
        api_post("/api/publish", post(server_api::publish::publish)),
        api_get("/api/users", get(server_api::users::users)),
        api_get("/api/users/{user}", get(server_api::users::user)),
        api_get("/api/users/{user}/messages", held(server_api::looking::messages)),
        api_delete("/api/users/{user}", delete(server_api::deletion::user)),
        api_get("/api/sessions", get(server_api::sessions::sessions)),
        api_get("/api/node", get(server_api::nodes::node)),
        api_get("/api/nodes", get(server_api::nodes::nodes)),
        api_get("/api/stats", get(server_api::stats::stats)),
        api_get("/api/stats/history", get(server_api::stats::history)),
        api_get("/api/hooks", get(server_api::hooks::hooks)),
        api_post("/api/close", post(server_api::close::close)),
        api_post("/api/revoke", post(server_api::revoke::revoke)),
        api_get("/api/channels", get(server_api::channels::channels)),
        api_get("/api/channels/{channel}/history", get(server_api::history::history)),
        api_get("/api/channels/{channel}/presence", get(server_api::presence::presence)),
        api_delete("/api/channels/{channel}", delete(server_api::deletion::channel)),
        operation("/api/openapi.json", get(openapi::openapi)),
        operation("/api/asyncapi.json", get(asyncapi::asyncapi)),
        operation("/metrics", get(health::metrics)),
        health("/healthz", get(health::healthz)),
        health("/readyz", get(health::readyz)),
        demo("/", get(pages::demo)),
        console("/console", get(pages::console)),
        console("/assets/console/{file}", get(pages::console_asset)),
        page("/client.js", get(pages::client)),
        page("/client.global.js", get(pages::client_classic)),
        page("/client/{file}", get(pages::client_file)),
        page("/assets/{file}", get(pages::asset)),
    ]
}

/// The route of a request that is held. A HEAD is refused: what it would tell is known only when the session
/// is, and a HEAD must neither make one nor spend a ticket.
fn held<H, T>(handler: H) -> MethodRouter<Arc<App>>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    let only_get = async || Refused::only("GET");
    // Begun with `any`, the router names no methods by itself: it would name HEAD with GET, on answers to
    // OPTIONS that come from a layer.
    any(only_get).get(handler).head(only_get)
}

/// The service for every request that does not wait, of a server with one listener for all.
pub fn router(app: Arc<App>, dialects: &Registry) -> Router {
    router_of(app, dialects, ListenerRole::Combined)
}

/// The service for every request that does not wait, behind a listener of this role. What it does not serve
/// is answered as if it were nowhere.
pub fn router_of(app: Arc<App>, dialects: &Registry, role: ListenerRole) -> Router {
    let table = |areas: &[Area]| {
        let served = areas.iter().copied().filter(|area| area.is_served(role, &app.config));
        let served: Vec<_> = served.collect();
        let routes = routes().into_iter().filter(|route| served.contains(&route.area));
        routes.fold(Router::new(), |router, route| router.route(route.path, route.handler))
    };
    let spoken = if role.serves_clients() { dialects.routes(&app.config) } else { Router::new() };
    let refusing = from_fn_with_state(Arc::clone(&app), refuse_when_stopping);
    let clients = table(&[Area::Client])
        .merge(spoken)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(refusing.clone())
        .layer(from_fn(refuse_when_full))
        .layer(from_fn_with_state(Arc::clone(&app), cors));
    let api = table(&[Area::Api])
        .method_not_allowed_fallback(method_not_allowed)
        .layer(refusing)
        .layer(from_fn_with_state(Arc::clone(&app), traced));
    // Pages of allowed origins may read that they asked for something that is not there.
    let nothing =
        any(not_found).layer(from_fn(refuse_when_full)).layer(from_fn_with_state(Arc::clone(&app), cors));
    let pages = table(&[Area::Demo, Area::Console, Area::Pages])
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(refuse_when_full));
    let operation = table(&[Area::Operation, Area::Health]).method_not_allowed_fallback(method_not_allowed);
    Router::new()
        .merge(clients)
        .merge(api)
        .merge(operation)
        .merge(pages)
        .fallback_service(nothing.with_state(Arc::clone(&app)))
        .layer(from_fn(name_codings))
        .layer(from_fn(discard_rest))
        .layer(from_fn_with_state(Arc::clone(&app), audited))
        .layer(from_fn(protect))
        .layer(from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

async fn not_found() -> Refused {
    ErrorCode::NotFound.into()
}

async fn method_not_allowed() -> Refused {
    ErrorCode::MethodNotAllowed.into()
}

async fn refuse_when_stopping(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.is_stopping() {
        return Refused::from(ErrorCode::ShuttingDown).into_response();
    }
    next.run(request).await
}

/// Lets what a backend's request brings belong to the trace that it names. What clients name is not asked:
/// they could have anything recorded.
async fn traced(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let parent = app.tracer.get().and_then(|_| traces::traceparent(request.headers()));
    match parent {
        Some(parent) => traces::within(parent, next.run(request)).await,
        None => next.run(request).await,
    }
}

/// Headers that every answer has, unless its handler knew better.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in PROTECTION {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Counts requests by route, never by address: an address may hold anything, and there are too many of them.
async fn count(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown".to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let access_log = app.access_log.get().filter(|log| log.is_on());
    let caller = access_log.map(|_| Caller::default());
    if let Some(caller) = &caller {
        request.extensions_mut().insert(caller.clone());
    }
    let client = request.extensions().get::<ClientAddress>().map(|address| address.0);
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(route, method, status, "answered");
    let (metrics, took) = (Metrics::global(), started.elapsed());
    if let Some(log) = access_log {
        log.write(&Access {
            time: app.now().wall,
            client,
            who: caller.as_ref().and_then(Caller::name),
            what: Subject::Request(method, &route),
            status,
            bytes: response.body().size_hint().exact(),
            took,
        });
    }
    metrics.request_us.of(route.clone()).observe(took);
    metrics.requests(route.into(), method, status).inc();
    if status >= 500 {
        metrics.server_errors.inc();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_something_with_a_key_has_a_name_in_the_audit_trail() {
        for route in routes() {
            let changes = route.area == Area::Api && route.method != Method::GET;
            let action = crate::audited::action(&route.method, route.path);
            assert_eq!(action.is_some(), changes, "{}", route.path);
        }
    }

    #[test]
    fn what_operators_need_is_served_when_the_server_is_full_and_nothing_else() {
        for route in routes() {
            let (path, needed) =
                (route.path, matches!(route.area, Area::Api | Area::Operation | Area::Health));
            assert_eq!(crate::http::operation::is_operation(path), needed, "{path}");
        }
    }
}
