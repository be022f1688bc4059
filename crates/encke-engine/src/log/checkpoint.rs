//! Checkpoints: what is in memory is written again, some of it with each frame, so that an opening need not
//! replay what came before. Events go on meanwhile; each log's image is exact at its place among them.

use super::{
    log_state::Log,
    record::{FloorsImage, LogId, Record},
    state::State,
};

/// What one frame takes of a checkpoint, in bytes, roughly.
const STEP_BYTES: usize = 512 << 10;
/// What a log takes of it besides its name, its messages and the steps of its receipts, in bytes, roughly.
const LOG_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 24;
const RECEIPT_STEP_BYTES: usize = 12;

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
        // Before all else: logs that are new during the checkpoint begin where these say.
        if state.floors.iter().len() > 0 {
            let floors = state.floors.iter().collect();
            records.push(Record::Floors(FloorsImage { next_log: state.next_log(), floors }));
        }
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
                bytes += state.metadata.image(self.next, records);
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
    LOG_BYTES + log.name.as_str().len() + log.len() * MESSAGE_BYTES + log.steps().len() * RECEIPT_STEP_BYTES
}

#[cfg(test)]
mod tests {
    use encke_proto::{ChannelName, Epoch, Time};

    use super::{
        super::{
            manifest::Manifest,
            receipts::{STEPS_MAX, Step, StepKind},
            record::{Deletion, LogImage},
            stored::Place,
        },
        *,
    };
    use crate::{RetentionTable, offset_floors::OffsetFloors};

    fn state(logs: u32, name_bytes: usize, steps: usize) -> State {
        let manifest = Manifest { epoch: Epoch(1), hash_key: 0, first: 1, newest: 1, copied: false };
        let mut state = State::new(&manifest, RetentionTable::default());
        for log in 0..logs {
            let name = format!("{log:0>name_bytes$}");
            let step = |n: usize| Step::new(StepKind::Delivered, n as u64 + 1, Time(1_763_800_000_000));
            let image = LogImage {
                log,
                name: ChannelName::any(&name).expect("this is a name"),
                head: steps as u64 + 1,
                first_seen: None,
                last_seen: None,
                handed: 0,
                shown: 0,
                receipts_until: Time(u64::MAX),
                steps: (0..steps).map(step).collect(),
                messages: Vec::new(),
            };
            let place = Place { segment: 1, at: 0 };
            state.apply(Record::Log(Box::new(image)), place, 0).expect("the log is new");
        }
        state
    }

    #[test]
    fn a_log_that_is_deleted_before_its_image_comes_is_deleted_after_a_replay() {
        let mut before = state(20_000, 100, 0);
        let (name, mut records) = (before.log(19_999).expect("it is there").name.clone(), Vec::new());
        let mut checkpoint = Checkpoint::begin(&before, 1, &mut records);
        assert!(!checkpoint.step(&before, &mut records), "the last log's image is not among these");
        let class = OffsetFloors::class(&name);
        let deletion = Record::Deleted(Deletion { log: 19_999, class, floor: 12 });
        let place = Place { segment: 1, at: 0 };
        before.apply(deletion.clone(), place, 0).expect("the log is there");
        records.push(deletion);
        while !checkpoint.step(&before, &mut records) {}
        let manifest = Manifest { epoch: Epoch(1), hash_key: 0, first: 1, newest: 1, copied: false };
        let mut after = State::new(&manifest, RetentionTable::default());
        for record in records {
            after.apply(record, place, 0).expect("the records fit");
        }
        assert_eq!((after.find(&name), after.floors.of(&name)), (None, 12));
        assert_eq!(after.next_log(), 20_000, "its number is not given again");
        assert!(after.find(&before.log(19_998).expect("it is there").name).is_some());
    }

    #[test]
    fn a_frame_takes_no_more_of_a_checkpoint_than_its_bound() {
        for state in [state(200, 10, STEPS_MAX), state(20_000, 100, 0)] {
            let mut records = Vec::new();
            let mut checkpoint = Checkpoint::begin(&state, 1, &mut records);
            let mut frames = 0;
            loop {
                let is_last = checkpoint.step(&state, &mut records);
                let mut bytes = Vec::new();
                records.drain(..).for_each(|record| record.encode(&mut bytes));
                assert!(bytes.len() < STEP_BYTES + STEP_BYTES / 8, "{} bytes", bytes.len());
                frames += 1;
                if is_last {
                    break;
                }
            }
            assert!(frames > 1, "it takes several frames");
        }
    }
}
