//! Calls a push back: a script in each partition that has users for whom it is queued. The message stays in
//! its stream; that it is cancelled stands in its receipt, where a read looks.

use std::collections::BTreeMap;

use encke_proto::{MessageId, Time, UserId};
use redis::Value;

use super::{
    RedisEngine, bounded,
    names::PARTITIONS,
    placement::PART_MAX_CHANNELS,
    reply::{number, text},
    script,
    server_map::Call,
    user_locations::partition_of_user,
};
use crate::{EngineError, ReceiptState};

/// How many receipts are looked at together.
const PAGE: usize = 10_000;

impl RedisEngine {
    /// Calls a push back; for how many users that was, or none when there is no such push.
    pub(super) async fn cancel_push(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        self.finish_unfinished(push).await?;
        let (mut cancelled, mut after): (usize, Option<UserId>) = (0, None);
        loop {
            let Some(page) = self.receipts_page(push, after.as_ref(), PAGE, at).await? else {
                return Ok(after.map(|_| cancelled));
            };
            let is_last = page.len() < PAGE;
            after = page.last().map(|receipt| receipt.user.clone()).or(after);
            let queued = page.into_iter().filter(|receipt| receipt.state == ReceiptState::Queued);
            cancelled += self.cancel_for(push, queued.map(|receipt| receipt.user), at).await?;
            if is_last {
                return Ok(Some(cancelled));
            }
        }
    }

    /// An append to several partitions that is not finished is finished first, so that nothing of it comes
    /// behind the cancellation.
    async fn finish_unfinished(&self, push: &MessageId) -> Result<(), EngineError> {
        let ask = |partition| {
            let mut command = redis::cmd("HGET");
            command.arg(&self.names.keys(partition)[script::INTENTS_KEY]).arg(push.as_str());
            Call { partition, command }
        };
        for note in self.calls((0..PARTITIONS).map(ask).collect()).await? {
            if note != Value::Nil {
                self.finish_note(&text(note)?).await?;
            }
        }
        Ok(())
    }

    async fn cancel_for(
        &self,
        push: &MessageId,
        users: impl Iterator<Item = UserId>,
        at: Time,
    ) -> Result<usize, EngineError> {
        let mut by_partition: BTreeMap<u16, Vec<UserId>> = BTreeMap::new();
        for user in users {
            by_partition.entry(partition_of_user(&user)).or_default().push(user);
        }
        let mut calls = Vec::new();
        for (partition, users) in by_partition {
            for some in users.chunks(PART_MAX_CHANNELS) {
                let mut command = self.scripted(&script::CANCEL, partition, &[]);
                command.arg(push.as_str()).arg(bounded(at.0));
                for user in some {
                    command.arg(user.as_str()).arg(self.names.topic(&user.channel()));
                }
                calls.push(Call { partition, command });
            }
        }
        let mut cancelled = 0;
        for answer in self.calls(calls).await? {
            cancelled += usize::try_from(number(&answer)?).unwrap_or(usize::MAX);
        }
        Ok(cancelled)
    }
}
