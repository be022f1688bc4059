//! Pusher Channels, protocol 7, for pusher-js, Laravel Echo and Pusher's server libraries as they are;
//! `docs/PUSHER.md` describes what they get. A channel of an application is the channel `pusher:APP:CHANNEL`,
//! and a connection is a session of a user of its own, which ends with it.
//!
//! Who may subscribe, an application's backend says by signatures with the application's secret
//! ([`signature`]); what the server knows of connections beyond their sessions is here ([`server`]).

mod announcer;
mod application;
mod browser;
mod cache;
mod carry_out;
mod client_event;
mod connection;
mod deadlines;
mod departure;
mod endpoint;
mod fallback;
mod fallback_sessions;
mod followed;
mod http_api;
mod journal;
mod living;
mod members_elsewhere;
mod missed;
mod online;
mod opening;
mod parts;
mod place_records;
mod places;
mod presence_members;
mod publish;
mod said;
mod server;
mod sign_in;
mod signature;
mod socket;
mod subscribing;
mod subscription_counts;
mod tracked;
mod webhook_endpoint;
mod webhooks;

use std::sync::Arc;

use axum::{Router, routing::any};

use super::{Dialect, Telling};
use crate::{
    admission::{Admit, Answering, Asked, Endpoint},
    app::App,
    hooks::ClientError,
    http::refusal::Refused,
    shards::SessionObserver,
};
use fallback_sessions::FallbackSessions;
use server::Server;

const NAME: &str = "pusher";
/// Where WebSockets are opened, with the application's key behind it.
const SOCKETS: &str = "/app/";
/// Where the HTTP transports are, with the application's key behind it.
const FALLBACKS: &str = "/pusher/app/";

/// The dialect.
#[derive(Debug)]
pub(super) struct Pusher;

impl Dialect for Pusher {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        let server = Server::of(app);
        Server::start(&server, app);
        let sessions = Arc::new(FallbackSessions::default());
        fallback::start(app, &sessions);
        let (app, admit) = (Arc::clone(app), admit.clone());
        vec![
            Arc::new(endpoint::SocketEndpoint {
                app: Arc::clone(&app),
                server: Arc::clone(&server),
                admit: admit.clone(),
            }),
            Arc::new(fallback::FallbackEndpoint { app, server, sessions, admit }),
        ]
    }

    fn telling(&self, app: &Arc<App>) -> Result<Telling, ClientError> {
        let webhooks = &Server::of(app).webhooks;
        let (writers, deliverers) = webhooks.work(app)?;
        let observer = (!webhooks.is_empty()).then(|| Arc::clone(webhooks) as Arc<dyn SessionObserver>);
        Ok(Telling { observer, writers, deliverers })
    }

    fn routes(&self) -> Router<Arc<App>> {
        http_api::routes()
            .route("/app/{key}", any(not_to_be_held).get(not_to_be_held))
            .route(&format!("{FALLBACKS}{{*rest}}"), any(not_to_be_held).post(not_to_be_held))
    }

    fn answer(&self, _: Arc<App>, asked: Asked) -> Answering {
        Box::pin(socket::answer(asked))
    }
}

/// Why a request got here that may wait.
async fn not_to_be_held() -> Refused {
    Refused::bad("a WebSocket is opened by GET, the HTTP transports ask by POST, and nothing is said twice")
}
