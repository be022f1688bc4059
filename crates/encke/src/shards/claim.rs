//! The right to serve a user's session on this node, as the other nodes granted it.

use std::fmt::Debug;

use encke_hub::Following;

/// The right to serve a user's session on this node.
#[derive(Debug)]
pub struct Claim {
    /// What the session followed on the node that gave it up; none when it is new, or no node knew it.
    pub carried: Option<Following>,
    /// As long as this is kept, the user counts as being here.
    pub claiming: Box<dyn Debug + Send>,
}
