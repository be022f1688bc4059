//! Requests that may wait, as hyper hands them over: what the table reads by itself elsewhere.

use axum::{body::Body, response::IntoResponse};
use encke_proto::Time;
use http::{HeaderValue, Response, Version, header, request::Parts};

use super::activity::Activity;
use crate::{
    admission::{Address, Endpoints, Method, Verdict, Waiting},
    http::{
        body::{self, Whole},
        client_address::ClientAddress,
        refusal::Refused,
    },
};

/// The number and the address of the endpoint that a request asks for, when it is one that may wait on this
/// connection: which is asked with whether it is of the server API.
pub(super) fn endpoint(
    parts: &Parts,
    endpoints: &Endpoints,
    may_wait: impl FnOnce(bool) -> bool,
) -> Option<(usize, Address)> {
    let (number, address) = find(parts, endpoints)?;
    if !may_wait(endpoints.is_for_operators(number)) {
        return None;
    }
    waiting(parts, &address, endpoints).map(|_| (number, address))
}

/// Decides on it when its body is there.
///
/// # Errors
/// When the body is too large, or does not come.
pub(super) async fn decide(
    endpoints: &Endpoints,
    (number, address): (usize, Address),
    parts: &Parts,
    body: Body,
    now: impl Fn() -> Time + Send,
) -> Result<Verdict, Refused> {
    let Whole(body) =
        if address.method == Method::Post { body::read_whole(body).await? } else { Whole::default() };
    let mut waiting =
        waiting(parts, &address, endpoints).ok_or_else(|| Refused::bad("this request cannot wait"))?;
    waiting.body = &body;
    waiting.from = parts.extensions.get().map(|ClientAddress(address)| *address);
    Ok(endpoints.decide(number, &waiting, now()))
}

/// Refuses one whose body did not come as it should. What was not read of it would be the next request.
pub(super) fn refuse(refused: Refused, activity: &Activity) -> Response<Body> {
    let mut response = refused.into_response();
    if activity.has_unread() {
        response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn find(parts: &Parts, endpoints: &Endpoints) -> Option<(usize, Address)> {
    if parts.version > Version::HTTP_2 {
        return None;
    }
    // A request that does not name its host is refused where all such are.
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(header::HOST) {
        return None;
    }
    endpoints.find(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default())
}

fn waiting<'a>(parts: &'a Parts, address: &Address, endpoints: &Endpoints) -> Option<Waiting<'a>> {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let mut waiting = Waiting::new(address, path, query);
    waiting.choose(endpoints.chosen_headers());
    for (name, value) in &parts.headers {
        // How the body comes is hyper's business, and which it is.
        let is_of_body = address.method == Method::Post
            && (name == header::CONTENT_LENGTH
                || name == header::TRANSFER_ENCODING
                || name == header::EXPECT);
        if !is_of_body && !waiting.take(name.as_str(), value.to_str().ok()?) {
            return None;
        }
    }
    if parts.version < Version::HTTP_11 {
        waiting.http_10 = true;
        waiting.keep_alive = false;
    }
    Some(waiting)
}
