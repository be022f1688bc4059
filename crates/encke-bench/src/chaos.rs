//! Faults on real processes, and whether every promise was kept all the same: a supervisor kills, stops and
//! starves a server while publishers publish and subscribers on all transports listen, most of them through a
//! network that breaks. What each of them saw is written down, and judged at the end.

pub mod clock;
pub mod cluster;
pub mod crowd;
pub mod disk;
pub mod evidence;
pub mod faults;
pub mod fsync;
pub mod http;
pub mod ledger;
pub mod mutation;
pub mod peer;
pub mod phase;
#[cfg(test)]
mod planted;
pub mod proxy;
pub mod publisher;
pub mod run;
pub mod server;
pub mod setting;
pub mod settle;
pub mod subscriber;
pub mod summary;
pub mod tail;
pub mod verdict;
pub mod wire;
