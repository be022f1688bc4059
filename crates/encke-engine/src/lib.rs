//! Where Encke's logs live: the [`Engine`] trait with its contract, and the engines that keep it.
//!
//! Every engine passes the same suite, `contract`; a new engine is one new folder beside its siblings.
//! `memory` is always there, each other engine is a feature, and so is the suite, which is for tests alone.

mod append;
mod cluster;
#[cfg(feature = "contract")]
pub mod contract;
mod engine;
mod error;
mod feed;
mod key;
#[cfg(feature = "log")]
pub mod log;
mod log_update;
pub mod memory;
mod metadata;
#[cfg(feature = "nats")]
pub mod nats;
mod offset_floors;
mod page;
mod passed;
mod receipt;
mod receipt_totals;
#[cfg(feature = "redis")]
pub mod redis;
mod retention;
mod stats;
#[cfg(feature = "log")]
mod threads;
mod user;

pub use append::{Append, AppendNow, Appended, Targets};
pub use cluster::{
    BEAT_MS, Cluster, EngineEvents, Entered, LiveNodes, NODE_LIVES_MS, NODE_MESSAGE_MAX_BYTES, Node, NodeId,
    NodeInbox, NotANode,
};
pub use encke_proto::Page;
pub use engine::{Engine, Mode};
pub use error::EngineError;
pub use feed::Feed;
pub use key::Key;
pub use log_update::{
    Configure, Lifetime, LogConfig, LogRefusal, LogStatus, LogUpdate, LogUpdated, NewMessage, NotAProducer,
    PRODUCER_ID_MAX_BYTES, PRODUCER_KEPT_S, PRODUCER_NUMBER_MAX, PRODUCER_PLACES_MAX, PRODUCERS_MAX,
    Producer, ProducerId, TOUCH_STEP_MS,
};
pub use page::{ChannelSummary, PageLimit, ReadFrom};
pub use receipt::{CANCELLED, Mark, Receipt, ReceiptState};
pub use receipt_totals::ReceiptTotals;
pub use retention::{
    DEVICE_LOG_MESSAGES, DEVICE_LOGS, EVENT_LOG, EXPIRY_LOGS, HERE_LOGS, PLACE_LOGS, PLACES_MAX, PUSH_LOG,
    RUN_LOG_MESSAGES, RUN_LOGS, Retention, RetentionTable, SESSION_LOGS,
};
pub use stats::{Commits, EngineStats};
pub use user::UserRecord;

/// How long an idempotency key is remembered at least, in seconds that have gone by; a clock that is set
/// changes nothing about that.
pub const KEY_KEPT_S: u64 = 10 * 60;

/// How many idempotency keys one user may have remembered; an engine of many machines may remember so many in
/// each of its parts. Of more the oldest are forgotten before their time. Fewer are remembered when all users
/// together have more than the engine has room for: then the oldest of any go.
/// At the default rate of 200 messages a second a key is known for 25 seconds.
pub const USER_KEYS_MAX: usize = 5_000;

/// How long it may take, in seconds, until an engine finds that its feed was not told of a message; with more
/// than 100,000 watched channels longer, in proportion.
pub const UNHEARD_MAX_S: u64 = 5;

/// How long receipts are kept after the end of their push, in seconds. A push ends when it expires; one
/// without expiry when its message is too old to be kept.
pub const RECEIPTS_KEPT_S: u64 = 24 * 3600;
