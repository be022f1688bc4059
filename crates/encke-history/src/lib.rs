//! What happened in a run, and whether every promise was kept: a small Jepsen.
//!
//! It knows nothing of hubs, engines or sockets, only what was promised to publishers and to clients. The
//! hub's simulation writes its histories as it goes; `encke-bench chaos` puts them together from what
//! publishers and subscribers of real processes wrote down.

mod checker;
mod history;

pub use checker::{Kind, Violation, check};
pub use history::{History, Record};
