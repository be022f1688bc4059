//! The pages and scripts that come with the server: the demo, the console, and the browser client. They are
//! part of the program, so that they always fit it.

mod client;
mod file;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use axum::{extract::State, response::Response};
use encke_proto::ErrorCode;
use http::HeaderMap;

pub(crate) use self::client::*;
use self::file::File;
use crate::{
    app::App,
    http::refusal::{Refused, codes},
    validation::{self, InPath},
};

// `CONSOLE_MODULES`: written by `build.rs`.
include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

static DEMO: LazyLock<File> = LazyLock::new(|| File::new(HTML, include_bytes!("../web/index.html")));
static CONSOLE: LazyLock<File> = LazyLock::new(|| File::new(HTML, include_bytes!("../web/console.html")));
static ASSETS: LazyLock<HashMap<&str, File>> = LazyLock::new(|| {
    HashMap::from([
        ("demo.js", File::new(SCRIPT, include_bytes!("../web/demo.js"))),
        ("console.js", File::new(SCRIPT, include_bytes!("../web/console.js"))),
        ("console.css", File::new(CSS, include_bytes!("../web/console.css"))),
        ("style.css", File::new(CSS, include_bytes!("../web/style.css"))),
        ("favicon.svg", File::new("image/svg+xml", include_bytes!("../web/favicon.svg"))),
    ])
});
static CONSOLE_ASSETS: LazyLock<HashMap<&str, File>> = LazyLock::new(|| {
    CONSOLE_MODULES.iter().map(|(name, content)| (*name, File::new(SCRIPT, content))).collect()
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
        "console.js" | "console.css" => !app.config.console,
        _ => false,
    };
    if is_off {
        return Err(ErrorCode::NotFound.into());
    }
    ASSETS.get(name.as_str()).map(|file| file.answer(&headers)).ok_or(ErrorCode::NotFound.into())
}

/// The modules of the console.
#[utoipa::path(
    get, path = "/assets/console/{file}", tag = "pages", security(()),
    params(("file" = String, Path, description = "Its name.", example = "users.js")),
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript")),
    extensions(("x-error-codes" = json!(codes(&[validation::ERRORS, &[ErrorCode::NotFound]])))),
)]
pub(crate) async fn console_asset(InPath(name): InPath, headers: HeaderMap) -> Result<Response, Refused> {
    CONSOLE_ASSETS.get(name.as_str()).map(|file| file.answer(&headers)).ok_or(ErrorCode::NotFound.into())
}
