//! How far events were delivered: the last message of an internal log. It also says where the batch ends that
//! is delivered next, so that a node which goes on sends that batch as it was.
//!
//! The log is the lock too. A node that finds a message of another between two of its own is not alone.

use std::sync::Arc;

use encke_engine::{Append, Engine, EngineError, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, MessageId, Offset, Time};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::random;

const LAST: PageLimit = PageLimit { messages: 1, bytes: 1 << 16 };

/// Why a cursor was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum CursorError {
    /// Another node delivers.
    #[error("another node delivers events")]
    Overtaken,
    /// The engine did not take it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no randomness for an id.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// All up to here was delivered.
    pub(super) done: Offset,
    /// The batch under way ends here; `done` when there is none.
    pub(super) next: Offset,
    /// The last snapshot, by the place of which it is.
    pub(super) snapshot: Option<Offset>,
}

/// The log of cursors, as one node writes it.
pub(super) struct CursorLog {
    engine: Arc<dyn Engine>,
    log: ChannelName,
    /// Where the last message stands that this node knows of.
    last: Offset,
}

impl CursorLog {
    /// Reads where delivery goes on.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub(super) async fn open(
        engine: Arc<dyn Engine>,
        log: ChannelName,
    ) -> Result<(Self, Cursor), EngineError> {
        let page = engine.read(&log, ReadFrom::Before(Offset::MAX), LAST).await?;
        let json = page.entries.last().and_then(|entry| match &entry.message().body {
            Body::Data(json) => Some(json.get().to_owned()),
            _ => None,
        });
        let cursor = json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        Ok((Self { engine, log, last: page.head }, cursor))
    }

    /// Keeps a cursor, for this node or another to go on from.
    ///
    /// # Errors
    /// [`CursorError`]; the node is to begin anew then.
    pub(super) async fn keep(&mut self, cursor: Cursor, now: Time) -> Result<(), CursorError> {
        let json = to_raw_value(&cursor).map_err(|error| EngineError::Unavailable(error.to_string()))?;
        let append = Append {
            id: MessageId::fresh(now, random::bits()?),
            key: None,
            targets: Targets::Channels(vec![self.log.clone()]),
            body: Body::Data(json.into()),
            from: None,
            time: now,
            expires: None,
            trace: None,
        };
        let appended = self.engine.append(append).await?;
        let at = appended.positions.first().map_or(0, |(_, position)| position.offset);
        if at != self.last + 1 {
            return Err(CursorError::Overtaken);
        }
        self.last = at;
        Ok(())
    }
}
