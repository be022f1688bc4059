//! Names that match, over all partitions: of users and of public channels. Not what is known of them.

use encke_proto::{ChannelName, NameFilter, UserId};

use super::{
    RedisEngine,
    names::PARTITIONS,
    reply::{Fields, odd},
    script,
    server_map::Call,
};
use crate::EngineError;

/// How many names a partition is asked for at a time.
const NAMES_AT_ONCE: usize = 4_096;

/// How far a partition has been read.
struct Reading {
    partition: u16,
    /// The last name so far, empty at the beginning.
    last: String,
}

impl RedisEngine {
    pub(super) async fn matching_users(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        let after = after.map_or("", UserId::as_str);
        let names = self.matching_names(script::USERS_KEY, filter, after, limit).await?;
        names.iter().map(|name| UserId::new(name).map_err(|_| odd("user"))).collect()
    }

    pub(super) async fn matching_channels(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        let after = after.map_or("", ChannelName::as_str);
        let names = self.matching_names(script::NAMES_KEY, filter, after, limit).await?;
        names.iter().map(|name| ChannelName::stored(name).map_err(|_| odd("channel"))).collect()
    }

    /// The first `limit` that match of the names in a sorted set that each partition has. All partitions are
    /// asked at once, again and again those that have more, until each has given so many that match.
    async fn matching_names(
        &self,
        key: usize,
        filter: &NameFilter,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, EngineError> {
        self.server_map.check()?;
        let mut left: Vec<Reading> =
            (0..PARTITIONS).map(|partition| Reading { partition, last: after.to_owned() }).collect();
        let at_once = if filter.contains.is_empty() { limit.min(NAMES_AT_ONCE) } else { NAMES_AT_ONCE };
        let mut found = Vec::new();
        while !left.is_empty() {
            let calls = left.iter().map(|reading| {
                let mut command = redis::cmd("ZRANGEBYLEX");
                command.arg(&self.names.keys(reading.partition)[key]).arg(begin(&reading.last, filter));
                command.arg("+").arg("LIMIT").arg(0).arg(at_once);
                Call { partition: reading.partition, command }
            });
            let answers = self.calls(calls.collect()).await?;
            let mut next = Vec::new();
            for (mut reading, answer) in left.into_iter().zip(answers) {
                let mut fields = Fields::of(answer)?;
                let (mut listed, mut matching) = (0, 0);
                while !fields.is_empty() {
                    let name = fields.text()?;
                    listed += 1;
                    reading.last.clone_from(&name);
                    if filter.matches(&name) {
                        matching += 1;
                        found.push(name);
                    }
                }
                // Names that begin with the prefix stand together.
                let goes_on = reading.last.as_str() <= filter.prefix.as_str()
                    || reading.last.starts_with(filter.prefix.as_str());
                if listed == at_once && matching < limit && goes_on {
                    next.push(reading);
                }
            }
            left = next;
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }
}

/// Where a partition is read from, in the words of `ZRANGEBYLEX`: behind a name, or at the first that can
/// begin with the prefix.
fn begin(last: &str, filter: &NameFilter) -> String {
    if last < filter.prefix.as_str() {
        format!("[{}", filter.prefix)
    } else if last.is_empty() {
        "-".to_owned()
    } else {
        format!("({last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_from_the_prefix_or_behind_the_last_name() {
        let filter = |prefix: &str| NameFilter { prefix: prefix.into(), ..NameFilter::default() };
        for (last, prefix, expected) in [
            ("", "", "-"),
            ("", "b", "[b"),
            ("a", "b", "[b"),
            ("b", "b", "(b"),
            ("ba", "b", "(ba"),
            ("c", "", "(c"),
        ] {
            assert_eq!(begin(last, &filter(prefix)), expected);
        }
    }
}
