//! What can be measured. A command is one file.

pub mod append;
pub mod chaos;
pub mod churn;
pub mod compare;
pub mod fanout;
pub mod fdatasync;
pub mod flood;
pub mod handshake;
pub mod hold;
pub mod latency;
pub mod reopen;
pub mod stalled;
pub mod sustain;
pub mod targeted;
