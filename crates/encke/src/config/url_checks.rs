//! Which pages the server asks for in the name of an operator.

use serde::Deserialize;

/// Which pages the server asks for in the name of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UrlChecks {
    /// None.
    Off,
    /// Those at addresses that all of the Internet reaches alike.
    Public,
    /// All that it can reach.
    Any,
}
