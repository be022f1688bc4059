//! The pages and scripts that come with the server: the demo, the console, and the browser client. They are
//! part of the program, so that they always fit it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use encke_proto::ErrorCode;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    app::App,
    http::refusal::{Refused, codes},
    validation::{self, InPath},
};

/// What a page may do: run this server's own scripts, ask this server, and show web pages in frames. Nothing
/// else, above all nothing inline.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   frame-src http: https:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file.
struct File {
    content_type: &'static str,
    content: &'static str,
    etag: HeaderValue,
}

impl File {
    fn new(content_type: &'static str, content: &'static str) -> Self {
        // The keys of this hasher are always the same, so that a restart does not make browsers fetch
        // everything anew.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let etag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        Self { content_type, content, etag: etag.unwrap_or(HeaderValue::from_static("\"0\"")) }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let common = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP)),
        ];
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let etag = self.etag.to_str().unwrap_or_default();
        if known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == etag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(header::CONTENT_TYPE, self.content_type)], self.content).into_response()
    }
}

static DEMO: LazyLock<File> = LazyLock::new(|| File::new(HTML, include_str!("../web/index.html")));
static CONSOLE: LazyLock<File> = LazyLock::new(|| File::new(HTML, include_str!("../web/console.html")));
static CLIENT: LazyLock<File> =
    LazyLock::new(|| File::new(SCRIPT, include_str!("../../../clients/js/encke.js")));
/// What the browser client is made of. It names these by where they lie beside it, so they are served as they
/// lie in `clients/js`.
static CLIENT_MODULES: LazyLock<HashMap<&str, File>> = LazyLock::new(|| {
    HashMap::from([
        ("beacon.js", File::new(SCRIPT, include_str!("../../../clients/js/client/beacon.js"))),
        ("cursor.js", File::new(SCRIPT, include_str!("../../../clients/js/client/cursor.js"))),
        ("error.js", File::new(SCRIPT, include_str!("../../../clients/js/client/error.js"))),
        ("iframe.js", File::new(SCRIPT, include_str!("../../../clients/js/client/iframe.js"))),
        ("link.js", File::new(SCRIPT, include_str!("../../../clients/js/client/link.js"))),
        ("listeners.js", File::new(SCRIPT, include_str!("../../../clients/js/client/listeners.js"))),
        ("pages.js", File::new(SCRIPT, include_str!("../../../clients/js/client/pages.js"))),
        ("pauses.js", File::new(SCRIPT, include_str!("../../../clients/js/client/pauses.js"))),
        ("poll.js", File::new(SCRIPT, include_str!("../../../clients/js/client/poll.js"))),
        ("sse.js", File::new(SCRIPT, include_str!("../../../clients/js/client/sse.js"))),
        ("sse-parser.js", File::new(SCRIPT, include_str!("../../../clients/js/client/sse-parser.js"))),
        ("ticket.js", File::new(SCRIPT, include_str!("../../../clients/js/client/ticket.js"))),
        ("ws.js", File::new(SCRIPT, include_str!("../../../clients/js/client/ws.js"))),
    ])
});
static ASSETS: LazyLock<HashMap<&str, File>> = LazyLock::new(|| {
    HashMap::from([
        ("demo.js", File::new(SCRIPT, include_str!("../web/demo.js"))),
        ("console.js", File::new(SCRIPT, include_str!("../web/console.js"))),
        ("style.css", File::new("text/css; charset=utf-8", include_str!("../web/style.css"))),
        ("favicon.svg", File::new("image/svg+xml", include_str!("../web/favicon.svg"))),
    ])
});

/// The demo: log in, see pages arrive, close.
#[utoipa::path(
    get, path = "/", tag = "pages", security(()),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn demo(headers: HeaderMap) -> Response {
    DEMO.answer(&headers)
}

/// The operators' console. It uses the server API, with the API key.
#[utoipa::path(
    get, path = "/console", tag = "pages", security(()),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn console(headers: HeaderMap) -> Response {
    CONSOLE.answer(&headers)
}

/// The browser client, a module; pages of every origin may load it.
#[utoipa::path(
    get, path = "/client.js", tag = "pages", security(()),
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript")),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn client(headers: HeaderMap) -> Response {
    to_all(CLIENT.answer(&headers))
}

/// What the browser client imports by itself.
#[utoipa::path(
    get, path = "/client/{file}", tag = "pages", security(()),
    params(("file" = String, Path, description = "Its name.", example = "cursor.js")),
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript")),
    extensions(("x-error-codes" = json!(codes(&[validation::ERRORS, &[ErrorCode::NotFound]])))),
)]
pub(crate) async fn client_module(InPath(name): InPath, headers: HeaderMap) -> Result<Response, Refused> {
    CLIENT_MODULES
        .get(name.as_str())
        .map(|file| to_all(file.answer(&headers)))
        .ok_or(ErrorCode::NotFound.into())
}

/// Lets pages of every origin load it. It is the same for all users and holds nothing secret; credentials are
/// not asked for, so `*` is right here and only here.
fn to_all(answer: Response) -> Response {
    let open = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    (open, answer).into_response()
}

/// What the pages are made of.
#[utoipa::path(
    get, path = "/assets/{file}", tag = "pages", security(()),
    params(("file" = String, Path, description = "Its name.", example = "style.css")),
    responses((status = 200, description = "A file.",
        content((String = "text/javascript"), (String = "text/css"), (String = "image/svg+xml")))),
    extensions(("x-error-codes" = json!(codes(&[validation::ERRORS, &[ErrorCode::NotFound]])))),
)]
pub(crate) async fn asset(
    State(app): State<Arc<App>>,
    InPath(name): InPath,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let is_off = match name.as_str() {
        "demo.js" => !app.config.demo,
        "console.js" => !app.config.console,
        _ => false,
    };
    if is_off {
        return Err(ErrorCode::NotFound.into());
    }
    ASSETS.get(name.as_str()).map(|file| file.answer(&headers)).ok_or(ErrorCode::NotFound.into())
}
