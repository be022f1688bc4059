//! What the application is told by hooks after it has happened: a log of facts in an internal channel of the
//! engine, whatever engine it is, and the delivery of the events that follow from them (ADR 0030). What is
//! sent how, `hooks` knows.
//!
//! Each node writes what happens in its own hubs. One node of all reads the log from a cursor that is kept in
//! the engine too, and delivers. It alone knows from the order of the log when a user has come and gone,
//! whatever the nodes that the user was on.

mod cursor;
mod deliverer;
mod event;
mod expirations;
mod expiry_log;
mod fact;
mod presence;
mod snapshot;
mod writer;

use encke_proto::ChannelName;

pub use deliverer::Deliverer;
pub use writer::{EventWriter, Lives};

/// The log of facts.
fn facts() -> ChannelName {
    ChannelName::internal(encke_engine::EVENT_LOG)
}
