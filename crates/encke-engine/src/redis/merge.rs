//! Pages over all partitions, each of which knows its own order.

use std::collections::VecDeque;

use redis::{Cmd, Value};

use super::{RedisEngine, server_map::Call};
use crate::EngineError;

/// How much a partition is asked for at a time: of a whole page, its share twice over, within these bounds.
const ASK_MIN: usize = 8;
const ASK_MAX: usize = 512;

/// What one partition has.
struct Source<T> {
    partition: u16,
    found: VecDeque<T>,
    last: String,
    more: bool,
}

impl RedisEngine {
    /// The first `limit` of what these partitions have behind `after`, in the order of the names.
    pub(super) async fn merged<T>(
        &self,
        partitions: Vec<u16>,
        after: &str,
        limit: usize,
        ask: impl Fn(u16, &str, usize) -> Cmd + Sync,
        read: impl Fn(Value) -> Result<Vec<T>, EngineError> + Sync,
        name: impl Fn(&T) -> &str + Sync,
    ) -> Result<Vec<T>, EngineError>
    where
        T: Send,
    {
        let at_a_time = (2 * limit / partitions.len().max(1)).clamp(ASK_MIN, ASK_MAX).min(limit);
        let source =
            |partition| Source { partition, found: VecDeque::new(), last: after.to_owned(), more: true };
        let mut sources: Vec<Source<T>> = partitions.into_iter().map(source).collect();
        let mut merged = Vec::new();
        while merged.len() < limit {
            let mut dry: Vec<&mut Source<T>> =
                sources.iter_mut().filter(|source| source.found.is_empty() && source.more).collect();
            if !dry.is_empty() {
                let calls = dry.iter().map(|source| Call {
                    partition: source.partition,
                    command: ask(source.partition, &source.last, at_a_time),
                });
                let answers = self.calls(calls.collect()).await?;
                for (source, answer) in dry.iter_mut().zip(answers) {
                    source.found = read(answer)?.into();
                    source.more = source.found.len() >= at_a_time;
                    if let Some(last) = source.found.back() {
                        source.last = name(last).to_owned();
                    }
                }
                sources.retain(|source| !source.found.is_empty());
            }
            let next = sources
                .iter_mut()
                .min_by(|one, other| one.found.front().map(&name).cmp(&other.found.front().map(&name)));
            let Some(item) = next.and_then(|source| source.found.pop_front()) else { break };
            merged.push(item);
            sources.retain(|source| !source.found.is_empty() || source.more);
        }
        Ok(merged)
    }
}
