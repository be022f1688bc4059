//! The browser client as it is served: as one compressed file where the build made one, and as the modules
//! that it is made of. Not what is in it.

use std::{collections::HashMap, sync::LazyLock};

use axum::response::{IntoResponse, Response};
use encke_proto::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    SCRIPT,
    file::{Caching, File},
};
use crate::{
    http::refusal::{Refused, codes},
    validation::{self, InPath},
};

// `ENTRY`, `MODULES` and `BUILT`: written by `build.rs`.
include!(concat!(env!("OUT_DIR"), "/client_files.rs"));

const SOURCE_MAP: HeaderName = HeaderName::from_static("sourcemap");

/// The module, and the classic script: of each the content under its lasting name.
const MODULE: Kind = Kind { end: ".js", other: Some(".global.js") };
const CLASSIC: Kind = Kind { end: ".global.js", other: None };

/// A kind of script among the built files.
#[derive(Clone, Copy)]
struct Kind {
    end: &'static str,
    other: Option<&'static str>,
}

impl Kind {
    /// The name of the built file of this kind, which changes with its content.
    fn built(self) -> Option<&'static str> {
        BUILT
            .iter()
            .map(|(name, _)| *name)
            .find(|name| name.ends_with(self.end) && self.other.is_none_or(|other| !name.ends_with(other)))
    }

    /// The file for the address that does not change, which says where the same lies for good.
    fn file(self) -> Option<File> {
        let name = self.built()?;
        Some(
            built(name)?
                .with_field(header::CONTENT_LOCATION, &format!("client/{name}"))
                .with_field(SOURCE_MAP, &format!("client/{name}.map")),
        )
    }
}

/// A built file, by its name.
fn built(name: &str) -> Option<File> {
    let content = |name: &str| BUILT.iter().find(|(known, _)| *known == name).map(|(_, content)| *content);
    let content_type = if name.ends_with(".map") { "application/json" } else { SCRIPT };
    Some(
        File::new(content_type, content(name)?)
            .with_coding("gzip", content(&format!("{name}.gz")))
            .with_coding("br", content(&format!("{name}.br"))),
    )
}

static CLIENT: LazyLock<File> =
    LazyLock::new(|| MODULE.file().unwrap_or_else(|| File::new(SCRIPT, ENTRY.as_bytes())));
static CLIENT_CLASSIC: LazyLock<Option<File>> = LazyLock::new(|| CLASSIC.file());
/// What lies beside the client: what it is made of under the names by which it imports that, and what was
/// built under names that change with the content.
static BESIDE: LazyLock<HashMap<&str, File>> = LazyLock::new(|| {
    let modules = MODULES.iter().map(|(name, content)| (*name, File::new(SCRIPT, content)));
    let built = BUILT
        .iter()
        .filter(|(name, _)| name.ends_with(".js") || name.ends_with(".map"))
        .filter_map(|(name, _)| Some((*name, built(name)?.with_caching(Caching::Immutable))));
    modules.chain(built).collect()
});

/// The browser client, a module; pages of every origin may load it. `Content-Location` names the same under
/// an address that may be kept for good, where there is one.
#[utoipa::path(
    get, path = "/client.js", tag = "pages", security(()),
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript")),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn client(headers: HeaderMap) -> Response {
    to_all(CLIENT.answer(&headers))
}

/// The same as a classic script, which makes the global `Encke`; 404 in a server that was built without Node.
#[utoipa::path(
    get, path = "/client.global.js", tag = "pages", security(()),
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript")),
    extensions(("x-error-codes" = json!(codes(&[&[ErrorCode::NotFound]])))),
)]
pub(crate) async fn client_classic(headers: HeaderMap) -> Result<Response, Refused> {
    CLIENT_CLASSIC.as_ref().map(|file| to_all(file.answer(&headers))).ok_or(ErrorCode::NotFound.into())
}

/// What the browser client imports by itself, and its lasting names.
#[utoipa::path(
    get, path = "/client/{file}", tag = "pages", security(()),
    params(("file" = String, Path, description = "Its name.", example = "cursor.js")),
    responses((status = 200, description = "A script, or the map of one to its sources.",
        content((String = "text/javascript"), (Value = "application/json", example = json!({
            "version": 3, "sources": ["encke.js"], "names": [], "mappings": "AAAA",
        }))))),
    extensions(("x-error-codes" = json!(codes(&[validation::ERRORS, &[ErrorCode::NotFound]])))),
)]
pub(crate) async fn client_file(InPath(name): InPath, headers: HeaderMap) -> Result<Response, Refused> {
    BESIDE.get(name.as_str()).map(|file| to_all(file.answer(&headers))).ok_or(ErrorCode::NotFound.into())
}

/// Lets pages of every origin load it. It is the same for all users and holds nothing secret; credentials are
/// not asked for, so `*` is right here and only here.
fn to_all(answer: Response) -> Response {
    let open = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
    ];
    (open, answer).into_response()
}
