//! Which pushes end when: an internal log for each span of time, written before the pushes are, and read once
//! the span is over. What has become of a push is not known here; its receipts say it.

use std::{collections::BTreeMap, sync::Arc};

use encke_engine::{Append, EXPIRY_LOGS, Engine, EngineError, RECEIPTS_KEPT_S, Targets};
use encke_proto::{Body, ChannelName, MessageId, Time};
use serde_json::value::to_raw_value;

use crate::{clock::Clock, random};

/// How long a span is, in milliseconds. The spans of long-lived pushes are some of these put together, so
/// that there are not too many logs.
pub(super) const SPAN_MS: u64 = 10_000;
const LONG_SPAN_MS: u64 = 6 * SPAN_MS;
/// From which time to live on a push is long-lived, in milliseconds.
const LONG_LIVED_MS: u64 = 3_600_000;
/// For how long a span is left alone when it is over, in milliseconds: pushes may be on their way into the
/// engine, and receipts too.
pub(super) const SETTLES_MS: u64 = 5_000;
/// The most pushes in one message.
const PUSHES_MAX: usize = 500;

/// Notes when these pushes end.
///
/// # Errors
/// [`EngineError::Unavailable`]; also when it took so long that they may be passed over.
pub(super) async fn keep<'a>(
    engine: &Arc<dyn Engine>,
    clock: &dyn Clock,
    pushes: impl IntoIterator<Item = &'a Append>,
) -> Result<(), EngineError> {
    let unwritten = |error: &dyn std::fmt::Display| EngineError::Unavailable(error.to_string());
    let mut spans: BTreeMap<Time, Vec<&MessageId>> = BTreeMap::new();
    for push in pushes {
        if let Some(expires) = push.expires {
            spans.entry(span_end(push.time, expires)).or_default().push(&push.id);
        }
    }
    for (end, ids) in spans {
        for ids in ids.chunks(PUSHES_MAX) {
            let now = clock.now().wall;
            let json = to_raw_value(ids).map_err(|error| unwritten(&error))?;
            let append = Append {
                id: MessageId::fresh(now, random::bits().map_err(|error| unwritten(&error))?),
                key: None,
                targets: Targets::Channels(vec![log(end)]),
                body: Body::Data(json.into()),
                from: None,
                time: now,
                // Nothing is known of the pushes then.
                expires: Some(end.plus_seconds(RECEIPTS_KEPT_S)),
                trace: None,
            };
            engine.append(append).await?;
        }
        if clock.now().wall.0 >= end.0 + SETTLES_MS / 2 {
            return Err(EngineError::Unavailable("it took longer than the push lives".into()));
        }
    }
    Ok(())
}

/// The end of the span in which a push expires that is accepted now.
fn span_end(now: Time, expires: Time) -> Time {
    let is_long = expires.0.saturating_sub(now.0) >= LONG_LIVED_MS;
    let span_ms = if is_long { LONG_SPAN_MS } else { SPAN_MS };
    Time((expires.0 / span_ms).saturating_add(1).saturating_mul(span_ms))
}

/// The log of the span that ends then. Their order is that of time.
pub(super) fn log(end: Time) -> ChannelName {
    ChannelName::internal(&format!("{EXPIRY_LOGS}{:020}", end.0))
}

/// The end of the span that a log is of; none of another log.
pub(super) fn end_of(log: &ChannelName) -> Option<Time> {
    let name = log.as_str().strip_prefix(ChannelName::internal(EXPIRY_LOGS).as_str())?;
    name.parse().ok().map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_expires_before_its_span_ends_and_is_found_by_it() {
        let now = Time(1_800_000_003_456);
        for (ttl_s, within_ms) in [(1, SPAN_MS), (10, SPAN_MS), (3_599, SPAN_MS), (3_600, LONG_SPAN_MS)] {
            let expires = now.plus_seconds(ttl_s);
            let end = span_end(now, expires);
            assert!(end > expires && end.0 - expires.0 <= within_ms, "{ttl_s}");
            assert_eq!(end.0 % SPAN_MS, 0, "{ttl_s}: each is looked at");
            assert_eq!(end_of(&log(end)), Some(end));
        }
        let on_the_edge = Time(1_800_000_000_000);
        assert!(span_end(on_the_edge, on_the_edge.plus_seconds(10)) > on_the_edge.plus_seconds(10));
        assert_eq!(end_of(&ChannelName::internal("hooks/facts")), None);
        assert!(log(Time(9_999)) < log(Time(10_000)));
    }
}
