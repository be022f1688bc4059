//! Where all sessions are, on this node and on others (ADR 0015).
//!
//! Handlers ask [`Sessions`], which asks this node's shards, and the other nodes where that is needed. A node
//! alone has no [`Nodes`]; then everything is here.
//!
//! Arrows: `Sessions` -> `Nodes` -> `Roster` (who lives), `People` (which users the others find here), `Post`
//! (questions to nodes) -> `encke_engine::Cluster`.

mod answering;
mod interest;
mod letter;
mod listed;
mod nodes;
mod people;
mod post;
mod recent;
mod roster;
mod sessions;
#[cfg(test)]
mod tests;

pub use interest::Interest;
pub use listed::Listed;
pub use nodes::{LETTERS_MAX, Nodes};
pub use people::Claiming;
pub use post::{Inbox, Postbox, postbox};
pub use sessions::Sessions;
