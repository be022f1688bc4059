//! Bayeux, the protocol of CometD and Faye, for their clients as they are; `docs/BAYEUX.md` describes what
//! they get. A Bayeux channel is the channel of that name, a session is an ordinary session under its
//! `clientId`, and a connect that is held waits in a slot like a native poll.
//!
//! What a session subscribed to and how far its client has acknowledged is kept here, since clients of Bayeux
//! keep no cursor ([`session`]). A session is at one node, and goes to another with its connects
//! ([`elsewhere`]); with an engine that outlives the process it is written down as well ([`journal`]), so
//! that it goes on after a crash.

mod admission;
mod batch;
mod browsers;
mod connect;
mod elsewhere;
mod endpoints;
mod event_source;
mod fetches;
mod for_others;
mod glob_copies;
mod journal;
mod long_polling;
mod record;
mod server;
mod session;
mod sessions;
mod socket;
mod subscriptions;
mod timesync;

use std::sync::Arc;

use axum::{Router, routing::any};

use super::Dialect;
use crate::{
    admission::{Admit, Answering, Asked, Endpoint},
    app::App,
    copies::Copies,
    http::refusal::Refused,
};
use endpoints::{GetEndpoint, PostEndpoint};
use glob_copies::GlobCopies;
use server::Server;

const NAME: &str = "bayeux";
/// Where it is served: as Faye's clients are told, and as CometD's are. CometD's add the type of the message
/// to the path.
const MOUNTS: [(&str, &str); 2] = [("/bayeux", "/bayeux/"), ("/cometd", "/cometd/")];

/// The dialect.
#[derive(Debug)]
pub(super) struct Bayeux;

impl Dialect for Bayeux {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        let server = Server::start(Arc::clone(app), admit.clone());
        let knowing = Arc::downgrade(&server);
        app.sessions.answers_for(NAME, move |question| for_others::answer(knowing.upgrade(), question));
        let paths = MOUNTS.into_iter().flat_map(|(mount, under)| {
            [crate::admission::Path::Is(mount), crate::admission::Path::Under(under)]
        });
        let both = paths.flat_map(|path| {
            let (post, get) = (Arc::clone(&server), Arc::clone(&server));
            [
                Arc::new(PostEndpoint { path, server: post }) as Arc<dyn Endpoint>,
                Arc::new(GetEndpoint { path, server: get }),
            ]
        });
        both.collect()
    }

    fn routes(&self) -> Router<Arc<App>> {
        MOUNTS.into_iter().fold(Router::new(), |router, (mount, under)| {
            let refused = || any(not_to_be_held).get(not_to_be_held).post(not_to_be_held);
            router
                .route(mount, refused())
                .route(under, refused())
                .route(&format!("{under}{{*rest}}"), refused())
        })
    }

    fn copies(&self) -> Option<&'static dyn Copies> {
        Some(&GlobCopies)
    }

    fn answer(&self, _: Arc<App>, asked: Asked) -> Answering {
        Box::pin(socket::answer(asked))
    }
}

/// Why a request got here that may wait.
async fn not_to_be_held() -> Refused {
    Refused::bad("Bayeux is spoken by GET and POST, and says nothing twice")
}
