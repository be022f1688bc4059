//! Who asks: the first thing that each handler finds out, before a body is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use encke_proto::ErrorCode;
use http::request::Parts;

use crate::{
    access_log::Caller,
    app::App,
    audited::KeyName,
    auth::{Authenticated, Credentials, Identity},
    config::Scope,
    http::refusal::Refused,
};

/// What a client's request may be refused with before its handler looks at it: for its token, as there were
/// too many, or as the server stops.
pub(crate) const CLIENT: &[ErrorCode] = &[
    ErrorCode::Unauthorized,
    ErrorCode::TokenExpired,
    ErrorCode::Revoked,
    ErrorCode::Banned,
    ErrorCode::OriginForbidden,
    ErrorCode::RateLimited,
    ErrorCode::ShuttingDown,
];
/// The same of a backend's: for its key.
pub(crate) const OPERATOR: &[ErrorCode] =
    &[ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::RateLimited, ErrorCode::ShuttingDown];

/// A client with a verified token.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Identity);

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let ByToken(known) = ByToken::from_request_parts(parts, app).await?;
        Ok(Self(known.identity))
    }
}

/// The same, with what is known of the token.
#[derive(Debug)]
pub(crate) struct ByToken(pub(crate) Authenticated);

impl FromRequestParts<Arc<App>> for ByToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let credentials = credentials(parts).choosing(&parts.headers, app.auth.chosen_headers());
        let known = app.auth.identify_fetching(&credentials, app.now().wall).await?;
        if let Some(caller) = parts.extensions.get::<Caller>() {
            caller.is(known.identity.user.as_str());
        }
        Ok(Self(known))
    }
}

/// Makes an extractor of each scope: a caller with a key of the server API that has it.
macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident: $scope:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl FromRequestParts<Arc<App>> for $name {
            type Rejection = Refused;

            async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
                let credentials = credentials(parts);
                let allowed = app.auth.operator(&credentials, Scope::$scope, app.now().wall);
                if let Some(caller) = parts.extensions.get::<Caller>()
                    && let Some(known) = credentials.bearer().and_then(|key| app.auth.api_keys().name_of(key))
                {
                    caller.is(&known);
                }
                if let Some(KeyName(name)) = parts.extensions.get()
                    && let Some(known) = credentials.bearer().and_then(|key| app.auth.api_keys().name_of(key))
                {
                    let _ = name.set(known);
                }
                let allowed = allowed?;
                if let Some((name, per_s)) = app.auth.api_keys().rate(allowed.key) {
                    app.rate_limits.api_request(&name, per_s, app.now().wall)?;
                }
                Ok(Self)
            }
        }
    )+};
}

callers! {
    /// A caller that may push to users.
    MayPush: Push;
    /// A caller that may publish to channels.
    MayPublish: Publish;
    /// A caller that may read.
    MayRead: Read;
    /// A caller that may close connections.
    MayClose: Close;
    /// A caller that may read what is counted.
    MayReadMetrics: Metrics;
    /// A caller that may do what cannot be undone.
    MayAdminister: Admin;
}

/// What the head of a request brings.
pub(crate) fn credentials(parts: &Parts) -> Credentials<'_> {
    Credentials::of(&parts.method, &parts.headers, parts.uri.query())
}
