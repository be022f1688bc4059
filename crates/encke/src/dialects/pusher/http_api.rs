//! The HTTP API of backends: what they publish, who is there, and whom they send away. Each request is signed
//! with the secret of its application ([`signed`]).

mod channels;
mod events;
mod signed;
mod users;

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::header;
use serde::Serialize;

use crate::{
    app::App,
    http::{body, refusal::Refused, response::JSON},
};

/// What may be asked for of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Info {
    subscription_count: bool,
    user_count: bool,
    cache: bool,
}

impl Info {
    /// Reads a list of names with commas between. What is not known is passed over.
    fn read(list: Option<&str>) -> Self {
        let names: Vec<&str> = list.unwrap_or_default().split(',').map(str::trim).collect();
        let has = |name| names.contains(&name);
        Self {
            subscription_count: has("subscription_count"),
            user_count: has("user_count"),
            cache: has("cache"),
        }
    }

    fn is_some(self) -> bool {
        self != Self::default()
    }
}

/// The addresses.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/apps/{id}/events", post(events::publish_one))
        .route("/apps/{id}/batch_events", post(events::publish_batch))
        .route("/apps/{id}/channels", get(channels::list))
        .route("/apps/{id}/channels/{channel}", get(channels::one))
        .route("/apps/{id}/channels/{channel}/users", get(channels::users))
        .route("/apps/{id}/users/{user}/terminate_connections", post(users::terminate))
        .route("/users/{user}/terminate_connections", post(users::terminate_by_key))
}

/// An answer as the libraries of backends expect it.
fn answer(value: &impl Serialize) -> Result<Response, Refused> {
    Ok(([(header::CONTENT_TYPE, JSON)], body::written(value)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_named_with_commas_between() {
        let info = Info::read(Some("user_count, subscription_count,other"));
        assert!(info.user_count && info.subscription_count && !info.cache);
        assert!(!Info::read(None).is_some() && !Info::read(Some("")).is_some());
    }
}
