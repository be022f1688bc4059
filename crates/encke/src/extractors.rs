//! Who asks: the first thing that each handler finds out, before a body is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use encke_proto::ErrorCode;
use http::request::Parts;

use crate::{
    app::App,
    auth::{Credentials, Identity},
    http::refusal::Refused,
};

/// What a client's request may be refused with before its handler looks at it: for its token, or as the
/// server stops.
pub(crate) const CLIENT: &[ErrorCode] =
    &[ErrorCode::Unauthorized, ErrorCode::TokenExpired, ErrorCode::OriginForbidden, ErrorCode::ShuttingDown];
/// The same of a backend's.
pub(crate) const OPERATOR: &[ErrorCode] = &[ErrorCode::Unauthorized, ErrorCode::ShuttingDown];

/// A client with a verified token.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Identity);

/// A caller with the key of the server API.
#[derive(Debug)]
pub(crate) struct Operator;

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        Ok(Self(app.auth.identify_fetching(&credentials(parts), app.now().wall).await?))
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        app.auth.operator(&credentials(parts))?;
        Ok(Self)
    }
}

/// What the head of a request brings.
pub(crate) fn credentials(parts: &Parts) -> Credentials<'_> {
    Credentials::of(&parts.method, &parts.headers, parts.uri.query())
}
