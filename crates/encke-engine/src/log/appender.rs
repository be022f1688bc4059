//! The end of the log: writes frames behind each other, one sync for each, takes back one that failed, and
//! begins a new segment when one is full.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    end_mark::{EndMark, EndMarkFile},
    fault::Fault,
    file_name::file_name,
    frame::{Frame, SEGMENT_HEADER_BYTES, next_frame, segment_header},
    stored::Place,
    volume::{Volume, VolumeFile},
};

/// What is kept at the end of a segment for what frees space, when there is no space for the next one: this
/// part of it, and no more than this many bytes.
const RESERVE_PART: u64 = 16;
const RESERVE_MAX_BYTES: u64 = 64 << 10;
/// What a segment is divided by in length, one after the other, when there is no space for a longer one.
const SHORTER: [u64; 3] = [1, 8, 64];

/// Where the next frame is written.
pub(super) struct Appender {
    volume: Arc<dyn Volume>,
    /// How long a segment is; a frame that is longer gets one of its own length.
    segment_bytes: u64,
    number: u32,
    file: Arc<dyn VolumeFile>,
    end: usize,
    /// Up to where the file is reserved.
    capacity: u64,
    sequence: u32,
    in_doubt: Option<InDoubt>,
    mark: EndMarkFile,
    /// How long the last sync of a frame took.
    sync_took: Duration,
}

/// A frame behind the end of which some may be on the disk.
#[derive(Clone, Copy, Debug)]
struct InDoubt {
    /// Where it ends.
    end: u64,
    /// Whether its place is still reserved.
    keep_capacity: bool,
}

impl Appender {
    /// Goes on at the end of a segment.
    pub(super) fn resume(
        volume: Arc<dyn Volume>,
        segment_bytes: u64,
        number: u32,
        file: Arc<dyn VolumeFile>,
        (end, capacity): (usize, u64),
        sequence: u32,
        mark: EndMarkFile,
    ) -> Self {
        Self {
            volume,
            segment_bytes,
            number,
            file,
            end,
            capacity,
            sequence,
            in_doubt: None,
            mark,
            sync_took: Duration::ZERO,
        }
    }

    /// Makes a segment that is empty; a shorter one when there is no space for a whole one.
    pub(super) fn create(
        volume: Arc<dyn Volume>,
        segment_bytes: u64,
        number: u32,
        sequence: u32,
        frame_bytes: usize,
        mark: EndMarkFile,
    ) -> Result<Self, Fault> {
        let end = SEGMENT_HEADER_BYTES;
        let needed = (next_frame(end) + frame_bytes) as u64 + reserve(segment_bytes);
        let mut full = None;
        for part in SHORTER {
            let capacity = (segment_bytes / part).max(needed);
            match create_file(&*volume, number, sequence, capacity) {
                Ok(file) => {
                    let in_doubt = None;
                    return Ok(Self {
                        volume,
                        segment_bytes,
                        number,
                        file,
                        end,
                        capacity,
                        sequence,
                        in_doubt,
                        mark,
                        sync_took: Duration::ZERO,
                    });
                }
                Err(fault @ Fault::Full(_)) => full = Some(fault),
                Err(fault) => return Err(fault),
            }
        }
        Err(full.unwrap_or_else(|| Fault::Full(format!("there is no space for {}", file_name(number)))))
    }

    /// How long the last sync of a frame took.
    pub(super) fn sync_took(&self) -> Duration {
        self.sync_took
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn end(&self) -> u32 {
        self.end as u32
    }

    pub(super) fn file(&self) -> Arc<dyn VolumeFile> {
        Arc::clone(&self.file)
    }

    /// Whether a frame of this length needs a new segment, if what is kept for freeing space stays.
    pub(super) fn is_full_for(&self, frame_bytes: usize) -> bool {
        self.is_beyond(self.capacity.saturating_sub(self.reserve()), frame_bytes)
    }

    /// Whether a frame of this length does not fit even if it takes what is kept.
    pub(super) fn is_full_to_the_end_for(&self, frame_bytes: usize) -> bool {
        self.is_beyond(self.capacity, frame_bytes)
    }

    /// How much is kept at the end of a segment for what frees space, in bytes.
    pub(super) fn reserve(&self) -> u64 {
        reserve(self.segment_bytes)
    }

    fn is_beyond(&self, capacity: u64, frame_bytes: usize) -> bool {
        (next_frame(self.end) + frame_bytes) as u64 > capacity
    }

    /// Whether its segment has no frame yet.
    pub(super) fn is_empty(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES
    }

    /// Makes a segment that has no frame yet long enough for one of this length. One that has is not made
    /// longer; says whether it was.
    pub(super) fn grow(&mut self, frame_bytes: usize) -> Result<bool, Fault> {
        if !self.is_empty() {
            return Ok(false);
        }
        let capacity = (next_frame(self.end) + frame_bytes) as u64 + self.reserve();
        self.file.reserve(capacity).map_err(|error| Fault::from_io(&file_name(self.number), &error))?;
        self.capacity = self.capacity.max(capacity);
        Ok(true)
    }

    /// Begins a new segment, with room for a frame of this length.
    pub(super) fn roll(&mut self, frame_bytes: usize) -> Result<(), Fault> {
        self.take_back()?;
        let number =
            self.number.checked_add(1).ok_or_else(|| Fault::Broken("there is no next segment".into()))?;
        let volume = Arc::clone(&self.volume);
        let mark = self.mark.clone();
        let next = Self::create(volume, self.segment_bytes, number, self.sequence, frame_bytes, mark)?;
        self.mark.sync();
        let before = std::mem::replace(self, next);
        // What was reserved and not used is given back; if that fails, it is only space.
        if let Err(error) = before.file.set_length(before.end as u64) {
            tracing::warn!(
                segment = before.number,
                %error,
                "the reserved rest of a segment was not given back"
            );
        }
        Ok(())
    }

    /// Writes a frame and returns when it is on the disk: where it lies.
    pub(super) fn write(&mut self, frame: Frame) -> Result<Place, Fault> {
        self.take_back()?;
        let at = next_frame(self.end);
        let place = Place { segment: self.number, at: u32::try_from(at).map_err(|_| too_long())? };
        let end = at + frame.length();
        u32::try_from(end).map_err(|_| too_long())?;
        let bytes = frame.finish(place.segment, place.at, self.sequence);
        let written = self.file.write_at(&bytes, at as u64);
        if let Err(error) = &written
            && let Fault::Full(text) = Fault::from_io("a write to the log", error)
        {
            // Its reserved space is gone as well: the next frame begins a new segment.
            self.in_doubt = Some(InDoubt { end: end as u64, keep_capacity: false });
            return Err(self.take_back().err().unwrap_or(Fault::Full(text)));
        }
        let began = Instant::now();
        let synced = written.and_then(|()| self.file.sync());
        self.sync_took = began.elapsed();
        if let Err(error) = synced {
            self.in_doubt = Some(InDoubt { end: end as u64, keep_capacity: true });
            return Err(Fault::InDoubt(format!("a write or a sync of the log failed: {error}")));
        }
        self.end = end;
        self.sequence = self.sequence.wrapping_add(1);
        self.mark.write(EndMark { segment: self.number, end: self.end as u32, sequence: self.sequence });
        Ok(place)
    }

    /// Nothing is written any more: makes the end mark durable.
    pub(super) fn close(&self) {
        self.mark.sync();
    }

    /// Takes back a frame that failed, so that the log can go on where it begins. After a failed sync the
    /// kernel may have dropped what it should have written, and the next sync says nothing of that. But zeros
    /// over all of it are a write of their own, and a sync of them that succeeds is true. If the place itself
    /// cannot be written, the segment ends before it.
    pub(super) fn take_back(&mut self) -> Result<(), Fault> {
        let Some(doubt) = self.in_doubt else { return Ok(()) };
        let from = self.end as u64;
        let zeroed =
            doubt.keep_capacity && self.file.zero(from, doubt.end).and_then(|()| self.file.sync()).is_ok();
        if !zeroed {
            let cut = self.file.set_length(from).and_then(|()| self.file.sync());
            cut.map_err(|error| Fault::InDoubt(format!("a frame that failed is not taken back: {error}")))?;
            self.capacity = from;
        }
        self.in_doubt = None;
        Ok(())
    }
}

fn reserve(segment_bytes: u64) -> u64 {
    (segment_bytes / RESERVE_PART).min(RESERVE_MAX_BYTES)
}

/// Makes the file of an empty segment, and leaves none if that fails.
fn create_file(
    volume: &dyn Volume,
    number: u32,
    sequence: u32,
    capacity: u64,
) -> Result<Arc<dyn VolumeFile>, Fault> {
    let name = file_name(number);
    let make = || {
        let file = volume.create(&name, capacity)?;
        file.write_at(&segment_header(number, sequence), 0)?;
        file.sync()?;
        volume.sync_names()?;
        Ok(file)
    };
    make().map_err(|error| {
        // Nothing leads to it yet. If it stays, the next that is made takes its place.
        let _ = volume.remove(&name);
        Fault::from_io(&name, &error)
    })
}

fn too_long() -> Fault {
    Fault::Refused(crate::EngineError::Unavailable("one call is larger than a segment can be".into()))
}
