//! Where the access log goes.

use std::path::PathBuf;

use serde::Deserialize;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum AccessLogTarget {
    /// Among the other log lines.
    Stderr,
    /// To the end of a file.
    File(PathBuf),
}

impl From<String> for AccessLogTarget {
    fn from(text: String) -> Self {
        if text == "stderr" { Self::Stderr } else { Self::File(text.into()) }
    }
}
