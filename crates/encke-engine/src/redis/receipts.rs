//! Marks receipts and reads them page by page. The partitions of a push are not stored anywhere, so a read
//! first asks all of them.

use std::collections::BTreeMap;

use encke_proto::{MessageId, Time, UserId};
use redis::Value;

use super::{
    RedisEngine, bounded,
    names::PARTITIONS,
    reply::{Fields, epoch_text, odd},
    script,
    server_map::Call,
    user_locations::partition_of_user,
};
use crate::{EngineError, Mark, Receipt, ReceiptState};

/// The most marks in one script.
const MARKS_MAX: usize = 128;

/// A state as scripts have it.
fn number(state: ReceiptState) -> u8 {
    match state {
        ReceiptState::Queued => 0,
        ReceiptState::Delivered => 1,
        ReceiptState::Shown => 2,
        ReceiptState::Expired => 3,
        ReceiptState::Cancelled => 4,
    }
}

fn state(number: u64) -> Result<ReceiptState, EngineError> {
    match number {
        0 => Ok(ReceiptState::Queued),
        1 => Ok(ReceiptState::Delivered),
        2 => Ok(ReceiptState::Shown),
        3 => Ok(ReceiptState::Expired),
        4 => Ok(ReceiptState::Cancelled),
        _ => Err(odd("receipt's state")),
    }
}

fn read_receipts(value: Value, now: Time) -> Result<Vec<Receipt>, EngineError> {
    if matches!(value, Value::Nil) {
        return Ok(Vec::new());
    }
    let mut fields = Fields::of(value)?;
    let over = match fields.text()?.as_str() {
        "" => None,
        end => Some(Time(end.parse().map_err(|_| odd("expiry"))?)).filter(|end| *end <= now),
    };
    let mut receipts = Vec::new();
    while !fields.is_empty() {
        let user = UserId::new(&fields.text()?).map_err(|_| odd("user"))?;
        let (state, at, offset) = (state(fields.number()?)?, Time(fields.number()?), fields.number()?);
        let (state, at) = match over {
            Some(end) if state == ReceiptState::Queued => (ReceiptState::Expired, end),
            _ => (state, at),
        };
        receipts.push(Receipt { user, offset, state, at });
    }
    Ok(receipts)
}

impl RedisEngine {
    pub(super) async fn mark_all(&self, marks: &[Mark]) -> Result<(), EngineError> {
        self.server_map.check()?;
        let mut by_partition: BTreeMap<u16, Vec<&Mark>> = BTreeMap::new();
        for mark in
            marks.iter().filter(|mark| matches!(mark.state, ReceiptState::Delivered | ReceiptState::Shown))
        {
            by_partition.entry(partition_of_user(&mark.user)).or_default().push(mark);
        }
        let mut calls = Vec::new();
        for (partition, marks) in by_partition {
            for some in marks.chunks(MARKS_MAX) {
                let mut command = self.scripted(&script::MARK, partition, &[]);
                for mark in some {
                    command
                        .arg(mark.user.as_str())
                        .arg(epoch_text(mark.position.epoch))
                        .arg(bounded(mark.position.offset));
                    command.arg(number(mark.state)).arg(bounded(mark.at.0));
                }
                calls.push(Call { partition, command });
            }
        }
        self.calls(calls).await.map(drop)
    }

    pub(super) async fn receipts_page(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        self.server_map.check()?;
        // Whom a push was for is only known where they are. To ask all partitions whether they know it is
        // cheap; few do, mostly.
        let questions = (0..PARTITIONS).map(|partition| {
            let mut command = redis::cmd("HEXISTS");
            command.arg(&self.names.keys(partition)[script::PUSHES_KEY]).arg(push.as_str());
            Call { partition, command }
        });
        let answers = self.calls(questions.collect()).await?;
        let partitions: Vec<u16> = (0..PARTITIONS)
            .zip(answers)
            .filter(|(_, answer)| *answer == Value::Int(1))
            .map(|(partition, _)| partition)
            .collect();
        if partitions.is_empty() {
            return Ok(None);
        }
        let ask = |partition, after: &str, limit: usize| {
            let mut command = self.scripted(&script::RECEIPTS, partition, &[]);
            command.arg(push.as_str()).arg(after).arg(limit);
            command
        };
        let read = |value| read_receipts(value, now);
        let after = after.map_or("", UserId::as_str);
        self.merged(partitions, after, limit, ask, read, |receipt| receipt.user.as_str()).await.map(Some)
    }
}
