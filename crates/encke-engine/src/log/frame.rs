//! Frames: what one write puts into a segment. A frame holds records; it is there whole or not at all.
//!
//! ```text
//! segment: header (32 bytes), then frames at places that 16 divides, then zeros that are reserved
//! frame:   length of its records, sequence, count of records, checksum of these and of its place (4 bytes
//!          each), then its records, then one byte that is not zero
//! record:  length, checksum of the length and of what follows: 4 bytes each; then the record itself
//! ```
//! A frame's header lies in one sector, which a disk writes as a whole. So a header that is neither right nor
//! all zeros was damaged later. Records that are wrong are a torn tail only if nothing follows them and a
//! sector of theirs is empty; else they were damaged later, too.

use super::fault::Fault;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
/// A frame's header, and what divides the places of frames: so no header lies in two sectors.
pub(super) const FRAME_HEADER_BYTES: usize = 16;
/// What a frame ends with. Without it a last sector that holds zeros alone could not be told from one that
/// was never written.
const FRAME_END: u8 = 0xff;
/// A record's header.
pub(super) const RECORD_HEADER_BYTES: usize = 8;
/// A segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 32;
const SEGMENT_MAGIC: &[u8; 8] = b"ENCKELOG";

/// A segment's header: which one it is, and the sequence of its first frame.
pub(super) fn segment_header(number: u32, sequence: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&super::manifest::VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&number.to_le_bytes());
    header[16..20].copy_from_slice(&sequence.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Reads a segment's header: the sequence of its first frame.
pub(super) fn read_segment_header(number: u32, bytes: &[u8]) -> Result<u32, Fault> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES).unwrap_or_default();
    let sequence = word(bytes, 16).unwrap_or_default();
    if header != segment_header(number, sequence) {
        return Err(Fault::damaged(format!("segment {number}: its header is wrong")));
    }
    Ok(sequence)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// The checksum of a record.
fn record_checksum(payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&(payload.len() as u32).to_le_bytes()), payload)
}

/// Looks at a record with its header, and returns what it holds.
pub(super) fn open_record(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES.checked_add(length)?)?;
    (word(bytes, 4)? == record_checksum(payload)).then_some(payload)
}

/// A frame that is being filled.
pub(super) struct Frame {
    bytes: Vec<u8>,
    records: u32,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], records: 0 }
    }

    /// Adds a record that `fill` writes; returns its place in the frame and its length, both with its header.
    pub(super) fn add(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        fill(&mut self.bytes);
        let payload = &self.bytes[at + RECORD_HEADER_BYTES..];
        let (length, checksum) = (payload.len() as u32, record_checksum(payload));
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        self.records += 1;
        (at, self.bytes.len() - at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How long it will be.
    pub(super) fn length(&self) -> usize {
        self.bytes.len() + 1
    }

    /// The frame as it is written at a place of a segment.
    pub(super) fn finish(mut self, segment: u32, at: u32, sequence: u32) -> Vec<u8> {
        self.bytes.push(FRAME_END);
        let length = (self.bytes.len() - FRAME_HEADER_BYTES) as u32;
        self.bytes[..FRAME_HEADER_BYTES].copy_from_slice(&frame_header(
            length,
            sequence,
            self.records,
            segment,
            at,
        ));
        self.bytes
    }
}

fn frame_header(length: u32, sequence: u32, records: u32, segment: u32, at: u32) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&sequence.to_le_bytes());
    header[8..12].copy_from_slice(&records.to_le_bytes());
    let mut checksum = crc32c::crc32c(&header[..12]);
    for place in [segment, at] {
        checksum = crc32c::crc32c_append(checksum, &place.to_le_bytes());
    }
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Where a frame that begins behind `end` begins.
pub(super) fn next_frame(end: usize) -> usize {
    end.next_multiple_of(FRAME_HEADER_BYTES)
}

/// What reading a segment from its beginning found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where its last whole frame begins; none when it has no frame.
    pub(super) last: Option<usize>,
    /// Where its last whole frame ends.
    pub(super) end: usize,
    /// Something lies behind that, which is to be cut off.
    pub(super) torn: bool,
    /// The sequence of the frame that comes next.
    pub(super) sequence: u32,
}

/// The records of a frame: the place of each in the segment, its length with its header, and what it holds.
type Records<'a> = Vec<(usize, usize, &'a [u8])>;

/// Reads the frames of a segment one after the other.
pub(super) struct Scan<'a> {
    segment: u32,
    bytes: &'a [u8],
    /// A tail that is torn can only be in the newest segment.
    newest: bool,
    scanned: Scanned,
}

impl<'a> Scan<'a> {
    /// Begins behind the header.
    pub(super) fn begin(segment: u32, bytes: &'a [u8], newest: bool) -> Result<Self, Fault> {
        let sequence = read_segment_header(segment, bytes)?;
        let scanned = Scanned { last: None, end: SEGMENT_HEADER_BYTES, torn: false, sequence };
        Ok(Self { segment, bytes, newest, scanned })
    }

    /// The records of the next frame; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Records<'a>>, Fault> {
        let at = next_frame(self.scanned.end);
        let Some(header) = self.bytes.get(at..at + FRAME_HEADER_BYTES) else { return self.end(at) };
        let Some((length, records)) = self.header(header, at) else {
            let sector_end = (at + 1).next_multiple_of(SECTOR_BYTES).min(self.bytes.len());
            if is_zero(&self.bytes[at..sector_end]) {
                return self.end(at);
            }
            return Err(self.damaged(at, "a frame's header is wrong"));
        };
        let begin = at + FRAME_HEADER_BYTES;
        match self.bytes.get(begin..begin + length).and_then(|bytes| split(begin, bytes, records)) {
            Some(found) => {
                self.scanned.last = Some(at);
                self.scanned.end = begin + length;
                self.scanned.sequence = self.scanned.sequence.wrapping_add(1);
                Ok(Some(found))
            }
            None if self.is_torn(at, begin + length) => {
                self.scanned.torn = true;
                Ok(None)
            }
            None => Err(self.damaged(at, "a record's checksum is wrong")),
        }
    }

    /// What was found, once nothing is next.
    pub(super) fn scanned(&self) -> Scanned {
        self.scanned
    }

    /// The length and the count of records of a header that is right.
    fn header(&self, header: &[u8], at: usize) -> Option<(usize, u32)> {
        let (length, records) = (word(header, 0)?, word(header, 8)?);
        let expected =
            frame_header(length, self.scanned.sequence, records, self.segment, u32::try_from(at).ok()?);
        (header == expected).then_some((usize::try_from(length).ok()?, records))
    }

    fn end<T>(&mut self, at: usize) -> Result<Option<T>, Fault> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        if !is_zero(rest) {
            if !self.newest {
                return Err(self.damaged(at, "something lies behind the last frame"));
            }
            self.scanned.torn = true;
        }
        Ok(None)
    }

    /// Whether a frame that is wrong was never written whole: nothing follows it, and some sector of it, or
    /// the rest of its last one, is empty.
    fn is_torn(&self, at: usize, end: usize) -> bool {
        if !self.newest || self.follows(end) {
            return false;
        }
        if end > self.bytes.len() {
            return true;
        }
        let mut from = (at + 1).next_multiple_of(SECTOR_BYTES);
        while from < end {
            let to = (from + SECTOR_BYTES).min(end);
            if is_zero(&self.bytes[from..to]) {
                return true;
            }
            from = to;
        }
        false
    }

    /// Whether a frame begins behind `end` that would be the next.
    fn follows(&self, end: usize) -> bool {
        let at = next_frame(end);
        let Some(header) = self.bytes.get(at..at.saturating_add(FRAME_HEADER_BYTES)) else { return false };
        let (Some(length), Some(records), Ok(place)) = (word(header, 0), word(header, 8), u32::try_from(at))
        else {
            return false;
        };
        header == frame_header(length, self.scanned.sequence.wrapping_add(1), records, self.segment, place)
    }

    fn damaged(&self, at: usize, what: &str) -> Fault {
        Fault::damaged(format!("segment {} at byte {at}: {what}", self.segment))
    }
}

/// The records of a frame, if all of them are right.
fn split(begin: usize, bytes: &[u8], records: u32) -> Option<Records<'_>> {
    let (FRAME_END, mut bytes) = bytes.split_last().map(|(end, bytes)| (*end, bytes))? else { return None };
    let mut found = Vec::new();
    let mut at = begin;
    while !bytes.is_empty() {
        let payload = open_record(bytes)?;
        let length = RECORD_HEADER_BYTES + payload.len();
        found.push((at, length, payload));
        at += length;
        bytes = &bytes[length..];
    }
    (found.len() == usize::try_from(records).ok()?).then_some(found)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 5;

    /// A segment with a frame for each number: as many records of so many bytes.
    fn segment(frames: &[(usize, usize)]) -> (Vec<u8>, usize) {
        let mut bytes = segment_header(SEGMENT, 100).to_vec();
        let mut last = 0;
        for (number, (records, length)) in frames.iter().enumerate() {
            let mut frame = Frame::new();
            for _ in 0..*records {
                frame.add(|out| out.extend(std::iter::repeat_n(b'x', *length)));
            }
            last = next_frame(bytes.len());
            bytes.resize(last, 0);
            bytes.extend_from_slice(&frame.finish(SEGMENT, last as u32, 100 + number as u32));
        }
        (bytes, last)
    }

    fn scan(bytes: &[u8], newest: bool) -> Result<(usize, Scanned), Fault> {
        let mut scan = Scan::begin(SEGMENT, bytes, newest)?;
        let mut records = 0;
        while let Some(found) = scan.next()? {
            records += found.len();
        }
        Ok((records, scan.scanned()))
    }

    #[test]
    fn frames_are_read_back_with_and_without_reserved_space() {
        let (mut bytes, last) = segment(&[(1, 10), (3, 700), (2, 1)]);
        let end = bytes.len();
        for _ in 0..2 {
            let expected = Scanned { last: Some(last), end, torn: false, sequence: 103 };
            assert_eq!(scan(&bytes, true), Ok((6, expected)));
            assert_eq!(scan(&bytes, false), Ok((6, expected)));
            bytes.resize(100_000, 0);
        }
    }

    #[test]
    fn a_tail_that_was_not_written_whole_is_cut_off() {
        let (mut bytes, last) = segment(&[(1, 10), (3, 700)]);
        let end = bytes.len();
        bytes.resize(8192, 0);
        let before = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 10 + 1;
        let mut sector = SECTOR_BYTES;
        while sector < end {
            let mut torn = bytes.clone();
            let to = (sector + SECTOR_BYTES).min(torn.len());
            torn[sector..to].fill(0);
            let (records, scanned) = scan(&torn, true).expect("it is torn, not damaged");
            assert_eq!(
                (records, scanned.end, scanned.torn),
                (1, before, true),
                "without the sector at {sector}"
            );
            assert!(scan(&torn, false).is_err(), "no older segment has a torn tail");
            sector += SECTOR_BYTES;
        }
        for cut in last + FRAME_HEADER_BYTES..end {
            let (records, scanned) = scan(&bytes[..cut], true).expect("it is torn, not damaged");
            assert_eq!((records, scanned.end, scanned.torn), (1, before, true), "cut at {cut}");
        }
    }

    #[test]
    fn every_changed_bit_is_told_or_changes_nothing() {
        let (mut bytes, _) = segment(&[(2, 30), (3, 400), (1, 9)]);
        let whole = scan(&bytes, true).expect("it is right");
        bytes.resize(4096, 0);
        for bit in 0..bytes.len() * 8 {
            let mut harmed = bytes.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((records, scanned)) = scan(&harmed, true) {
                let same = Scanned { torn: scanned.torn, ..whole.1 };
                assert_eq!((records, scanned), (whole.0, same), "bit {bit} is not told");
            }
        }
    }

    #[test]
    fn a_frame_that_is_missing_in_between_is_told() {
        let (bytes, _) = segment(&[(1, 600), (1, 600), (1, 600)]);
        let second = next_frame(SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 601);
        let third = next_frame(second + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 601);
        let mut moved = bytes[..second].to_vec();
        moved.extend_from_slice(&bytes[third..]);
        assert!(scan(&moved, true).is_err());
        let mut emptied = bytes.clone();
        emptied[second + FRAME_HEADER_BYTES..third].fill(0);
        assert!(scan(&emptied, true).is_err(), "what follows was written after it had been synced");
    }
}
