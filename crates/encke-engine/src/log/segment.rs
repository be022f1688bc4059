//! A segment: one file of frames, and what is in use of it. Its bytes are in `frame.rs`, which of its pushes
//! is where in `segment_index.rs`.

use std::{collections::BTreeMap, sync::Arc};

use encke_proto::{MessageId, Time};

use super::{
    fault::Fault,
    frame::{RECORD_HEADER_BYTES, open_record},
    segment_index::{IdRange, SegmentIndex},
    stored::Place,
    usage::Usage,
    volume::VolumeFile,
};

/// The longest record that is read. A push to all users has the place of each user in it.
const RECORD_MAX_BYTES: usize = 1 << 30;

/// Where the pushes of a segment are found.
pub(super) enum PushPlaces {
    /// In memory, while the segment is written.
    Open(BTreeMap<u128, u32>),
    /// In the segment's index file, if within this range.
    Sealed(IdRange),
}

/// One file of frames.
pub(super) struct Segment {
    pub(super) file: Arc<dyn VolumeFile>,
    /// Where its last frame ends.
    pub(super) end: u32,
    pub(super) usage: Usage,
    pub(super) push_places: PushPlaces,
    /// A record in it is damaged, so it is kept as it is.
    pub(super) damaged: bool,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn VolumeFile>, end: u32) -> Self {
        let push_places = PushPlaces::Open(BTreeMap::new());
        Self { file, end, usage: Usage::default(), push_places, damaged: false }
    }

    /// A segment whose index file says what it holds.
    pub(super) fn sealed(file: Arc<dyn VolumeFile>, end: u32, usage: Usage, ids: IdRange) -> Self {
        Self { file, end, usage, push_places: PushPlaces::Sealed(ids), damaged: false }
    }

    /// Nothing is written here any more.
    pub(super) fn seal(&mut self, file: Arc<dyn VolumeFile>, ids: IdRange) {
        self.file = file;
        self.push_places = PushPlaces::Sealed(ids);
    }

    /// A push lies here.
    pub(super) fn add_push(&mut self, id: &MessageId, at: u32, until: Time, length: u32) {
        self.usage.add_push(until, length);
        if let PushPlaces::Open(places) = &mut self.push_places {
            places.insert(id.bits(), at);
        }
    }

    /// What goes into the index file once nothing is written here any more.
    pub(super) fn index(&self) -> SegmentIndex {
        match &self.push_places {
            PushPlaces::Open(places) => {
                SegmentIndex { places: places.iter().map(|(id, at)| (*id, *at)).collect() }
            }
            PushPlaces::Sealed(_) => SegmentIndex::default(),
        }
    }
}

/// Reads a record of which the length is known, header included.
pub(super) fn read_record(file: &dyn VolumeFile, place: Place, length: u32) -> Result<Vec<u8>, Fault> {
    let doing = || format!("segment {} at byte {}", place.segment, place.at);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(RECORD_HEADER_BYTES..=RECORD_MAX_BYTES).contains(&length) {
        return Err(Fault::damaged(format!("{}: there is no record of {length} bytes", doing())));
    }
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, place.at.into()).map_err(|error| Fault::from_io(&doing(), &error))?;
    match open_record(&bytes) {
        Some(payload) if payload.len() + RECORD_HEADER_BYTES == length => {
            bytes.drain(..RECORD_HEADER_BYTES);
            Ok(bytes)
        }
        _ => Err(Fault::damaged(format!("{}: a record's checksum is wrong", doing()))),
    }
}

/// Reads some bytes behind the header of a record of which the length is known, header included. They are not
/// compared with the record's checksum, which is that of all of it.
pub(super) fn read_record_start(
    file: &dyn VolumeFile,
    place: Place,
    length: u32,
    bytes: u32,
) -> Result<Vec<u8>, Fault> {
    let doing = || format!("segment {} at byte {}", place.segment, place.at);
    let mut start = vec![0; RECORD_HEADER_BYTES + bytes as usize];
    file.read_at(&mut start, place.at.into()).map_err(|error| Fault::from_io(&doing(), &error))?;
    let told = start.first_chunk().map(|word| u32::from_le_bytes(*word));
    if told != length.checked_sub(RECORD_HEADER_BYTES as u32) {
        return Err(Fault::damaged(format!("{}: a record has another length", doing())));
    }
    start.drain(..RECORD_HEADER_BYTES);
    Ok(start)
}

/// Reads a record of which only the place is known.
pub(super) fn read_record_at(file: &dyn VolumeFile, place: Place) -> Result<(Vec<u8>, u32), Fault> {
    let mut header = [0; RECORD_HEADER_BYTES];
    let failed = |error: std::io::Error| Fault::from_io(&format!("segment {}", place.segment), &error);
    file.read_at(&mut header, place.at.into()).map_err(failed)?;
    let [a, b, c, d, ..] = header;
    let length = u32::from_le_bytes([a, b, c, d]).saturating_add(RECORD_HEADER_BYTES as u32);
    if u64::from(length) > file.length().map_err(failed)? {
        return Err(Fault::damaged(format!(
            "segment {} at byte {}: a record is too long",
            place.segment, place.at
        )));
    }
    Ok((read_record(file, place, length)?, length))
}
