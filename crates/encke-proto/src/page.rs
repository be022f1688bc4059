//! A page of a channel's log: the type that an engine returns and the hub takes. What is asked of the engine
//! is in `encke-engine`, also under `page.rs`.

use std::sync::Arc;

use crate::{Entry, Epoch, Lineage, Offset};

/// A piece of a channel's log, as an engine reads it and the hub takes it.
#[derive(Clone, Debug)]
pub struct Page {
    /// The channel's epoch.
    pub epoch: Epoch,
    /// The epochs that this one goes on from; none with engines whose log is either whole or new.
    pub lineage: Lineage,
    /// The oldest offset that is kept; one more than `head` when nothing is.
    pub tail: Offset,
    /// The newest offset that was ever given in this epoch; 0 when none was.
    pub head: Offset,
    /// Whether the log is closed for good: nothing comes behind `head`.
    pub closed: bool,
    /// Consecutive messages in rising order. Messages past their expiry are among them: an offset is never
    /// left out.
    pub entries: Vec<Arc<Entry>>,
}
