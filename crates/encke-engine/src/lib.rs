//! Where Encke's logs live: the [`Engine`] trait with its contract, and the engines that keep it.
//!
//! Every engine passes the same [`contract`] suite; a new engine is one new folder beside its siblings.

mod append;
pub mod contract;
mod engine;
mod error;
mod feed;
pub mod memory;
mod page;
mod passed;
mod receipt;
mod retention;
pub mod sqlite;
mod user;

pub use append::{Append, Appended, Targets};
pub use encke_proto::Page;
pub use engine::{Engine, Mode};
pub use error::EngineError;
pub use feed::Feed;
pub use page::{ChannelSummary, PageLimit, ReadFrom};
pub use receipt::{Mark, Receipt, ReceiptState};
pub use retention::{Retention, RetentionTable};
pub use user::UserRecord;

/// How long an idempotency key is remembered at least, in seconds that have gone by; a clock that is set changes nothing about that.
pub const KEY_KEPT_S: u64 = 10 * 60;

/// How long receipts are kept after the end of their push, in seconds. A push ends when it expires; one without expiry when its message is too old to be kept.
pub const RECEIPTS_KEPT_S: u64 = 24 * 3600;
