//! The same for several nodes on one engine: what is done to them, to their engine, and to the network
//! between.

pub mod faults;
pub mod nats;
pub mod nodes;
pub mod port_forward;
pub mod probe;
pub mod process;
pub mod redis;
pub mod run;
pub mod store;
pub mod summary;
