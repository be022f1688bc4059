//! The index file of a segment that is not written any more: which push is where in it, and what keeps its
//! bytes in use. It is derived from the segment: one that is missing or wrong is made again.

use encke_proto::Time;

use super::{
    codec::{Malformed, Reader, put_number},
    fault::Fault,
    file_name::{file_name, index_name},
    frame::Scan,
    keys::kept_until,
    record::{Record, holds_message},
    usage::Usage,
    volume::{Volume, VolumeFile},
};

const MAGIC: &[u8; 8] = b"ENCKEIX1";
/// Before the head of the file: magic, its length, its checksum.
const PREFIX_BYTES: usize = 16;
/// The longest head. A segment's pushes end in a few hundred different hours.
const HEAD_MAX_BYTES: usize = 1 << 20;
/// A push: its id and its place.
const ENTRY_BYTES: usize = 20;

/// The pushes that a segment may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    pub(super) count: u64,
    pub(super) min: u128,
    pub(super) max: u128,
}

impl IdRange {
    pub(super) fn may_hold(&self, id: u128) -> bool {
        self.count > 0 && (self.min..=self.max).contains(&id)
    }
}

/// Where the pushes of a segment are, by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    pub(super) places: Vec<(u128, u32)>,
}

impl SegmentIndex {
    pub(super) fn range(&self) -> IdRange {
        let ends = self.places.first().zip(self.places.last());
        let (min, max) = ends.map_or((0, 0), |(first, last)| (first.0, last.0));
        IdRange { count: self.places.len() as u64, min, max }
    }

    pub(super) fn find(&self, id: u128) -> Option<u32> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.places.get(at).map(|(_, place)| *place)
    }

    pub(super) fn write(&self, volume: &dyn Volume, number: u32, usage: &Usage) -> std::io::Result<()> {
        let mut entries = Vec::with_capacity(self.places.len() * ENTRY_BYTES);
        for (id, at) in &self.places {
            entries.extend_from_slice(&id.to_be_bytes());
            entries.extend_from_slice(&at.to_le_bytes());
        }
        let range = self.range();
        let mut head = Vec::new();
        let numbers = [number.into(), usage.keyed_until.0, range.count, crc32c::crc32c(&entries).into()];
        numbers.into_iter().for_each(|number| put_number(&mut head, number));
        head.extend_from_slice(&range.min.to_be_bytes());
        head.extend_from_slice(&range.max.to_be_bytes());
        put_number(&mut head, usage.pushes.len() as u64);
        for (hour, bytes) in &usage.pushes {
            put_number(&mut head, *hour);
            put_number(&mut head, *bytes);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&entries);
        volume.create(&index_name(number), 0)?.write_at(&bytes, 0)
    }

    /// Reads it; makes it again when it is missing or wrong.
    pub(super) fn read(volume: &dyn Volume, number: u32) -> Result<Self, Fault> {
        let read = || {
            let file = volume.open(&index_name(number)).ok()?;
            let (head, at) = read_head(&*file, number).ok()?;
            read_entries(&*file, &head, at).ok()
        };
        match read() {
            Some(index) => Ok(index),
            None => Self::rebuild(volume, number).map(|(index, _)| index),
        }
    }

    /// Reads only what it says of the segment as a whole; makes it again when it is missing or wrong.
    pub(super) fn summary(volume: &dyn Volume, number: u32) -> Result<(Usage, IdRange), Fault> {
        let read = || {
            let file = volume.open(&index_name(number)).ok()?;
            read_head(&*file, number).ok().map(|(head, _)| (head.usage, head.range))
        };
        match read() {
            Some(summary) => Ok(summary),
            None => Self::rebuild(volume, number).map(|(index, usage)| (usage, index.range())),
        }
    }

    /// Whether there is one that has these pushes.
    pub(super) fn is_whole(volume: &dyn Volume, number: u32, range: &IdRange) -> bool {
        let file = volume.open(&index_name(number));
        file.is_ok_and(|file| read_head(&*file, number).is_ok_and(|(head, _)| head.range == *range))
    }

    /// Makes it from the segment, and writes it.
    fn rebuild(volume: &dyn Volume, number: u32) -> Result<(Self, Usage), Fault> {
        let name = file_name(number);
        let read = || {
            let file = volume.open(&name)?;
            let mut bytes = vec![0; usize::try_from(file.length()?).map_err(std::io::Error::other)?];
            file.read_at(&mut bytes, 0).map(|()| bytes)
        };
        let bytes = read().map_err(|error| Fault::from_io(&name, &error))?;
        let (mut places, mut usage) = (std::collections::BTreeMap::new(), Usage::default());
        let mut scan = Scan::begin(number, &bytes, true)?;
        while let Some(records) = scan.next()? {
            for (at, length, payload) in records.into_iter().filter(|(.., payload)| holds_message(payload)) {
                let (Record::Message(message) | Record::Moved { message, .. }) = Record::decode(payload)?
                else {
                    continue;
                };
                if let Some(until) = message.until {
                    usage.add_push(until, length as u32);
                    places.insert(message.id.bits(), at as u32);
                }
                if let Some(key) = message.key {
                    usage.keyed_until = usage.keyed_until.max(kept_until(key.stamp));
                }
            }
        }
        let index = Self { places: places.into_iter().collect() };
        if let Err(error) = index.write(volume, number, &usage) {
            tracing::warn!(segment = number, %error, "the index of a segment was not written");
        }
        Ok((index, usage))
    }
}

struct Head {
    usage: Usage,
    range: IdRange,
    entries_checksum: u64,
}

/// Reads the head of an index file, and where its entries begin.
fn read_head(file: &dyn VolumeFile, number: u32) -> Result<(Head, u64), Malformed> {
    let unreadable = |_| Malformed("the head of an index");
    let mut prefix = [0; PREFIX_BYTES];
    file.read_at(&mut prefix, 0).map_err(unreadable)?;
    let mut reader = Reader(&prefix);
    if reader.array() != Ok(*MAGIC) {
        return Err(Malformed("an index of this version"));
    }
    let (length, checksum) = (u32::from_le_bytes(reader.array()?), u32::from_le_bytes(reader.array()?));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > HEAD_MAX_BYTES {
        return Err(Malformed("the head of an index"));
    }
    let mut head = vec![0; length];
    file.read_at(&mut head, PREFIX_BYTES as u64).map_err(unreadable)?;
    if crc32c::crc32c(&head) != checksum {
        return Err(Malformed("an index with the right checksum"));
    }
    let mut reader = Reader(&head);
    if reader.small()? != number {
        return Err(Malformed("the index of this segment"));
    }
    let mut usage = Usage { keyed_until: Time(reader.number()?), ..Usage::default() };
    let (count, entries_checksum) = (reader.number()?, reader.number()?);
    let (min, max) = (u128::from_be_bytes(reader.array()?), u128::from_be_bytes(reader.array()?));
    for _ in 0..reader.count()? {
        usage.pushes.insert(reader.number()?, reader.number()?);
    }
    let range = IdRange { count, min, max };
    Ok((Head { usage, range, entries_checksum }, (PREFIX_BYTES + length) as u64))
}

fn read_entries(file: &dyn VolumeFile, head: &Head, at: u64) -> Result<SegmentIndex, Malformed> {
    let unreadable = |_| Malformed("the entries of an index");
    let length = head.range.count.saturating_mul(ENTRY_BYTES as u64);
    if at.saturating_add(length) != file.length().map_err(unreadable)? {
        return Err(Malformed("as many entries as are counted"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Malformed("an index of this length"))?];
    file.read_at(&mut bytes, at).map_err(unreadable)?;
    if u64::from(crc32c::crc32c(&bytes)) != head.entries_checksum {
        return Err(Malformed("entries with the right checksum"));
    }
    let mut reader = Reader(&bytes);
    let mut places = Vec::new();
    while !reader.0.is_empty() {
        places.push((u128::from_be_bytes(reader.array()?), u32::from_le_bytes(reader.array()?)));
    }
    Ok(SegmentIndex { places })
}
