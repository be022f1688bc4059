//! A session in a list of those of all nodes.

use encke_hub::SessionView;

/// A session, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name of the node that it is on.
    pub node: String,
    /// What that node knows of it.
    pub session: SessionView,
}
