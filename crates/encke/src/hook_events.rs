//! What the application is told by hooks after it has happened: a log of facts in an internal channel of the
//! engine, whatever engine it is, and the delivery of the events that follow from them (ADR 0030). What is
//! sent how, `hooks` knows.
//!
//! Each node writes what happens in its own hubs. One node of all reads the log from a cursor that is kept in
//! the engine too, and delivers. It alone knows from the order of the log when a user has come and gone,
//! whatever the nodes that the user was on.
//!
//! A dialect has logs of its own, by the same means ([`LogNames`]), and says what it makes of the facts in
//! them ([`Recipient`]).

mod cursor;
mod deliverer;
mod event;
mod expirations;
mod expiry_log;
mod fact;
mod log_names;
mod presence;
mod recipient;
mod snapshot;
mod subject;
mod writer;

pub use deliverer::{Deliverer, Delivering};
pub use event::Place;
pub use fact::Fact;
pub use log_names::LogNames;
pub use presence::{Change, Presence};
pub use recipient::{Batch, DeliveryMetrics, NotTaken, Recipient};
pub use subject::Subject;
pub use writer::{EventWriter, Lives, WriterSettings};
