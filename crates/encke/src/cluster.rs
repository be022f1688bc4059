//! Where all sessions are, on this node and on others (ADR 0015).
//!
//! Handlers ask [`Sessions`], which asks this node's shards, and the other nodes where that is needed. A node
//! alone has no [`Nodes`]; then everything is here.
//!
//! Arrows: `Sessions` -> `Nodes` -> `Membership` (who lives), `UserLocations` (which users the others find
//! here), `SessionLimit` (who has too many sessions), `NodeRpc` (questions to nodes) ->
//! `encke_engine::Cluster`.

mod answering;
mod dialect_answers;
mod listed;
mod membership;
mod node_message;
mod node_reports;
mod node_rpc;
mod nodes;
mod recent_answers;
mod session_limit;
mod sessions;
#[cfg(test)]
mod tests;
mod user_locations;

pub use listed::Listed;
pub use node_reports::{NodeReports, SilentNode};
pub use node_rpc::{DIALECT_ANSWER_MAX, Inbox, MESSAGES_MAX, NodeInboxSender, node_inbox};
pub use nodes::{Bounds, Nodes};
pub use sessions::Sessions;
pub use user_locations::Claiming;
