//! Deletes a channel or a user: one script in the partition that has all of it, but for the idempotency keys
//! of a user, which are where the user published to.

use encke_proto::{ChannelName, UserId};
use redis::Value;

use super::{
    RedisEngine,
    names::{PARTITIONS, partition_of},
    script,
    server_map::Call,
};
use crate::EngineError;

impl RedisEngine {
    /// Deletes a log with everything of it; whether there was anything.
    pub(super) async fn delete_log(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        if let Some(user) = channel.owner() {
            // First, so that a deletion that fails here is asked for again.
            self.forget_user_keys(&user).await?;
        }
        let partition = partition_of(channel.as_str());
        let mut command = self.scripted(&script::DELETE, partition, &[self.names.stream(channel)]);
        command.arg(channel.as_str()).arg(self.names.topic(channel));
        Ok(self.server_map.call(partition, command).await? == Value::Int(1))
    }

    async fn forget_user_keys(&self, user: &UserId) -> Result<(), EngineError> {
        let forget = |partition| Call {
            partition,
            command: self.scripted(&script::FORGET_USER, partition, &[self.names.user_keys(partition, user)]),
        };
        self.calls((0..PARTITIONS).map(forget).collect()).await.map(drop)
    }
}
