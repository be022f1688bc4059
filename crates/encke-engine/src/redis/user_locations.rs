//! Calls about known users and public channels: records, pages over all partitions, and the position that a
//! user was handed.

use encke_proto::{ChannelName, Position, Time, UserId};
use redis::{Cmd, Value};

use super::{
    RedisEngine, bounded,
    names::{PARTITIONS, partition_of},
    reply::{Fields, odd, text},
    script,
};
use crate::{ChannelSummary, EngineError, UserRecord};

/// In which partition all that is kept of a user lies.
pub(super) fn partition_of_user(user: &UserId) -> u16 {
    partition_of(user.channel().as_str())
}

/// What is known of a user: `FIRST LAST`, the last one empty for who was only pushed to.
fn read_record(user: UserId, known: &str) -> Result<UserRecord, EngineError> {
    let (first, last) = known.split_once(' ').ok_or_else(|| odd("user's record"))?;
    let time = |text: &str| text.parse().map(Time).map_err(|_| odd("user's record"));
    let last_seen = if last.is_empty() { None } else { Some(time(last)?) };
    Ok(UserRecord { first_seen: time(first)?, last_seen, user })
}

fn read_records(value: Value) -> Result<Vec<UserRecord>, EngineError> {
    let mut fields = Fields::of(value)?;
    let mut records = Vec::new();
    while !fields.is_empty() {
        let user = UserId::new(&fields.text()?).map_err(|_| odd("user"))?;
        records.push(read_record(user, &fields.text()?)?);
    }
    Ok(records)
}

/// Only who they are.
pub(super) fn read_names(value: Value) -> Result<Vec<UserId>, EngineError> {
    Ok(read_records(value)?.into_iter().map(|record| record.user).collect())
}

fn read_summaries(value: Value) -> Result<Vec<ChannelSummary>, EngineError> {
    let mut fields = Fields::of(value)?;
    let epoch = fields.epoch()?;
    let mut summaries = Vec::new();
    while !fields.is_empty() {
        let channel = ChannelName::stored(&fields.text()?).map_err(|_| odd("channel"))?;
        summaries.push(ChannelSummary { channel, epoch, tail: fields.number()?, head: fields.number()? });
    }
    Ok(summaries)
}

impl RedisEngine {
    pub(super) fn paging_users(&self, partition: u16, after: &str, limit: usize) -> Cmd {
        let mut command = self.scripted(&script::USERS, partition, &[]);
        command.arg(after).arg(limit);
        command
    }

    pub(super) async fn seen_at(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        let partition = partition_of_user(user);
        let mut command = self.scripted(&script::SEEN, partition, &[]);
        command.arg(user.as_str()).arg(bounded(at.0));
        self.server_map.call(partition, command).await.map(drop)
    }

    pub(super) async fn one_user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        let partition = partition_of_user(user);
        let mut command = redis::cmd("HGET");
        command.arg(&self.names.keys(partition)[script::USER_LOCATIONS_KEY]).arg(user.as_str());
        match self.server_map.call(partition, command).await? {
            Value::Nil => Ok(None),
            known => read_record(user.clone(), &text(known)?).map(Some),
        }
    }

    pub(super) async fn users_page(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, EngineError> {
        self.server_map.check()?;
        let after = after.map_or("", UserId::as_str);
        let ask = |partition, after: &str, limit| self.paging_users(partition, after, limit);
        self.merged((0..PARTITIONS).collect(), after, limit, ask, read_records, |record| record.user.as_str())
            .await
    }

    pub(super) async fn channels_page(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        self.server_map.check()?;
        let after = after.map_or("", ChannelName::as_str);
        let ask = |partition, after: &str, limit: usize| {
            let mut command = self.scripted(&script::CHANNELS, partition, &[]);
            command.arg(after).arg(limit);
            command
        };
        self.merged((0..PARTITIONS).collect(), after, limit, ask, read_summaries, |summary| {
            summary.channel.as_str()
        })
        .await
    }

    pub(super) async fn handed_to(&self, user: &UserId) -> Result<Position, EngineError> {
        let partition = partition_of_user(user);
        let mut command = self.scripted(&script::HANDED, partition, &[]);
        command.arg(user.channel().as_str());
        let mut fields = Fields::of(self.server_map.call(partition, command).await?)?;
        Ok(Position { epoch: fields.epoch()?, offset: fields.number()? })
    }
}
