//! A page that is pushed: its address, and in what it is to be shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A page to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPage {
    /// Its address: http or https, checked when it was pushed, at most [`URL_MAX_BYTES`] bytes.
    ///
    /// [`URL_MAX_BYTES`]: crate::limits::URL_MAX_BYTES
    pub url: Arc<str>,
    /// In what it is to be shown.
    pub show: Show,
}

/// In what a page is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Show {
    /// In a frame of the receiver's own page.
    #[default]
    Frame,
    /// In a window or tab of its own, for pages that forbid frames. A browser opens one when its user asks
    /// for it, so the receiver is offered a link.
    Window,
}

impl Show {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Window => "window",
        }
    }

    /// Its name where messages say it: what holds for most is left out.
    #[must_use]
    pub fn said(self) -> Option<&'static str> {
        (self != Self::Frame).then(|| self.name())
    }
}

impl<T: Into<Arc<str>>> From<T> for WebPage {
    /// A page for a frame.
    fn from(url: T) -> Self {
        Self { url: url.into(), show: Show::Frame }
    }
}
