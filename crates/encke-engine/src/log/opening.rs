//! Opens a store: reads its manifest, replays the segments from the newest checkpoint on, and leaves the end
//! of the log so that it can be written behind.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use encke_proto::Epoch;

use super::{
    appender::Appender,
    backup_list::{self, BackupList},
    end_mark::{self, EndMark, EndMarkFile},
    fault::Fault,
    file_name::{file_name, index_name, number_of},
    frame::{Frame, SEGMENT_HEADER_BYTES, Scan, Scanned, read_segment_header},
    manifest::{self, Manifest},
    options::LogOptions,
    record::Record,
    sealed_file::OpenSegments,
    segment::Segment,
    segment_index::SegmentIndex,
    state::State,
    stored::Place,
    volume::{Volume, VolumeFile},
};
use crate::RetentionTable;

/// The number of the first segment of a store.
const FIRST: u32 = 1;

/// A store that is open.
pub(super) struct Opened {
    volume: Arc<dyn Volume>,
    pub(super) segments: Arc<OpenSegments>,
    pub(super) state: State,
    pub(super) appender: Appender,
    pub(super) manifest: Manifest,
    /// What was replayed, in bytes.
    pub(super) replayed: u64,
}

/// Opens the store in a volume, or makes one there.
pub(super) fn open(
    volume: &Arc<dyn Volume>,
    rules: RetentionTable,
    new_epoch: Epoch,
    options: LogOptions,
) -> Result<Opened, Fault> {
    let names = volume.list().map_err(|error| Fault::from_io("the directory", &error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let manifest = Manifest::read(&**volume)?;
    let is_new = manifest.is_none();
    let mut opened = match manifest {
        Some(manifest) => {
            if manifest.copied {
                BackupList::verify(&**volume)?;
            }
            replay(volume, manifest, numbers, options)?
        }
        None => make(volume, &numbers, new_epoch, options)?,
    };
    // Without it, it is not known how far the log went: what is missing may be given out again.
    let has_end = is_new || names.iter().any(|name| name == end_mark::FILE);
    if !has_end && !opened.manifest.copied {
        tracing::warn!("{} is missing: the store begins a new epoch", end_mark::FILE);
    }
    if opened.manifest.copied || !has_end {
        opened.manifest = Manifest { epoch: new_epoch, copied: false, ..opened.manifest };
        opened.manifest.write(&**volume)?;
        opened.state.epoch = new_epoch;
    }
    if names.iter().any(|name| name == backup_list::FILE) {
        // It speaks of the copy that this store was. If it stays, it is not looked at any more.
        let _ = volume.remove(backup_list::FILE);
    }
    set_rules(&mut opened, rules)?;
    Ok(opened)
}

/// Makes a store. What another start left half made is no store: without a manifest nothing was answered.
fn make(
    volume: &Arc<dyn Volume>,
    numbers: &[u32],
    epoch: Epoch,
    options: LogOptions,
) -> Result<Opened, Fault> {
    for number in numbers {
        let file = volume.open(&file_name(*number)).map_err(|error| Fault::from_io("a segment", &error))?;
        let bytes = read_all(&*file, *number)?;
        let is_empty = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default().iter().all(|byte| *byte == 0);
        if *number != FIRST || !is_empty {
            return Err(Fault::damaged(format!("there are segments, but no {}", manifest::FILE)));
        }
    }
    let nothing = EndMark::of_nothing(FIRST);
    if EndMark::read(&**volume)?.is_some_and(|mark| mark != nothing) {
        return Err(Fault::damaged(format!("there is {}, but no {}", end_mark::FILE, manifest::FILE)));
    }
    let mark = EndMarkFile::open(&**volume, nothing)?;
    let appender = Appender::create(Arc::clone(volume), options.segment_bytes, FIRST, 0, 0, mark)?;
    let random = || u128::from(RandomState::new().hash_one(0));
    let manifest =
        Manifest { epoch, hash_key: random() << 64 | random(), first: FIRST, newest: FIRST, copied: false };
    manifest.write(&**volume)?;
    let mut state = State::new(&manifest, RetentionTable::default());
    state.segments.insert(FIRST, Segment::new(appender.file(), appender.end()));
    let segments = OpenSegments::new(volume);
    Ok(Opened { volume: Arc::clone(volume), segments, state, appender, manifest, replayed: 0 })
}

fn replay(
    volume: &Arc<dyn Volume>,
    manifest: Manifest,
    mut numbers: Vec<u32>,
    options: LogOptions,
) -> Result<Opened, Fault> {
    let mut state = State::new(&manifest, RetentionTable::default());
    let mark = EndMark::read(&**volume)?;
    let unbegun = leave_out_unbegun(&**volume, &manifest, &mut numbers)?;
    let newest = *numbers.last().ok_or_else(|| Fault::damaged("there are no segments"))?;
    if newest < manifest.newest {
        return Err(Fault::damaged(format!("the segment {} is missing", manifest.newest)));
    }
    let replayed: Vec<u32> = numbers.iter().copied().filter(|number| *number >= manifest.first).collect();
    if !replayed.iter().copied().eq(manifest.first..=newest) {
        return Err(Fault::damaged(format!("a segment between {} and {newest} is missing", manifest.first)));
    }
    let segments = OpenSegments::new(volume);
    for number in numbers.iter().filter(|number| **number < manifest.first) {
        let (usage, ids) = SegmentIndex::summary(&**volume, *number)?;
        let (_, length) = open_segment(&**volume, *number)?;
        state.segments.insert(*number, Segment::sealed(segments.file(*number), length, usage, ids));
    }
    let (mut sequence, mut bytes, mut end) = (None, 0, None);
    for number in replayed {
        let (file, length) = open_segment(&**volume, number)?;
        let scanned = replay_segment(&mut state, number, &file, number == newest, sequence)?;
        sequence = Some(scanned.sequence);
        bytes += u64::from(length);
        if number == newest {
            mark.map_or(Ok(()), |mark| mark.check(scanned.sequence))?;
            end = Some((repair_end(&*file, scanned, number)?, scanned, file));
        } else {
            close_segment(&**volume, &segments, &mut state, number);
        }
    }
    state.check()?;
    if let Some(name) = unbegun {
        volume.remove(&name).map_err(|error| Fault::from_io(&name, &error))?;
    }
    volume.sync_names().map_err(|error| Fault::from_io("the directory", &error))?;
    let (capacity, scanned, file) = end.ok_or_else(|| Fault::damaged("there are no segments"))?;
    let sequence = scanned.sequence;
    let mark = EndMark { segment: newest, end: scanned.end as u32, sequence };
    let mark = EndMarkFile::open(&**volume, mark)?;
    let (at, bytes_max) = ((scanned.end, capacity), options.segment_bytes);
    let appender = Appender::resume(Arc::clone(volume), bytes_max, newest, file, at, sequence, mark);
    Ok(Opened { volume: Arc::clone(volume), segments, state, appender, manifest, replayed: bytes })
}

/// A segment at the end that was made, but whose header never came to the disk, or that the manifest does not
/// name and that holds nothing, is none: it was not made to its end. Returns its name, to be removed once it
/// is known that nothing is missing.
fn leave_out_unbegun(
    volume: &dyn Volume,
    manifest: &Manifest,
    numbers: &mut Vec<u32>,
) -> Result<Option<String>, Fault> {
    let Some(newest) = numbers.last().copied().filter(|_| numbers.len() > 1) else { return Ok(None) };
    let name = file_name(newest);
    let failed = |error| Fault::from_io(&name, &error);
    let file = volume.open(&name).map_err(failed)?;
    let length = file.length().map_err(failed)?.min(SEGMENT_HEADER_BYTES as u64) as usize;
    let mut header = vec![0; length];
    file.read_at(&mut header, 0).map_err(failed)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_begun = !is_zero(&header)
        && (newest <= manifest.newest || !is_zero(&read_all(&*file, newest)?[header.len()..]));
    if is_begun {
        return Ok(None);
    }
    numbers.pop();
    Ok(Some(name))
}

fn open_segment(volume: &dyn Volume, number: u32) -> Result<(Arc<dyn VolumeFile>, u32), Fault> {
    let name = file_name(number);
    let file = volume.open(&name).map_err(|error| Fault::from_io(&name, &error))?;
    let length = file.length().map_err(|error| Fault::from_io(&name, &error))?;
    let length = u32::try_from(length).map_err(|_| Fault::damaged(format!("{name} is too long")))?;
    Ok((file, length))
}

fn read_all(file: &dyn VolumeFile, number: u32) -> Result<Vec<u8>, Fault> {
    let failed = |error| Fault::from_io(&file_name(number), &error);
    let length = file.length().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Fault::damaged("a segment is too long"))?];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// Does again what the records of a segment say.
fn replay_segment(
    state: &mut State,
    number: u32,
    file: &Arc<dyn VolumeFile>,
    newest: bool,
    sequence: Option<u32>,
) -> Result<Scanned, Fault> {
    let bytes = read_all(&**file, number)?;
    if sequence.is_some_and(|sequence| read_segment_header(number, &bytes) != Ok(sequence)) {
        return Err(Fault::damaged(format!("segment {number} does not go on where the one before ends")));
    }
    state.segments.insert(number, Segment::new(Arc::clone(file), SEGMENT_HEADER_BYTES as u32));
    let mut scan = Scan::begin(number, &bytes, newest)?;
    while let Some(records) = scan.next()? {
        for (at, length, payload) in records {
            let place = Place { segment: number, at: at as u32 };
            state.apply(Record::decode(payload)?, place, length as u32)?;
        }
    }
    let scanned = scan.scanned();
    if let Some(segment) = state.segments.get_mut(&number) {
        segment.end = scanned.end as u32;
    }
    Ok(scanned)
}

/// Leaves the end of the log so that it can be written behind. A process whose sync failed may have left what
/// it wrote in memory alone, where a sync that writes nothing would succeed: the last frame, or the header if
/// there is none, or the zeros by which a frame was taken back. So all that is written again first. Returns
/// up to where the file is reserved.
fn repair_end(file: &dyn VolumeFile, scanned: Scanned, number: u32) -> Result<u64, Fault> {
    let mend = || {
        let from = scanned.last.unwrap_or_default();
        let mut last = vec![0; scanned.end - from];
        file.read_at(&mut last, from as u64)?;
        file.write_at(&last, from as u64)?;
        let end = scanned.end as u64;
        // A copy may have no space where it has zeros. Then the next frame begins a new segment.
        file.zero(end, file.length()?).or_else(|_| file.set_length(end))?;
        file.sync()?;
        file.length()
    };
    mend().map_err(|error| Fault::from_io(&file_name(number), &error))
}

/// A segment that is not written any more has an index file; it is made when it is missing or wrong.
fn close_segment(volume: &dyn Volume, segments: &Arc<OpenSegments>, state: &mut State, number: u32) {
    let Some(segment) = state.segments.get_mut(&number) else { return };
    let index = segment.index();
    let is_there = SegmentIndex::is_whole(volume, number, &index.range());
    if !is_there && let Err(error) = index.write(volume, number, &segment.usage) {
        tracing::warn!(name = index_name(number), %error, "the index of a segment was not written");
    }
    segment.seal(segments.file(number), index.range());
}

/// Lets the rules hold that the store was opened with, if they are others than before.
fn set_rules(opened: &mut Opened, rules: RetentionTable) -> Result<(), Fault> {
    let bytes = |rules: &RetentionTable| {
        let mut bytes = Vec::new();
        Record::Rules(rules.clone()).encode(&mut bytes);
        bytes
    };
    if bytes(&rules) == bytes(&opened.state.rules) {
        return Ok(());
    }
    opened.write(vec![Record::Rules(rules)]).map(drop)
}

impl Opened {
    /// Writes records as one frame, before the writer does; returns where each lies and how long it is.
    pub(super) fn write(&mut self, records: Vec<Record>) -> Result<Vec<(Place, u32)>, Fault> {
        let mut frame = Frame::new();
        let places: Vec<(usize, usize)> =
            records.iter().map(|record| frame.add(|out| record.encode(out))).collect();
        if frame.is_empty() {
            return Ok(Vec::new());
        }
        if self.appender.is_full_to_the_end_for(frame.length()) && !self.appender.grow(frame.length())? {
            let before = self.appender.number();
            self.appender.roll(frame.length())?;
            close_segment(&*self.volume, &self.segments, &mut self.state, before);
            let segment = Segment::new(self.appender.file(), self.appender.end());
            self.state.segments.insert(self.appender.number(), segment);
            self.manifest.newest = self.appender.number();
            self.manifest.write(&*self.volume)?;
        }
        let base = self.appender.write(frame)?;
        if let Some(segment) = self.state.segments.get_mut(&base.segment) {
            segment.end = self.appender.end();
        }
        let mut written = Vec::with_capacity(places.len());
        for (record, (at, length)) in records.into_iter().zip(places) {
            let place = Place { segment: base.segment, at: base.at + at as u32 };
            self.state.apply(record, place, length as u32)?;
            written.push((place, length as u32));
        }
        Ok(written)
    }
}
