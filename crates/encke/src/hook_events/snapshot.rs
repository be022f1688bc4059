//! Who was where at a place of the log of facts, kept in an internal log of its own, so that a node which
//! begins to deliver need not read all facts that ever were.

use std::sync::Arc;

use encke_engine::{Append, Engine, EngineError, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, MessageId, Offset, Time};
use serde::Deserialize;
use serde_json::value::to_raw_value;

use super::{
    fact::Run,
    presence::{Follower, Presence},
    subject::Subject,
};
use crate::random;

/// The most channels in one message: some 300 KB, whatever their names.
const CHANNELS_MAX: usize = 1_000;
const PAGE: PageLimit = PageLimit { messages: 16, bytes: 8 << 20 };
/// The most that are listed at a time.
const LISTED_MAX: usize = 100;

/// A follower, as a snapshot has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    InRound(Follower),
    /// Former versions know no rounds.
    Without(Run),
}

impl From<Kept> for Follower {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::InRound(follower) => follower,
            Kept::Without(run) => (run, 0),
        }
    }
}

/// Keeps what is known at a place.
///
/// # Errors
/// [`EngineError::Unavailable`]; what is there of it is deleted with the next.
pub(super) async fn keep(
    engine: &Arc<dyn Engine>,
    logs: &str,
    at: Offset,
    presence: &Presence,
    now: Time,
) -> Result<(), EngineError> {
    let unwritten = |error: &dyn std::fmt::Display| EngineError::Unavailable(error.to_string());
    // One that was begun before is not complete.
    engine.delete(&log(logs, at)).await?;
    let all: Vec<_> = presence.iter().collect();
    for channels in all.chunks(CHANNELS_MAX) {
        let json = to_raw_value(channels).map_err(|error| unwritten(&error))?;
        let append = Append {
            id: MessageId::fresh(now, random::bits().map_err(|error| unwritten(&error))?),
            key: None,
            targets: Targets::Channels(vec![log(logs, at)]),
            body: Body::Data(json.into()),
            from: None,
            time: now,
            expires: None,
            trace: None,
        };
        engine.append(append).await?;
    }
    Ok(())
}

/// Reads what was kept at a place.
///
/// # Errors
/// [`EngineError::Unavailable`].
pub(super) async fn read(engine: &Arc<dyn Engine>, logs: &str, at: Offset) -> Result<Presence, EngineError> {
    let (mut presence, mut after) = (Presence::default(), 0);
    loop {
        let page = engine.read(&log(logs, at), ReadFrom::After(after), PAGE).await?;
        let Some(last) = page.entries.last() else { return Ok(presence) };
        after = last.message().position.offset;
        for entry in &page.entries {
            let Body::Data(json) = &entry.message().body else { continue };
            let channels: Vec<(Subject, Vec<Kept>)> = serde_json::from_str(json.get())
                .inspect_err(|error| tracing::error!(%error, "a snapshot for hooks is not understood"))
                .unwrap_or_default();
            for (channel, followers) in channels {
                presence.put(channel, followers.into_iter().map(Follower::from).collect());
            }
        }
    }
}

/// Deletes all but one.
///
/// # Errors
/// [`EngineError::Unavailable`].
pub(super) async fn delete_others(
    engine: &Arc<dyn Engine>,
    names: &str,
    kept: Option<Offset>,
) -> Result<(), EngineError> {
    let first = ChannelName::internal(names);
    let listed = engine.channels(Some(&first), LISTED_MAX).await?;
    let logs = listed.into_iter().map(|summary| summary.channel);
    let kept = kept.map(|at| log(names, at));
    for other in logs.take_while(|log| log.as_str().starts_with(first.as_str())) {
        if Some(&other) != kept.as_ref() {
            engine.delete(&other).await?;
        }
    }
    Ok(())
}

/// The log of one; the names of all begin with `names`.
fn log(names: &str, at: Offset) -> ChannelName {
    ChannelName::internal(&format!("{names}{at:020}"))
}

#[cfg(test)]
mod tests {
    use encke_engine::{NodeId, RetentionTable, memory::MemoryEngine};
    use encke_proto::Epoch;

    use super::*;
    use crate::hook_events::fact::Fact;

    fn engine() -> Arc<dyn Engine> {
        Arc::new(MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1)))
    }

    fn run(number: u64) -> Run {
        Run(NodeId::from_bits(number))
    }

    fn came(channel: &str, number: u64, round: u64) -> Fact {
        Fact::Came {
            channel: ChannelName::any(channel).unwrap().into(),
            run: run(number),
            round,
            about: None,
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_read_with_its_rounds() {
        let (engine, mut presence) = (engine(), Presence::default());
        for fact in [came("@alice", 1, 0), came("@alice", 2, 7), came("room", 2, 8)] {
            presence.apply(&fact);
        }
        keep(&engine, "logs/", 5, &presence, Time(1_800_000_000_000)).await.unwrap();
        assert_eq!(read(&engine, "logs/", 5).await.unwrap(), presence);
    }

    #[tokio::test]
    async fn a_snapshot_of_a_former_version_is_read() {
        let engine = engine();
        let json = format!(r#"[["@alice",["{}","{}"]],["room",["{}"]]]"#, run(1).0, run(2).0, run(2).0);
        let append = Append {
            id: MessageId::from_bits(1),
            key: None,
            targets: Targets::Channels(vec![log("logs/", 5)]),
            body: Body::Data(serde_json::value::RawValue::from_string(json).unwrap().into()),
            from: None,
            time: Time(1_800_000_000_000),
            expires: None,
            trace: None,
        };
        engine.append(append).await.unwrap();
        let mut expected = Presence::default();
        for fact in [came("@alice", 1, 0), came("@alice", 2, 0), came("room", 2, 0)] {
            expected.apply(&fact);
        }
        assert_eq!(read(&engine, "logs/", 5).await.unwrap(), expected);
    }
}
