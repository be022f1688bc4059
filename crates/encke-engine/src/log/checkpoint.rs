//! Checkpoints: what is in memory is written again, some of it with each frame, so that an opening need not
//! replay what came before. Events go on meanwhile; each log's image is exact at its place among them.

use super::{
    log_state::Log,
    record::{LogId, Record},
    state::State,
};

/// What one frame takes of a checkpoint, in bytes, roughly.
const STEP_BYTES: usize = 512 << 10;
/// What a log takes of it besides its messages, in bytes, roughly.
const LOG_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 24;

/// A checkpoint that is being written.
pub(super) struct Checkpoint {
    /// The segment that it began with.
    pub(super) first: u32,
    next: LogId,
    /// Logs from here on are newer than the checkpoint: their names are among the events.
    end: LogId,
    keys: Vec<(u64, usize)>,
}

impl Checkpoint {
    /// Begins one in a new segment, with the rules.
    pub(super) fn begin(state: &State, first: u32, records: &mut Vec<Record>) -> Self {
        records.push(Record::Rules(state.rules.clone()));
        Self { first, next: 0, end: state.next_log(), keys: state.keys.parts() }
    }

    /// Adds the next part. It is of the state before the records that are drafted already, so it has to come
    /// first. Says whether that was the last.
    pub(super) fn step(&mut self, state: &State, records: &mut Vec<Record>) -> bool {
        let mut bytes = 0;
        while self.next < self.end && bytes < STEP_BYTES {
            if let Some(log) = state.log(self.next) {
                bytes += image_bytes(log);
                records.push(Record::Log(Box::new(log.image(self.next))));
            }
            self.next += 1;
        }
        if self.next < self.end {
            return false;
        }
        if let Some(part) = self.keys.pop() {
            let image = state.keys.image(part, state.stamp);
            if !image.keys.is_empty() {
                records.push(Record::Keys(image));
            }
        }
        self.keys.is_empty()
    }
}

fn image_bytes(log: &Log) -> usize {
    LOG_BYTES + log.len() * MESSAGE_BYTES
}
