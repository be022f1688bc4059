//! The result of a claim: what the session followed on the node that gave it up, and a guard that keeps its
//! user registered on this node. Claims are made in `nodes.rs`.

use encke_hub::Following;

use super::Claiming;

/// The right to serve a user's session on this node.
#[derive(Debug)]
pub struct Claim {
    /// What the session followed on the node that gave it up; none when it is new, or nobody knew it.
    pub carried: Option<Following>,
    /// As long as this is kept, the user counts as being here.
    pub claiming: Claiming,
}
