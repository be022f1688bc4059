//! The sweep over all partitions in bounded rounds, done by the one node that holds the lease. What each
//! round removes is decided in the scripts.

use std::collections::BTreeMap;

use encke_proto::{ChannelName, Time};
use redis::Value;
use tokio::sync::Mutex;

use super::{
    RedisEngine, bounded, fresh_bits,
    names::{NODES, PARTITIONS},
    reply::{Fields, text},
    script,
    server_map::Call,
};
use crate::{EngineError, KEY_KEPT_S, passed::Passed};

/// For how long the node that sweeps is the one, after it last did, in milliseconds.
const LEASE_MS: u64 = 15_000;
/// The most rounds of one sweep.
const ROUNDS_MAX: usize = 50;
/// The most channels of one partition that one round trims, and the most of them in one script.
const ROUND_MAX_CHANNELS: usize = 256;
const SCRIPT_MAX_CHANNELS: usize = 32;
/// The most messages that one script trims.
const SCRIPT_MAX_MESSAGES: usize = 500;
/// The most keys of one partition that one round forgets.
const ROUND_MAX_KEYS: usize = 500;
/// The most receipts of one partition that one round forgets.
const ROUND_MAX_RECEIPTS: usize = 500;
/// The most receipts that one partition keeps. Those of the pushes that end first are forgotten before their
/// time when there are more.
const RECEIPTS_MAX: usize = 100_000;
/// How much longer than promised keys are kept, in milliseconds: they are stamped with the time of the last
/// sweep, and a node that lost its lease may have counted some time twice.
const KEY_MARGIN_MS: u64 = 60_000;
/// How old a note of an append must be until another node finishes it, in milliseconds.
const NOTE_OLD_MS: u64 = 5_000;
/// The most incarnations that ended whose places one sweep looks for.
const ENDED_MAX: usize = 64;

/// What a sweep remembers for the next one.
#[derive(Default)]
pub(super) struct Sweeper {
    state: Mutex<State>,
    /// Who asks for the lease: another one for each engine.
    who: std::sync::OnceLock<String>,
}

#[derive(Default)]
struct State {
    /// How much time has gone by, and how much of it partitions were told.
    passed: Option<(Passed, Time)>,
    /// Where the look through each partition's places goes on.
    cursors: BTreeMap<u16, String>,
}

impl Sweeper {
    fn who(&self) -> &str {
        self.who.get_or_init(fresh_bits)
    }
}

impl RedisEngine {
    /// Sweeps, if no other node does.
    pub(super) async fn sweep_all(&self, now: Time) -> Result<(), EngineError> {
        self.server_map.check()?;
        let mut state = self.sweeper.state.lock().await;
        if !self.lease(LEASE_MS).await? {
            // The node that sweeps next begins to count anew.
            *state = State::default();
            return Ok(());
        }
        let (passed, told) = state.passed.get_or_insert((Passed::from(Time(0)), Time(0)));
        let stamp = passed.at(now);
        let mut gone_by = stamp.0.saturating_sub(told.0);
        *told = stamp;
        let mut partitions: Vec<u16> = (0..PARTITIONS).collect();
        for _ in 0..ROUNDS_MAX {
            partitions = self.sweep_round(&partitions, now, gone_by, &mut state.cursors).await?;
            gone_by = 0;
            if partitions.is_empty() {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn release_sweeping(&self) {
        // If it is not given up, it runs out.
        drop(self.lease(0).await);
    }

    async fn lease(&self, for_ms: u64) -> Result<bool, EngineError> {
        let mut command = script::LEASE.call(&[self.names.nodes_key("sweeper")], &[]);
        command.arg(self.sweeper.who()).arg(for_ms);
        Ok(self.server_map.call(NODES, command).await? == Value::Int(1))
    }

    /// Sweeps some of each of these partitions, and says which have more.
    async fn sweep_round(
        &self,
        partitions: &[u16],
        now: Time,
        gone_by: u64,
        cursors: &mut BTreeMap<u16, String>,
    ) -> Result<Vec<u16>, EngineError> {
        let ended: Vec<String> = self
            .lives
            .ended()
            .into_iter()
            .take(ENDED_MAX)
            .map(|incarnation| incarnation.to_string())
            .collect();
        let questions = partitions.iter().map(|partition| {
            let mut command = self.scripted(&script::SWEEP, *partition, &[]);
            command
                .arg(bounded(now.0))
                .arg(gone_by)
                .arg(KEY_KEPT_S * 1000 + KEY_MARGIN_MS)
                .arg(ROUND_MAX_CHANNELS);
            command.arg(ROUND_MAX_KEYS).arg(ROUND_MAX_RECEIPTS).arg(RECEIPTS_MAX).arg(NOTE_OLD_MS);
            command.arg(cursors.get(partition).map_or("0", String::as_str)).arg(&ended);
            Call { partition: *partition, command }
        });
        let answers = self.server_map.calls(questions.collect()).await;
        let (mut more, mut calls, mut failed) = (Vec::new(), Vec::new(), None);
        for (partition, answer) in partitions.iter().zip(answers) {
            // A partition that cannot be reached must not keep the others from being swept.
            let swept = match answer.and_then(read_swept) {
                Ok(swept) => swept,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            cursors.insert(*partition, swept.cursor);
            for note in &swept.notes {
                if let Err(error) = self.finish_note(note).await {
                    tracing::warn!(%error, "an append to several partitions cannot be finished yet");
                }
            }
            if swept.more || swept.due.len() >= ROUND_MAX_CHANNELS {
                more.push(*partition);
            }
            for channels in swept.due.chunks(SCRIPT_MAX_CHANNELS) {
                calls.push(Call { partition: *partition, command: self.trimming(*partition, channels, now) });
            }
        }
        let trimmed: Vec<u16> = calls.iter().map(|call| call.partition).collect();
        for (partition, answer) in trimmed.into_iter().zip(self.server_map.calls(calls).await) {
            match answer {
                // It trimmed as much as it might.
                Ok(Value::Int(0)) => more.push(partition),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        more.sort_unstable();
        more.dedup();
        Ok(more)
    }

    fn trimming(&self, partition: u16, channels: &[ChannelName], now: Time) -> redis::Cmd {
        let streams: Vec<String> = channels.iter().map(|channel| self.names.stream(channel)).collect();
        let mut command = self.scripted(&script::TRIM, partition, &streams);
        command.arg(bounded(now.0)).arg(SCRIPT_MAX_MESSAGES);
        for channel in channels {
            let retention = self.retention.of(channel);
            command
                .arg(channel.as_str())
                .arg(self.names.topic(channel))
                .arg(bounded(retention.max_messages))
                .arg(bounded(retention.max_bytes));
            command.arg(bounded(retention.max_age_s.saturating_mul(1000)));
        }
        command
    }
}

/// What a partition's sweep left to do.
struct Swept {
    due: Vec<ChannelName>,
    more: bool,
    notes: Vec<String>,
    cursor: String,
}

fn read_swept(value: Value) -> Result<Swept, EngineError> {
    let mut fields = Fields::of(value)?;
    let mut names = fields.list()?;
    let mut due = Vec::new();
    while !names.is_empty() {
        due.extend(ChannelName::stored(&names.text()?).ok());
    }
    let more = fields.number()? == 1;
    let mut kept = fields.list()?;
    let mut notes = Vec::new();
    while !kept.is_empty() {
        notes.push(kept.text()?);
    }
    Ok(Swept { due, more, notes, cursor: text(fields.value()?)? })
}
