//! How a page answers that is to be pushed.

use serde::{Deserialize, Serialize};

/// How a page has answered the server, or why it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UrlChecked {
    /// Whether it has answered.
    pub reached: bool,
    /// Where it is, behind all redirections.
    pub url: String,
    /// Why it has not answered: `not_public`, `timeout`, `unreachable` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The status of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Which pages may show it in a frame: `all`, `some` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<String>,
    /// The sources of `frame-ancestors` in its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_ancestors: Option<String>,
    /// Its `X-Frame-Options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_frame_options: Option<String>,
}
