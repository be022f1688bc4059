//! Cache channels: the last event of a channel's log, if it is not too old.

use encke_engine::{PageLimit, ReadFrom};
use encke_proto::{ChannelName, codec::pusher};

use crate::{app::App, http::refusal::Refused};

/// So many messages are read at a time, to be looked through for one that a backend published.
const PAGE: PageLimit = PageLimit { messages: 128, bytes: 1 << 20 };
/// So many times, at most: events of clients and what the protocol says may stand behind it.
const PAGES_MAX: usize = 32;

/// The event that a cache channel holds.
pub(super) struct Cached {
    /// As a subscriber is sent it.
    pub(super) frame: String,
    /// Its data.
    pub(super) data: String,
    /// How long it is still kept, in seconds.
    pub(super) ttl_s: u64,
}

/// The event that the log of a cache channel holds, which keeps it for `kept_s` seconds.
pub(super) async fn last(app: &App, log: &ChannelName, kept_s: u64) -> Result<Option<Cached>, Refused> {
    let now_ms = app.now().wall.0;
    let mut before = u64::MAX;
    for _ in 0..PAGES_MAX {
        let page = app.engine.read(log, ReadFrom::Before(before), PAGE).await?;
        for message in page.entries.iter().rev().map(|entry| entry.message()) {
            let left_ms = message.time.0.saturating_add(kept_s.saturating_mul(1_000)).saturating_sub(now_ms);
            if left_ms == 0 {
                return Ok(None);
            }
            if let Some((frame, data)) = pusher::cached(message) {
                return Ok(Some(Cached { frame, data, ttl_s: left_ms.div_ceil(1_000) }));
            }
            before = message.position.offset;
        }
        if page.entries.is_empty() {
            break;
        }
    }
    Ok(None)
}
