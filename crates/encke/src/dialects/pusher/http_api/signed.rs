//! A request that a backend has signed: who it is from, whether it is of now, and that nothing of it was
//! changed.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use encke_proto::{ErrorCode, limits::PUSHES_MAX_BYTES};
use percent_encoding::percent_decode_str;

use crate::{
    app::App,
    dialects::pusher::{
        application::{Application, Applications},
        server::Server,
        signature,
    },
    http::{body, refusal::Refused},
};

/// By how much a backend's clock may be off, and for how long a request that was seen under way can be sent
/// once more, in seconds.
const CLOCK_MAX_S: u64 = 600;
const VERSION: &str = "1.0";
const AUTH_KEY: &str = "auth_key";
const SIGNATURE: &str = "auth_signature";
const BODY_MD5: &str = "body_md5";
/// The most parameters of a query.
const PARAMETERS_MAX: usize = 64;

/// A request whose signature is good.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) server: Arc<Server>,
    pub(super) application: Arc<Application>,
    /// The parameters of its query, decoded.
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl FromRequest<Arc<App>> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refused> {
        let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
        let query = parameters(request.uri().query().unwrap_or_default())?;
        let server = Server::of(app);
        let Some(application) = application(&server.applications, &path, &query).cloned() else {
            return Err(Refused::new(ErrorCode::NotFound, "there is no application of this id"));
        };
        check_head(&application, &query, app.now().wall.0 / 1_000)?;
        // Before the body, whose length its sender says.
        let text = |path: &str| signed_text(&method, path, &query);
        let decoded = percent_decode_str(&path).decode_utf8_lossy();
        let (secret, given) = (application.settings.secret.expose(), query.get(SIGNATURE));
        let is_signed =
            |path: &str| given.is_some_and(|given| signature::verify(secret, text(path).as_bytes(), given));
        // Some libraries sign the address before it is encoded.
        if !is_signed(&path) && !is_signed(&decoded) {
            return Err(unauthorized("the signature is wrong"));
        }
        let body = body::read_up_to(request, PUSHES_MAX_BYTES).await?;
        let says = query.get(BODY_MD5).map(String::as_str);
        let is_right = match says {
            Some(says) => says.eq_ignore_ascii_case(&signature::md5(&body)),
            None => body.is_empty(),
        };
        if !is_right {
            return Err(unauthorized("`body_md5` is not that of the body"));
        }
        Ok(Self { server, application, query, body })
    }
}

/// The application that a request is about: as its address says, or its key where the address says none.
fn application<'a>(
    all: &'a Applications,
    path: &str,
    query: &BTreeMap<String, String>,
) -> Option<&'a Arc<Application>> {
    match path.strip_prefix("/apps/") {
        Some(rest) => all.by_id(rest.split('/').next()?),
        None => all.by_key(query.get(AUTH_KEY)?),
    }
}

fn unauthorized(message: &str) -> Refused {
    Refused::new(ErrorCode::Unauthorized, message)
}

/// The parameters of a query; none may come twice, or the signature would be over one and the request be
/// about another.
fn parameters(query: &str) -> Result<BTreeMap<String, String>, Refused> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_new = parameters.insert(name.into_owned(), value.into_owned()).is_none();
        if !is_new || parameters.len() > PARAMETERS_MAX {
            return Err(Refused::bad("the query has a parameter twice, or too many"));
        }
    }
    Ok(parameters)
}

fn check_head(
    application: &Application,
    query: &BTreeMap<String, String>,
    now_s: u64,
) -> Result<(), Refused> {
    let get = |name: &str| query.get(name).map(String::as_str);
    if get("auth_version") != Some(VERSION) {
        return Err(unauthorized("`auth_version` has to be 1.0"));
    }
    if get(AUTH_KEY) != Some(application.settings.key.as_str()) {
        return Err(unauthorized("`auth_key` is not that of the application"));
    }
    let timestamp = get("auth_timestamp").and_then(|text| text.parse::<u64>().ok());
    match timestamp {
        Some(timestamp) if timestamp.abs_diff(now_s) <= CLOCK_MAX_S => Ok(()),
        _ => Err(unauthorized("`auth_timestamp` has to be within 600 seconds of the server's time")),
    }
}

/// What the signature is over: the method, the path, and the parameters in the order of their names.
fn signed_text(method: &str, path: &str, query: &BTreeMap<String, String>) -> String {
    let mut pairs: Vec<(String, &String)> = query
        .iter()
        .filter(|(name, _)| *name != SIGNATURE)
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{method}\n{path}\n{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_over_decoded_parameters_in_their_order() {
        let query = parameters("b=x%20y&A=1&auth_signature=0").unwrap();
        assert_eq!(signed_text("GET", "/apps/1/channels", &query), "GET\n/apps/1/channels\na=1&b=x y");
        assert!(parameters("a=1&a=2").is_err());
    }
}
