//! Deletes a channel or a user: one script in the partition that has all of it.

use encke_proto::ChannelName;
use redis::Value;

use super::{RedisEngine, names::partition_of, script};
use crate::EngineError;

impl RedisEngine {
    /// Deletes a log with everything of it; whether there was anything.
    pub(super) async fn delete_log(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        let partition = partition_of(channel.as_str());
        let mut command = self.scripted(&script::DELETE, partition, &[self.names.stream(channel)]);
        command.arg(channel.as_str()).arg(self.names.topic(channel));
        Ok(self.server_map.call(partition, command).await? == Value::Int(1))
    }
}
