//! `POST /api/check-url`: how a page answers that is to be pushed, and whether it may stand in a frame.

use std::sync::Arc;

use axum::{Extension, Json as Answer, extract::State};
use encke_proto::{ErrorCode, PageUrl};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use crate::{
    app::App,
    audited::What,
    extractors::{MayPush, OPERATOR},
    frame_policy::Frames,
    http::{
        body::{self, Json},
        refusal::{Refused, codes},
    },
    url_checks::Problem,
};

/// The page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckUrl {
    /// An http or https URL that might be pushed.
    url: String,
}

/// How it has answered, or why not.
#[derive(Serialize, ToSchema)]
pub(crate) struct UrlChecked {
    /// Whether it has answered.
    reached: bool,
    /// Where it is, behind all redirections.
    url: String,
    /// Why it has not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// The status of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Which pages may show it in a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Frames>,
    /// The sources of `frame-ancestors` in its policy, at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_ancestors: Option<String>,
    /// Its `X-Frame-Options`, at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    x_frame_options: Option<String>,
}

/// Asks for a page and tells how it answers: the status, and which pages may show it in a frame. What is in
/// the page is not read.
///
/// 403 `forbidden` unless `url_checks` allows it. The server itself asks, within 5 s, and follows up to 5
/// redirections; with `url_checks = "public"` to public addresses alone. Needs the scope `push`.
#[utoipa::path(
    post, path = "/api/check-url", tag = "server API", security(("api_key" = [])),
    request_body(content = CheckUrl, example = json!({"url": "https://pages.example/shop"})),
    responses((
        status = 200, description = "How it has answered, or why it has not.",
        body = UrlChecked, examples(
            ("reached" = (summary = "A page that forbids frames", value = json!({
                "reached": true, "url": "https://pages.example/shop", "status": 200, "frames": "none",
                "x_frame_options": "DENY"
            }))),
            ("not_reached" = (summary = "A page that does not answer", value = json!({
                "reached": false, "url": "https://pages.example/shop", "problem": "timeout"
            }))),
        ),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, body::ERRORS, &[ErrorCode::BadUrl, ErrorCode::UrlNotAllowed]
    ])))),
)]
pub(crate) async fn check_url(
    State(app): State<Arc<App>>,
    _: MayPush,
    Json(request): Json<CheckUrl>,
) -> Result<(Extension<What>, Answer<UrlChecked>), Refused> {
    let page = PageUrl::parse(&request.url)?;
    app.config.url_allow_list.check(&page)?;
    let Some(checks) = &app.url_checks else {
        return Err(Refused::new(
            ErrorCode::Forbidden,
            "this server checks no pages: `url_checks` is \"off\"",
        ));
    };
    // Neither a path nor a query, which may hold what is secret.
    let origin = Url::parse(page.as_str()).map(|url| url.origin().ascii_serialization());
    let what = format!("page of {}", origin.unwrap_or_default());
    let answer = match checks.check(&page, &app.config.url_allow_list).await {
        Ok(reached) => UrlChecked {
            reached: true,
            url: reached.url,
            problem: None,
            status: Some(reached.status),
            frames: Some(reached.policy.frames),
            frame_ancestors: reached.policy.frame_ancestors,
            x_frame_options: reached.policy.x_frame_options,
        },
        Err(problem) => UrlChecked {
            reached: false,
            url: page.as_str().to_owned(),
            problem: Some(problem),
            status: None,
            frames: None,
            frame_ancestors: None,
            x_frame_options: None,
        },
    };
    Ok((Extension(What(what.into())), Answer(answer)))
}
