//! Compaction: a segment of which most is not in use any more is read, what is in use is written again at the
//! end of the log, and the segment is removed. Some of it goes with each frame.

use std::sync::Arc;

use encke_proto::Time;

use super::{
    fault::Fault,
    frame::Scan,
    record::{KeysImage, Record, holds_message},
    segment::Segment,
    state::State,
    stored::Place,
    volume::VolumeFile,
};

/// What one frame takes of a segment, in bytes that are read.
const STEP_BYTES: usize = 2 << 20;
/// A segment of which no more than this is in use is compacted at once: next to nothing is written again.
const PERCENT_LEFT_MAX: u64 = 5;
/// A segment of which as much is in use is never moved: that would free less than it writes.
const PERCENT_WORTH_IT: u64 = 50;

/// A segment that is being compacted.
pub(super) struct Compaction {
    pub(super) segment: u32,
    bytes: Vec<u8>,
    /// The places of its records that are still to be looked at, the last first.
    left: Vec<(u32, u32)>,
}

/// The segment of which the least is in use, among those that no replay needs and that may go: if next to
/// nothing is, or if it is less than half and all of them together are more than twice what is in use. Most
/// segments become empty if one waits for it. One that may not go yet must not be a reason to move others.
pub(super) fn choose(state: &State, first: u32) -> Option<(u32, Arc<dyn VolumeFile>)> {
    let (mut used, mut bytes) = (0, 0);
    let mut least: Option<(u64, u32, &Arc<dyn VolumeFile>)> = None;
    let is_free = |segment: &Segment| !segment.damaged && segment.usage.keyed_until <= state.stamp;
    for (number, segment) in state.segments.range(..first).filter(|(_, segment)| is_free(segment)) {
        let segment_used = segment.usage.bytes(state.swept).min(segment.end.into());
        used += segment_used;
        bytes += u64::from(segment.end);
        let percent = segment_used * 100 / u64::from(segment.end.max(1));
        if least.as_ref().is_none_or(|(known, ..)| percent < *known) {
            least = Some((percent, *number, &segment.file));
        }
    }
    let (percent, number, file) = least?;
    let is_worth_it = percent <= PERCENT_LEFT_MAX || (percent < PERCENT_WORTH_IT && used * 2 < bytes);
    is_worth_it.then(|| (number, Arc::clone(file)))
}

/// The segments of which nothing is in use, among those that no replay needs, up to `most`. Whether their
/// keys are too old to be missed has to be on the disk already: the next replay has to see it as well.
pub(super) fn unused(state: &State, first: u32, most: usize) -> Vec<u32> {
    let is_unused = |segment: &Segment| {
        !segment.damaged
            && segment.usage.keyed_until <= state.recorded_stamp
            && segment.usage.bytes(state.swept) == 0
    };
    let unused = state.segments.range(..first).filter(|(_, segment)| is_unused(segment));
    unused.map(|(number, _)| *number).take(most).collect()
}

impl Compaction {
    /// One of a segment of which nothing is in use: it only records that its keys are too old to be missed.
    pub(super) fn of_unused(segment: u32) -> Self {
        Self { segment, bytes: Vec::new(), left: Vec::new() }
    }

    /// Reads a segment. A damaged one stays as it is.
    pub(super) fn begin(segment: u32, file: &dyn VolumeFile, end: u32) -> Result<Self, Fault> {
        let mut bytes = vec![0; usize::try_from(end).unwrap_or(usize::MAX)];
        file.read_at(&mut bytes, 0).map_err(|error| Fault::from_io(&format!("segment {segment}"), &error))?;
        let mut left = Vec::new();
        let mut scan = Scan::begin(segment, &bytes, false)?;
        while let Some(records) = scan.next()? {
            let messages = records.into_iter().filter(|(.., payload)| holds_message(payload));
            left.extend(messages.map(|(at, length, _)| (at as u32, length as u32)));
        }
        left.reverse();
        Ok(Self { segment, bytes, left })
    }

    /// Adds what is in use of the next part, as it is in the state before the records that are drafted
    /// already. Says whether that was the last.
    pub(super) fn step(
        &mut self,
        state: &State,
        now: Time,
        records: &mut Vec<Record>,
    ) -> Result<bool, Fault> {
        let mut read = 0;
        while read < STEP_BYTES
            && let Some((at, length)) = self.left.pop()
        {
            read += length as usize;
            let (from, to) = (at as usize + super::frame::RECORD_HEADER_BYTES, (at + length) as usize);
            let payload = self.bytes.get(from..to).unwrap_or_default();
            let (Record::Message(message) | Record::Moved { message, .. }) = Record::decode(payload)? else {
                continue;
            };
            let place = Place { segment: self.segment, at };
            // The receipts of users who were deleted are not told any more.
            let has_receipts =
                message.until.is_some_and(|until| until > now) && !state.lost_targets(&message);
            if has_receipts || state.holds(&message, place) {
                records.push(Record::Moved { message, payload: payload.to_vec() });
            }
        }
        if self.left.is_empty() {
            // Whether its keys are too old to be missed is for the next replay to see as well.
            records.push(Record::Keys(KeysImage { now: state.stamp, keys: Vec::new() }));
        }
        Ok(self.left.is_empty())
    }
}
