//! A dialect for tests: clients say who they are in their first message over WebSocket, or in the body of a
//! POST that waits. It is added by this folder and by a line where a test names its dialects, and by nothing
//! else.

mod codec;
mod poll;
mod socket;

use std::sync::Arc;

use encke::{
    admission::{Admit, Answering, Asked, Endpoint},
    app::App,
    auth::Authenticated,
    dialects::Dialect,
};
use encke_proto::Refusal;

const NAME: &str = "sample";

/// The dialect.
#[derive(Debug)]
pub struct Sample;

impl Dialect for Sample {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        vec![
            Arc::new(socket::SocketEndpoint { admit: admit.clone() }),
            Arc::new(poll::PollEndpoint { app: Arc::clone(app), admit: admit.clone() }),
        ]
    }

    fn answer(&self, app: Arc<App>, asked: Asked) -> Answering {
        Box::pin(async move { socket::answer(&app, asked).await })
    }
}

/// The user of a token.
fn identify(app: &App, token: &str) -> Result<Authenticated, Refusal> {
    app.auth.verify(token, app.now().wall).map(|claims| Authenticated::new(claims, false))
}
